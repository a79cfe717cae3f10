//! Many Pods in protobuf, from two templates: encoding each one from JSON would take longer than the test.

use e2e::simulated_kubelet::{Container, PodSpec, PodState, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testkit::protobuf;

/// Number of namespaces.
pub(super) const NAMESPACES: usize = 100;
/// Pods of a Deployment.
const REPLICAS: usize = 10;

/// Replaced by numbers with the same number of digits.
const NAMESPACE: &str = "NNN";
const DEPLOYMENT: &str = "DDDDD";
const POD: &str = "PPPPP";
const VERSION: &str = "VVVVV";

/// Name of a namespace.
pub(super) fn namespace(number: usize) -> String {
    format!("ns-{number:03}")
}

/// A Pod before and after its sidecar became unready.
pub(super) struct PodTemplates {
    ready: Template,
    unready: Template,
}

impl PodTemplates {
    pub(super) fn new() -> Self {
        let (namespace, name) = (
            format!("ns-{NAMESPACE}"),
            format!("web-{DEPLOYMENT}-{DEPLOYMENT}-{POD}"),
        );
        let uid = format!("00000000-0000-4000-8000-0000000{POD}");
        let spec = PodSpec::new(&name)
            .owned_by("apps/v1", "ReplicaSet", &format!("web-{DEPLOYMENT}-{DEPLOYMENT}"))
            .label("pod-template-hash", DEPLOYMENT)
            .label("app", &format!("web-{DEPLOYMENT}"))
            .on_node("node-1")
            .container(Container::native("istio-proxy").readiness_probe())
            .container(Container::regular("app").readiness_probe());
        let now = Timestamp::now();
        let created = now - SignedDuration::from_hours(24);
        let mut state = PodState::new(&spec, &namespace, &uid);
        state.scheduled(created);
        for step in spec.healthy_start() {
            state.apply(step, created).unwrap();
        }
        let template = |state: &PodState| {
            let mut pod = spec.pod();
            pod["metadata"]["namespace"] = json!(namespace);
            pod["metadata"]["uid"] = json!(uid);
            pod["metadata"]["resourceVersion"] = json!(format!("1{VERSION}"));
            pod["metadata"]["creationTimestamp"] = json!(created);
            pod["status"] = state.status();
            Template::new(protobuf::pod(&pod))
        };
        let ready = template(&state);
        state.apply(Step::Unready("istio-proxy"), now).unwrap();
        Self {
            ready,
            unready: template(&state),
        }
    }

    /// A ready Pod.
    pub(super) fn ready(&self, number: usize) -> Vec<u8> {
        self.ready.pod(number)
    }

    /// The same Pod with an unready sidecar.
    pub(super) fn unready(&self, number: usize) -> Vec<u8> {
        self.unready.pod(number)
    }
}

/// The bytes of a Pod, and where its numbers are.
struct Template {
    bytes: Vec<u8>,
    places: Vec<(usize, &'static str)>,
}

impl Template {
    fn new(bytes: Vec<u8>) -> Self {
        let mut places = Vec::new();
        for placeholder in [NAMESPACE, DEPLOYMENT, POD, VERSION] {
            let found = bytes.windows(placeholder.len()).enumerate();
            let found = found.filter(|(_, part)| *part == placeholder.as_bytes());
            places.extend(found.map(|(at, _)| (at, placeholder)));
        }
        Self { bytes, places }
    }

    fn pod(&self, number: usize) -> Vec<u8> {
        let deployment = number / REPLICAS;
        let mut bytes = self.bytes.clone();
        for (at, placeholder) in &self.places {
            let value = match *placeholder {
                NAMESPACE => deployment % NAMESPACES,
                DEPLOYMENT => deployment,
                _ => number,
            };
            let value = format!("{value:0width$}", width = placeholder.len());
            bytes[*at..at + value.len()].copy_from_slice(value.as_bytes());
        }
        bytes
    }
}
