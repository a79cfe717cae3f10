//! From what the API server sends to what the evaluation reads.
//!
//! In: Pods ([`pod`]), Namespaces ([`namespace`]) and policies ([`policy`]) as watches deliver them. Out: the values of
//! [`crate::domain`], with shared parts shared ([`intern`]).
//!
//! One odd object must not stop the list that it is part of. So whatever a status writer may leave out, set to null or
//! make up is decoded to its nearest meaning, and what cannot be told apart from another object is an error value for
//! that object alone. Only JSON of another type than the API's own schema allows fails a page.
//!
//! Nothing here talks to a cluster, waits, logs or decides what a fact is worth.

mod bounded;
pub(super) mod container;
mod identity;
pub mod intern;
mod lenient;
pub mod namespace;
pub mod pod;
pub mod policy;
mod workload;

pub use identity::{Identity, MissingIdentity};
pub(super) use lenient::{clamp_code, clamp_count, is_known_time};
