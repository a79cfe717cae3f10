//! The API `sidewatch.dev/v1alpha1`: what a person writes in a policy, and what Sidewatch answers in its status.
//!
//! Input: objects as the API server holds them. Output: typed values, and the `CustomResourceDefinition`s
//! ([`crds`]) that make the API server refuse what those types could not mean.
//!
//! The doc comments of the fields are the API's reference: they become the descriptions in the schema, which
//! `kubectl explain` shows. So they speak to the author of a policy. Every default, bound and rule stands in the
//! schema too: a client that reads an object sees all of it, and a mistake is refused where it was made.
//!
//! This module decides nothing: it does not match Pods, compile patterns or write to a cluster. `wire` turns a spec
//! into the domain's policy; the status sink fills in the status.

mod checks;
pub mod crds;
mod duration;
mod policy;
mod schema;
mod selector;
mod status;

#[cfg(test)]
mod tests;

pub use checks::{
    CheckName, Checks, Flapping, FrequentRestarts, JobHeldOpen, MainReadySidecarNotReady, NotReady,
    OomKilled, RestartScope, Severity, StartupBlocked,
};
pub use duration::{Duration, InvalidDuration};
pub use policy::{
    ClusterSidecarPolicy, ClusterSidecarPolicySpec, Events, Exclude, Inclusion, MainContainers, Mode,
    SidecarPolicy, SidecarPolicySpec, Sidecars, Switch,
};
pub use selector::{LabelSelector, LabelSelectorRequirement, SelectorOperator};
pub use status::{CheckStatus, MAX_DETAIL, MAX_VIOLATIONS, PolicyStatus, Summary, Violation, ViolationState};

/// API group of both kinds.
pub const GROUP: &str = "sidewatch.dev";
/// Version of both kinds.
pub const VERSION: &str = "v1alpha1";
