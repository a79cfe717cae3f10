//! SC901: a suppression that suppresses nothing
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! The fault that the suppression was for does not exist any more, or the entry names another container. Such an entry would hide
//! a later fault.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! metadata:
//!   annotations:
//!     sidewatch.dev/ignore: "SC011: pinned by the admission controller"
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! metadata:
//!   annotations:
//!     sidewatch.dev/ignore: "SC011: pinned by the admission controller"
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit
//! ```
//!
//! ## Source
//!
//! [Suppressions](README.md#suppressions)

use super::Rule;
use crate::lint::finding::Severity;

pub(super) const RULE: Rule = Rule::elsewhere(
    "SC901",
    "a suppression that suppresses nothing",
    Severity::Warning,
);
