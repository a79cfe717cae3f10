//! The list of Pods is streamed where the version of Kubernetes supports it, and read in pages elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use e2e::AuditLog;
use e2e::compat::STREAMING_LISTS;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT};
use e2e::process::Scratch;
use serde_json::Value;

use super::support::eventually;

/// The kinds of requests for each watched resource, with the status codes of the answers.
fn reads(requests: &[Value]) -> BTreeMap<&str, BTreeSet<(&str, u64)>> {
    let mut reads = BTreeMap::<_, BTreeSet<_>>::new();
    for request in requests {
        let uri = request["requestURI"].as_str().unwrap();
        let kind = match request["verb"].as_str().unwrap() {
            "watch" if uri.contains("sendInitialEvents=true") => "stream",
            "watch" => "watch",
            "list" => "page",
            _ => continue,
        };
        let resource = request["objectRef"]["resource"].as_str().unwrap();
        let code = request["responseStatus"]["code"].as_u64().unwrap();
        reads.entry(resource).or_default().insert((kind, code));
    }
    reads
}

#[tokio::test]
async fn pods_are_streamed_where_the_version_supports_it() {
    let files = Scratch::new().unwrap();
    let (plane, log) = AuditLog::start(&files).await.unwrap();
    let (operator, _kubeconfig) = Operator::install(&plane).await.unwrap();
    let is_streamed = STREAMING_LISTS.is_selected().unwrap();
    let paged = BTreeSet::from([("page", 200), ("watch", 200)]);
    let pods = if is_streamed {
        BTreeSet::from([("stream", 200)])
    } else {
        &paged | &BTreeSet::from([("stream", 422)])
    };
    let user = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
    eventually("the requests", || async {
        let requests = log.requests(&user)?;
        let reads = reads(&requests);
        ensure!(reads.get("pods") == Some(&pods), "{reads:?}");
        for resource in [
            "namespaces",
            "sidecarpolicies",
            "clustersidecarpolicies",
            "sidecarexemptions",
        ] {
            ensure!(reads.get(resource) == Some(&paged), "{resource}: {reads:?}");
        }
        Ok(())
    })
    .await;
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}
