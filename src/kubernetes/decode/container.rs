//! Containers: what the spec says of them, and what the kubelet reports.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{
    intern::Interner,
    lenient::{code, count, is_present, list, or_default, text, time},
};
use crate::domain::{
    hash::stable_hash,
    observation::{
        Container, ContainerKind, ContainerStatus, Exit, Probes, RestartPolicy, RestartRule, State,
    },
};

/// An entry of `spec.containers` or `spec.initContainers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LeanContainer {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "restart_policy")]
    restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "list")]
    restart_policy_rules: Vec<LeanRule>,
    #[serde(deserialize_with = "is_present")]
    readiness_probe: bool,
    #[serde(deserialize_with = "is_present")]
    liveness_probe: bool,
    #[serde(deserialize_with = "is_present")]
    startup_probe: bool,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    limits: Limits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Limits {
    memory: Option<String>,
}

/// An entry of `restartPolicyRules` (KEP-5307, and KEP-5532 for the second action).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LeanRule {
    #[serde(deserialize_with = "restarts")]
    action: bool,
    #[serde(deserialize_with = "or_default")]
    exit_codes: ExitCodes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ExitCodes {
    #[serde(deserialize_with = "is_in")]
    operator: Option<bool>,
    #[serde(deserialize_with = "list")]
    values: Vec<ExitCode>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct ExitCode(#[serde(deserialize_with = "code")] i32);

impl LeanContainer {
    /// The container as the evaluation reads it. `init` says which of the spec's lists it comes from.
    pub(super) fn to_domain(&self, init: bool, interner: &mut Interner) -> Container {
        let Self {
            name,
            image,
            restart_policy,
            restart_policy_rules,
            readiness_probe: readiness,
            liveness_probe: liveness,
            startup_probe: startup,
            resources,
        } = self;
        Container {
            name: interner.string(name),
            image: interner.string(image),
            kind: match (init, restart_policy) {
                (false, _) => ContainerKind::Regular,
                (true, Some(RestartPolicy::Always)) => ContainerKind::Native,
                (true, _) => ContainerKind::Init,
            },
            restart_policy: *restart_policy,
            restart_rules: restart_policy_rules.iter().filter_map(LeanRule::known).collect(),
            probes: Probes {
                readiness: *readiness,
                liveness: *liveness,
                startup: *startup,
            },
            memory_limit: match resources.limits.memory.as_deref() {
                None | Some("") => None,
                Some(limit) => Some(interner.string(limit)),
            },
        }
    }
}

impl LeanRule {
    /// The rule, unless this version does not know what it asks for.
    fn known(&self) -> Option<RestartRule> {
        let Self { action, exit_codes } = self;
        let is_in = exit_codes.operator.filter(|_| *action)?;
        Some(RestartRule {
            is_in,
            exit_codes: exit_codes.values.iter().map(|code| code.0).collect(),
        })
    }
}

/// `restartPolicy`, of which a value that this version does not know is as good as none.
pub(super) fn restart_policy<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RestartPolicy>, D::Error> {
    text(deserializer, |text| match text {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    })
}

/// Whether a rule's action means that the container is not finished.
fn restarts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    text(deserializer, |text| {
        matches!(text, "Restart" | "RestartAllContainers")
    })
}

fn is_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    text(deserializer, |text| match text {
        "In" => Some(true),
        "NotIn" => Some(false),
        _ => None,
    })
}

/// An entry of `status.containerStatuses` or `status.initContainerStatuses`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LeanStatus {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    ready: bool,
    #[serde(deserialize_with = "or_default")]
    started: bool,
    #[serde(deserialize_with = "count")]
    restart_count: u32,
    #[serde(rename = "containerID", deserialize_with = "run")]
    run: u64,
    #[serde(deserialize_with = "or_default")]
    state: LeanState,
    #[serde(deserialize_with = "or_default")]
    last_state: LeanState,
}

/// `state` or `lastState`: an object with one member, which says by its name what the container does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LeanState {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<Box<Terminated>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    #[serde(deserialize_with = "or_default")]
    reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Running {
    #[serde(deserialize_with = "time")]
    started_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    #[serde(deserialize_with = "code")]
    exit_code: i32,
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "time")]
    started_at: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    finished_at: Option<Timestamp>,
    #[serde(rename = "containerID", deserialize_with = "run")]
    run: u64,
}

/// A `containerID` as the identity of a run; 0 without one.
fn run<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    text(deserializer, |text| match text {
        "" => 0,
        id => stable_hash([id.as_bytes()]),
    })
}

impl LeanStatus {
    /// The status as the evaluation reads it.
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
    /// Of several members, which the API rules out, the one that says most of a run holds.
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
                Some(waiting) => interner.string(&waiting.reason),
                // Kubernetes defines no member at all as waiting.
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
            reason: interner.string(reason),
            started_at: *started_at,
            finished_at: *finished_at,
            run: *run,
        }
    }
}
