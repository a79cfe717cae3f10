//! Faults between the operator and the API server, and the comparison with an undisturbed run.

pub mod disturbance;
pub mod env;
pub mod pods;
pub mod proxy;
pub mod replicas;
pub mod snapshot;
