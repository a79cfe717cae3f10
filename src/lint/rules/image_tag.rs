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

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter(|sidecar| !sidecar.has_placeholder_image())
        .filter_map(|sidecar| {
            let field = sidecar.field.get("image")?;
            let image = field.text()?;
            if image.contains('@') {
                return None;
            }
            let tag = image
                .strip_prefix(Repository::without_tag(image))
                .unwrap_or_default();
            let problem = match tag {
                // The field `images` of a kustomization sets tags.
                "" | ":" if pod.is_kustomized => return None,
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
