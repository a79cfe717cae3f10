//! `sidewatch crds`: prints the CustomResourceDefinitions.

use super::Failure;
use crate::{api::crds, cli::output::print_raw};

/// Prints the CustomResourceDefinitions as YAML.
pub(super) fn execute() -> Result<(), Failure> {
    print_raw(&crds::yaml()?)
}
