//! What the sidecars of the catalogue do for the app.

/// The pattern that a sidecar follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// It carries the network traffic of the app.
    Proxy,
    /// It gives the app a local address of a remote service.
    Ambassador,
    /// It translates the data of the app for monitoring systems.
    Adapter,
    /// It forwards the logs of the app.
    Logging,
    /// It keeps files of the app up to date.
    ConfigSync,
    /// It provides identity, secrets or access control.
    Security,
    /// Any other helper.
    Helper,
}

impl Pattern {
    /// The name of the pattern.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Ambassador => "ambassador",
            Self::Adapter => "adapter",
            Self::Logging => "logging",
            Self::ConfigSync => "config sync",
            Self::Security => "security",
            Self::Helper => "helper",
        }
    }

    /// What the sidecar does for the app.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Proxy => "carries the network traffic of the app; while it is down, the app has no network",
            Self::Ambassador => {
                "gives the app a local address of a remote service; while it is down, the app cannot use it"
            }
            Self::Adapter => "translates the data of the app for monitoring systems; the app runs without it",
            Self::Logging => "forwards the logs of the app; while it is down, logs can be lost",
            Self::ConfigSync => "keeps files of the app up to date; while it is down, the app uses old files",
            Self::Security => "provides identity, secrets or access control; the app can depend on it",
            Self::Helper => "supports the app",
        }
    }
}

/// A known sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// The title of the product.
    pub title: &'static str,
    /// The pattern that it follows.
    pub pattern: Pattern,
}
