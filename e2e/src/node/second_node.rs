//! A second Node object with a Lease that is renewed, but without a kubelet.
//!
//! The node controller evicts no Pod when all nodes are lost. With a second node, it evicts the Pods of the lost one.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

const NAME: &str = "node-2";
const LEASES: &str = "kube-node-lease";
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// A second Node, alive until [`remove`](Self::remove).
#[derive(Debug)]
#[must_use]
pub struct SecondNode(JoinHandle<()>);

impl SecondNode {
    /// Creates it, as unschedulable.
    pub async fn add(client: Client) -> Result<Self> {
        let nodes = Api::<Node>::all(client.clone());
        let apply = PatchParams::apply("e2e").force();
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NAME},
            "spec": {"unschedulable": true},
        });
        nodes.patch(NAME, &apply, &Patch::Apply(node)).await?;
        let now = jiff::Timestamp::now().to_string();
        let condition = json!({
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        });
        let status = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NAME},
            "status": {"conditions": [condition]},
        });
        nodes.patch_status(NAME, &apply, &Patch::Apply(status)).await?;
        renew(&client).await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                // The next renewal may succeed.
                let _ = renew(&client).await;
            }
        })))
    }

    /// Deletes it.
    pub async fn remove(self, client: Client) -> Result<()> {
        self.0.abort();
        let gone = DeleteParams::default();
        Api::<Node>::all(client.clone()).delete(NAME, &gone).await?;
        Api::<Lease>::namespaced(client, LEASES)
            .delete(NAME, &gone)
            .await?;
        Ok(())
    }
}

async fn renew(client: &Client) -> Result<()> {
    let now = format!("{:.6}", jiff::Timestamp::now());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME},
        "spec": {"holderIdentity": NAME, "leaseDurationSeconds": 12, "renewTime": now},
    });
    Api::<Lease>::namespaced(client.clone(), LEASES)
        .patch(NAME, &PatchParams::apply("e2e").force(), &Patch::Apply(lease))
        .await?;
    Ok(())
}
