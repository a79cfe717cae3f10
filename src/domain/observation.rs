//! The facts of a Pod that the checks read, without Kubernetes types.
//!
//! `kubernetes::decode` creates an [`Observation`] from a Pod; the index stores it and compares it with the next one.
//! The decoder joins statuses and containers by name; in the domain a container is an index into the [`Shape`].

mod app_names;
mod state;

use std::{num::NonZeroU32, sync::Arc};

use jiff::Timestamp;

pub use self::app_names::AppNames;
use super::time::ApiTime;

/// A Pod at the time of one watch event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// `metadata.uid`: the identity of the Pod. A new StatefulSet Pod with the same name has another UID.
    pub uid: Arc<str>,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`, shared between Pods with the same labels.
    pub labels: Arc<Labels>,
    /// The annotations in [`ANNOTATIONS`](super::expected::ANNOTATIONS), shared like the labels.
    pub annotations: Arc<Labels>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// The workload of the Pod.
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
    /// The containers of the spec, shared between Pods of the same shape.
    pub shape: Arc<Shape>,
    /// The status of each container of `shape`, in the same order; `None` until the kubelet has reported it.
    pub statuses: Box<[Option<ContainerStatus>]>,
    /// The number of container statuses whose name is not in the spec. They are ignored.
    pub stray_statuses: u16,
}

/// Labels sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// The value of a label, if it exists.
    pub fn get(&self, key: &str) -> Option<&str> {
        let i = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(i).map(|(_, value)| &**value)
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

/// The labels of a namespace, and its annotations that Pods also keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMetadata {
    /// `metadata.labels`
    pub labels: Labels,
    /// The annotations in [`ANNOTATIONS`](super::expected::ANNOTATIONS).
    pub annotations: Labels,
}

/// The metadata of a namespace with these labels and without annotations.
impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for NamespaceMetadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        Self {
            labels: labels.into_iter().collect(),
            annotations: Labels::default(),
        }
    }
}

/// The workload of a Pod: `Deployment/web`, `CronJob/report`, or the Pod itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// The kind of the owner, `Pod` without one.
    pub kind: Arc<str>,
    /// The name of the owner.
    pub name: Arc<str>,
}

impl Workload {
    /// Whether it is a Pod: one without an owner, or one that owns others, such as a Spark driver.
    pub fn is_pod(&self) -> bool {
        &*self.kind == "Pod"
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.kind.is_empty() && self.name.is_empty() {
            return Ok(());
        }
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted; not all containers have been created.
    #[default]
    Pending,
    /// Bound to a node, with a container that runs or is being restarted.
    Running,
    /// All containers ended with success. Native sidecars do not count.
    Succeeded,
    /// All containers ended, at least one with failure.
    Failed,
    /// The state is unknown, or the value is not known to this version.
    Unknown,
}

/// The Pod conditions that the checks read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `Initialized=True`, as the kubelet reports it.
    pub initialized: bool,
    /// `Ready=False` without a reason: the node controller sets this on the Pods of a lost node.
    pub ready_false_without_reason: bool,
    /// `ContainersReady`.
    pub containers_ready: Option<Condition>,
    /// `PodReadyToStartContainers`: the sandbox is ready and has its network.
    pub sandbox_ready: Option<Condition>,
    /// `DisruptionTarget=True`: the Pod is about to be evicted, preempted or deleted by the taint manager.
    pub disruption_target: bool,
    /// `AllContainersRestarting=True` (KEP-5532).
    pub all_containers_restarting: bool,
    /// `PodResizeInProgress=True` (KEP-1287), with the identity of the resize: the condition's `observedGeneration`, or
    /// the seconds of its `lastTransitionTime` for a kubelet that does not write the generation (before 1.34).
    pub resize_in_progress: Option<NonZeroU32>,
}

/// A Pod condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The status is `True`.
    pub holds: bool,
    /// `lastTransitionTime`, by the clock of the kubelet.
    pub since: ApiTime,
}

/// The containers of a Pod's spec, shared between Pods of one template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// The init containers in the order of the spec, then the regular containers. Without ephemeral containers.
    pub containers: Box<[Container]>,
}

impl Shape {
    /// The index of the container with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.containers
            .iter()
            .position(|container| *container.name == *name)
    }
}

/// A container of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// The container's name, unique in its Pod.
    pub name: Arc<str>,
    /// The image as written in the spec.
    pub image: Arc<str>,
    /// The kind of the container.
    pub kind: ContainerKind,
    /// What names it as the app of the Pod, if that decides its role.
    pub named_by: Option<NamedBy>,
    /// The container's own restart policy (KEP-5307), if it has one.
    pub restart_policy: Option<RestartPolicy>,
    /// `restartPolicyRules` (KEP-5307).
    pub restart_rules: Box<[RestartRule]>,
    /// The probes of the container.
    pub probes: Probes,
    /// `lifecycle.postStart` is set.
    pub has_post_start: bool,
    /// `resizePolicy` has `RestartContainer` for a resource: a resize in place can restart the container.
    pub restarts_on_resize: bool,
    /// `resources.limits.memory` as written in the spec.
    pub memory_limit: Option<Arc<str>>,
}

/// What names a regular container as the app of its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamedBy {
    /// The annotation [`DEFAULT_CONTAINER`].
    Annotation,
    /// The name of the workload.
    Workload,
}

/// The annotation with the name of the container that `kubectl logs` and `kubectl exec` use.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The kind of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// An init container that runs to completion.
    Init,
    /// An init container with `restartPolicy: Always` (KEP-753).
    Native,
    /// An entry of `spec.containers`.
    Regular,
}

/// `restartPolicy` of a Pod or a container. A value that this version does not know is decoded as the default: `Always` for
/// a Pod, none for a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Restarted after every exit.
    #[default]
    Always,
    /// Restarted after an exit with a code other than 0.
    OnFailure,
    /// Never restarted.
    Never,
}

/// One of a container's `restartPolicyRules`. The kubelet restarts the container after an exit that the rule matches,
/// under any restart policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestartRule {
    /// `In` when true, `NotIn` otherwise.
    pub is_in: bool,
    /// The exit codes of the rule.
    pub exit_codes: Box<[i32]>,
}

impl RestartRule {
    /// Whether the rule restarts a container that exited with `code`.
    pub fn restarts(&self, code: i32) -> bool {
        self.exit_codes.contains(&code) == self.is_in
    }
}

/// The probes of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probes {
    /// `readinessProbe`
    pub readiness: bool,
    /// `livenessProbe`
    pub liveness: bool,
    /// `startupProbe`
    pub startup: bool,
    /// `readinessProbe.initialDelaySeconds`
    pub readiness_delay: u32,
    /// `startupProbe.initialDelaySeconds`
    pub startup_delay: u32,
    /// The readiness probe goes through the proxy of Istio, which has rewritten it.
    pub readiness_through_mesh: bool,
}

/// The status of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// `ready`
    pub ready: bool,
    /// `started`: the startup probe has passed and the postStart hook has returned.
    pub started: bool,
    /// `restartCount`. It can also decrease.
    pub restart_count: u32,
    /// A stable hash of `containerID`: the identity of the current run; 0 without one.
    pub run: u64,
    /// The current state.
    pub state: State,
    /// `lastState.terminated`: the end of the previous run. Boxed like the exit in [`State`], because most containers have
    /// never exited.
    pub last_exit: Option<Box<Exit>>,
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `waiting` with its reason, which may be empty. The API defines a missing state as waiting.
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
    /// `startedAt`; `None` also for 1970, which the kubelet writes for a run that did not start.
    pub started_at: Option<Timestamp>,
    /// `finishedAt`; `None` also for 1970.
    pub finished_at: Option<Timestamp>,
    /// A stable hash of the run's `containerID`; 0 without one.
    pub run: u64,
}

/// The reason of an exit after an OOM kill of the container or of a process in it.
pub const OOM_KILLED: &str = "OOMKilled";
/// The reason when all containers of a Pod are restarted in place (KEP-5532).
pub const RESTARTING_ALL_CONTAINERS: &str = "RestartingAllContainers";
/// The reason of an exit that the kubelet has not observed.
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The waiting reason of a container that the kubelet restarts later, because it has failed.
pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
/// The waiting reasons of a container that has not been created yet.
const NOT_CREATED: [&str; 3] = ["ContainerCreating", "PodInitializing", RESTARTING_ALL_CONTAINERS];

impl ContainerStatus {
    /// Whether the container has not been created yet. This is not a failure of the container.
    pub fn waits_to_be_created(&self) -> bool {
        matches!(&self.state, State::Waiting(reason) if NOT_CREATED.contains(&&**reason))
    }

    /// Whether a container of this kind no longer blocks the containers after it in the order of the start: a native
    /// sidecar is `started`, a plain init container has exited with code 0 (KEP-753), a regular container is created.
    pub fn is_done(&self, kind: ContainerKind) -> bool {
        match kind {
            ContainerKind::Native => self.started,
            ContainerKind::Init => matches!(&self.state, State::Terminated(exit) if exit.code == 0),
            ContainerKind::Regular => !self.waits_to_be_created(),
        }
    }

    /// Whether the container runs or has run.
    pub fn has_run(&self) -> bool {
        !matches!(self.state, State::Waiting(_)) || self.last_exit.is_some() || self.restart_count > 0
    }

    /// Whether the container waits for a restart because it has failed repeatedly.
    pub fn is_in_back_off(&self) -> bool {
        matches!(&self.state, State::Waiting(reason) if **reason == *CRASH_LOOP_BACK_OFF)
    }

    /// `startedAt` of the current run.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Running(since) => since,
            _ => None,
        }
    }

    /// The exit of the latest run that ended: in the current state, or else in the last state.
    pub fn latest_exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Terminated(exit) => Some(exit),
            _ => self.last_exit.as_deref(),
        }
    }
}

impl Exit {
    /// Whether the kubelet has lost the run with its sandbox, so that its end is not known (`kubelet_pods.go`).
    pub fn is_lost(&self) -> bool {
        &*self.reason == STATUS_UNKNOWN && self.finished_at.is_none()
    }
}

impl Container {
    /// Whether the container is not restarted after an exit with `code`, under its own restart policy or else that of its
    /// Pod. For a plain init container, `Always` of the Pod means `OnFailure`.
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
