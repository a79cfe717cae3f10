//! A Pod of a story: what it is made of, what is wrong with it, and what happened to it last.

use testkit::kubelet::{Kind as ContainerKind, Pod};

/// What is wrong with a Pod: one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    Unready(&'static str),
    Down(&'static str),
    Starting(&'static str),
    HeldOpen,
    NodeLost,
    Terminating,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) pod: Pod,
    pub(crate) template: Template,
    pub(crate) trouble: Trouble,
    /// It does not change before.
    pub(crate) rests_until: i64,
    pub(crate) last_flap: i64,
    pub(crate) last_restart: i64,
    pub(crate) last_change: i64,
}

/// What a Pod is made of.
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

impl Life {
    /// The Pod is made, and given its containers.
    pub(crate) fn new(at: i64, template: Template, mut pod: Pod, uid: &str) -> Self {
        uid.clone_into(&mut pod.uid);
        let image = "registry.example/acme/app:1";
        let (sidecar, main) = (template.sidecar(), template.main());
        let native = |pod: Pod| {
            pod.container(ContainerKind::Native, sidecar, image).container(
                ContainerKind::Regular,
                main,
                image,
            )
        };
        let classic = |pod: Pod| {
            pod.container(ContainerKind::Regular, main, image).container(
                ContainerKind::Regular,
                sidecar,
                image,
            )
        };
        let (pod, trouble) = match template {
            Template::Web => (native(pod), Trouble::None),
            Template::Classic => (classic(pod), Trouble::None),
            Template::Job => (classic(pod.restart_policy("Never")), Trouble::None),
            Template::Start => (native(pod).starting(sidecar, at), Trouble::Starting(sidecar)),
            Template::Migration => (
                native(pod.container(ContainerKind::Init, "migrate", image)).starting("migrate", at),
                Trouble::Starting("migrate"),
            ),
        };
        Self {
            pod,
            template,
            trouble,
            rests_until: at,
            last_flap: -1000,
            last_restart: -1000,
            last_change: at,
        }
    }
}
