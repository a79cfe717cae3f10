//! What the tests of a failover on a real node generate and compare. No I/O.

pub mod firing;
pub mod random_pods;
