//! A scripted API server with an installation.

use std::collections::BTreeMap;

use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822, tz::TimeZone};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sidewatch::{
    api::crds,
    checkpoint,
    clock::{Clock, SystemClock},
    domain::checkpoint::Checkpoint,
};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EXEMPTIONS, NAMESPACES, PODS, POLICIES, list, pod, policy,
};

use crate::{setup::Setup, support::Run};

pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/sidewatch-system/leases/sidewatch";
pub(super) const CHECKPOINT: &str = "/api/v1/namespaces/sidewatch-system/configmaps/sidewatch-checkpoint";
pub(super) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
pub(super) const LEADER: &str = "/api/v1/namespaces/sidewatch-system/pods/sidewatch-1";
pub(super) const POD_MONITORS: &str = "/apis/monitoring.coreos.com/v1/podmonitors";
pub(super) const SERVICE_MONITORS: &str = "/apis/monitoring.coreos.com/v1/servicemonitors";
const SERVICES: &str = "/api/v1/namespaces/sidewatch-system/services";
pub(super) const PROMETHEUSES: &str = "/apis/monitoring.coreos.com/v1/prometheuses";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const LOCAL_REVIEWS: &str =
    "/apis/authorization.k8s.io/v1/namespaces/sidewatch-system/localsubjectaccessreviews";

/// A cluster: the object at each path, or the code of a failure.
pub(crate) struct Cluster {
    pub(super) objects: BTreeMap<String, Result<Value, u16>>,
    /// How far the clock of the API server is ahead of the clock of this machine.
    pub(super) ahead: SignedDuration,
    /// The age of the last renewal of the Lease by the clock of its holder, which renews it all the time.
    pub(super) renewal_age: SignedDuration,
    /// The right that is missing: a verb and a resource.
    pub(super) denied: Option<(&'static str, &'static str)>,
    /// The caller may not ask for rights.
    pub(super) forbids_reviews: bool,
    /// The holder has stopped.
    pub(super) is_frozen: bool,
}

fn now() -> Timestamp {
    SystemClock::default().now()
}

fn time(age: SignedDuration) -> String {
    format!("{:.6}", now().checked_sub(age).unwrap())
}

pub(super) fn items(items: &[Value]) -> Value {
    json!({"items": items})
}

/// A policy whose status is up to date.
pub(super) fn evaluated_policy(name: &str) -> Value {
    let mut policy = policy(name, "3");
    policy["metadata"]["managedFields"] = json!([]);
    policy["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]});
    policy
}

impl Cluster {
    /// A complete installation without a defect.
    pub(crate) fn complete() -> Self {
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
            (EXEMPTIONS, list("SidecarExemption", "1", &[])),
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
    pub(super) fn with(mut self, path: &str, object: Result<Value, u16>) -> Self {
        self.objects.insert(path.to_owned(), object);
        self
    }

    /// The same with a changed object at a path.
    pub(crate) fn changed(mut self, path: &str, pointer: &str, value: Value) -> Self {
        let object = self.objects.get_mut(path).unwrap().as_mut().unwrap();
        *object.pointer_mut(pointer).unwrap() = value;
        self
    }

    fn serve(self, server: &ApiServer) {
        server.serve_quietly(PODS, list("Pod", "7", &[pod("web-1", "5", true)]));
        for (path, object) in self.objects {
            let is_version = path == "/version";
            server.answer(Method::GET, &path, move |exchange| match &object {
                Ok(object) if is_version => {
                    let time = now().checked_add(self.ahead).unwrap().to_zoned(TimeZone::UTC);
                    let date = rfc2822::to_string(&time).unwrap();
                    exchange.respond(StatusCode::OK, (header::DATE, &date), object.to_string());
                }
                Ok(object) => exchange.json(StatusCode::OK, object),
                Err(code) => exchange.fail(*code, "no role"),
            });
        }
        let age = self.renewal_age;
        let frozen = self.is_frozen.then(|| time(age));
        server.answer(Method::GET, LEASE, move |exchange| {
            let renewed = frozen.clone().unwrap_or_else(|| time(age));
            let spec = json!({
                "holderIdentity": "sidewatch-1_0011223344556677", "leaseDurationSeconds": 15, "leaseTransitions": 2,
                "acquireTime": time(age + SignedDuration::from_hours(3)), "renewTime": renewed,
            });
            let metadata = json!({"name": "sidewatch", "namespace": "sidewatch-system"});
            exchange.json(StatusCode::OK, &json!({"metadata": metadata, "spec": spec}));
        });
        for path in [REVIEWS, LOCAL_REVIEWS] {
            server.answer(Method::POST, path, move |exchange| {
                if self.forbids_reviews {
                    return exchange.fail(403, "subjectaccessreviews is forbidden: no role");
                }
                let right = &exchange.body["spec"]["resourceAttributes"];
                let is_denied = self
                    .denied
                    .is_some_and(|(verb, resource)| right["verb"] == verb && right["resource"] == resource);
                exchange.json(StatusCode::CREATED, &json!({"status": {"allowed": !is_denied}}));
            });
        }
    }

    pub(super) async fn doctor(self, more: &[&str]) -> Run {
        self.serving(async |setup| setup.run(&[&["doctor"], more].concat()).await)
            .await
    }

    /// Calls `run` while a server has these objects.
    pub(crate) async fn serving<T>(self, run: impl AsyncFnOnce(&Setup) -> T) -> T {
        let server = ApiServer::default();
        self.serve(&server);
        run(&Setup::new(server).await).await
    }
}
