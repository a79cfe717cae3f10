//! Writes images as an OCI image layout in one tar: <https://github.com/opencontainers/image-spec>.
//!
//! The same input gives the same bytes. Each image has one uncompressed layer. A blob that several images share is stored
//! once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image of one layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// `HOST/NAME:TAG`, in full: containerd does not complete it.
    pub(super) name: String,
    /// Contents of the layer. Parent directories are added, with mode 0755.
    pub(super) contents: Vec<Entry>,
    /// The program and its first arguments.
    pub(super) entrypoint: Vec<String>,
    /// Arguments that the `args` of a container replace.
    pub(super) cmd: Vec<String>,
    /// `UID:GID`; the default is root.
    pub(super) user: Option<String>,
    /// TCP ports.
    pub(super) ports: Vec<u16>,
    /// `NAME=VALUE`.
    pub(super) env: Vec<String>,
    /// Labels.
    pub(super) labels: BTreeMap<String, String>,
}

/// A file or directory of an image, owned by root.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Absolute path in the image.
    path: String,
    mode: u32,
    /// File on this machine; `None` for a directory.
    source: Option<PathBuf>,
}

impl Entry {
    /// A directory.
    pub(super) fn directory(path: &str, mode: u32) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            source: None,
        }
    }

    /// A file with the contents of `source`.
    pub(super) fn file(path: &str, source: &Path, mode: u32) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            source: Some(source.to_owned()),
        }
    }
}

/// Writes the images to `path` atomically.
pub(super) fn write(images: &[Image], path: &Path) -> Result<()> {
    let mut blobs = Blobs::default();
    let manifests = images
        .iter()
        .map(|image| manifest(image, &mut blobs).with_context(|| format!("pack {}", image.name)))
        .collect::<Result<Vec<_>>>()?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });

    let unfinished = path.with_extension("unfinished");
    let failed = || format!("write {}", path.display());
    let file = File::create(&unfinished).with_context(failed)?;
    let mut tar = Builder::new(BufWriter::new(file));
    put(
        &mut tar,
        "oci-layout",
        0o644,
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    put(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
    for (hex, blob) in &blobs.0 {
        put(&mut tar, format!("blobs/sha256/{hex}"), 0o644, blob)?;
    }
    tar.into_inner()
        .and_then(|mut file| file.flush())
        .with_context(failed)?;
    fs::rename(unfinished, path).with_context(failed)
}

/// Blobs by the hexadecimal digits of their digests.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a blob and returns its digest and descriptor.
    fn add(&mut self, media_type: &str, blob: Vec<u8>) -> (String, Value) {
        let hex = hex(digest(&SHA256, &blob).as_ref());
        let name = format!("sha256:{hex}");
        let descriptor = json!({ "mediaType": media_type, "digest": name, "size": blob.len() });
        self.0.insert(hex, blob);
        (name, descriptor)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

/// Adds layer, configuration and manifest; returns the entry of the index.
fn manifest(image: &Image, blobs: &mut Blobs) -> Result<Value> {
    let architecture = architecture()?;
    let (diff_id, layer) = blobs.add(LAYER, layer(&image.contents)?);
    let ports: BTreeMap<String, Value> = image
        .ports
        .iter()
        .map(|port| (format!("{port}/tcp"), json!({})))
        .collect();
    let config = json!({
        "os": "linux",
        "architecture": architecture,
        "config": {
            "User": image.user.as_deref().unwrap_or_default(),
            "ExposedPorts": ports,
            "Env": image.env,
            "Entrypoint": image.entrypoint,
            "Cmd": image.cmd,
            "Labels": image.labels,
        },
        // the digest of an uncompressed layer is that of its content
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let (_, config) = blobs.add(CONFIG, config.to_string().into_bytes());
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let size = manifest.len();
    let (digest, _) = blobs.add(MANIFEST, manifest.into_bytes());
    Ok(json!({
        "mediaType": MANIFEST,
        "digest": digest,
        "size": size,
        "platform": { "os": "linux", "architecture": architecture },
        "annotations": { "io.containerd.image.name": image.name },
    }))
}

/// Architecture of this machine, as images name it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images for {other} are not supported"),
    }
}

/// A tar of the contents, each directory before its entries.
fn layer(contents: &[Entry]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    let mut directories = BTreeMap::new();
    for entry in contents {
        let path = relative(&entry.path);
        for above in path.ancestors().skip(1).filter(|above| *above != Path::new("")) {
            directories.entry(above).or_insert(0o755);
        }
        if entry.source.is_none() {
            directories.insert(path, entry.mode);
        }
    }
    for (path, mode) in directories {
        let mut header = header(EntryType::Directory, path, mode)?;
        header.set_size(0);
        header.set_cksum();
        layer.append(&header, &[][..])?;
    }
    for entry in contents {
        if let Some(source) = &entry.source {
            let data = fs::read(source).with_context(|| format!("read {}", source.display()))?;
            put(&mut layer, relative(&entry.path), entry.mode, &data)?;
        }
    }
    Ok(layer.into_inner()?)
}

/// Path without the first slash, as in a tar.
fn relative(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

fn put(tar: &mut Builder<impl Write>, path: impl AsRef<Path>, mode: u32, data: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, path.as_ref(), mode)?;
    header.set_size(data.len().try_into()?);
    header.set_cksum();
    Ok(tar.append(&header, data)?)
}

/// Header with owner root and time 0: the same input gives the same digest.
fn header(kind: EntryType, path: &Path, mode: u32) -> Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header
        .set_path(path)
        .with_context(|| format!("{} as a path in a tar", path.display()))?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    Ok(header)
}

#[cfg(test)]
mod tests;
