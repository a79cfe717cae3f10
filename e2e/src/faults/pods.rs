//! The Pods of the tests with faults.

use crate::simulated_kubelet::{Container, PodSpec, RestartPolicy, Step};

/// A kind of Pod. Each has a sidecar, and all but [`PodKind::Report`] a main container `app` with a readiness probe.
#[derive(Clone, Copy, Debug)]
pub enum PodKind {
    /// A native sidecar `proxy` with a readiness probe.
    Meshed,
    /// A native sidecar `shipper`, which restarts often: [`CRASH`].
    Cart,
    /// A native sidecar `vault-agent` with a startup probe.
    Boot,
    /// A main container `report` that finishes, and a classic sidecar `log-sidecar`.
    Report,
    /// A classic sidecar `fluent-bit` with a memory limit.
    Logs,
}

/// The sidecar of [`PodKind::Cart`] exits.
pub const CRASH: Step<'static> = Step::Exit("shipper", 1);
/// The sidecar of [`PodKind::Cart`] starts.
pub const START: Step<'static> = Step::Start("shipper");

impl PodKind {
    /// A Pod of this kind that is assigned to a node.
    pub fn pod(self, name: &str) -> PodSpec {
        let app = Container::regular("app").readiness_probe();
        let pod = PodSpec::new(name).on_node("node-1");
        match self {
            Self::Meshed => pod
                .container(Container::native("proxy").readiness_probe())
                .container(app),
            Self::Cart => pod.container(Container::native("shipper")).container(app),
            Self::Boot => pod
                .container(Container::native("vault-agent").startup_probe())
                .container(app),
            Self::Report => pod
                .restart_policy(RestartPolicy::Never)
                .container(Container::regular("report"))
                .container(Container::regular("log-sidecar")),
            Self::Logs => pod
                .container(app)
                .container(Container::regular("fluent-bit").memory_limit("64Mi")),
        }
    }
}
