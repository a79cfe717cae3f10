//! Finds the Pod to explain: in the cluster, in a file, or in a recording, and evaluates it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
    path::Path,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::Value;

use super::ExplainArgs;
use crate::{
    cli::{
        args::workload_kind,
        cluster::{Cluster, InForce},
        evaluation::Evaluation,
        exit::Failure,
        files,
        manifests::{self, Manifest, decode},
        policies::{self, PolicyFile},
        recording::{Replay, replay},
    },
    domain::{observation::Observation, policy::PolicyKind, time::later, violation::Violation},
    kubernetes::{decode::intern::Interner, list, watch::WatchEvent},
};

const NO_NAME: &str = "name a Pod, or a workload such as deployment/web";

/// A Pod, and the evaluation that contains it.
pub(super) struct Subject {
    /// The Pod or the workload, as the user knows it.
    pub(super) title: String,
    /// The Pod.
    pub(super) pod: Value,
    pub(super) observation: Observation,
    pub(super) evaluation: Evaluation,
    /// The time of the evaluation.
    pub(super) now: Timestamp,
    /// The time at which the Pod was deleted, in a recording.
    pub(super) deleted: Option<Timestamp>,
    /// The Pod comes from a manifest, and has no status.
    pub(super) is_manifest: bool,
    pub(super) notes: Vec<String>,
}

/// The Pod or the workload that the user names on the command line.
struct Target {
    kind: String,
    name: String,
}

impl Target {
    fn parse(text: &str) -> Self {
        let (kind, name) = text.split_once('/').unwrap_or(("Pod", text));
        Self {
            kind: workload_kind(kind).unwrap_or(kind).to_owned(),
            name: name.to_owned(),
        }
    }

    fn is_pod(&self) -> bool {
        self.kind == "Pod"
    }

    fn matches(&self, pod: &Observation) -> bool {
        if self.is_pod() {
            *pod.name == *self.name
        } else {
            pod.workload.kind.eq_ignore_ascii_case(&self.kind) && *pod.workload.name == *self.name
        }
    }
}

/// Finds a Pod of the cluster. `files` are the policies in place of those of the cluster.
pub(super) async fn of_cluster(
    cluster: &Cluster,
    args: &ExplainArgs,
    files: Option<&[PolicyFile]>,
) -> Result<Subject, Failure> {
    let text = args.name.as_deref().ok_or(NO_NAME)?;
    let target = Target::parse(text);
    if cluster.scope.is_none() {
        return Err("explain needs one namespace: name it with -n instead of -A".into());
    }
    let InForce {
        policies,
        exemptions,
        namespaces,
        // The notes name them.
        undecodable: _,
        mut notes,
    } = cluster.in_force_with_exemptions(files).await?;
    let now = cluster.now();
    let mut evaluation = Evaluation::new(policies, namespaces, now).with_exemptions(exemptions, now);
    let named = |name: &str| cluster.selection(&format!("metadata.name={name}"));
    let selection = if target.is_pod() {
        named(&target.name)
    } else {
        cluster.selection("")
    };
    cluster
        .evaluate_selected(&selection, &mut evaluation, None)
        .await?;
    notes.push("one list shows only the present: restarts before the latest one and changes of readiness are not known".to_owned());
    let (observation, count) = selected(&evaluation, &target).ok_or_else(|| {
        cluster.failed(&format!(
            "there is no Pod of {text} in namespace {}",
            cluster.namespace()
        ))
    })?;
    if count > 1 {
        notes.push(format!("{text} has {count} Pods; this is {}", observation.name));
    }
    // The evaluation keeps only the fields that it reads.
    let pods = cluster
        .answer(list::whole_pods_once(cluster.client(), &named(&observation.name)))
        .await?
        .map_err(|error| cluster.failed(&error.message))?;
    let is_same = |pod: &DynamicObject| pod.metadata.uid.as_deref() == Some(&*observation.uid);
    let pod = pods
        .into_iter()
        .find(is_same)
        .ok_or_else(|| cluster.failed(&format!("Pod {} was deleted in the meantime", observation.name)))?;
    Ok(Subject {
        title: title(&observation),
        pod: serde_json::to_value(pod)?,
        observation,
        evaluation,
        now,
        deleted: None,
        is_manifest: false,
        notes,
    })
}

/// Selects the Pod to explain: the first with a violation that is reported, or else with a hidden one, or else the first.
/// Counts the Pods of the target.
fn selected(evaluation: &Evaluation, target: &Target) -> Option<(Observation, usize)> {
    let index = evaluation.index();
    let firing = index.violations().filter(|violation| violation.firing);
    let firing: BTreeSet<&str> = firing.map(|firing| firing.subject.uid()).collect();
    let hidden = index.hidden_violations().filter(|violation| violation.firing);
    let hidden: Vec<Violation> = hidden.collect();
    let hidden: BTreeSet<&str> = hidden.iter().map(|hidden| hidden.subject.uid()).collect();
    let pods = index.matched_pods().map(|matched| matched.pod);
    let pods: Vec<&Observation> = pods.filter(|pod| target.matches(pod)).collect();
    let first_in = |uids: &BTreeSet<&str>| pods.iter().find(|pod| uids.contains(&*pod.uid));
    let pod = first_in(&firing)
        .or_else(|| first_in(&hidden))
        .or_else(|| pods.first())?;
    Some(((*pod).clone(), pods.len()))
}

/// Finds a Pod of a recording, and explains its state at the end. Without `files` the policy has all defaults.
pub(super) fn of_recording(
    path: &Path,
    args: &ExplainArgs,
    files: Option<Vec<PolicyFile>>,
) -> Result<Subject, Failure> {
    let text = args.name.as_deref().ok_or(NO_NAME)?;
    let target = Target::parse(text);
    if path == Path::new("-") {
        return Err("explain reads a recording twice: name a file instead of -".into());
    }
    let policies = files.unwrap_or_else(defaults);
    let Replay {
        start,
        end,
        evaluation,
    } = replay(path, args.length, |first| {
        policies::updates(&policies, args.cluster.namespace.as_deref().unwrap_or(first))
    })?;
    let length = end.duration_since(start).as_secs_f64();
    let Seen {
        pod,
        observation,
        deleted,
        ..
    } = latest(path, &target, length)?
        .ok_or_else(|| format!("{} contains no Pod of {text}", path.display()))?;
    Ok(Subject {
        title: title(&observation),
        pod,
        observation,
        evaluation,
        now: end,
        deleted: deleted.map(|t| later(start, t)),
        is_manifest: false,
        notes: Vec::new(),
    })
}

/// The latest version of a Pod in a recording.
struct Seen {
    pod: Value,
    observation: Observation,
    /// The number of its line.
    line: usize,
    /// The time since the start at which it was deleted.
    deleted: Option<SignedDuration>,
}

/// Finds the Pod that changed last in the first seconds of a valid recording: one that exists, or else one that was deleted.
fn latest(path: &Path, target: &Target, length: f64) -> Result<Option<Seen>, Failure> {
    let mut pods: BTreeMap<Arc<str>, Seen> = BTreeMap::new();
    let mut interner = Interner::default();
    for (number, line) in files::open(path)?.lines().enumerate() {
        let Ok(mut line) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        let Some(t) = line.get("t").and_then(Value::as_f64).filter(|t| *t <= length) else {
            continue;
        };
        let is_deleted = line.get("type").and_then(Value::as_str) == Some("DELETED");
        let pod = line.get_mut("object").map(Value::take).unwrap_or_default();
        let observation = decode(&pod, &mut interner);
        if let Some(observation) = observation.filter(|observation| target.matches(observation)) {
            let seen = Seen {
                pod,
                line: number,
                deleted: SignedDuration::try_from_secs_f64(t).ok().filter(|_| is_deleted),
                observation,
            };
            pods.insert(Arc::clone(&seen.observation.uid), seen);
        }
    }
    Ok(pods
        .into_values()
        .max_by_key(|seen| (seen.deleted.is_none(), seen.line)))
}

/// Finds the Pods and the Pod templates of a file. Without `files` the policy has all defaults.
pub(super) fn of_file(
    path: &Path,
    args: &ExplainArgs,
    files: Option<Vec<PolicyFile>>,
) -> Result<Vec<Subject>, Failure> {
    let files = files.unwrap_or_else(defaults);
    let manifests = manifests::read(path, args.cluster.namespace.as_deref(), "explain -f -")?;
    let newest = manifests
        .iter()
        .filter_map(|manifest| newest_time(&manifest.pod))
        .max();
    // Without a status no time matters.
    let now = newest.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut subjects = Vec::new();
    for manifest in manifests {
        let title = manifest.to_string();
        let Manifest { pod, observation, .. } = manifest;
        let policies = policies::updates(&files, &observation.namespace)?;
        let mut evaluation = Evaluation::new(policies, None, now);
        evaluation.begin_without_pods(now);
        evaluation.apply(WatchEvent::Applied(observation.clone()), now);
        subjects.push(Subject {
            is_manifest: pod.get("status").is_none_or(Value::is_null),
            title,
            pod,
            observation,
            evaluation,
            now,
            deleted: None,
            notes: Vec::new(),
        });
    }
    if let (Some(newest), Some(first)) = (newest, subjects.first_mut()) {
        first.notes.push(format!(
            "the checks show the state at {newest}, the newest time in the file"
        ));
    }
    Ok(subjects)
}

/// The newest time in the status of a Pod, or at which a client wrote to it. `None` without a status.
fn newest_time(pod: &Value) -> Option<Timestamp> {
    let status = pod.get("status").filter(|status| !status.is_null())?;
    let metadata = ["/metadata/creationTimestamp", "/metadata/managedFields"];
    let metadata = metadata.into_iter().filter_map(|pointer| pod.pointer(pointer));
    metadata.chain([status]).filter_map(newest_in).max()
}

fn newest_in(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Array(items) => items.iter().filter_map(newest_in).max(),
        Value::Object(fields) => fields.values().filter_map(newest_in).max(),
        _ => None,
    }
}

fn title(observation: &Observation) -> String {
    let Observation {
        namespace,
        name,
        workload,
        ..
    } = observation;
    if &*workload.kind == "Pod" {
        format!("Pod {namespace}/{name}")
    } else {
        format!("Pod {namespace}/{name} of {workload}")
    }
}

/// Returns the policy that is used without a cluster and without a file with policies.
fn defaults() -> Vec<PolicyFile> {
    vec![PolicyFile::with_defaults(PolicyKind::SidecarPolicy)]
}
