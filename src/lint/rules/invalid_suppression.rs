//! SC900: a suppression without a valid code or without a reason
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! A suppression has a code and a reason, so that a later reader knows whether it is still needed. An entry without them
//! suppresses nothing.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! metadata:
//!   annotations:
//!     sidewatch.dev/ignore: SC010
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! metadata:
//!   annotations:
//!     sidewatch.dev/ignore: "SC010: sized by VPA"
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//! ```
//!
//! ## Source
//!
//! [Suppressions](README.md#suppressions)

use super::Rule;
use crate::lint::finding::Severity;

pub(super) const RULE: Rule = Rule::elsewhere(
    "SC900",
    "a suppression without a valid code or without a reason",
    Severity::Warning,
);
