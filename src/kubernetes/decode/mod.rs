//! Decodes objects of the API server to values of the domain.
//!
//! Input: Pods ([`pod`]), Namespaces ([`namespace`]), policies ([`policy`]) and exemptions ([`exemption`]) from watches.
//! Output: the values of [`crate::domain`], with equal parts shared ([`intern`]).
//!
//! One object must not fail the list that contains it, so each is decoded alone ([`object`]). A field of a status that is
//! missing, null or has an unsupported value is decoded to its nearest meaning. An object without a complete identity, or
//! whose types differ from the schema of the API, gives an error for that object alone.
//!
//! No I/O, no waiting, no logging, and no evaluation of the decoded values.

mod bounded;
pub(super) mod container;
pub mod custom;
pub mod exemption;
pub(super) mod identity;
pub mod intern;
mod lenient;
pub mod namespace;
pub mod object;
pub mod pod;
pub mod policy;
pub mod whole;
mod workload;

pub use identity::{Identity, MissingIdentity, custom_metadata};
pub(super) use lenient::{clamp_code, clamp_count, code, is_known_time, list, or_default, text};
