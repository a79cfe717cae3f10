//! SC011: a sidecar whose image can change without a change of the manifest.

use super::{Draft, Rule};
use crate::{
    domain::pattern::Repository,
    lint::{finding::Severity, pod::Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC011",
    title: "a sidecar image without tag or digest, or with the tag latest",
    severity: Severity::Warning,
    check,
};

/// The image that the injector of Istio replaces.
const AUTO: &str = "auto";

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter_map(|sidecar| {
            let field = sidecar.field.get("image")?;
            let image = field.text().filter(|image| !image.is_empty() && *image != AUTO)?;
            if image.contains('@') {
                return None;
            }
            let tag = image
                .strip_prefix(Repository::without_tag(image))
                .unwrap_or_default();
            let problem = match tag {
                "" | ":" => "has no tag and no digest",
                ":latest" => "has the tag latest",
                _ => return None,
            };
            Some(Draft::container(
                pod,
                sidecar,
                &field,
                format!(
                    "the image of sidecar {} {problem}: two Pods can run two versions",
                    sidecar.name
                ),
                "use a tag with a version, or a digest",
            ))
        })
        .collect()
}
