//! Two installations that write the status of one policy, and the entries of field managers that they leave.

use std::time::Duration;

use anyhow::ensure;
use e2e::faults::env::FaultEnv;
use e2e::poll;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Api;
use kube::api::ObjectMeta;
use serde_json::Value;
use sidewatch::api::SidecarPolicy;

use super::support::{SOON, SharedCluster, condition, eventually, shared_cluster, status};

/// An installation that is silent for 75 s has ended; with a heartbeat of 20 s and 10 s between two writes.
const UNTIL_ENDED: Duration = Duration::from_secs(75 + 20 + 10);

const POLICY: &str =
    "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarPolicy\nmetadata: {name: mesh}\nspec: {}\n";

/// The operators that have applied the status of the policy.
async fn writers(cluster: &SharedCluster, namespace: &str) -> Vec<String> {
    let policies: Api<SidecarPolicy> = Api::namespaced(cluster.plane.client().await.unwrap(), namespace);
    let ObjectMeta { managed_fields, .. } = policies.get("mesh").await.unwrap().metadata;
    let applied = |entry: &ManagedFieldsEntry| {
        entry.operation.as_deref() == Some("Apply") && entry.subresource.as_deref() == Some("status")
    };
    let entries = managed_fields.unwrap_or_default().into_iter().filter(applied);
    let mut managers: Vec<String> = entries.filter_map(|entry| entry.manager).collect();
    managers.sort();
    managers
}

/// Message of the condition of a conflict.
fn message(status: &Value) -> String {
    let conditions = status["conditions"].as_array();
    let exclusive = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Exclusive");
    exclusive
        .and_then(|condition| condition["message"].as_str())
        .unwrap_or_default()
        .to_owned()
}

const ALONE: Option<(&str, &str)> = Some(("True", "OneInstallation"));
const SHARED: Option<(&str, &str)> = Some(("False", "SeveralInstallations"));

/// One installation watches the cluster, the other one the namespace of the policy and has a Lease there.
#[tokio::test]
async fn two_installations_over_one_policy_are_reported_until_one_of_them_ends() {
    let cluster = shared_cluster().await;
    let mut second = FaultEnv::new(cluster.plane, "installations").await.unwrap();
    let namespace = second.namespace().to_owned();
    let mesh = || status(cluster.plane, Some(&namespace), "mesh");
    cluster.plane.apply_in(&namespace, POLICY).await.unwrap();
    let exclusive = async |expected| {
        let mesh = mesh().await;
        ensure!(condition(&mesh, "Exclusive") == expected, "{mesh}");
        Ok(mesh)
    };
    eventually("the status of the first installation", || exclusive(ALONE)).await;
    let [first] = &writers(cluster, &namespace).await[..] else {
        panic!("one installation");
    };
    let first = first.strip_prefix("sidewatch:").unwrap().to_owned();

    second.elect().await.unwrap();
    second.start_operator(cluster.plane).await.unwrap();
    let shared = eventually("the conflict", || exclusive(SHARED)).await;
    let also = format!("{namespace}/sidewatch");
    assert!(
        message(&shared).contains(&first) && message(&shared).contains(&also),
        "{shared}"
    );
    assert_eq!(condition(&shared, "Ready"), Some(("True", "Evaluating")));
    for author in [&first, &also, &first] {
        eventually("a heartbeat of each", async || {
            let mesh = exclusive(SHARED).await?;
            ensure!(
                message(&mesh).contains(&format!("Written by the installation {author} ")),
                "{mesh}"
            );
            Ok(())
        })
        .await;
    }

    second.kill_operator().unwrap();
    let ended = poll::eventually(UNTIL_ENDED + SOON, || exclusive(ALONE)).await;
    ended.unwrap();
    eventually("the entry of the ended installation to be removed", async || {
        let writers = writers(cluster, &namespace).await;
        ensure!(writers == [format!("sidewatch:{first}")], "{writers:?}");
        Ok(())
    })
    .await;
}
