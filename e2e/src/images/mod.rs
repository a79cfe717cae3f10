//! Images of the tests on a real node, built without a container engine and without a registry.
//!
//! The archive contains [`TEST_WORKLOAD`], also with the tags [`VERSIONS`], [`PAUSE`] and the operator as its `Dockerfile`
//! describes it.
//! `ctr --namespace k8s.io images import --local` and `kind load image-archive` import it. Pods use the images with
//! `imagePullPolicy: Never`: the names belong to no registry.
//!
//! [`layout`] writes images; [`binaries`] compiles their programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

mod binaries;
mod layout;

use layout::{Entry, Image};

use crate::project::repository;

/// Image of `e2e/test-workload`. Its entrypoint is the binary, so the `args` of a container begin with `run`.
pub const TEST_WORKLOAD: &str = "sidewatch.test/test-workload:1";
/// Other tags of [`TEST_WORKLOAD`], for Pods with several versions of a sidecar.
pub const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "v1.1.0-distroless"];
/// Image of the sandbox of a Pod, with the same binary.
pub const PAUSE: &str = "sidewatch.test/pause:1";
/// Path of the binary in [`TEST_WORKLOAD`], for hooks and exec probes.
pub const TEST_WORKLOAD_BINARY: &str = "/test-workload";

/// Image of the operator, with its version as tag.
pub const OPERATOR: &str = concat!("sidewatch.test/sidewatch:", env!("CARGO_PKG_VERSION"));
/// Tag of a second image of the operator with the same program, for upgrades.
pub const NEXT_TAG: &str = "next";

/// Compiles the programs, writes the archive and returns its path, below `target/`. Blocks, for minutes the first time.
pub fn build() -> Result<PathBuf> {
    let path = archive();
    binaries::with(|built| {
        let mut images = vec![
            workload(&built.workload),
            pause(&built.workload),
            operator(&built.operator),
            next_operator(&built.operator)?,
        ];
        for tag in VERSIONS {
            images.push(with_tag(workload(&built.workload), tag)?);
        }
        layout::write(&images, &path)
    })?;
    Ok(path)
}

/// Compiles the static binary of the operator and returns its path. Blocks, for minutes the first time.
pub(crate) fn operator_binary() -> Result<PathBuf> {
    binaries::with(|built| Ok(built.operator.clone()))
}

/// Path of the archive that [`build`] writes.
pub(crate) fn archive() -> PathBuf {
    repository().join("target/image/images.tar")
}

fn workload(binary: &Path) -> Image {
    Image {
        name: TEST_WORKLOAD.to_owned(),
        contents: vec![
            Entry::directory("/tmp", 0o1777),
            Entry::file(TEST_WORKLOAD_BINARY, binary, 0o755),
        ],
        entrypoint: vec![TEST_WORKLOAD_BINARY.to_owned()],
        // a user that restricted Pod Security accepts
        user: Some("65532:65532".to_owned()),
        ..Image::default()
    }
}

fn pause(binary: &Path) -> Image {
    Image {
        name: PAUSE.to_owned(),
        cmd: vec!["pause".to_owned()],
        ..workload(binary)
    }
}

/// The image that the `Dockerfile` builds from this binary.
fn operator(binary: &Path) -> Image {
    let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    Image {
        name: OPERATOR.to_owned(),
        contents: vec![Entry::file("/sidewatch", binary, 0o755)],
        entrypoint: vec!["/sidewatch".to_owned()],
        cmd: vec!["run".to_owned()],
        user: Some("65532:65532".to_owned()),
        ports: vec![8080, 8081],
        env: Vec::new(),
        labels: [
            label("title", "Sidewatch"),
            label("description", "Reports sidecars that fail or block their Pod"),
            label("licenses", "Apache-2.0"),
            label("version", env!("CARGO_PKG_VERSION")),
            // the work tree may differ from every commit
            label("revision", "unknown"),
        ]
        .into(),
    }
}

/// The same image under [`NEXT_TAG`].
fn next_operator(binary: &Path) -> Result<Image> {
    with_tag(operator(binary), NEXT_TAG)
}

fn with_tag(image: Image, tag: &str) -> Result<Image> {
    let (repository, _) = image.name.rsplit_once(':').context("an image without a tag")?;
    Ok(Image {
        name: format!("{repository}:{tag}"),
        ..image
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The instructions of the stage `base`, with continued lines joined and arguments filled in.
    fn base_stage() -> Vec<(String, String)> {
        let dockerfile = std::fs::read_to_string(repository().join("Dockerfile")).unwrap();
        let dockerfile = dockerfile
            .replace("\\\n", " ")
            .replace("${VERSION}", env!("CARGO_PKG_VERSION"))
            .replace("${REVISION}", "unknown");
        let base = dockerfile.split("FROM ").nth(1).unwrap();
        assert!(base.starts_with("scratch AS base\n"), "{base}");
        base.lines()
            .skip(1)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap())
            .map(|(instruction, value)| (instruction.to_owned(), value.to_owned()))
            .collect()
    }

    /// `a="b" c="d"`
    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split("\" ")
            .map(|label| label.trim().trim_end_matches('"').split_once("=\"").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_operator_image_equals_that_of_the_dockerfile() {
        let image = operator(Path::new("sidewatch"));
        let ports: Vec<String> = image.ports.iter().map(u16::to_string).collect();
        for (instruction, value) in base_stage() {
            let words = || serde_json::from_str::<Vec<String>>(&value).unwrap();
            match instruction.as_str() {
                "ARG" => {}
                "LABEL" => assert_eq!(labels(&value), image.labels),
                "USER" => assert_eq!(Some(value), image.user),
                "EXPOSE" => assert_eq!(value, ports.join(" ")),
                "ENTRYPOINT" => assert_eq!(words(), image.entrypoint),
                "CMD" => assert_eq!(words(), image.cmd),
                _ => panic!("the image does not implement {instruction}"),
            }
        }
        let dockerfile = std::fs::read_to_string(repository().join("Dockerfile")).unwrap();
        let last = dockerfile.lines().last().unwrap();
        assert_eq!(
            last, "COPY --from=build /sidewatch /sidewatch",
            "the last stage adds the binary only"
        );
    }
}
