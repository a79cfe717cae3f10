//! SC031: a SidecarExemption whose time is over
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! An exemption that has ended hides nothing. It counts towards the limit of 100 exemptions of a namespace until it is deleted, and
//! a reader can believe that it is still in force.
//!
//! ## Bad
//!
//! ```yaml
//! apiVersion: sidewatch.dev/v1alpha1
//! kind: SidecarExemption
//! metadata:
//!   name: checkout-proxy
//! spec:
//!   workload: {kind: Deployment, name: checkout}
//!   reason: The vendor fixes the readiness probe of the proxy (ticket 4711).
//!   until: "2025-06-30T18:00:00Z"
//! ```
//!
//! ## Good
//!
//! ```yaml
//! apiVersion: sidewatch.dev/v1alpha1
//! kind: SidecarExemption
//! metadata:
//!   name: checkout-proxy
//! spec:
//!   workload: {kind: Deployment, name: checkout}
//!   reason: The vendor fixes the readiness probe of the proxy (ticket 4711).
//!   until: "2027-06-30T18:00:00Z"
//! ```
//!
//! ## Source
//!
//! [Exemptions](../exemptions.md#when-it-ends)

use super::Rule;
use crate::lint::finding::Severity;

pub(super) const RULE: Rule = Rule::elsewhere(
    "SC031",
    "a SidecarExemption whose time is over",
    Severity::Warning,
);
