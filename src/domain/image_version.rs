//! The version of an image, and the order of versions.
//!
//! These are one version:
//!
//! * a tag with and without `v` before the number: `v1.28.1` and `1.28.1`;
//! * all digests of a tag: `1.28.1` and `1.28.1@sha256:…`;
//! * all variants of a tag: `1.28.1`, `1.28.1-distroless` and `1.28.1-debian-12-r3`. A variant begins with a known name
//!   ([`VARIANTS`], also with a number as in `ubi9`) and continues to the end of the tag.
//!
//! A version has an order if the rest of the tag is a semantic version with all three numbers, without a pre-release or with
//! one that begins with a known name ([`PRE_RELEASES`]). Other tags, such as `latest`, `1.28` and `1.28.1-gke.4`, and digests
//! without a tag are versions without an order.

use std::cmp::Ordering;

use semver::{Prerelease, Version};

use super::pattern::Repository;

/// The names that begin a variant: a base image, a build or an architecture.
const VARIANTS: [&str; 40] = [
    "alpine",
    "amazonlinux",
    "amd",
    "arm",
    "azurelinux",
    "bookworm",
    "bullseye",
    "buster",
    "centos",
    "chiseled",
    "debian",
    "debug",
    "distroless",
    "fips",
    "full",
    "jammy",
    "jmx",
    "linux",
    "mariner",
    "minimal",
    "musl",
    "nanoserver",
    "noble",
    "nonroot",
    "perl",
    "photon",
    "rhel",
    "rocky",
    "rootless",
    "scratch",
    "servercore",
    "slim",
    "static",
    "trixie",
    "ubi",
    "ubuntu",
    "unprivileged",
    "windows",
    "windowsservercore",
    "wolfi",
];
/// The names that begin a pre-release.
const PRE_RELEASES: [&str; 7] = ["alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"];
/// The tag of an image without tag and digest.
const LATEST: &str = "latest";
/// The maximum length of a tag.
const MAX_TAG: usize = 128;
/// The maximum length of a repository with its registry.
const MAX_REPOSITORY: usize = 255;
/// A length that no image with a valid repository, tag and digest exceeds, in bytes.
pub const MAX_REFERENCE: usize = 640;
/// The number of characters of a digest that are shown: `sha256:` and twelve digits.
const DIGEST: usize = 19;

/// The version of an image. Displays as the number, or else as the tag or the beginning of the digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageVersion {
    number: Option<Version>,
    text: Box<str>,
}

impl ImageVersion {
    /// Determines the version of an image reference.
    pub fn of(image: &str) -> Self {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (image, None),
        };
        let repository = Repository::without_tag(image);
        let tag = name.get(repository.len()..).and_then(|tag| tag.strip_prefix(':'));
        match (tag, digest) {
            (Some(tag), _) => Self::of_tag(tag),
            (None, Some(digest)) => Self {
                number: None,
                text: digest.get(..DIGEST).unwrap_or(digest).into(),
            },
            (None, None) => Self::of_tag(LATEST),
        }
    }

    /// Determines the version of an image reference that container runtimes accept. Returns `None` for others, with which no
    /// container runs: its repository or tag is empty or too long, or contains other characters.
    pub fn of_valid(image: &str) -> Option<Self> {
        let repository = Repository::without_tag(image);
        let is_name = |c: u8| c.is_ascii_alphanumeric() || b"._-/:[]".contains(&c);
        if repository.is_empty() || image.len() > MAX_REFERENCE || !repository.bytes().all(is_name) {
            return None;
        }
        if Repository::of(image).full().len() > MAX_REPOSITORY {
            return None;
        }
        let version = Self::of(image);
        let is_tag = |c: u8| c.is_ascii_alphanumeric() || b"._-:".contains(&c);
        let has_version = (1..=MAX_TAG).contains(&version.text.len());
        (has_version && version.text.bytes().all(is_tag)).then_some(version)
    }

    fn of_tag(tag: &str) -> Self {
        let number = number(tag);
        let text = number.as_ref().map_or_else(|| tag.to_owned(), Version::to_string);
        Self {
            number,
            text: text.into(),
        }
    }

    /// Compares two versions. Returns `None` if one of them has no order, unless they are equal.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (&self.number, &other.number) {
            (Some(number), Some(other)) => Some(number.cmp(other)),
            _ => (self == other).then_some(Ordering::Equal),
        }
    }

    /// Whether the version can be compared with others.
    pub fn is_ordered(&self) -> bool {
        self.number.is_some()
    }
}

impl std::fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the semantic version of a tag without its variant, if it is one.
fn number(tag: &str) -> Option<Version> {
    let mut version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
    let segments = version.pre.split('-').take_while(|segment| !is_variant(segment));
    let pre = segments.collect::<Vec<_>>().join("-");
    if !pre.is_empty() && !PRE_RELEASES.contains(&without_number(&pre)) {
        return None;
    }
    version.pre = Prerelease::new(&pre).ok()?;
    Some(version)
}

fn is_variant(segment: &str) -> bool {
    VARIANTS.contains(&without_number(segment))
}

/// Returns the letters at the start of a text.
fn without_number(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_variants_of_a_tag_are_one_version() {
        let table = [
            ("istio/proxyv2:1.28.1", "1.28.1", true),
            ("istio/proxyv2:v1.28.1", "1.28.1", true),
            ("istio/proxyv2:1.28.1-distroless", "1.28.1", true),
            ("istio/proxyv2:1.28.1@sha256:0123456789abcdef", "1.28.1", true),
            ("bitnami/redis-exporter:1.58.0-debian-12-r3", "1.58.0", true),
            ("vault:1.15.2-ubi9", "1.15.2", true),
            ("datadog/agent:7.58.2-jmx", "7.58.2", true),
            ("datadog/agent:7.58.2-servercore-ltsc2022", "7.58.2", true),
            ("nginx:1.27.4-alpine3.21", "1.27.4", true),
            ("proxy:1.28.0-rc.1", "1.28.0-rc.1", true),
            ("proxy:1.28.0-rc.1-distroless", "1.28.0-rc.1", true),
            ("proxy:1.28.0-beta2", "1.28.0-beta2", true),
            ("proxy:1.28.1-gke.4", "1.28.1-gke.4", false),
            ("proxy:1.28.1-alphabet", "1.28.1-alphabet", false),
            ("proxy:1.28", "1.28", false),
            ("proxy:latest", "latest", false),
            ("proxy", "latest", false),
            ("localhost:5000/proxy", "latest", false),
            ("localhost:5000/proxy:2.0.0", "2.0.0", true),
            ("proxy@sha256:0123456789abcdef", "sha256:0123456789ab", false),
            ("proxy@x", "x", false),
            ("", "latest", false),
            (":", "", false),
        ];
        for (image, expected, is_ordered) in table {
            let version = ImageVersion::of(image);
            assert_eq!(version.to_string(), expected, "{image}");
            assert_eq!(version.is_ordered(), is_ordered, "{image}");
        }
    }

    #[test]
    fn images_that_no_runtime_accepts_have_no_version() {
        let repository = |length| format!("reg.io/{}:1.0.0", "a".repeat(length));
        let tag = |length| format!("proxy:{}", "a".repeat(length));
        let table = [
            (
                "reg.io:5000/mesh/proxy_2:v1.2.3@sha256:0123456789abcdef".to_owned(),
                true,
            ),
            ("[fd00::1]:5000/proxy:1.2.3".to_owned(), true),
            ("proxy".to_owned(), true),
            (String::new(), false),
            (":1.0.0".to_owned(), false),
            ("@sha256:0123456789abcdef".to_owned(), false),
            ("proxy:".to_owned(), false),
            ("proxy@".to_owned(), false),
            ("proxy:a\"b".to_owned(), false),
            ("pro\nxy:1.0.0".to_owned(), false),
            ("prÖxy:1.0.0".to_owned(), false),
            (repository(248), true),
            (repository(249), false),
            (tag(128), true),
            (tag(129), false),
            (format!("proxy:1.0.0@{}", "a".repeat(MAX_REFERENCE)), false),
        ];
        for (image, expected) in table {
            assert_eq!(ImageVersion::of_valid(&image).is_some(), expected, "{image:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let table = [
            ("a:1.9.0", "a:1.10.0", Some(Ordering::Less)),
            ("a:v2.0.0", "a:2.0.0-distroless", Some(Ordering::Equal)),
            ("a:2.0.0-rc.1", "a:2.0.0", Some(Ordering::Less)),
            ("a:2.0.0-rc.2", "a:2.0.0-rc.10", Some(Ordering::Less)),
            ("a:2.0.0", "a:latest", None),
            ("a:latest", "a", Some(Ordering::Equal)),
        ];
        for (one, other, expected) in table {
            let (one, other) = (ImageVersion::of(one), ImageVersion::of(other));
            assert_eq!(one.compare(&other), expected, "{one} {other}");
        }
    }
}
