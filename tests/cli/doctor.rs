//! `sidewatch doctor` on a scripted API server: a complete installation, and each defect.

use std::collections::BTreeMap;

use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sidewatch::{
    api::crds,
    checkpoint,
    clock::{Clock, SystemClock},
    domain::checkpoint::Checkpoint,
};
use testkit::api_server::{ApiServer, CLUSTER_POLICIES, NAMESPACES, PODS, POLICIES, list, pod, policy};

use crate::{
    cluster::kubeconfig,
    support::{Directory, Run, sidewatch},
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/sidewatch-system/leases/sidewatch";
const CHECKPOINT: &str = "/api/v1/namespaces/sidewatch-system/configmaps/sidewatch-checkpoint";
const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const LEADER: &str = "/api/v1/namespaces/sidewatch-system/pods/sidewatch-1";
const POD_MONITORS: &str = "/apis/monitoring.coreos.com/v1/podmonitors";
const SERVICE_MONITORS: &str = "/apis/monitoring.coreos.com/v1/servicemonitors";
const SERVICES: &str = "/api/v1/namespaces/sidewatch-system/services";
const PROMETHEUSES: &str = "/apis/monitoring.coreos.com/v1/prometheuses";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// A cluster: the object at each path, or the code of a failure.
struct Cluster {
    objects: BTreeMap<String, Result<Value, u16>>,
    /// How far the clock of the API server is ahead.
    ahead: SignedDuration,
    /// The age of the last renewal of the Lease by the clock of its holder, which renews it all the time.
    renewal_age: SignedDuration,
    /// The right that is missing: a verb and a resource.
    denied: Option<(&'static str, &'static str)>,
    /// The caller may not ask for rights.
    forbids_reviews: bool,
    /// The holder has stopped.
    is_frozen: bool,
}

fn now() -> Timestamp {
    SystemClock::default().now()
}

fn time(age: SignedDuration) -> String {
    format!("{:.6}", now().checked_sub(age).unwrap())
}

fn items(items: &[Value]) -> Value {
    json!({"items": items})
}

/// A policy whose status is up to date.
fn evaluated_policy(name: &str) -> Value {
    let mut policy = policy(name, "3");
    policy["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]});
    policy
}

impl Cluster {
    /// A complete installation without a defect.
    fn complete() -> Self {
        let labels = json!({"app.kubernetes.io/name": "sidewatch"});
        let metadata = json!({"name": "sidewatch", "namespace": "sidewatch-system", "labels": labels});
        let image = format!("sidewatch:{}", env!("CARGO_PKG_VERSION"));
        let container = json!({"name": "sidewatch", "image": image, "args": ["run", "--leader-elect", "--lease-name=sidewatch"]});
        let template = json!({
            "metadata": {"labels": labels}, "spec": {"serviceAccountName": "sidewatch", "containers": [container]},
        });
        let deployment = json!({
            "metadata": metadata, "spec": {"replicas": 2, "template": template}, "status": {"readyReplicas": 2},
        });
        let state = Checkpoint {
            as_of: now(),
            ..Checkpoint::default()
        };
        let bytes = checkpoint::encode(state, checkpoint::MAX_SIZE).bytes;
        let monitor = json!({
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "podMetricsEndpoints": [{"honorLabels": true}]},
        });
        let prometheus = json!({
            "metadata": {"name": "k8s", "namespace": "monitoring"},
            "spec": {"serviceAccountName": "prometheus-k8s", "podMonitorSelector": {}, "podMonitorNamespaceSelector": {}},
        });
        let mut objects: BTreeMap<String, Result<Value, u16>> = [
            (
                "/version",
                json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"}),
            ),
            (DEPLOYMENTS, items(&[deployment])),
            (
                LEADER,
                json!({"metadata": {"name": "sidewatch-1", "labels": labels}}),
            ),
            (
                CHECKPOINT,
                json!({"metadata": {}, "binaryData": {"checkpoint": ByteString(bytes)}}),
            ),
            (POD_MONITORS, items(&[monitor])),
            (SERVICE_MONITORS, items(&[])),
            (SERVICES, items(&[])),
            (PROMETHEUSES, items(&[prometheus])),
            (
                "/api/v1/namespaces/sidewatch-system",
                json!({"metadata": {"name": "sidewatch-system"}}),
            ),
            (
                NAMESPACES,
                list(
                    "Namespace",
                    "1",
                    &[json!({"metadata": {"name": "pay", "uid": "u"}})],
                ),
            ),
            (POLICIES, list("SidecarPolicy", "1", &[evaluated_policy("mesh")])),
            (CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[])),
        ]
        .into_iter()
        .map(|(path, object)| (path.to_owned(), Ok(object)))
        .collect();
        for definition in crds::definitions() {
            let path = format!(
                "{CRDS}/{}.{}",
                definition.spec.names.plural, definition.spec.group
            );
            let mut object = serde_json::to_value(definition).unwrap();
            object["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
            objects.insert(path, Ok(object));
        }
        Self {
            objects,
            ahead: SignedDuration::ZERO,
            renewal_age: SignedDuration::from_secs(1),
            denied: None,
            forbids_reviews: false,
            is_frozen: false,
        }
    }

    /// The same with another object, or a failure, at a path.
    fn with(mut self, path: &str, object: Result<Value, u16>) -> Self {
        self.objects.insert(path.to_owned(), object);
        self
    }

    /// The same with a changed object at a path.
    fn changed(mut self, path: &str, pointer: &str, value: Value) -> Self {
        let object = self.objects.get_mut(path).unwrap().as_mut().unwrap();
        *object.pointer_mut(pointer).unwrap() = value;
        self
    }

    fn serve(self, server: &ApiServer) {
        server.serve_quietly(PODS, list("Pod", "7", &[pod("web-1", "5", true)]));
        for (path, object) in self.objects {
            let route = server.route(Method::GET, &path);
            let ahead = self.ahead;
            tokio::spawn(async move {
                loop {
                    let exchange = route.any().await;
                    match &object {
                        Ok(object) if path == "/version" => {
                            let date = rfc2822::to_string(
                                &now()
                                    .checked_add(ahead)
                                    .unwrap()
                                    .to_zoned(jiff::tz::TimeZone::UTC),
                            )
                            .unwrap();
                            exchange.respond(StatusCode::OK, (header::DATE, &date), object.to_string());
                        }
                        Ok(object) => exchange.json(StatusCode::OK, object),
                        Err(code) => exchange.fail(*code, "no role"),
                    }
                }
            });
        }
        let lease = server.route(Method::GET, LEASE);
        let age = self.renewal_age;
        let frozen = self.is_frozen.then(|| time(age));
        tokio::spawn(async move {
            loop {
                let renewed = frozen.clone().unwrap_or_else(|| time(age));
                let spec = json!({
                    "holderIdentity": "sidewatch-1_0011223344556677", "leaseDurationSeconds": 15, "leaseTransitions": 2,
                    "acquireTime": time(age + SignedDuration::from_hours(3)), "renewTime": renewed,
                });
                let metadata = json!({"name": "sidewatch", "namespace": "sidewatch-system"});
                lease
                    .any()
                    .await
                    .json(StatusCode::OK, &json!({"metadata": metadata, "spec": spec}));
            }
        });
        for path in [REVIEWS.to_owned(), local_reviews("sidewatch-system")] {
            let reviews = server.route(Method::POST, &path);
            tokio::spawn(async move {
                loop {
                    let exchange = reviews.any().await;
                    if self.forbids_reviews {
                        exchange.fail(403, "subjectaccessreviews is forbidden: no role");
                        continue;
                    }
                    let right = &exchange.body["spec"]["resourceAttributes"];
                    let is_denied = self.denied.is_some_and(|(verb, resource)| {
                        right["verb"] == verb && right["resource"] == resource
                    });
                    exchange.json(StatusCode::CREATED, &json!({"status": {"allowed": !is_denied}}));
                }
            });
        }
    }

    async fn doctor(self, more: &[&str]) -> Run {
        let directory = Directory::new();
        let server = ApiServer::default();
        self.serve(&server);
        let listener = server.listen().await;
        let kubeconfig = directory.file("kubeconfig", kubeconfig(&listener.url(), &json!({})));
        sidewatch(&[&["doctor", "--kubeconfig", &kubeconfig][..], more].concat()).await
    }
}

fn local_reviews(namespace: &str) -> String {
    format!("/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews")
}

/// The lines that are not ok: code, verdict and message.
fn findings(run: &Run) -> Vec<String> {
    let output = run.json();
    let lines = output["lines"].as_array().unwrap().iter();
    let lines = lines.filter(|line| line["verdict"] != "ok");
    lines
        .map(|line| format!("{} {} {}", line["code"], line["verdict"], line["message"]).replace('"', ""))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_complete_installation_has_no_findings() {
    let run = Cluster::complete().doctor(&["-o", "json"]).await;
    assert_eq!(findings(&run), Vec::<String>::new(), "{run:?}");
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = Cluster::complete().doctor(&[]).await;
    assert!(
        run.stdout.contains("17 ok, 0 warnings, 0 failed, 0 skipped"),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains("sidewatch-1 for 3h, after 2 changes of the leader"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn each_defect_has_a_line() {
    let no_label = json!({"name": "sidewatch", "namespace": "sidewatch-system", "labels": {"team": "a"}});
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/default";
    let crd = format!("{CRDS}/sidecarpolicies.sidewatch.dev");
    let complete = Cluster::complete;
    let second = |name: &str| {
        list(
            "SidecarPolicy",
            "1",
            &[evaluated_policy("mesh"), evaluated_policy(name)],
        )
    };
    let refused = json!([{"type": "Ready", "status": "False", "message": "over the limit"}]);
    // Half a minute more than the expected text: a Date has no fractions of a second.
    let skew = SignedDuration::from_secs(150);
    let table: Vec<(Cluster, &[&str])> = vec![
        (
            complete().changed("/version", "/minor", json!("31")),
            &["SD001 failed"],
        ),
        (
            complete().with(&crd, Err(404)),
            &[
                "SD002 failed sidecarpolicies.sidewatch.dev is not installed",
                "SD040 skipped",
                "SD041 skipped",
                "SD042 skipped",
            ],
        ),
        (
            complete().changed(&crd, schema, json!("Off")),
            &["SD003 warning sidecarpolicies.sidewatch.dev differs at [0].schema"],
        ),
        (
            Cluster {
                ahead: skew,
                renewal_age: -skew,
                ..complete()
            },
            &["SD004 warning is 2m"],
        ),
        (
            complete().with(DEPLOYMENTS, Ok(items(&[]))),
            &["SD010 failed there is no Deployment"],
        ),
        (
            complete().with(DEPLOYMENTS, Err(403)),
            &["SD010 skipped 403: no role"],
        ),
        (
            complete().changed(DEPLOYMENTS, "/items/0/status/readyReplicas", json!(1)),
            &["SD011 warning 1 of 2 are ready"],
        ),
        (
            complete().changed(DEPLOYMENTS, "/items/0/status/readyReplicas", json!(0)),
            &["SD011 failed 0 of 2 are ready"],
        ),
        (
            complete().changed(
                DEPLOYMENTS,
                "/items/0/spec/template/spec/containers/0/image",
                json!("sidewatch:9.0.0"),
            ),
            &["SD012 warning 9.0.0, but this command is"],
        ),
        (
            complete().with(LEADER, Err(404)),
            &["SD020 failed sidewatch-1 is the leader, but is not a Pod"],
        ),
        (
            Cluster {
                renewal_age: skew,
                ..complete()
            },
            &["SD021 warning is 2m"],
        ),
        (
            complete().with(CHECKPOINT, Err(404)),
            &["SD022 warning ConfigMap sidewatch-system/sidewatch-checkpoint does not exist"],
        ),
        (
            complete().changed(CHECKPOINT, "/binaryData/checkpoint", json!("eHg=")),
            &["SD022 failed"],
        ),
        (
            Cluster {
                denied: Some(("patch", "events")),
                ..complete()
            },
            &["SD030 failed ServiceAccount sidewatch-system/sidewatch may not patch events.events.k8s.io"],
        ),
        (
            Cluster {
                forbids_reviews: true,
                ..complete()
            },
            &[
                "SD030 skipped 403: subjectaccessreviews is forbidden",
                "SD052 skipped 403",
            ],
        ),
        (
            complete().changed(POLICIES, "/items/0/status/conditions", refused),
            &["SD040 failed SidecarPolicy pay/mesh: over the limit"],
        ),
        (
            complete().changed(POLICIES, "/items/0/status", json!({})),
            &["SD040 warning the operator has not written the status of SidecarPolicy pay/mesh"],
        ),
        (
            complete().changed(
                POLICIES,
                "/items/0/spec",
                json!({"checks": {"notReady": {"for": "soon"}}}),
            ),
            &["SD040 failed SidecarPolicy pay/mesh: "],
        ),
        (
            complete().changed(POLICIES, "/items/0/metadata/namespace", json!("empty")),
            &["SD041 warning no Pod is selected by SidecarPolicy empty/mesh"],
        ),
        (
            complete().with(POLICIES, Ok(second("other"))),
            &[
                "SD042 warning the same checks of the same Pods are on in SidecarPolicy pay/mesh and SidecarPolicy pay/other (1 Pods)",
            ],
        ),
        (
            complete().with(POLICIES, Ok(list("SidecarPolicy", "1", &[]))),
            &[
                "SD040 warning there are no policies",
                "SD041 skipped",
                "SD042 skipped",
            ],
        ),
        (
            complete().with(POD_MONITORS, Ok(items(&[]))),
            &["SD050 warning", "SD051 skipped", "SD052 skipped"],
        ),
        (
            complete()
                .with(POD_MONITORS, Err(404))
                .with(SERVICE_MONITORS, Err(404)),
            &[
                "SD050 skipped Prometheus Operator is not installed",
                "SD051 skipped",
                "SD052 skipped",
            ],
        ),
        (
            complete().changed(POD_MONITORS, "/items/0/spec/podMetricsEndpoints", json!([{}])),
            &["SD050 failed"],
        ),
        (
            complete()
                .changed(POD_MONITORS, "/items/0/metadata", no_label)
                .changed(
                    PROMETHEUSES,
                    "/items/0/spec/podMonitorSelector",
                    json!({"matchLabels": {"team": "b"}}),
                ),
            &["SD051 failed no Prometheus selects", "SD052 skipped"],
        ),
        (
            Cluster {
                denied: Some(("list", "pods")),
                ..complete()
            },
            &[
                "SD030 failed",
                "SD052 failed system:serviceaccount:monitoring:prometheus-k8s may not list pods in namespace sidewatch-system",
            ],
        ),
    ];
    let runs = table.into_iter().map(|(cluster, expected)| async move {
        let run = cluster.doctor(&["-o", "json"]).await;
        let found = findings(&run);
        let is_expected = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, expected)| found.starts_with(expected));
        assert!(is_expected, "expected {expected:?}, found {found:#?}");
        let is_finding = expected.iter().any(|line| !line.contains(" skipped"));
        assert_eq!(run.code, Some(i32::from(is_finding)), "{expected:?}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lease_that_is_not_renewed_has_no_leader() {
    let cluster = Cluster {
        renewal_age: SignedDuration::from_mins(5),
        is_frozen: true,
        ..Cluster::complete()
    };
    let run = cluster.doctor(&["-o", "json"]).await;
    let found = findings(&run);
    assert!(
        found[0].starts_with("SD020 failed sidewatch-1_0011223344556677 holds Lease"),
        "{found:?}"
    );
    assert!(found[1].starts_with("SD021 skipped"), "{found:?}");
    assert_eq!((found.len(), run.code), (2, Some(1)), "{found:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_an_error() {
    let directory = Directory::new();
    let kubeconfig = directory.file("kubeconfig", kubeconfig("http://127.0.0.1:1", &json!({})));
    let run = sidewatch(&["doctor", "--kubeconfig", &kubeconfig]).await;
    run.assert_failed(&["cannot read /version", "--context"]);
}
