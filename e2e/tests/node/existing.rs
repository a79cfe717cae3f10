//! An existing cluster: the scenarios that its kubelets allow.

use anyhow::{Context, Result};
use e2e::compat::Feature;
use e2e::scenario::Scenario;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};

/// Removes the scenarios that need a feature which the oldest kubelet lacks, and says so.
pub(crate) async fn keep_possible(client: Client, scenarios: &mut Vec<Scenario>) -> Result<()> {
    let nodes = Api::<Node>::all(client).list(&ListParams::default()).await?;
    let versions = nodes.items.into_iter().map(|node| {
        let info = node.status.and_then(|status| status.node_info);
        info.map(|info| info.kubelet_version)
            .context("a node without the version of its kubelet")
    });
    let minors = versions.map(|version| minor(&version?));
    let oldest = minors.collect::<Result<Vec<u32>>>()?.into_iter().min();
    let oldest = oldest.context("the cluster has no node")?;
    scenarios.retain(|scenario| {
        let missing = Feature::of_test("node", &scenario.name).filter(|feature| !feature.is_in_minor(oldest));
        if let Some(feature) = missing {
            eprintln!(
                "{}: skipped, because Kubernetes 1.{oldest} lacks {}",
                scenario.name, feature.name
            );
        }
        missing.is_none()
    });
    Ok(())
}

/// The minor version of `v1.34.4` or `v1.33.5-gke.1162000`.
fn minor(version: &str) -> Result<u32> {
    let minor = version
        .strip_prefix("v1.")
        .and_then(|rest| rest.split('.').next());
    let minor = minor.and_then(|minor| minor.parse().ok());
    minor.with_context(|| format!("{version:?} is not a version of Kubernetes 1"))
}
