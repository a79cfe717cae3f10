//! What we keep of a Pod: the few facts that the checks read, and nothing of Kubernetes' own types.
//!
//! In: the values that `wire` decodes. Out: an [`Observation`] that the index stores and compares with the next
//! one. Containers are joined by name once, here in [`Shape`] order; nothing downstream looks a name up again.

use std::sync::Arc;

use jiff::Timestamp;

use super::time::ApiTime;

/// One Pod as one watch event showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// `metadata.uid`: the identity of the Pod. A StatefulSet Pod of the same name is another Pod.
    pub uid: Arc<str>,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`, shared between Pods that carry the same ones.
    pub labels: Arc<Labels>,
    /// What the Pod's owner would call it.
    pub workload: Arc<Workload>,
    /// `metadata.creationTimestamp`.
    pub created: ApiTime,
    /// `spec.nodeName` is set.
    pub scheduled: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `status.phase`.
    pub phase: Phase,
    /// The Pod conditions that the checks read.
    pub conditions: Conditions,
    /// The containers as the spec has them, shared between Pods of the same shape.
    pub shape: Arc<Shape>,
    /// The status of each container of `shape`, in the same order; `None` while the kubelet has said nothing of it.
    pub statuses: Box<[Option<ContainerStatus>]>,
    /// Statuses that name a container which the spec lacks: ignored, and counted.
    pub stray_statuses: u16,
}

/// Labels sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// The value of a label, when it is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let mut labels: Vec<_> = labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        labels.sort_unstable();
        labels.dedup_by(|a, b| a.0 == b.0);
        labels.shrink_to_fit();
        Self(labels)
    }
}

/// What a Pod belongs to: `Deployment/web`, `CronJob/report`, or the Pod itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// The kind of the owner, `Pod` without one.
    pub kind: Arc<str>,
    /// The name of the owner.
    pub name: Arc<str>,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; not every container has been made.
    #[default]
    Pending,
    /// Bound to a node, with a container that runs or is restarted.
    Running,
    /// Every container ended with success. Native sidecars have no say in it.
    Succeeded,
    /// Every container ended, one of them with failure.
    Failed,
    /// The kubelet cannot tell, or a value that this version does not know.
    Unknown,
}

/// The Pod conditions that the checks read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `Initialized=True`: the condition of the kubelet, not our recount.
    pub initialized: bool,
    /// `Ready=False` with no reason: so the node controller marks the Pods of a node it has lost.
    pub ready_false_without_reason: bool,
    /// `ContainersReady`.
    pub containers_ready: Option<Condition>,
    /// `PodReadyToStartContainers`: the sandbox lives and has its network.
    pub sandbox_ready: Option<Condition>,
    /// `DisruptionTarget=True`: eviction, preemption or taint manager; the Pod is on its way out.
    pub disruption_target: bool,
    /// `AllContainersRestarting=True` (KEP-5532).
    pub all_containers_restarting: bool,
    /// `PodResizeInProgress=True` (KEP-1287).
    pub resize_in_progress: bool,
}

/// A Pod condition: its status and when that last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The status is `True`.
    pub holds: bool,
    /// `lastTransitionTime`, on the kubelet's clock.
    pub since: ApiTime,
}

/// The part of a Pod's spec that decides roles, shared between Pods of one template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// Init containers in their order, then regular containers in theirs. Ephemeral containers are not here.
    pub containers: Box<[Container]>,
}

/// A container of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// The container's name, unique in its Pod.
    pub name: Arc<str>,
    /// The image as the spec writes it.
    pub image: Arc<str>,
    /// Where in the spec it stands, and whether it is a native sidecar.
    pub kind: ContainerKind,
    /// The container's own restart policy (KEP-5307), when it has one.
    pub restart_policy: Option<RestartPolicy>,
    /// `restartPolicyRules` (KEP-5307).
    pub restart_rules: Box<[RestartRule]>,
    /// Which probes it has.
    pub probes: Probes,
    /// `resources.limits.memory` as the spec writes it.
    pub memory_limit: Option<Arc<str>>,
}

/// Where a container stands in the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// An init container that runs to its end.
    Init,
    /// An init container with `restartPolicy: Always` (KEP-753).
    Native,
    /// An entry of `spec.containers`.
    Regular,
}

/// `restartPolicy` of a Pod or a container. A value that this version does not know is read as the default: `Always` for
/// a Pod, for a container none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Restarted whenever it exits.
    #[default]
    Always,
    /// Restarted when it exits with another code than 0.
    OnFailure,
    /// Not restarted.
    Never,
}

/// One of a container's `restartPolicyRules`: exits that it matches are restarted whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestartRule {
    /// `In` when true, `NotIn` otherwise.
    pub is_in: bool,
    /// The exit codes that the operator speaks of.
    pub exit_codes: Box<[i32]>,
}

impl RestartRule {
    /// Whether the rule restarts a container that exited with `code`.
    pub fn restarts(&self, code: i32) -> bool {
        self.exit_codes.contains(&code) == self.is_in
    }
}

/// Which probes a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probes {
    /// `readinessProbe`
    pub readiness: bool,
    /// `livenessProbe`
    pub liveness: bool,
    /// `startupProbe`
    pub startup: bool,
}

/// The kubelet's word on one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// `ready`
    pub ready: bool,
    /// `started`: the startup probe has passed and postStart is done.
    pub started: bool,
    /// `restartCount`: a gauge that only usually grows.
    pub restart_count: u32,
    /// A stable hash of `containerID`: the identity of the current run; 0 without one.
    pub run: u64,
    /// What it does now.
    pub state: State,
    /// `lastState.terminated`: how the run before this one ended. Boxed like the exit in [`State`]: most containers
    /// never ended, and there are many containers.
    pub last_exit: Option<Box<Exit>>,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `waiting`, or no state at all, which Kubernetes defines as waiting. The reason may be empty.
    Waiting(Arc<str>),
    /// `running` since `startedAt`.
    Running(Option<Timestamp>),
    /// `terminated`.
    Terminated(Box<Exit>),
}

/// The end of one run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// `exitCode`
    pub code: i32,
    /// `reason`, such as `Error`, `Completed`, `OOMKilled`; may be empty.
    pub reason: Arc<str>,
    /// `startedAt`; `None` also for 1970, which the kubelet writes for a run that never began.
    pub started_at: Option<Timestamp>,
    /// `finishedAt`; `None` also for 1970.
    pub finished_at: Option<Timestamp>,
    /// A stable hash of the run's `containerID`; 0 without one.
    pub run: u64,
}

/// The reason of a container that runs out of memory, alone or through one of its children.
pub const OOM_KILLED: &str = "OOMKilled";
/// The reason that KEP-5532 writes when all containers of a Pod are restarted in place.
pub const RESTARTING_ALL_CONTAINERS: &str = "RestartingAllContainers";
/// The waiting reasons of a container that simply has not been created yet.
const NOT_CREATED: [&str; 3] = ["ContainerCreating", "PodInitializing", RESTARTING_ALL_CONTAINERS];

impl ContainerStatus {
    /// Waiting only because nobody has made it yet: no failure of its own.
    pub fn waits_to_be_created(&self) -> bool {
        matches!(&self.state, State::Waiting(reason) if NOT_CREATED.contains(&&**reason))
    }

    /// Some run of it exists or existed.
    pub fn has_begun(&self) -> bool {
        !matches!(self.state, State::Waiting(_)) || self.last_exit.is_some() || self.restart_count > 0
    }

    /// `startedAt` of the current run.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Running(since) => since,
            _ => None,
        }
    }

    /// The exit of the latest run that ended: the present state, or else the state before.
    pub fn latest_exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Terminated(exit) => Some(exit),
            _ => self.last_exit.as_deref(),
        }
    }
}

impl Container {
    /// Whether an exit with `code` ends the container for good, under its own restart policy or else its Pod's. That of
    /// a Pod means `OnFailure` to a plain init container where it says `Always`.
    pub fn is_final(&self, code: i32, pod: RestartPolicy) -> bool {
        if self.kind == ContainerKind::Native || self.restart_rules.iter().any(|rule| rule.restarts(code)) {
            return false;
        }
        match self.restart_policy.unwrap_or(pod) {
            RestartPolicy::Always => self.kind == ContainerKind::Init && code == 0,
            RestartPolicy::OnFailure => code == 0,
            RestartPolicy::Never => true,
        }
    }
}

impl Observation {
    /// The container at `at` with its status, when the kubelet has written one.
    pub fn container(&self, at: usize) -> Option<(&Container, &ContainerStatus)> {
        let status = self.statuses.get(at)?.as_ref()?;
        Some((self.shape.containers.get(at)?, status))
    }

    /// The exit that ended the container at `at` for good, if it is finished.
    pub fn finished(&self, at: usize) -> Option<&Exit> {
        let (container, status) = self.container(at)?;
        match &status.state {
            State::Terminated(exit) if container.is_final(exit.code, self.shape.restart_policy) => Some(exit),
            _ => None,
        }
    }

    /// Whether the checks look at this Pod at all: it is on a node, and neither done nor on its way out.
    pub fn is_evaluated(&self) -> bool {
        self.scheduled
            && !self.terminating
            && !self.conditions.disruption_target
            && !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether what this Pod says of its containers must not be believed for now: all of them are being restarted
    /// together, or the node is lost. The node controller then sets only `Ready=False`, without a reason;
    /// `ContainersReady` and every container status stay as the kubelet last wrote them.
    pub fn is_held(&self) -> bool {
        let conditions = &self.conditions;
        conditions.all_containers_restarting
            || conditions.ready_false_without_reason
                && conditions.containers_ready.is_some_and(|c| c.holds)
                && self
                    .statuses
                    .iter()
                    .all(|status| status.as_ref().is_some_and(|s| s.ready))
    }
}
