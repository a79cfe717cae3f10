//! SC030: a SidecarExemption that the API server refuses
//!
//! Default severity: Error.
//!
//! ## Reason
//!
//! A [SidecarExemption](../exemptions.md) has exactly one of `workload` and `selector`, a reason, and a time at which it ends. The API
//! server refuses other exemptions. It drops unknown fields, with a warning. So if `containers` or `checks` is misspelt, the exemption
//! would hide more than intended; lint reports this too.
//!
//! ## Bad
//!
//! ```yaml
//! apiVersion: sidewatch.dev/v1alpha1
//! kind: SidecarExemption
//! metadata:
//!   name: checkout-proxy
//! spec:
//!   workload: {kind: deployment, name: checkout}
//!   until: 2h
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
//! [The API reference](../api.md#sidecarexemption). The keys and values of labels are not examined.

use super::Rule;
use crate::lint::finding::Severity;

pub(super) const RULE: Rule = Rule::elsewhere(
    "SC030",
    "a SidecarExemption that the API server refuses",
    Severity::Error,
);
