//! Threats by users who can write the status of a policy.

use std::future::pending;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::select;

use super::{Tenant, policy, threatened};
use crate::support::{eventually, series, web};

fn violation(namespace: &str, pod: &str, uid: &str) -> Value {
    json!({
        "check": "NotReady", "state": "Firing", "severity": "Critical", "namespace": namespace,
        "workload": format!("Pod/{pod}"), "pod": pod, "podUID": uid, "container": "istio-proxy", "native": true,
        "since": "2026-01-01T00:00:00Z", "detail": "forged",
    })
}

#[tokio::test]
async fn forged_violations() {
    let cluster = threatened().await;
    let tenant = Tenant::new("forged").await;
    let other = Tenant::new("accused").await;
    let place = &tenant.place;
    let mut uids = Vec::new();
    for place in [place, &other.place] {
        let mut spec = web();
        spec.name = "healthy".to_owned();
        place.kubelet.run(&place.namespace, spec).await.unwrap();
        let get = format!(
            "get pod healthy -n {} -o jsonpath={{.metadata.uid}}",
            place.namespace
        );
        uids.push(cluster.plane.kubectl_line(&get).await.unwrap());
    }
    // A violation of a healthy Pod ends at once.
    let spec = json!({"checks": {"notReady": {"keepFiringFor": "0s"}}});
    tenant
        .create("sidecarpolicies", &policy("p", &spec))
        .await
        .unwrap();
    place
        .status_when("p", "the status of the operator", |status| {
            status["summary"]["pods"] == 1
        })
        .await;

    let forged = json!({"status": {"violations": [
        violation(&place.namespace, "healthy", &uids[0]),
        violation(&place.namespace, "unknown", "unknown"),
        violation(&other.place.namespace, "healthy", &uids[1]),
    ]}});
    let refused = tenant.patch("sidecarpolicies", "p/status", &forged).await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "the role does not permit it: {refused:?}"
    );
    // The operator replaces the forgery from time to time. A new process must see it in its first list.
    let admin = Tenant {
        client: cluster.plane.client().await.unwrap(),
        ..tenant
    };
    let forge = async {
        loop {
            admin.patch("sidecarpolicies", "p/status", &forged).await.unwrap();
        }
    };
    let started = select! {
        started = cluster.reader_of(&admin.place) => started,
        () = forge => pending().await,
    };
    let pods = [("policy", "p")];
    eventually("the policy evaluated", || async {
        let found = series(&started, "sidewatch_policy_pods", &pods).await;
        ensure!(found.iter().any(|line| line.ends_with(" 1")), "{found:?}");
        let found = series(&started, "sidewatch_violation", &[]).await;
        ensure!(found.is_empty(), "{found:?}");
        Ok(())
    })
    .await;
    let of_other = [("namespace", &*other.place.namespace)];
    let found = series(&cluster.operator, "sidewatch_violation", &of_other).await;
    assert!(
        found.is_empty(),
        "of a Pod that the policy does not cover: {found:?}"
    );
    admin
        .place
        .status_when("p", "the true status", |status| {
            status["violations"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
    cluster.others_are_served().await;
    assert!(started.stop().await.unwrap().success());
}
