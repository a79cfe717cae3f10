//! `sidewatch version`: prints the version.

use super::Failure;
use crate::cli::output::print;

/// Prints the name of the program and its version.
pub(super) fn execute() -> Result<(), Failure> {
    print(&format!("sidewatch {}\n", env!("CARGO_PKG_VERSION")))
}
