//! The `sidewatch` binary.
fn main() {}
