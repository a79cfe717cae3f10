//! Builder of a Pod, with the fields that determine its status.

use serde::Serialize;
use serde_json::{Value, json};

use super::add_fields;
use super::step::Step;

/// When the kubelet restarts a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RestartPolicy {
    /// After every exit.
    Always,
    /// After an exit with a code that is not 0.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    pub(super) fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// Kind of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An init container that runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: a native sidecar.
    Native,
    /// An entry of `spec.containers`: a main container or a classic sidecar, which the spec does not distinguish.
    Regular,
}

/// A container of a [`PodSpec`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Container {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) image: String,
    pub(super) readiness: bool,
    pub(super) liveness: bool,
    pub(super) startup: bool,
    pub(super) memory_limit: Option<String>,
    pub(super) restart_policy: Option<RestartPolicy>,
    pub(super) restarts_all_on: Option<i32>,
}

impl Container {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            image: format!("registry.test/{name}:1.0"),
            readiness: false,
            liveness: false,
            startup: false,
            memory_limit: None,
            restart_policy: None,
            restarts_all_on: None,
        }
    }

    /// A plain init container.
    pub fn init(name: &str) -> Self {
        Self::new(name, Kind::Init)
    }

    /// A native sidecar.
    pub fn native(name: &str) -> Self {
        Self::new(name, Kind::Native)
    }

    /// A main container or a classic sidecar.
    pub fn regular(name: &str) -> Self {
        Self::new(name, Kind::Regular)
    }

    /// Sets the image.
    pub fn image(mut self, image: &str) -> Self {
        self.image = image.into();
        self
    }

    /// Adds a readiness probe: it is not ready before [`Step::Ready`](super::Step::Ready).
    pub fn readiness_probe(mut self) -> Self {
        self.readiness = true;
        self
    }

    /// Adds a liveness probe.
    pub fn liveness_probe(mut self) -> Self {
        self.liveness = true;
        self
    }

    /// Adds a startup probe: it has not started before [`Step::Started`](super::Step::Started).
    pub fn startup_probe(mut self) -> Self {
        self.startup = true;
        self
    }

    /// Sets a memory limit, such as `64Mi`.
    pub fn memory_limit(mut self, limit: &str) -> Self {
        self.memory_limit = Some(limit.into());
        self
    }

    /// Sets the restart policy of a regular or plain init container.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.restart_policy = Some(policy);
        self
    }

    /// Adds a restart rule to a regular container: when it exits with this code, all containers of the Pod restart. Needs
    /// Kubernetes 1.35.
    pub fn restarts_all_on(mut self, exit_code: i32) -> Self {
        self.restarts_all_on = Some(exit_code);
        self
    }

    fn json(&self) -> Value {
        let probe = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5});
        let mut json = json!({"name": self.name, "image": self.image});
        let policy = match self.kind {
            Kind::Native => Some(RestartPolicy::Always),
            // A rule requires a policy.
            _ => self
                .restart_policy
                .or(self.restarts_all_on.map(|_| RestartPolicy::Never)),
        };
        let rule = |code| json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [code]}}]);
        let fields = [
            ("restartPolicy", policy.map(|policy| json!(policy))),
            ("restartPolicyRules", self.restarts_all_on.map(rule)),
            ("readinessProbe", self.readiness.then(|| probe.clone())),
            ("livenessProbe", self.liveness.then(|| probe.clone())),
            ("startupProbe", self.startup.then(|| probe.clone())),
            (
                "resources",
                self.memory_limit
                    .as_ref()
                    .map(|limit| json!({"limits": {"memory": limit}})),
            ),
        ];
        add_fields(&mut json, fields);
        json
    }
}

/// A Pod to create.
#[derive(Debug, Clone)]
#[must_use]
pub struct PodSpec {
    /// Its name.
    pub name: String,
    pub(super) restart_policy: RestartPolicy,
    pub(super) containers: Vec<Container>,
    labels: Vec<(String, String)>,
    annotations: serde_json::Map<String, Value>,
    owner: Option<Value>,
    node: Option<String>,
}

impl PodSpec {
    /// A Pod without containers, with `restartPolicy: Always` and its name as the label `app`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            restart_policy: RestartPolicy::Always,
            containers: Vec::new(),
            labels: vec![("app".into(), name.into())],
            annotations: serde_json::Map::new(),
            owner: None,
            node: None,
        }
    }

    /// Adds a container. Init containers and native sidecars start in this order.
    pub fn container(mut self, container: Container) -> Self {
        self.containers.push(container);
        self
    }

    /// Sets the Pod's restart policy.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.restart_policy = policy;
        self
    }

    /// Sets a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Sets an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), json!(value));
        self
    }

    /// Sets the controller, which need not exist, such as `apps/v1`, `ReplicaSet`, `web-7d9c`.
    pub fn owned_by(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        self.owner = Some(json!({
            "apiVersion": api_version, "kind": kind, "name": name, "controller": true,
            "uid": format!("uid-of-{name}"),
        }));
        self
    }

    /// Sets the node, as a static Pod has it. The Pod then needs no scheduler.
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Steps until all containers run and are ready and all plain init containers have completed.
    pub fn healthy_start(&self) -> Vec<Step<'_>> {
        let mut steps = vec![Step::Admit, Step::SandboxReady];
        let (regular, init): (Vec<_>, Vec<_>) = self.containers.iter().partition(|c| c.kind == Kind::Regular);
        for container in init.into_iter().chain(regular) {
            let name = container.name.as_str();
            steps.push(Step::Start(name));
            if container.startup {
                steps.push(Step::Started(name));
            }
            if container.readiness {
                steps.push(Step::Ready(name));
            }
            if container.kind == Kind::Init {
                steps.push(Step::Exit(name, 0));
            }
        }
        steps
    }

    /// The node, if it is set.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// The Pod as JSON.
    pub fn pod(&self) -> Value {
        let of = |regular: bool| -> Vec<Value> {
            let wanted = self
                .containers
                .iter()
                .filter(|container| (container.kind == Kind::Regular) == regular);
            wanted.map(Container::json).collect()
        };
        let labels: serde_json::Map<_, _> = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": labels, "annotations": self.annotations,
                "ownerReferences": self.owner.as_slice()},
            "spec": {
                "restartPolicy": self.restart_policy,
                "initContainers": of(false),
                "containers": of(true),
                "nodeName": self.node,
                "terminationGracePeriodSeconds": 30,
            },
        })
    }
}
