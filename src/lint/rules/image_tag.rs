//! SC011: a sidecar image without tag or digest, or with the tag latest
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! The image behind such a tag can change without a change of the manifest. Two Pods of one Deployment can run two versions of the
//! sidecar, and a rollback does not bring the old version back.
//!
//! Images that another tool completes are not reported: `auto`, which the injector of Istio replaces; placeholders such as `${IMAGE}`,
//! `$(IMAGE)` and `<IMAGE>`; and, if the directory of the file has a kustomization, images without a tag, because the field `images` of
//! a kustomization sets tags.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:latest
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//! ```
//!
//! ## Source
//!
//! [Image names](https://kubernetes.io/docs/concepts/containers/images/#image-names): "You should avoid using the :latest tag
//! when deploying containers in production"

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
