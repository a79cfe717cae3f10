//! SC010: a sidecar without requests or without a memory limit
//!
//! Default severity: Info, Warning if a main container has what the sidecar lacks.
//!
//! ## Reason
//!
//! A sidecar without a memory limit can take the memory of the node, and the kernel may then kill the app. Without requests, the
//! scheduler does not count the sidecar, the HorizontalPodAutoscaler cannot compute the utilization of the Pod, and the Pod is
//! evicted earlier.
//!
//! A Pod has one finding, which names its sidecars and what they lack. In many Pods no container has resources. This is one decision
//! of the author, and often the namespace has a LimitRange or a VerticalPodAutoscaler sets the values. So the finding is an Info. If a
//! main container has a value that a sidecar lacks, the sidecar was forgotten, and the finding is a Warning.
//!
//! A limit is also the default of the request. Resources at the level of the Pod (KEP-2837) count. A CPU limit is not required.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!     resources:
//!       requests: {cpu: 500m, memory: 256Mi}
//!       limits: {memory: 512Mi}
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
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
//!     resources:
//!       requests: {cpu: 500m, memory: 256Mi}
//!       limits: {memory: 512Mi}
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//!     resources:
//!       requests: {cpu: 50m, memory: 64Mi}
//!       limits: {memory: 128Mi}
//! ```
//!
//! ## Source
//!
//! [Resource management](https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/)

use super::{Draft, Rule};
use crate::lint::{
    field::Field,
    finding::Severity,
    pod::{Container, Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC010",
    title: "a sidecar without requests or without a memory limit",
    severity: Severity::Info,
    check,
};

const HELP: &str = "set requests for cpu and memory and a limit for memory, so that the sidecar and the app do not take from each other";

/// A value of `resources` that protects the containers of a Pod from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    CpuRequest,
    MemoryRequest,
    MemoryLimit,
}

const SETTINGS: [Setting; 3] = [Setting::CpuRequest, Setting::MemoryRequest, Setting::MemoryLimit];

impl Setting {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CpuRequest => "request for cpu",
            Self::MemoryRequest => "request for memory",
            Self::MemoryLimit => "limit for memory",
        }
    }

    /// Whether the container or the Pod (KEP-2837) sets it. A limit is the default of a request.
    fn is_set(self, pod: &Pod<'_>, container: &Container<'_>) -> bool {
        let has = |kind: &str, resource: &str| {
            let of = |owner: &Field<'_>| owner.at(&["resources", kind, resource]).is_some();
            of(&container.field) || of(&pod.spec)
        };
        match self {
            Self::CpuRequest => has("requests", "cpu") || has("limits", "cpu"),
            Self::MemoryRequest => has("requests", "memory") || has("limits", "memory"),
            Self::MemoryLimit => has("limits", "memory"),
        }
    }
}

/// One draft for each sidecar, so that a suppression can be for one of them.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter(|sidecar| !missing(pod, sidecar).is_empty())
        .map(|sidecar| {
            let at = sidecar.field.get("resources").unwrap_or_else(|| sidecar.title());
            let (severity, message) = assessment(pod, &[sidecar]);
            Draft::container(pod, sidecar, &at, message, HELP)
                .with_severity(severity)
                .with_summary(summary)
        })
        .collect()
}

fn summary(pod: &Pod<'_>, sidecars: &[&Container<'_>]) -> Draft {
    let (severity, message) = assessment(pod, sidecars);
    let at = pod.spec.get("containers").unwrap_or_else(|| pod.spec.clone());
    Draft::pod(&at, message, HELP).with_severity(severity)
}

/// Returns what these sidecars lack. It is a Warning if a main container has it: then somebody has sized this Pod and
/// forgotten the sidecar.
fn assessment(pod: &Pod<'_>, sidecars: &[&Container<'_>]) -> (Severity, String) {
    let mut groups: Vec<(Vec<Setting>, Vec<&str>)> = Vec::new();
    for sidecar in sidecars {
        let missing = missing(pod, sidecar);
        match groups.iter_mut().find(|(settings, _)| *settings == missing) {
            Some((_, names)) => names.push(&sidecar.name),
            None => groups.push((missing, vec![&sidecar.name])),
        }
    }
    let parts: Vec<_> = groups
        .iter()
        .map(|(settings, names)| {
            let settings: Vec<_> = settings.iter().map(|setting| setting.as_str()).collect();
            let (noun, verb) = if names.len() == 1 {
                ("sidecar", "has")
            } else {
                ("sidecars", "have")
            };
            format!("{noun} {} {verb} no {}", list(names), list(&settings))
        })
        .collect();
    let message = parts.join("; ");
    let has = |setting: Setting| pod.mains().find(|main| setting.is_set(pod, main));
    // A limit is named rather than the request that follows from it.
    let mut lacked = SETTINGS
        .into_iter()
        .rev()
        .filter(|setting| groups.iter().any(|(missing, _)| missing.contains(setting)));
    match lacked.find_map(|setting| Some((setting, has(setting)?))) {
        Some((setting, main)) => (
            Severity::Warning,
            format!("{message}, but {} has a {}", main.name, setting.as_str()),
        ),
        None => (Severity::Info, message),
    }
}

fn missing(pod: &Pod<'_>, sidecar: &Container<'_>) -> Vec<Setting> {
    SETTINGS
        .into_iter()
        .filter(|setting| !setting.is_set(pod, sidecar))
        .collect()
}

fn list(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}
