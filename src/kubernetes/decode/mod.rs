//! Decodes objects of the API server to values of the domain.
//!
//! Input: Pods ([`pod`]), Namespaces ([`namespace`]), policies ([`policy`]) and exemptions ([`exemption`]) from watches.
//! Output: the values of [`crate::domain`], with equal parts shared ([`intern`]).
//!
//! One invalid object must not fail the list that contains it. A field of a status that is missing, null or has an
//! unsupported value is decoded to its nearest meaning. An object without a complete identity gives an error for that
//! object alone. A page fails only for JSON whose types differ from the schema of the API.
//!
//! No I/O, no waiting, no logging, and no evaluation of the decoded values.

mod bounded;
pub(super) mod container;
pub mod exemption;
pub(super) mod identity;
pub mod intern;
mod lenient;
pub mod namespace;
pub mod pod;
pub mod policy;
mod workload;

pub use identity::{Identity, MissingIdentity};
pub(super) use lenient::{clamp_code, clamp_count, is_known_time};
