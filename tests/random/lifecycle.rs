//! A Pod of a run: its template, its fault, its latest changes.

use testkit::kubelet::{Kind, Pod, RestartPolicy};

/// The fault of a Pod. A Pod has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodFault {
    None,
    Unready(&'static str),
    Down(&'static str),
    Starting(&'static str),
    HeldOpen,
    NodeLost,
    Terminating,
}

/// A Pod and its state.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    pub(crate) pod: Pod,
    pub(crate) template: Template,
    pub(crate) fault: PodFault,
    /// It does not change before this second.
    pub(crate) unchanged_until: i64,
    pub(crate) last_flap: i64,
    pub(crate) last_restart: i64,
    pub(crate) last_change: i64,
}

/// The containers of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Web,
    Classic,
    Job,
    Start,
    Migration,
}

impl Template {
    pub(crate) const ALL: [Self; 5] = [Self::Web, Self::Classic, Self::Job, Self::Start, Self::Migration];

    pub(crate) fn sidecar(self) -> &'static str {
        match self {
            Self::Web | Self::Migration => "envoy",
            Self::Classic => "istio-proxy",
            Self::Job => "fluent-bit",
            Self::Start => "agent",
        }
    }

    pub(crate) fn main(self) -> &'static str {
        if self == Self::Job { "main" } else { "app" }
    }
}

impl Lifecycle {
    /// A new Pod with the containers of its template.
    pub(crate) fn new(at: i64, template: Template, pod: Pod) -> Self {
        let image = "registry.example/acme/app:1";
        let (sidecar, main) = (template.sidecar(), template.main());
        let native = |pod: Pod| {
            pod.container(Kind::Native, sidecar, image)
                .container(Kind::Regular, main, image)
        };
        let classic = |pod: Pod| {
            pod.container(Kind::Regular, main, image)
                .container(Kind::Regular, sidecar, image)
        };
        let (pod, fault) = match template {
            Template::Web => (native(pod), PodFault::None),
            Template::Classic => (classic(pod), PodFault::None),
            Template::Job => (classic(pod.restart_policy(RestartPolicy::Never)), PodFault::None),
            Template::Start => (native(pod).starting(sidecar, at), PodFault::Starting(sidecar)),
            Template::Migration => (
                native(pod.container(Kind::Init, "migrate", image)).starting("migrate", at),
                PodFault::Starting("migrate"),
            ),
        };
        Self {
            pod,
            template,
            fault,
            unchanged_until: at,
            last_flap: -1000,
            last_restart: -1000,
            last_change: at,
        }
    }
}
