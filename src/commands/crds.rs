//! `sidewatch crds`: prints the CustomResourceDefinitions.

use super::{Failure, print};
use crate::api::crds;

/// Prints the CustomResourceDefinitions as YAML.
pub(super) fn execute() -> Result<(), Failure> {
    print(&crds::yaml()?)
}
