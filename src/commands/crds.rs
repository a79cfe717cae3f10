//! `sidewatch crds`: prints the CustomResourceDefinitions.

use super::Failure;
use crate::{api::crds, cli::output::print};

/// Prints the CustomResourceDefinitions as YAML.
pub(super) fn execute() -> Result<(), Failure> {
    print(&crds::yaml()?)
}
