//! The operator with the memory limit of the chart, in a control group, under loads that threaten the limit. Each load has a
//! lower limit of its own, so that the next one still fits.
//!
//! The API server is scripted: 50,000 Pods take a real one minutes. The binary is the static one of the images, because a debug
//! build needs more memory.

mod pods;

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::harness::skip;
use e2e::metrics::samples;
use e2e::operator::Operator;
use e2e::process::{MemoryCgroup, Scratch};
use e2e::project::read_yaml;
use futures::channel::mpsc;
use http::{Method, StatusCode};
use pods::{NAMESPACES, PodTemplates};
use serde_json::{Value, json};
use testkit::api_server::{
    self, ApiServer, CLUSTER_POLICIES, EXEMPTIONS, Exchange, Listener, PODS, POLICIES, list, soon,
};
use testkit::protobuf;

use crate::support::eventually;

/// The version of the lists.
const VERSION: &str = "900";

/// The memory limit of the chart, in bytes.
fn limit() -> u64 {
    let values = read_yaml("charts/sidewatch/values.yaml").unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    let mebibytes: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
    mebibytes << 20
}

/// An operator with the limit, and its API server.
struct Limited {
    name: &'static str,
    operator: Operator,
    group: MemoryCgroup,
    server: ApiServer,
    _listener: Listener,
    _files: Scratch,
}

impl Limited {
    /// Starts the operator. `None` without control groups: the test is skipped.
    async fn start(name: &'static str, server: ApiServer, flags: &[&str]) -> Option<Self> {
        let group = match MemoryCgroup::create(limit()) {
            Ok(group) => group,
            Err(reason) => {
                skip(name, &format!("{reason:#}")).unwrap();
                return None;
            }
        };
        let listener = server.listen().await;
        let files = Scratch::new().unwrap();
        let kubeconfig = files.path().join("kubeconfig");
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": listener.url()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        fs::write(&kubeconfig, content.to_string()).unwrap();
        let operator = Operator::start_limited(&group, files.path(), &kubeconfig, flags).await;
        Some(Self {
            name,
            operator: operator.unwrap(),
            group,
            server,
            _listener: listener,
            _files: files,
        })
    }

    /// Checks that the operator is ready and has not been killed, ends it, and checks that it has needed at most this memory.
    async fn survives(mut self, mebibytes: f64) {
        let ready = self.operator.wait_until_ready().await;
        let kills = self.group.oom_kills().unwrap();
        assert_eq!(kills, 0, "killed because of the limit: {ready:?}");
        ready.unwrap();
        let peak = self.operator.peak_resident_mb().unwrap();
        let peak = peak * 1e6 / 1_048_576.0;
        println!("{}: {peak:.0} MiB at most", self.name);
        assert!(peak <= mebibytes, "{peak:.0} MiB");
        let ended = self.operator.process().terminate(api_server::SOON).await.unwrap();
        assert!(ended.success(), "{ended}");
        assert_eq!(
            self.group.oom_kills().unwrap(),
            0,
            "killed at its end because of the limit"
        );
    }
}

/// A server with namespaces and without other objects. It accepts every write.
fn server() -> ApiServer {
    let server = ApiServer::default();
    let namespaces: Vec<_> = (0..NAMESPACES)
        .map(|n| json!({"metadata": {"name": pods::namespace(n), "uid": format!("uid-ns-{n}"), "resourceVersion": "1"}}))
        .collect();
    server.serve_quietly(api_server::NAMESPACES, list("Namespace", VERSION, &namespaces));
    server.serve_quietly(EXEMPTIONS, list("SidecarExemption", VERSION, &[]));
    server.answer_others(accept);
    server
}

/// Accepts a write: answers with the object at a higher version.
fn accept(method: &Method, exchange: Exchange) {
    let mut object = exchange.body.clone();
    if *method == Method::POST {
        return exchange.as_json().json(StatusCode::CREATED, &object);
    }
    object["metadata"]["resourceVersion"] = json!("901");
    exchange.as_json().json(StatusCode::OK, &object);
}

/// A policy of the namespace of the attacker.
fn policy(name: &str, version: usize, spec: &Value) -> Value {
    json!({
        "kind": "SidecarPolicy", "apiVersion": "sidewatch.dev/v1alpha1",
        "metadata": {
            "name": name, "namespace": pods::namespace(0), "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    })
}

/// Answers the lists of policies in pages, and passes watches to the returned receiver.
fn serve_policies(server: &ApiServer, policies: Vec<String>) -> mpsc::UnboundedReceiver<Exchange> {
    let (watches, received) = mpsc::unbounded();
    server.answer(Method::GET, POLICIES, move |exchange| {
        if exchange.is_watch() {
            let _ended = watches.unbounded_send(exchange);
            return;
        }
        let (from, to, metadata) = page(&exchange, policies.len());
        let items = policies[from..to].join(",");
        let head = r#"{"kind":"SidecarPolicyList","apiVersion":"sidewatch.dev/v1alpha1","metadata":"#;
        exchange.text(StatusCode::OK, &format!("{head}{metadata},\"items\":[{items}]}}"));
    });
    received
}

/// The range of a page, and the metadata of its list.
fn page(exchange: &Exchange, count: usize) -> (usize, usize, Value) {
    let number = |name| {
        exchange
            .parameter(name)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let from = number("continue").unwrap_or(0);
    let to = number("limit").map_or(count, |limit| count.min(from + limit));
    let mut metadata = json!({"resourceVersion": VERSION});
    if to < count {
        metadata["continue"] = json!(to.to_string());
    }
    (from, to, metadata)
}

/// The sum of the firing violations of all workloads.
async fn firing(operator: &Operator) -> Result<f64> {
    let page = operator.metrics().await?;
    let all = samples(&page)?;
    let firing = all
        .iter()
        .filter(|sample| sample.matches("sidewatch_workload_violations", &[("state", "firing")]));
    Ok(firing.map(|sample| sample.value).sum())
}

/// The metadata of all policies is several times as large as the limit.
#[tokio::test(flavor = "multi_thread")]
async fn large_metadata() {
    const COUNT: usize = 120;
    let server = server();
    server.serve_quietly(PODS, list("Pod", VERSION, &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", VERSION, &[]));
    let annotations: serde_json::Map<_, _> = (0..1200)
        .map(|n| (format!("a/{n:04}"), json!("v".repeat(1000))))
        .collect();
    let policies = (0..COUNT).map(|n| {
        let mut policy = policy(&format!("p-{n:05}"), 1, &json!({}));
        policy["metadata"]["annotations"] = json!(annotations);
        policy.to_string()
    });
    let _watches = serve_policies(&server, policies.collect());
    let Some(limited) = Limited::start("large_metadata", server, &[]).await else {
        return;
    };
    limited.survives(150.0).await;
}

/// What is kept of a policy must end with the policy.
#[tokio::test(flavor = "multi_thread")]
async fn policies_created_and_deleted() {
    const COUNT: usize = 60_000;
    const BATCH: usize = 2000;
    let server = server();
    server.serve_quietly(PODS, list("Pod", VERSION, &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", VERSION, &[]));
    let mut watches = serve_policies(&server, Vec::new());
    let Some(limited) = Limited::start("policies_created_and_deleted", server, &[]).await else {
        return;
    };
    let watch = soon("the watch of policies", futures::StreamExt::next(&mut watches)).await;
    let watch = watch.unwrap().watch();
    let status = format!(
        "/apis/sidewatch.dev/v1alpha1/namespaces/{}/sidecarpolicies",
        pods::namespace(0)
    );
    // Invalid, with the longest name.
    let spec = json!({"sidecars": {"namePattern": format!("[a&&b]{}", "x".repeat(500))}});
    let filler = "n".repeat(240);
    for from in (0..COUNT).step_by(BATCH) {
        let mut events = Vec::new();
        for n in from..from + BATCH {
            let name = format!("p{n:07}-{filler}");
            events.extend(watch.encode("ADDED", &policy(&name, 1001 + 3 * n, &spec)));
            events.extend(watch.encode("DELETED", &policy(&name, 1002 + 3 * n, &spec)));
        }
        // The status of a policy after the batch shows that the operator has read the batch.
        let name = format!("marker-{from}");
        let written = limited
            .server
            .route(Method::PATCH, &format!("{status}/{name}/status"));
        let marker = policy(&name, 1003 + 3 * (from + BATCH), &json!({}));
        events.extend(watch.encode("ADDED", &marker));
        watch.raw(events);
        accept(&Method::PATCH, written.next().await);
        watch.event("DELETED", &marker);
    }
    limited.survives(60.0).await;
}

/// An incident of all sidecars at once, with leader election and a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn all_sidecars_become_unready() {
    const COUNT: usize = 50_000;
    const BATCH: usize = 500;
    let server = server();
    let cluster_policy = json!({
        "kind": "ClusterSidecarPolicy", "apiVersion": "sidewatch.dev/v1alpha1",
        "metadata": {"name": "all", "uid": "uid-all", "resourceVersion": "1", "generation": 1},
        "spec": {"checks": {"notReady": {"for": "0s"}, "mainReadySidecarNotReady": {"for": "0s"}}},
    });
    server.serve_quietly(
        CLUSTER_POLICIES,
        list("ClusterSidecarPolicy", VERSION, &[cluster_policy]),
    );
    let _policies = serve_policies(&server, Vec::new());
    let lease = server.serve_lease();
    let checkpoint = server.serve_checkpoint();
    let templates = PodTemplates::new();
    let ready: Vec<_> = (0..COUNT).map(|n| templates.ready(n)).collect();
    let (watches, mut received) = mpsc::unbounded();
    server.answer(Method::GET, PODS, move |exchange| {
        if exchange.is_watch() {
            let _ended = watches.unbounded_send(exchange);
            return;
        }
        let (from, to, metadata) = page(&exchange, ready.len());
        let body = protobuf::page(
            VERSION,
            metadata["continue"].as_str(),
            ready[from..to].iter().map(Vec::as_slice),
        );
        exchange.respond(
            StatusCode::OK,
            (http::header::CONTENT_TYPE, protobuf::CONTENT_TYPE),
            body,
        );
    });
    let flags = ["--leader-elect", "--operator-namespace", "sidewatch-system"];
    let Some(mut limited) = Limited::start("all_sidecars_become_unready", server, &flags).await else {
        return;
    };
    limited.operator.wait_until_ready().await.unwrap();
    eventually("a leader", || async {
        ensure!(!lease.holder().is_empty());
        Ok(())
    })
    .await;
    let watch = soon("the watch of Pods", futures::StreamExt::next(&mut received)).await;
    let watch = watch.unwrap().watch_as(protobuf::WATCH_CONTENT_TYPE);
    for from in (0..COUNT).step_by(BATCH) {
        let pods = (from..from + BATCH).flat_map(|n| protobuf::event_of("MODIFIED", &templates.unready(n)));
        watch.raw(pods.collect::<Vec<u8>>());
    }
    let (operator, count) = (&limited.operator, f64::from(u32::try_from(COUNT).unwrap()));
    eventually("all violations", || async {
        let firing = firing(operator).await?;
        ensure!(firing >= 2.0 * count, "{firing}");
        Ok(())
    })
    .await;
    eventually("a checkpoint of the incident", || async {
        let bytes = checkpoint.bytes().context("no checkpoint")?.len();
        ensure!(bytes > 100_000, "{bytes} bytes");
        Ok(())
    })
    .await;
    limited.survives(200.0).await;
}
