//! The kinds of objects whose status the sink writes.

use std::{
    fmt::{Debug, Display},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde_json::Value;

use super::{
    WriteError, exemption_status, status_content::StatusContent, status_object, status_queue::Subject,
    status_reduction::Reduction,
};
use crate::{
    api::{ClusterSidecarPolicy, PolicyStatus, SidecarExemption, SidecarExemptionStatus, SidecarPolicy},
    domain::{
        exemption::{ExemptionKey, ExemptionReport},
        index::Index,
        policy::{PolicyKey, PolicyKind},
        summary::Report,
    },
};

/// A kind of objects.
pub trait Target: Send + Sync + 'static {
    /// The identity of an object.
    type Key: Subject + Debug + Display + Send + Sync + 'static;
    /// The `status` of an object.
    type Status: StatusContent;
    /// What the index knows about an object.
    type Report: Send;

    /// Computes the report of an object. Returns `None` if it has none yet.
    fn report(index: &Index, key: &Self::Key) -> Option<Self::Report>;

    /// Returns the policy whose Events must be written before the status.
    fn awaited(key: &Self::Key, report: &Self::Report) -> Option<PolicyKey>;

    /// Converts a report.
    fn status(report: &Self::Report, observed: Option<&Self::Status>, now: Timestamp) -> Self::Status;

    /// Returns the status to write after this error, or `None` if nothing is left to remove.
    fn reduced(reduction: &mut Reduction, status: &Self::Status, error: &WriteError) -> Option<Self::Status>;

    /// Returns the `kind` of an object.
    fn kind(key: &Self::Key) -> &'static str;

    /// Returns the name of an object.
    fn name(key: &Self::Key) -> &str;

    /// Returns the path of the objects next to an object.
    fn url(key: &Self::Key) -> String;
}

/// Policies of both kinds.
pub enum Policies {}

impl Target for Policies {
    type Key = PolicyKey;
    type Status = PolicyStatus;
    type Report = Report;

    fn report(index: &Index, key: &PolicyKey) -> Option<Report> {
        index.report(key)
    }

    fn awaited(key: &PolicyKey, _report: &Report) -> Option<PolicyKey> {
        Some(key.clone())
    }

    fn status(report: &Report, observed: Option<&PolicyStatus>, now: Timestamp) -> PolicyStatus {
        status_object::status(report, observed, now)
    }

    fn reduced(reduction: &mut Reduction, status: &PolicyStatus, error: &WriteError) -> Option<PolicyStatus> {
        reduction.next(status, error)
    }

    fn kind(key: &PolicyKey) -> &'static str {
        key.kind.as_str()
    }

    fn name(key: &PolicyKey) -> &str {
        &key.name
    }

    fn url(key: &PolicyKey) -> String {
        match key.kind {
            PolicyKind::SidecarPolicy => SidecarPolicy::url_path(&(), Some(&key.namespace)),
            PolicyKind::ClusterSidecarPolicy => ClusterSidecarPolicy::url_path(&(), None),
        }
    }
}

/// Each cluster-scoped policy takes turns as a namespace does.
impl Subject for PolicyKey {
    fn flow(&self) -> Arc<str> {
        match self.kind {
            PolicyKind::SidecarPolicy => Arc::clone(&self.namespace),
            PolicyKind::ClusterSidecarPolicy => format!("/{}", self.name).into(),
        }
    }
}

impl Subject for ExemptionKey {
    fn flow(&self) -> Arc<str> {
        Arc::clone(&self.namespace)
    }
}

impl StatusContent for PolicyStatus {
    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn has_foreign_entries(&self, applied: &Self) -> bool {
        status_object::has_foreign_entries(self, applied)
    }

    fn without_foreign_entries(&self) -> Value {
        status_object::without_foreign_entries(self)
    }
}

/// Exemptions.
pub enum Exemptions {}

impl Target for Exemptions {
    type Key = ExemptionKey;
    type Status = SidecarExemptionStatus;
    type Report = ExemptionReport;

    fn report(index: &Index, key: &ExemptionKey) -> Option<ExemptionReport> {
        index.exemption_report(key)
    }

    fn awaited(_key: &ExemptionKey, report: &ExemptionReport) -> Option<PolicyKey> {
        report.policy.clone()
    }

    fn status(
        report: &ExemptionReport,
        observed: Option<&SidecarExemptionStatus>,
        now: Timestamp,
    ) -> SidecarExemptionStatus {
        exemption_status::status(report, observed, now)
    }

    fn reduced(
        _reduction: &mut Reduction,
        _status: &SidecarExemptionStatus,
        _error: &WriteError,
    ) -> Option<SidecarExemptionStatus> {
        None
    }

    fn kind(_key: &ExemptionKey) -> &'static str {
        "SidecarExemption"
    }

    fn name(key: &ExemptionKey) -> &str {
        &key.name
    }

    fn url(key: &ExemptionKey) -> String {
        SidecarExemption::url_path(&(), Some(&key.namespace))
    }
}

impl StatusContent for SidecarExemptionStatus {
    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    /// The lists are atomic, so an apply replaces them.
    fn has_foreign_entries(&self, _applied: &Self) -> bool {
        false
    }

    fn without_foreign_entries(&self) -> Value {
        Value::Null
    }
}
