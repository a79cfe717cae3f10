//! Recorded Pods decode to the same values as a slow, simple decoder that uses the full types of `k8s_openapi`.

use std::{num::NonZeroU32, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};
use serde_json::Value;
use sidewatch::{
    cli::recording::fields,
    domain::{
        hash::stable_hash,
        observation::{
            AppNames, Condition, Conditions, Container, ContainerKind, ContainerStatus, Exit, Labels,
            Observation, Phase, Probes, RestartPolicy, RestartRule, Shape, State, Workload,
        },
    },
    kubernetes::decode::{
        intern::Interner,
        pod::{LeanPod, observe},
    },
};
use testkit::recordings;

/// Returns every Pod of every recording.
pub(crate) fn recorded() -> Vec<Value> {
    let mut recordings = recordings::all();
    // A recording is in the list once for each of its policies.
    recordings.dedup_by_key(|recording| recording.name.clone());
    let lines = recordings.iter().flat_map(|recording| recording.lines().1);
    let pods: Vec<Value> = lines.map(|line| line.object).collect();
    assert!(pods.len() > 500, "only {} Pods recorded", pods.len());
    pods
}

#[test]
fn recorded_pods_decode_to_the_same_values_as_with_the_full_type() {
    let mut interner = Interner::default();
    for pod in recorded() {
        let lean: LeanPod = serde_json::from_str(&pod.to_string()).unwrap();
        let observation = observe(lean, &mut interner).unwrap();
        assert_eq!(observation, by_full_type(&pod), "{pod}");
    }
}

#[test]
fn a_recording_contains_all_fields_that_are_decoded() {
    let mut interner = Interner::default();
    for pod in recorded() {
        let mut decode =
            |pod: &Value| observe(serde_json::from_value(pod.clone()).unwrap(), &mut interner).unwrap();
        assert_eq!(decode(&fields::recorded(&pod)), decode(&pod), "{pod}");
    }
}

fn by_full_type(json: &Value) -> Observation {
    let pod: core::Pod = serde_json::from_value(json.clone()).unwrap();
    let (metadata, spec, status) = (pod.metadata, pod.spec.unwrap(), pod.status.unwrap());
    let owner = metadata.owner_references.unwrap_or_default().into_iter().next();
    let labels = metadata.labels.clone().unwrap_or_default();
    let owner = owner.map_or(("Pod".to_owned(), metadata.name.clone().unwrap()), |owner| {
        // The ReplicaSet of a Deployment.
        let hash = labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
        match hash.and_then(|hash| owner.name.strip_suffix(&hash)) {
            Some(deployment) if owner.kind == "ReplicaSet" => {
                ("Deployment".to_owned(), deployment.to_owned())
            }
            _ => (owner.kind, owner.name),
        }
    });
    let init = spec.init_containers.unwrap_or_default();
    let containers: Vec<_> = init
        .iter()
        .map(|container| (container, "initContainers"))
        .chain(spec.containers.iter().map(|container| (container, "containers")))
        .collect();
    let names = AppNames {
        default_container: None,
        workload: Some((&owner.0, &owner.1)),
        label: labels.get("app.kubernetes.io/name").map(String::as_str),
    };
    let shape = Shape {
        restart_policy: policy(spec.restart_policy.as_deref()).unwrap(),
        containers: containers
            .iter()
            .map(|(c, list)| shape(c, list, &json["spec"][list], &names))
            .collect(),
    };
    let statuses = [status.init_container_statuses, status.container_statuses];
    let statuses: Vec<_> = statuses.into_iter().flatten().flatten().collect();
    Observation {
        uid: metadata.uid.unwrap().into(),
        namespace: metadata.namespace.unwrap().into(),
        name: metadata.name.unwrap().into(),
        labels: metadata.labels.into_iter().flatten().collect::<Labels>().into(),
        workload: Workload {
            kind: owner.0.into(),
            name: owner.1.into(),
        }
        .into(),
        created: metadata.creation_timestamp.map(|time| time.0).into(),
        scheduled: spec.node_name.is_some(),
        terminating: metadata.deletion_timestamp.is_some(),
        annotations: Arc::default(),
        host_network: spec.host_network.unwrap_or_default(),
        phase: match status.phase.as_deref() {
            Some("Pending") => Phase::Pending,
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            other => panic!("phase {other:?}"),
        },
        conditions: conditions(&status.conditions.unwrap_or_default()),
        statuses: containers
            .iter()
            .map(|(container, _)| {
                statuses
                    .iter()
                    .find(|s| s.name == container.name)
                    .map(container_status)
            })
            .collect(),
        shape: shape.into(),
        stray_statuses: 0,
    }
}

fn policy(policy: Option<&str>) -> Option<RestartPolicy> {
    policy.map(|policy| match policy {
        "Always" => RestartPolicy::Always,
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        other => panic!("restart policy {other}"),
    })
}

fn delay(probe: Option<&core::Probe>) -> u32 {
    let seconds = probe.and_then(|probe| probe.initial_delay_seconds);
    u32::try_from(seconds.unwrap_or(0)).unwrap()
}

fn is_through_mesh(probe: Option<&core::Probe>) -> bool {
    let http = probe.and_then(|probe| probe.http_get.as_ref());
    http.is_some_and(|http| matches!(http.port, IntOrString::Int(15020 | 15021)))
}

fn shape(container: &core::Container, list: &str, json: &Value, names: &AppNames<'_>) -> Container {
    // The types are of an API version without these rules.
    let json = json
        .as_array()
        .unwrap()
        .iter()
        .find(|json| json["name"] == container.name.as_str());
    let rules = json.unwrap()["restartPolicyRules"].as_array();
    let limits = container
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    Container {
        name: container.name.as_str().into(),
        image: container.image.as_deref().unwrap().into(),
        kind: match (list, container.restart_policy.as_deref()) {
            ("containers", _) => ContainerKind::Regular,
            (_, Some("Always")) => ContainerKind::Native,
            _ => ContainerKind::Init,
        },
        named_by: (list == "containers")
            .then(|| names.of(&container.name, container.image.as_deref().unwrap()))
            .flatten(),
        restart_policy: policy(container.restart_policy.as_deref()),
        restart_rules: rules.into_iter().flatten().map(rule).collect(),
        probes: Probes {
            readiness: container.readiness_probe.is_some(),
            liveness: container.liveness_probe.is_some(),
            startup: container.startup_probe.is_some(),
            readiness_delay: delay(container.readiness_probe.as_ref()),
            startup_delay: delay(container.startup_probe.as_ref()),
            readiness_through_mesh: is_through_mesh(container.readiness_probe.as_ref()),
        },
        has_post_start: container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.post_start.is_some()),
        restarts_on_resize: container
            .resize_policy
            .iter()
            .flatten()
            .any(|policy| policy.restart_policy == "RestartContainer"),
        memory_limit: limits
            .and_then(|limits| limits.get("memory"))
            .map(|limit| limit.0.as_str().into()),
    }
}

fn rule(rule: &Value) -> RestartRule {
    let codes = rule["exitCodes"]["values"].as_array().unwrap();
    RestartRule {
        is_in: rule["exitCodes"]["operator"] == "In",
        exit_codes: codes
            .iter()
            .map(|code| i32::try_from(code.as_i64().unwrap()).unwrap())
            .collect(),
    }
}

fn conditions(conditions: &[core::PodCondition]) -> Conditions {
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let holds = |kind| find(kind).is_some_and(|condition| condition.status == "True");
    let whole = |kind| {
        find(kind).map(|condition| Condition {
            holds: condition.status == "True",
            since: condition.last_transition_time.as_ref().map(|time| time.0).into(),
        })
    };
    Conditions {
        initialized: holds("Initialized"),
        ready_false_without_reason: find("Ready")
            .is_some_and(|condition| condition.status == "False" && condition.reason.is_none()),
        containers_ready: whole("ContainersReady"),
        sandbox_ready: whole("PodReadyToStartContainers"),
        disruption_target: holds("DisruptionTarget"),
        all_containers_restarting: holds("AllContainersRestarting"),
        resize_in_progress: holds("PodResizeInProgress")
            .then(|| resize(find("PodResizeInProgress").unwrap())),
    }
}

fn resize(condition: &core::PodCondition) -> NonZeroU32 {
    let generation = condition.observed_generation.unwrap();
    NonZeroU32::new(generation.try_into().unwrap()).unwrap()
}

fn container_status(status: &core::ContainerStatus) -> ContainerStatus {
    let state = status.state.clone().unwrap_or_default();
    ContainerStatus {
        ready: status.ready,
        started: status.started.unwrap_or_default(),
        restart_count: u32::try_from(status.restart_count).unwrap(),
        run: run(status.container_id.as_deref()),
        state: match (state.running, state.terminated) {
            (Some(running), _) => State::Running(time(running.started_at)),
            (None, Some(terminated)) => State::Terminated(Box::new(exit(terminated))),
            (None, None) => State::Waiting(
                state
                    .waiting
                    .and_then(|waiting| waiting.reason)
                    .unwrap_or_default()
                    .into(),
            ),
        },
        last_exit: status
            .last_state
            .clone()
            .and_then(|state| state.terminated)
            .map(|terminated| Box::new(exit(terminated))),
    }
}

fn exit(terminated: core::ContainerStateTerminated) -> Exit {
    Exit {
        code: terminated.exit_code,
        reason: terminated.reason.unwrap_or_default().into(),
        started_at: time(terminated.started_at),
        finished_at: time(terminated.finished_at),
        run: run(terminated.container_id.as_deref()),
    }
}

fn run(id: Option<&str>) -> u64 {
    id.filter(|id| !id.is_empty())
        .map_or(0, |id| stable_hash([id.as_bytes()]))
}

fn time(time: Option<Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
        .filter(|time| *time > Timestamp::UNIX_EPOCH)
}
