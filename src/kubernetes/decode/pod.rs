//! Decodes Pods and converts them to observations.
//!
//! Input: the JSON of a Pod, or a [`LeanPod`] from protobuf. Output: an [`Observation`], with statuses joined to the
//! spec by name. A [`LeanPod`] has only the fields that are used, so a page of a list costs a fraction of a page of the
//! whole type.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use super::{
    container::{LeanContainer, LeanStatus, restart_policy},
    identity::{Identity, MissingIdentity, lean_metadata},
    intern::Interner,
    lenient::{clamp_count, count, is_set, list, or_default, text, time},
    object::{Object, Undecodable},
    workload::workload_of,
};
use crate::{
    domain::observation::{
        AppNames, Condition, Conditions, ContainerStatus, DEFAULT_CONTAINER, Observation, Phase,
        RestartPolicy, Shape, Workload,
    },
    kubernetes::protobuf::{Malformed, decode_pod},
};

/// A Pod without unused fields.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Pod")]
#[serde(default)]
pub struct LeanPod {
    /// Identity, labels, controller, and the fields that the watch needs.
    #[serde(deserialize_with = "lean_metadata")]
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) spec: LeanSpec,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) status: LeanPodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanSpec {
    #[serde(rename = "nodeName", deserialize_with = "is_set")]
    pub(in crate::kubernetes) scheduled: bool,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::kubernetes) host_network: bool,
    #[serde(deserialize_with = "restart_policy")]
    pub(in crate::kubernetes) restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) init_containers: Vec<LeanContainer>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) containers: Vec<LeanContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanPodStatus {
    #[serde(deserialize_with = "phase")]
    pub(in crate::kubernetes) phase: Phase,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) conditions: Vec<LeanCondition>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) init_container_statuses: Vec<LeanStatus>,
    #[serde(deserialize_with = "list")]
    pub(in crate::kubernetes) container_statuses: Vec<LeanStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kubernetes) struct LeanCondition {
    #[serde(rename = "type", deserialize_with = "condition_type")]
    pub(in crate::kubernetes) kind: ConditionType,
    #[serde(deserialize_with = "condition_status")]
    pub(in crate::kubernetes) status: ConditionStatus,
    #[serde(rename = "reason", deserialize_with = "is_set")]
    pub(in crate::kubernetes) has_reason: bool,
    #[serde(deserialize_with = "time")]
    pub(in crate::kubernetes) last_transition_time: Option<Timestamp>,
    #[serde(deserialize_with = "count")]
    pub(in crate::kubernetes) observed_generation: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kubernetes) enum ConditionType {
    Initialized,
    Ready,
    ContainersReady,
    PodReadyToStartContainers,
    DisruptionTarget,
    AllContainersRestarting,
    PodResizeInProgress,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kubernetes) enum ConditionStatus {
    True,
    False,
    #[default]
    Unknown,
}

impl Object for LeanPod {
    const HAS_PROTOBUF: bool = true;

    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    fn from_protobuf(bytes: &[u8]) -> Result<Self, Malformed> {
        decode_pod(bytes)
    }

    fn of_undecodable(undecodable: &Undecodable) -> Self {
        Self {
            metadata: undecodable.metadata(),
            ..Self::default()
        }
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn version(&mut self) -> String {
        // The version is not used after the list-watch.
        self.metadata.resource_version.take().unwrap_or_default()
    }
}

impl LeanPod {
    /// Returns the identity of the Pod. Of a deleted Pod, nothing else is used.
    pub fn identity(&self) -> Result<Identity<'_>, MissingIdentity> {
        Identity::namespaced("Pod", &self.metadata)
    }
}

/// Converts a Pod to an observation. Fails for a Pod without a complete identity; the caller counts, logs and skips it.
pub fn observe(pod: LeanPod, interner: &mut Interner) -> Result<Observation, MissingIdentity> {
    let identity = pod.identity()?;
    let namespace = interner.string(identity.namespace);
    let (name, uid) = (Arc::from(identity.name), Arc::from(identity.uid));
    let LeanPod {
        metadata,
        spec,
        status,
    } = pod;
    let workload = workload_of(&metadata, &name, interner);
    let (statuses, stray_statuses) = join(&spec, &status, interner);
    let names = app_names(&metadata, &workload);
    let shape = shape(&spec, &names, interner);
    let labels = metadata.labels.into_iter().flatten().collect();
    let annotations = metadata.annotations.into_iter().flatten();
    // The shape has the effect of this annotation.
    let annotations = annotations.filter(|(key, _)| key != DEFAULT_CONTAINER).collect();
    Ok(Observation {
        uid,
        namespace,
        name,
        labels: interner.labels(labels),
        annotations: interner.labels(annotations),
        host_network: spec.host_network,
        workload,
        created: metadata.creation_timestamp.map(|time| time.0).into(),
        scheduled: spec.scheduled,
        terminating: metadata.deletion_timestamp.is_some(),
        phase: status.phase,
        conditions: conditions(&status.conditions),
        shape,
        statuses,
        stray_statuses,
    })
}

/// Returns the names of the app that decide roles.
fn app_names<'a>(metadata: &'a ObjectMeta, workload: &'a Workload) -> AppNames<'a> {
    let text = |map: &'a Option<BTreeMap<String, String>>, key| map.as_ref()?.get(key).map(String::as_str);
    AppNames {
        default_container: text(&metadata.annotations, DEFAULT_CONTAINER),
        workload: Some((&workload.kind, &workload.name)),
        label: text(&metadata.labels, AppNames::LABEL),
    }
}

/// Converts a Pod spec to its containers. A spec that does not match the types of the API has none.
pub fn decode_shape(spec: serde_json::Value, names: &AppNames<'_>) -> Arc<Shape> {
    let spec: LeanSpec = serde_json::from_value(spec).unwrap_or_default();
    shape(&spec, names, &mut Interner::default())
}

fn shape(spec: &LeanSpec, names: &AppNames<'_>, interner: &mut Interner) -> Arc<Shape> {
    let init = spec.init_containers.iter().map(|container| (container, None));
    let regular = spec.containers.iter().map(|container| (container, Some(names)));
    let containers = init
        .chain(regular)
        .map(|(container, names)| container.to_domain(names, interner))
        .collect();
    interner.shape(Shape {
        restart_policy: spec.restart_policy.unwrap_or_default(),
        containers,
    })
}

/// Returns the status of each container in the order of the spec, and the number of statuses without a container.
///
/// Names are unique in a Pod, so a status belongs to the container with its name, in either of the two status lists: a
/// node agent without support for native sidecars reports them in `containerStatuses`. Of several statuses for one
/// name, the last one is used, as in a map. A status without a name has no container. The API server rejects containers
/// without a name and duplicate names. Here, a container without a name has no status, and the first of several
/// containers with one name has the status.
fn join(
    spec: &LeanSpec,
    status: &LeanPodStatus,
    interner: &mut Interner,
) -> (Box<[Option<ContainerStatus>]>, u16) {
    let containers = spec.init_containers.iter().chain(&spec.containers);
    let mut places = HashMap::new();
    let mut joined: Vec<Option<&LeanStatus>> = Vec::new();
    for (at, container) in containers.enumerate() {
        joined.push(None);
        if !container.name.is_empty() {
            places.entry(container.name.as_str()).or_insert(at);
        }
    }
    let mut strays: u16 = 0;
    for status in status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
    {
        match places
            .get(status.name.as_str())
            .and_then(|at| joined.get_mut(*at))
        {
            Some(place) => *place = Some(status),
            None => strays = strays.saturating_add(1),
        }
    }
    let statuses = joined
        .into_iter()
        .map(|status| status.map(|status| status.to_domain(interner)))
        .collect();
    (statuses, strays)
}

/// Returns the supported conditions, in any order. Of several entries of one type, the last one is used.
fn conditions(list: &[LeanCondition]) -> Conditions {
    let mut conditions = Conditions::default();
    for condition in list {
        let holds = condition.status == ConditionStatus::True;
        let whole = Some(Condition {
            holds,
            since: condition.last_transition_time.into(),
        });
        match condition.kind {
            ConditionType::Initialized => conditions.initialized = holds,
            ConditionType::Ready => {
                conditions.ready_false_without_reason =
                    condition.status == ConditionStatus::False && !condition.has_reason;
            }
            ConditionType::ContainersReady => conditions.containers_ready = whole,
            ConditionType::PodReadyToStartContainers => conditions.sandbox_ready = whole,
            ConditionType::DisruptionTarget => conditions.disruption_target = holds,
            ConditionType::AllContainersRestarting => conditions.all_containers_restarting = holds,
            ConditionType::PodResizeInProgress => {
                conditions.resize_in_progress = holds.then(|| condition.resize());
            }
            ConditionType::Other => {}
        }
    }
    conditions
}

impl LeanCondition {
    /// Returns the identity of the resize that a `PodResizeInProgress` condition describes.
    fn resize(&self) -> NonZeroU32 {
        let changed = self.last_transition_time.map_or(0, Timestamp::as_second);
        NonZeroU32::new(self.observed_generation)
            .or_else(|| NonZeroU32::new(clamp_count(changed)))
            .unwrap_or(NonZeroU32::MIN)
    }
}

fn phase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Phase, D::Error> {
    text(deserializer, phase_of)
}

/// Parses a `status.phase`.
pub(in crate::kubernetes) fn phase_of(text: &str) -> Phase {
    match text {
        // Pending is the default of the API server until the kubelet writes a phase.
        "Pending" | "" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => Phase::Unknown,
    }
}

fn condition_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConditionType, D::Error> {
    text(deserializer, ConditionType::new)
}

fn condition_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConditionStatus, D::Error> {
    text(deserializer, ConditionStatus::new)
}

impl ConditionType {
    /// Parses the type of a condition.
    pub(in crate::kubernetes) fn new(text: &str) -> Self {
        match text {
            "Initialized" => Self::Initialized,
            "Ready" => Self::Ready,
            "ContainersReady" => Self::ContainersReady,
            "PodReadyToStartContainers" => Self::PodReadyToStartContainers,
            "DisruptionTarget" => Self::DisruptionTarget,
            "AllContainersRestarting" => Self::AllContainersRestarting,
            "PodResizeInProgress" => Self::PodResizeInProgress,
            _ => Self::Other,
        }
    }
}

impl ConditionStatus {
    /// Parses the status of a condition.
    pub(in crate::kubernetes) fn new(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}
