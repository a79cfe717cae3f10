//! The API `sidewatch.dev/v1alpha1`: the spec and the status of a policy and of an exemption.
//!
//! In: objects from the API server. Out: typed values, and the `CustomResourceDefinition`s ([`crds`]) with which the API
//! server rejects invalid objects.
//!
//! The doc comments of the fields are the reference of the API: they become the descriptions in the schema, which
//! `kubectl explain` shows. Their readers are the authors of policies. The schema contains all defaults, bounds and rules,
//! so that a client sees the defaults in the object and the API server rejects an error at once.
//!
//! This module contains types only. `kubernetes::decode` makes the domain's values from a spec; `sink` writes the status.

mod checks;
mod common;
pub mod crds;
mod duration;
mod exemption;
mod expected;
mod policy;
mod schema;
mod selector;
mod status;

#[cfg(test)]
mod tests;

pub use checks::{
    CheckName, Checks, Flapping, FrequentRestarts, JobHeldOpen, MainReadySidecarNotReady, NotReady,
    OomKilled, RestartScope, SidecarMissing, StartupBlocked, VersionDrift,
};
pub use common::{Mode, Severity};
pub use duration::{Duration, InvalidDuration};
pub use exemption::{
    EXEMPTED_CHECKS, ExemptedWorkload, HiddenViolation, MAX_HIDDEN, MAX_SHOWN, SidecarExemption,
    SidecarExemptionSpec, SidecarExemptionStatus,
};
pub use expected::{ANNOTATIONS, Condition, Expected, ExpectedSidecar, Preset, Source};
pub use policy::{
    AllowedExemptions, ClusterSidecarPolicy, ClusterSidecarPolicySpec, Events, Exclude, Inclusion,
    MainContainers, SidecarPolicy, SidecarPolicySpec, Sidecars, Switch,
};
pub use selector::{LabelSelector, LabelSelectorRequirement, SelectorOperator};
pub use status::{
    CheckStatus, ImageStatus, MAX_DETAIL, MAX_IMAGES, MAX_REPOSITORY, MAX_VERSION, MAX_VERSIONS,
    MAX_VIOLATIONS, PolicyStatus, Summary, VersionStatus, Violation, ViolationState,
};

/// API group of all kinds.
pub const GROUP: &str = "sidewatch.dev";
/// Version of all kinds.
pub const VERSION: &str = "v1alpha1";
