//! Test cluster.
