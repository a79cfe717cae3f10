use std::io::Read;

use super::*;

struct Packed {
    _dir: crate::process::Scratch,
    bytes: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

/// Two images with the same layer.
fn pack() -> Packed {
    let dir = crate::process::Scratch::new().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "not really a program").unwrap();
    let first = Image {
        name: "example.test/first:1".to_owned(),
        contents: vec![
            Entry::file("/opt/bin/program", &program, 0o755),
            Entry::directory("/tmp", 0o1777),
        ],
        entrypoint: vec!["/opt/bin/program".to_owned()],
        cmd: vec!["run".to_owned()],
        user: Some("65532:65532".to_owned()),
        ports: vec![8080],
        env: vec!["NAME=value".to_owned()],
        labels: [("title".to_owned(), "First".to_owned())].into(),
    };
    let second = Image {
        name: "example.test/second:1".to_owned(),
        cmd: Vec::new(),
        ..first.clone()
    };
    let tar = dir.path().join("images.tar");
    write(&[first, second], &tar).unwrap();
    let bytes = fs::read(tar).unwrap();
    Packed {
        _dir: dir,
        files: unpack(&bytes)
            .into_iter()
            .map(|(path, _, data)| (path, data))
            .collect(),
        bytes,
    }
}

/// Path, mode and contents of each entry, in order.
fn unpack(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let mode = header.mode().unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        (path, mode, data)
    });
    entries.collect()
}

impl Packed {
    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.files[path]).unwrap()
    }

    /// The blob of a descriptor. Its digest and size must match.
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let name = descriptor["digest"].as_str().unwrap();
        let hex = name.strip_prefix("sha256:").unwrap();
        let blob = &self.files[&format!("blobs/sha256/{hex}")];
        assert_eq!(descriptor["size"], blob.len(), "{descriptor}");
        let sum = super::hex(digest(&SHA256, blob).as_ref());
        assert_eq!(sum, hex, "{descriptor}");
        blob
    }

    fn blob_json(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(self.blob(descriptor)).unwrap()
    }
}

#[test]
fn digests_and_sizes_match_and_shared_blobs_are_stored_once() {
    let packed = pack();
    assert_eq!(
        packed.json("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" })
    );
    let index = packed.json("index.json");
    assert_eq!(
        (&index["schemaVersion"], &index["mediaType"]),
        (&json!(2), &json!(INDEX))
    );
    let images = index["manifests"].as_array().unwrap();
    let mut layers = Vec::new();
    for (image, name) in images
        .iter()
        .zip(["example.test/first:1", "example.test/second:1"])
    {
        assert_eq!(image["mediaType"], MANIFEST);
        assert_eq!(image["annotations"]["io.containerd.image.name"], name);
        let manifest = packed.blob_json(image);
        assert_eq!(
            (&manifest["schemaVersion"], &manifest["mediaType"]),
            (&json!(2), &json!(MANIFEST))
        );
        assert_eq!(manifest["config"]["mediaType"], CONFIG);
        let config = packed.blob_json(&manifest["config"]);
        assert_eq!(config["architecture"], image["platform"]["architecture"]);
        let [layer] = manifest["layers"].as_array().unwrap().as_slice() else {
            panic!("{manifest}");
        };
        assert_eq!(layer["mediaType"], LAYER);
        packed.blob(layer);
        assert_eq!(
            config["rootfs"],
            json!({ "type": "layers", "diff_ids": [layer["digest"]] })
        );
        layers.push(layer["digest"].clone());
    }
    assert_eq!(images.len(), 2);
    assert_eq!(layers[0], layers[1], "both have the same contents");
    let blobs = packed
        .files
        .keys()
        .filter(|path| path.starts_with("blobs/"))
        .count();
    assert_eq!(blobs, 5, "two manifests, two configurations, one layer");
    assert_eq!(unpack(&packed.bytes).len(), packed.files.len(), "no path twice");
}

#[test]
fn the_configuration_has_all_fields_of_the_image() {
    let packed = pack();
    let manifest = packed.blob_json(&packed.json("index.json")["manifests"][0]);
    let config = packed.blob_json(&manifest["config"]);
    assert_eq!(config["os"], "linux");
    assert_eq!(
        config["config"],
        json!({
            "User": "65532:65532",
            "ExposedPorts": { "8080/tcp": {} },
            "Env": ["NAME=value"],
            "Entrypoint": ["/opt/bin/program"],
            "Cmd": ["run"],
            "Labels": { "title": "First" },
        })
    );
}

#[test]
fn a_layer_has_directories_before_their_entries() {
    let packed = pack();
    let manifest = packed.blob_json(&packed.json("index.json")["manifests"][0]);
    let layer = unpack(packed.blob(&manifest["layers"][0]));
    let entries: Vec<_> = layer
        .iter()
        .map(|(path, mode, data)| (path.as_str(), *mode, data.len()))
        .collect();
    assert_eq!(
        entries,
        [
            ("opt", 0o755, 0),
            ("opt/bin", 0o755, 0),
            ("tmp", 0o1777, 0),
            ("opt/bin/program", 0o755, 20)
        ]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert!(pack().bytes == pack().bytes);
}

#[test]
fn a_missing_file_is_an_error_and_nothing_is_written() {
    let dir = crate::process::Scratch::new().unwrap();
    let image = Image {
        name: "example.test/broken:1".to_owned(),
        contents: vec![Entry::file("/program", &dir.path().join("missing"), 0o755)],
        ..Image::default()
    };
    let error = format!(
        "{:#}",
        write(&[image], &dir.path().join("images.tar")).unwrap_err()
    );
    assert!(
        error.contains("example.test/broken:1") && error.contains("missing"),
        "{error}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
