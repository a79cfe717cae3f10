//! What the sidecars of the catalogue do for the app.

/// The class of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It carries the network traffic of the app.
    MeshProxy,
    /// It authenticates requests to the app.
    AuthProxy,
    /// It gives the app a local address of a remote service.
    Ambassador,
    /// It forwards the logs of the app.
    LogShipper,
    /// It collects metrics and traces.
    Agent,
    /// It translates the data of the app for monitoring systems.
    Exporter,
    /// It keeps files of the app up to date.
    Reloader,
    /// It provides secrets or an identity.
    Secrets,
    /// It decides whether the app may answer a request.
    PolicyEngine,
    /// It connects a CSI driver to Kubernetes, or a Pod to its volumes.
    CsiHelper,
    /// It does a part of the work of a build or of a workflow.
    JobHelper,
    /// Any other helper.
    Helper,
}

impl Class {
    /// The name of the class.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeshProxy => "mesh proxy",
            Self::AuthProxy => "auth proxy",
            Self::Ambassador => "ambassador",
            Self::LogShipper => "log shipper",
            Self::Agent => "agent",
            Self::Exporter => "exporter",
            Self::Reloader => "reloader",
            Self::Secrets => "secrets",
            Self::PolicyEngine => "policy engine",
            Self::CsiHelper => "CSI helper",
            Self::JobHelper => "job helper",
            Self::Helper => "helper",
        }
    }

    /// What a sidecar of this class does for the app.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::MeshProxy => {
                "carries the network traffic of the app; while it is down, connections through it fail"
            }
            Self::AuthProxy => "authenticates requests; while it is down, requests through it fail",
            Self::Ambassador => {
                "gives the app a local address of a remote service; while it is down, the app cannot use it"
            }
            Self::LogShipper => "forwards the logs of the app; while it is down, logs can be lost",
            Self::Agent => "collects metrics and traces; the app runs without it",
            Self::Exporter => {
                "translates the data of the app for monitoring systems; the app runs without it"
            }
            Self::Reloader => "keeps files of the app up to date; while it is down, the app uses old files",
            Self::Secrets => "provides secrets or an identity; the app can depend on it",
            Self::PolicyEngine => "decides on requests; while it is down, the app cannot answer them",
            Self::CsiHelper => "connects a CSI driver or its volumes; while it is down, volumes can hang",
            Self::JobHelper => "does a part of the work of a build or of a workflow",
            Self::Helper => "supports the app",
        }
    }

    /// Whether it is a proxy between the app and the network.
    pub const fn is_proxy(self) -> bool {
        matches!(self, Self::MeshProxy | Self::AuthProxy | Self::Ambassador)
    }

    /// How well a product of this class can be the app of a Pod in which no other container is: 0 is best. An exporter runs
    /// alone (node-exporter), its reloader or its agent does not, and a mesh or auth proxy always stands before something.
    pub(in crate::domain) const fn rank_as_main(self) -> u8 {
        match self {
            Self::Exporter => 0,
            Self::MeshProxy | Self::AuthProxy => 2,
            _ => 1,
        }
    }
}
