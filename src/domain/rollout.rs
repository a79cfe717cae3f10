//! Rollouts: the change of a workload from one revision of its Pods to another.
//!
//! A revision is what the Pods of one template have in common: the hash of the template, which the controller writes into a
//! label, and the images. Sidecars that are injected at admission change without a new template, so the images count too.

use std::{fmt::Write as _, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    hash::stable_hash,
    image_version::ImageVersion,
    observation::{Observation, Shape},
    pattern::Repository,
    time::{Human, later},
};

/// The labels in which controllers write the hash of the Pod template: that of Deployments, that of Argo Rollouts, and that of
/// StatefulSets and DaemonSets.
const TEMPLATE_LABELS: [&str; 3] = [
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "controller-revision-hash",
];
/// The longest time from the start of a rollout to a fault that it can explain.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// The clock of the API server, which dates a rollout, can be this much ahead.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// The maximum number of images in a text.
const IMAGES: usize = 3;
/// The maximum length of an image or a version in a text, in bytes.
const IMAGE_LENGTH: usize = 80;

/// A revision of the Pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The label with the hash of the template, and the hash.
    template: Option<(&'static str, Box<str>)>,
    /// Its containers. Pods of one revision can differ in everything but the names and images.
    shape: Arc<Shape>,
}

/// The identity of a revision.
pub type RevisionKey = u64;

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The revision before.
    pub from: Arc<Revision>,
    /// The new revision.
    pub to: Arc<Revision>,
    /// The creation of the first Pod of the new revision.
    pub began: Timestamp,
}

impl Revision {
    /// The revision of a Pod.
    pub fn of(pod: &Observation) -> Self {
        Self {
            template: template(pod).map(|(label, hash)| (label, hash.into())),
            shape: Arc::clone(&pod.shape),
        }
    }

    /// The identity of the revision of a Pod.
    pub fn key_of(pod: &Observation) -> RevisionKey {
        let (label, hash) = template(pod).unwrap_or_default();
        let containers = pod.shape.containers.iter();
        let images = containers.flat_map(|container| [&*container.name, &*container.image]);
        stable_hash([label, hash].into_iter().chain(images).map(str::as_bytes))
    }

    fn image(&self, container: &str) -> Option<&str> {
        let mut containers = self.shape.containers.iter();
        let container = containers.find(|other| *other.name == *container)?;
        Some(&container.image)
    }
}

/// The label with the hash of the Pod's template, and the hash.
fn template(pod: &Observation) -> Option<(&'static str, &str)> {
    let found = |label| Some((label, pod.labels.get(label)?));
    TEMPLATE_LABELS.into_iter().find_map(found)
}

impl Rollout {
    /// Whether a fault of a Pod of the new revision can be a result of the rollout: it began soon after.
    pub fn explains(&self, onset: Timestamp) -> bool {
        onset <= later(self.began, WINDOW) && self.began <= later(onset, CLOCK_SKEW)
    }

    /// The rollout, with the time from it to a fault of a container: `began 40s after pod-template-hash 7d9 → 8f2, istio-proxy
    /// 1.27.4 → 1.28.1`. `None` if it does not explain the fault, or if the revisions differ in nothing that is shown.
    pub fn hint(&self, onset: Timestamp, container: &str) -> Option<String> {
        let changes = self.changes(container);
        (self.explains(onset) && !changes.is_empty()).then(|| {
            let after = onset.duration_since(self.began).max(SignedDuration::ZERO);
            format!("began {} after {}", Human(after), changes.join(", "))
        })
    }

    /// The new hash of the template, and the changed images: first that of `container`, then the others in the order of the
    /// spec.
    fn changes(&self, container: &str) -> Vec<String> {
        let mut changes = Vec::new();
        if let (Some((label, before)), Some((to, after))) = (&self.from.template, &self.to.template)
            && label == to
            && before != after
        {
            changes.push(format!("{label} {before} → {after}"));
        }
        let names = self.to.shape.containers.iter().map(|container| &*container.name);
        let others = names.filter(|name| *name != container);
        let images = [container].into_iter().chain(others).filter_map(|name| {
            let (before, after) = (self.from.image(name)?, self.to.image(name)?);
            (before != after).then(|| format!("{name} {}", change_of_image(before, after)))
        });
        let images: Vec<String> = images.collect();
        let omitted = images.len().saturating_sub(IMAGES);
        changes.extend(images.into_iter().take(IMAGES));
        if omitted > 0
            && let Some(last) = changes.last_mut()
        {
            let _infallible = write!(last, " and {omitted} more");
        }
        changes
    }
}

/// The change of an image: the versions if they say what has changed, or else the images.
fn change_of_image(before: &str, after: &str) -> String {
    let versions = [before, after].map(|image| ImageVersion::of(image).to_string());
    let [before, after] = if Repository::without_tag(before) == Repository::without_tag(after)
        && versions.first() != versions.last()
    {
        versions
    } else {
        [before, after].map(str::to_owned)
    };
    format!("{} → {}", cut(&before), cut(&after))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(IMAGE_LENGTH))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Pod, at};

    fn pod(hash: Option<&str>, images: &[(&str, &str)]) -> Pod {
        let pod = images.iter().fold(Pod::named("web-1"), |pod, (name, image)| {
            pod.regular(name)
                .spec(name, |container| container.image = (*image).into())
        });
        let labels: Vec<_> = hash.map(|hash| ("pod-template-hash", hash)).into_iter().collect();
        pod.labels(&labels)
    }

    fn rollout(from: &Pod, to: &Pod) -> Rollout {
        Rollout {
            from: Arc::new(Revision::of(&from.0)),
            to: Arc::new(Revision::of(&to.0)),
            began: at(100),
        }
    }

    #[test]
    fn the_hint_has_the_new_template_and_the_changed_images() {
        let digest = |n: u8| format!("proxy:1.0.0@sha256:{}", n.to_string().repeat(64));
        let (one, two) = (digest(1), digest(2));
        #[rustfmt::skip]
        let table: [(Pod, Pod, Option<&str>, &str); 8] = [
            (pod(Some("7d9"), &[("app", "shop:1"), ("proxy", "istio/proxyv2:1.27.4")]),
             pod(Some("8f2"), &[("app", "shop:1"), ("proxy", "istio/proxyv2:1.28.1")]),
             Some("pod-template-hash 7d9 → 8f2, proxy 1.27.4 → 1.28.1"), "a template with another sidecar"),
            (pod(Some("7d9"), &[("app", "shop:1"), ("proxy", "proxy:1")]),
             pod(Some("8f2"), &[("app", "shop:2"), ("proxy", "proxy:2")]),
             Some("pod-template-hash 7d9 → 8f2, proxy 1 → 2, app 1 → 2"), "the failing container is first"),
            (pod(Some("7d9"), &[("app", "shop:1")]), pod(Some("8f2"), &[("app", "shop:1")]),
             Some("pod-template-hash 7d9 → 8f2"), "no image has changed"),
            (pod(Some("7d9"), &[("proxy", "proxy:1")]), pod(Some("7d9"), &[("proxy", "proxy:2")]),
             Some("proxy 1 → 2"), "an injected sidecar has changed"),
            (pod(None, &[("proxy", "a/proxy:1.0.0")]), pod(None, &[("proxy", "b/proxy:1.0.0")]),
             Some("proxy a/proxy:1.0.0 → b/proxy:1.0.0"), "another repository"),
            (pod(None, &[("proxy", &one)]), pod(None, &[("proxy", &two)]),
             Some(&format!("proxy {} → {}", &one[..80], &two[..80])), "another digest"),
            (pod(None, &[("driver", "spark:1")]), pod(None, &[("executor", "spark:2")]), None, "nothing in common"),
            (pod(None, &[("a", "a:1"), ("b", "b:1"), ("c", "c:1"), ("d", "d:1"), ("e", "e:1")]),
             pod(None, &[("a", "a:2"), ("b", "b:2"), ("c", "c:2"), ("d", "d:2"), ("e", "e:2")]),
             Some("a 1 → 2, b 1 → 2, c 1 → 2 and 2 more"), "many images"),
        ];
        for (from, to, expected, why) in table {
            let expected = expected.map(|changes| format!("began 40s after {changes}"));
            assert_eq!(rollout(&from, &to).hint(at(140), "proxy"), expected, "{why}");
        }
    }

    #[test]
    fn a_rollout_explains_faults_of_the_next_ten_minutes() {
        let (from, to) = (
            pod(Some("7d9"), &[("app", "a")]),
            pod(Some("8f2"), &[("app", "a")]),
        );
        let hint = |onset| rollout(&from, &to).hint(at(onset), "app");
        let after = |time: &str| Some(format!("began {time} after pod-template-hash 7d9 → 8f2"));
        assert_eq!(hint(94), None, "before the rollout");
        assert_eq!(hint(95), after("0s"), "the clock of the API server is ahead");
        assert_eq!(hint(700), after("10m"));
        assert_eq!(hint(701), None);
    }

    #[test]
    fn the_identity_of_a_revision_is_its_template_and_its_images() {
        let key = |pod: &Pod| Revision::key_of(&pod.0);
        let web = pod(Some("7d9"), &[("app", "a:1"), ("proxy", "p:1")]);
        assert_eq!(
            key(&web),
            key(&web.clone().spec("app", |c| c.has_post_start = true))
        );
        for other in [
            pod(Some("8f2"), &[("app", "a:1"), ("proxy", "p:1")]),
            pod(None, &[("app", "a:1"), ("proxy", "p:1")]),
            pod(Some("7d9"), &[("app", "a:1"), ("proxy", "p:2")]),
            pod(Some("7d9"), &[("app", "a:1")]),
            web.clone().labels(&[("controller-revision-hash", "7d9")]),
        ] {
            assert_ne!(key(&web), key(&other));
        }
    }
}
