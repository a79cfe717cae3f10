//! Decodes containers: their spec, and the status that the kubelet reports.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{
    bounded::{bounded, bounded_image},
    intern::Interner,
    lenient::{code, count, is_present, list, or_default, text, time},
};
use crate::domain::{
    hash::stable_hash,
    observation::{
        AppNames, Container, ContainerKind, ContainerStatus, Exit, Probes, RestartPolicy, RestartRule, State,
    },
};

/// An entry of `spec.containers` or `spec.initContainers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanContainer {
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) image: String,
    #[serde(deserialize_with = "restart_policy")]
    pub(in crate::kubernetes) restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) restart_policy_rules: Vec<LeanRule>,
    pub(in crate::kubernetes) readiness_probe: Option<LeanProbe>,
    #[serde(deserialize_with = "is_present")]
    pub(in crate::kubernetes) liveness_probe: bool,
    pub(in crate::kubernetes) startup_probe: Option<LeanProbe>,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) lifecycle: Lifecycle,
    #[serde(rename = "resizePolicy", deserialize_with = "list")]
    pub(in crate::kubernetes) resize_policies: Vec<ResizePolicy>,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) resources: Resources,
}

/// A probe.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanProbe {
    #[serde(deserialize_with = "count")]
    pub(in crate::kubernetes) initial_delay_seconds: u32,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) http_get: HttpGet,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct HttpGet {
    /// The port is one on which the proxy of Istio serves the probes of the other containers.
    #[serde(deserialize_with = "mesh_port")]
    pub(in crate::kubernetes) port: bool,
}

/// The ports of Istio's proxy for rewritten probes and for its own health.
const MESH_PORTS: [i64; 2] = [15020, 15021];

/// Reports whether the port of a probe is one of [`MESH_PORTS`]. A port can be a number or a name.
fn mesh_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let port = Option::<Value>::deserialize(deserializer)?;
    Ok(port.and_then(|port| port.as_i64()).is_some_and(is_mesh_port))
}

/// Reports whether the proxy of Istio serves probes on a port.
pub(in crate::kubernetes) fn is_mesh_port(port: i64) -> bool {
    MESH_PORTS.contains(&port)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct Lifecycle {
    #[serde(deserialize_with = "is_present")]
    pub(in crate::kubernetes) post_start: bool,
}

/// An entry of `resizePolicy` (KEP-1287).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct ResizePolicy {
    #[serde(rename = "restartPolicy", deserialize_with = "restarts_on_resize")]
    pub(in crate::kubernetes) restarts: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct Resources {
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) limits: Limits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct Limits {
    #[serde(deserialize_with = "quantity")]
    pub(in crate::kubernetes) memory: Option<String>,
}

/// Reads a quantity. In a manifest it can be a number; the API server returns a text.
fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Quantity {
        Text(String),
        Number(serde_json::Number),
    }
    let quantity = Option::<Quantity>::deserialize(deserializer)?;
    Ok(quantity.map(|quantity| match quantity {
        Quantity::Text(text) => text,
        Quantity::Number(number) => number.to_string(),
    }))
}

/// An entry of `restartPolicyRules` (KEP-5307, and KEP-5532 for the second action).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanRule {
    #[serde(deserialize_with = "restarts")]
    pub(in crate::kubernetes) action: bool,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) exit_codes: ExitCodes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct ExitCodes {
    #[serde(deserialize_with = "is_in")]
    pub(in crate::kubernetes) operator: Option<bool>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) values: Vec<ExitCode>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::kubernetes) struct ExitCode(#[serde(deserialize_with = "code")] pub(in crate::kubernetes) i32);

impl LeanContainer {
    /// Converts to the container of the domain. `app` has the names of the app for a container in `spec.containers`, and
    /// is `None` for one in `spec.initContainers`.
    pub(super) fn to_domain(&self, app: Option<&AppNames<'_>>, interner: &mut Interner) -> Container {
        let Self {
            name,
            image,
            restart_policy,
            restart_policy_rules,
            readiness_probe,
            liveness_probe,
            startup_probe,
            lifecycle,
            resize_policies,
            resources,
        } = self;
        Container {
            name: interner.string(name),
            image: interner.string(&bounded_image(image)),
            kind: match (app, restart_policy) {
                (Some(_), _) => ContainerKind::Regular,
                (None, Some(RestartPolicy::Always)) => ContainerKind::Native,
                (None, _) => ContainerKind::Init,
            },
            named_by: app.and_then(|app| app.of(name, image)),
            restart_policy: *restart_policy,
            restart_rules: restart_policy_rules.iter().filter_map(LeanRule::known).collect(),
            probes: Probes {
                readiness: readiness_probe.is_some(),
                liveness: *liveness_probe,
                startup: startup_probe.is_some(),
                readiness_delay: readiness_probe.map_or(0, |probe| probe.initial_delay_seconds),
                startup_delay: startup_probe.map_or(0, |probe| probe.initial_delay_seconds),
                readiness_through_mesh: readiness_probe.is_some_and(|probe| probe.http_get.port),
            },
            has_post_start: lifecycle.post_start,
            restarts_on_resize: resize_policies.iter().any(|policy| policy.restarts),
            memory_limit: match resources.limits.memory.as_deref() {
                None | Some("") => None,
                Some(limit) => Some(interner.string(&bounded(limit))),
            },
        }
    }
}

impl LeanRule {
    /// Returns the rule, or `None` if this version does not support its action or operator.
    fn known(&self) -> Option<RestartRule> {
        let Self { action, exit_codes } = self;
        let is_in = exit_codes.operator.filter(|_| *action)?;
        Some(RestartRule {
            is_in,
            exit_codes: exit_codes.values.iter().map(|code| code.0).collect(),
        })
    }
}

pub(super) fn restart_policy<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RestartPolicy>, D::Error> {
    text(deserializer, restart_policy_of)
}

/// Parses a `restartPolicy`. Returns `None` for a value that this version does not support.
pub(in crate::kubernetes) fn restart_policy_of(text: &str) -> Option<RestartPolicy> {
    match text {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    }
}

fn restarts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    text(deserializer, is_restart_action)
}

/// Reports whether the action of a rule restarts the container, so that the container is not finished.
pub(in crate::kubernetes) fn is_restart_action(text: &str) -> bool {
    matches!(text, "Restart" | "RestartAllContainers")
}

fn restarts_on_resize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    text(deserializer, is_restart_on_resize)
}

/// Reports whether the `restartPolicy` of a `resizePolicy` restarts the container.
pub(in crate::kubernetes) fn is_restart_on_resize(text: &str) -> bool {
    text == "RestartContainer"
}

fn is_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    text(deserializer, exit_code_operator)
}

/// Reports whether an operator on exit codes is `In`. Returns `None` for an operator that this version does not
/// support.
pub(in crate::kubernetes) fn exit_code_operator(text: &str) -> Option<bool> {
    match text {
        "In" => Some(true),
        "NotIn" => Some(false),
        _ => None,
    }
}

/// An entry of `status.containerStatuses` or `status.initContainerStatuses`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanStatus {
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) ready: bool,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) started: bool,
    #[serde(deserialize_with = "count")]
    pub(in crate::kubernetes) restart_count: u32,
    #[serde(rename = "containerID", deserialize_with = "run")]
    pub(in crate::kubernetes) run: u64,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) state: LeanState,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) last_state: LeanState,
}

/// `state` or `lastState`: an object with one member. The name of the member is the state of the container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct LeanState {
    pub(in crate::kubernetes) waiting: Option<Waiting>,
    pub(in crate::kubernetes) running: Option<Running>,
    pub(in crate::kubernetes) terminated: Option<Box<Terminated>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::kubernetes) struct Waiting {
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct Running {
    #[serde(deserialize_with = "time")]
    pub(in crate::kubernetes) started_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct Terminated {
    #[serde(deserialize_with = "code")]
    pub(in crate::kubernetes) exit_code: i32,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) reason: String,
    #[serde(deserialize_with = "time")]
    pub(in crate::kubernetes) started_at: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub(in crate::kubernetes) finished_at: Option<Timestamp>,
    #[serde(rename = "containerID", deserialize_with = "run")]
    pub(in crate::kubernetes) run: u64,
}

fn run<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    text(deserializer, run_of)
}

/// Returns the identity of a run, computed from its `containerID`. Returns 0 for an empty one.
pub(in crate::kubernetes) fn run_of(text: &str) -> u64 {
    match text {
        "" => 0,
        id => stable_hash([id.as_bytes()]),
    }
}

impl LeanStatus {
    /// Converts to the status of the domain.
    pub(super) fn to_domain(&self, interner: &mut Interner) -> ContainerStatus {
        let Self {
            name: _,
            ready,
            started,
            restart_count,
            run,
            state,
            last_state,
        } = self;
        ContainerStatus {
            ready: *ready,
            started: *started,
            restart_count: *restart_count,
            run: *run,
            state: state.to_domain(interner),
            last_exit: last_state
                .terminated
                .as_ref()
                .map(|exit| Box::new(exit.to_domain(interner))),
        }
    }
}

impl LeanState {
    /// Converts to the state of the domain. The API allows one member. Of several, `running` comes first, then
    /// `terminated`, because they contain more about the run.
    fn to_domain(&self, interner: &mut Interner) -> State {
        match self {
            Self {
                running: Some(running),
                ..
            } => State::Running(running.started_at),
            Self {
                terminated: Some(exit),
                ..
            } => State::Terminated(Box::new(exit.to_domain(interner))),
            Self { waiting, .. } => State::Waiting(match waiting {
                Some(waiting) => interner.string(&bounded(&waiting.reason)),
                // Kubernetes defines an empty state as waiting.
                None => interner.string(""),
            }),
        }
    }
}

impl Terminated {
    fn to_domain(&self, interner: &mut Interner) -> Exit {
        let Self {
            exit_code,
            reason,
            started_at,
            finished_at,
            run,
        } = self;
        Exit {
            code: *exit_code,
            reason: interner.string(&bounded(reason)),
            started_at: *started_at,
            finished_at: *finished_at,
            run: *run,
        }
    }
}
