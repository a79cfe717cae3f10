//! `sidewatch doctor`: examines whether the installation is complete and healthy.
//!
//! Each file examines one part and adds lines to a [`Diagnosis`]. Every request is a read, or a review of rights, which stores
//! nothing. What the caller may not read is skipped, with the reason.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that a JSON value does not have is null, and an index never panics"
)]

mod access;
mod api_server;
mod diagnosis;
mod installation;
mod leader;
mod monitoring;
mod policies;
mod report;
mod rights;

use clap::Args;

use self::{access::Access, diagnosis::Diagnosis};
use super::Failure;
use crate::cli::{
    args::{ClusterArgs, OutputArgs, namespace},
    block_on,
    cluster::Cluster,
    exit::Outcome,
    output::print_as,
};

/// Flags of `sidewatch doctor`.
#[derive(Clone, Debug, Args)]
pub(super) struct DoctorArgs {
    /// Namespace of the operator; default: all namespaces are searched for it
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    pub operator_namespace: Option<String>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Examines the installation and prints the lines. Warnings and failures are findings.
pub(super) fn execute(args: &DoctorArgs) -> Result<Outcome, Failure> {
    let diagnosis = block_on(examine(args))?;
    let terminal = args.output.terminal();
    print_as(args.output.output, &diagnosis, || {
        report::text(&diagnosis, terminal)
    })?;
    Ok(Outcome::of(diagnosis.has_findings()))
}

async fn examine(args: &DoctorArgs) -> Result<Diagnosis, Failure> {
    let pods = ClusterArgs {
        // Without a namespace, the policies of all namespaces are examined.
        all_namespaces: args.cluster.namespace.is_none(),
        ..args.cluster.clone()
    };
    let cluster = Cluster::connect(&pods)?;
    let access = Access { cluster: &cluster };
    let mut diagnosis = Diagnosis::default();
    let server = api_server::examine(&access, &mut diagnosis).await?;
    let installations =
        installation::examine(&access, args.operator_namespace.as_deref(), &mut diagnosis).await?;
    for installation in &installations {
        leader::examine(&access, installation, &server, &mut diagnosis).await?;
        rights::examine(&access, installation, &mut diagnosis).await?;
        monitoring::examine(&access, installation, &mut diagnosis).await?;
    }
    policies::examine(&access, &server, !installations.is_empty(), &mut diagnosis).await?;
    Ok(diagnosis)
}
