//! Phase and conditions of a Pod, computed from its containers as in `kubelet_pods.go` and `status/generate.go` of Kubernetes
//! 1.37. `lastTransitionTime` changes only with the status of a condition.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::add_fields;
use super::container::{ContainerState, seconds};
use super::spec::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(super) fn is_last(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sandbox {
    None,
    Ready,
    Gone,
}

/// Status, reason and message of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: bool,
    pub(super) reason: Option<&'static str>,
    pub(super) message: Option<String>,
}

impl Verdict {
    pub(super) fn of(status: bool) -> Self {
        Self {
            status,
            reason: None,
            message: None,
        }
    }

    pub(super) fn because(status: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: Some(reason),
            message: Some(message.into()),
        }
    }

    fn bare(status: bool, reason: &'static str) -> Self {
        Self {
            status,
            reason: Some(reason),
            message: None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) verdict: Verdict,
    since: Timestamp,
    /// The `observedGeneration`.
    generation: Option<i64>,
}

impl Condition {
    /// Sets the `observedGeneration`.
    pub(super) fn observed(mut self, generation: i64) -> Self {
        self.generation = Some(generation);
        self
    }

    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "type": self.kind,
            "status": if self.verdict.status { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": seconds(self.since),
        });
        let fields = [
            (
                "observedGeneration",
                self.generation.map(|generation| json!(generation)),
            ),
            ("reason", self.verdict.reason.map(|reason| json!(reason))),
            (
                "message",
                self.verdict.message.as_ref().map(|message| json!(message)),
            ),
        ];
        add_fields(&mut json, fields);
        json
    }
}

/// Sets or adds a condition. The transition time changes only with the status.
pub(super) fn set(
    conditions: &mut Vec<Condition>,
    kind: &'static str,
    verdict: Verdict,
    generation: Option<i64>,
    now: Timestamp,
) {
    if let Some(condition) = conditions.iter_mut().find(|condition| condition.kind == kind) {
        if condition.verdict.status != verdict.status {
            condition.since = now;
        }
        condition.verdict = verdict;
        condition.generation = generation;
    } else {
        conditions.push(Condition {
            kind,
            verdict,
            since: now,
            generation,
        });
    }
}

/// The phase. `begun`: a regular container has run, in this or an earlier sandbox. `ended`: the Pod was deleted and all its
/// containers have exited.
pub(super) fn phase(containers: &[ContainerState], begun: bool, ended: bool) -> Phase {
    let regular = || containers.iter().filter(|container| container.is(Kind::Regular));
    // Exit codes of native sidecars have no effect.
    let outcome = || {
        let succeeded = regular().all(|container| container.exit_code() == Some(0));
        if succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        }
    };
    let init = || containers.iter().filter(|container| container.is(Kind::Init));
    if ended {
        return outcome();
    }
    if init().any(|container| container.finished() && container.exit_code() != Some(0)) {
        return Phase::Failed;
    }
    // A container that was removed for a restart does not count until it runs.
    let removed = |container: &ContainerState| container.not_created() && container.previous.is_some();
    let initializing = init().any(|container| !container.lets_the_next_start() && !removed(container));
    let native = || containers.iter().filter(|container| container.is(Kind::Native));
    if initializing || (!begun && native().any(|container| !container.started)) {
        return Phase::Pending;
    }
    // A container that was never created keeps the Pod pending.
    if regular().any(|container| container.not_created() && container.previous.is_none()) {
        return Phase::Pending;
    }
    if regular().all(ContainerState::finished) && !native().any(ContainerState::running) {
        return outcome();
    }
    Phase::Running
}

pub(super) fn sandbox(sandbox: Sandbox) -> Verdict {
    match sandbox {
        Sandbox::None => Verdict::because(false, "PodSandboxNotReady", "no pod sandbox exists"),
        Sandbox::Ready => Verdict::of(true),
        Sandbox::Gone => Verdict::because(false, "PodSandboxNotReady", "pod sandbox is not ready"),
    }
}

pub(super) fn initialized(containers: &[ContainerState], begun: bool, phase: Phase) -> Verdict {
    if phase == Phase::Succeeded {
        return Verdict::bare(true, "PodCompleted");
    }
    let incomplete = names(containers, |container| !container.lets_the_next_start());
    // After a regular container has run, it stays True.
    if begun || incomplete.is_empty() {
        return Verdict::of(true);
    }
    let message = format!("containers with incomplete status: [{incomplete}]");
    Verdict::because(false, "ContainersNotInitialized", message)
}

pub(super) fn containers_ready(containers: &[ContainerState], phase: Phase) -> Verdict {
    match phase {
        Phase::Succeeded => Verdict::bare(false, "PodCompleted"),
        Phase::Failed => Verdict::bare(false, "PodFailed"),
        Phase::Pending | Phase::Running => {
            let unready = names(containers, |container| {
                !container.is(Kind::Init) && !container.ready
            });
            if unready.is_empty() {
                return Verdict::of(true);
            }
            let message = format!("containers with unready status: [{unready}]");
            Verdict::because(false, "ContainersNotReady", message)
        }
    }
}

fn names(containers: &[ContainerState], wanted: impl Fn(&ContainerState) -> bool) -> String {
    let names = containers
        .iter()
        .filter(|container| wanted(container))
        .map(|container| container.spec.name.as_str());
    names.collect::<Vec<_>>().join(" ")
}
