//! Finds the Pod to explain: in the cluster, in a file, or in a recording, and evaluates it.

use std::{io::BufRead, path::Path};

use jiff::Timestamp;
use serde_json::Value;

use super::{ExplainArgs, report::Report};
use crate::{
    cli::{
        cluster::{Cluster, InForce},
        evaluation::{Evaluation, Namespaces},
        exit::Failure,
        files,
        manifests::{self, Manifest, decode},
        policies::{self, PolicyFile},
        recording::{Replay, read::Reader, replay},
    },
    clock::{Clock, SystemClock},
    domain::{
        observation::Observation,
        policy::{PolicyKind, PolicyUpdate},
    },
    kubernetes::{
        decode::intern::Interner,
        list::{self, PodSelection},
        watch::WatchEvent,
    },
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
    /// The Pod comes from a manifest, and has no status.
    pub(super) is_manifest: bool,
    pub(super) notes: Vec<String>,
}

impl Subject {
    /// Explains the Pod.
    pub(super) fn explain(&self) -> Report {
        Report::new(self)
    }
}

/// What the user names on the command line.
struct Target {
    kind: String,
    name: String,
}

impl Target {
    fn parse(text: &str) -> Self {
        let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
        let lower = kind.to_ascii_lowercase();
        let kind = match lower.as_str() {
            "po" | "pods" => "pod",
            "deploy" | "deployments" => "deployment",
            "sts" | "statefulsets" => "statefulset",
            "ds" | "daemonsets" => "daemonset",
            "rs" | "replicasets" => "replicaset",
            "jobs" => "job",
            "cj" | "cronjobs" => "cronjob",
            other => other,
        };
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    fn is_pod(&self) -> bool {
        self.kind == "pod"
    }

    fn matches(&self, pod: &Observation) -> bool {
        if self.is_pod() {
            *pod.name == *self.name
        } else {
            pod.workload.kind.eq_ignore_ascii_case(&self.kind) && *pod.workload.name == *self.name
        }
    }
}

/// Finds a Pod of the cluster.
pub(super) async fn of_cluster(cluster: &Cluster, args: &ExplainArgs) -> Result<Subject, Failure> {
    let text = args.name.as_deref().ok_or(NO_NAME)?;
    let target = Target::parse(text);
    if cluster.scope.is_none() {
        return Err("explain needs one namespace: name it with -n instead of -A".into());
    }
    let InForce {
        policies,
        namespaces,
        mut notes,
    } = cluster.in_force().await?;
    let policies = match args.policy.as_deref() {
        Some(file) => policies::updates(&policies::read(file)?, cluster.namespace())?,
        None => policies,
    };
    let fields = if target.is_pod() {
        format!("metadata.name={}", target.name)
    } else {
        String::new()
    };
    let selection: PodSelection = cluster.selection(&fields);
    let pods = cluster
        .answer(list::whole_pods_once(cluster.client(), &selection))
        .await?;
    let pods = pods.map_err(|error| cluster.failed(&error.message))?;
    notes.push("one list shows only the present: restarts before the latest one and changes of readiness are not known".to_owned());
    let pods = pods.into_iter().filter_map(|pod| serde_json::to_value(pod).ok());
    let missing = || format!("there is no Pod of {text} in namespace {}", cluster.namespace());
    evaluated(
        text,
        pods.collect(),
        &target,
        (policies, namespaces),
        cluster.now(),
        notes,
    )
    .ok_or_else(|| cluster.failed(&missing()))
}

/// Finds a Pod of a recording, and explains its state at the end.
pub(super) fn of_recording(path: &Path, args: &ExplainArgs) -> Result<Subject, Failure> {
    let text = args.name.as_deref().ok_or(NO_NAME)?;
    let target = Target::parse(text);
    if path == Path::new("-") {
        return Err("explain reads a recording twice: name a file instead of -".into());
    }
    let name = path.display().to_string();
    let mut reader = Reader::new(name.clone(), files::open(path)?);
    let files = policy_files(args.policy.as_deref())?;
    let Replay { end, evaluation, .. } = replay(&mut reader, args.length, |first| {
        policies::updates(&files, args.cluster.namespace.as_deref().unwrap_or(first))
    })?;
    let (pod, observation) = latest(path, &target, end, reader.start())?
        .ok_or_else(|| format!("{name} contains no Pod of {text}"))?;
    Ok(Subject {
        title: title(&observation),
        pod,
        observation,
        evaluation,
        is_manifest: false,
        notes: Vec::new(),
    })
}

/// Finds the latest version of a Pod in a valid recording.
fn latest(
    path: &Path,
    target: &Target,
    end: Timestamp,
    start: Option<Timestamp>,
) -> Result<Option<(Value, Observation)>, Failure> {
    let mut found = None;
    let mut interner = Interner::default();
    let length = start.map_or(f64::MAX, |start| end.duration_since(start).as_secs_f64());
    for line in files::open(path)?.lines() {
        let Ok(mut line) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        let is_before_end = line.get("t").and_then(Value::as_f64).is_some_and(|t| t <= length);
        let is_deleted = line.get("type").and_then(Value::as_str) == Some("DELETED");
        let pod = line.get_mut("object").map(Value::take).unwrap_or_default();
        let observation = decode(&pod, &mut interner);
        if let Some(observation) = observation.filter(|_| is_before_end && !is_deleted)
            && target.matches(&observation)
        {
            found = Some((pod, observation));
        }
    }
    Ok(found)
}

/// Finds the Pods and the Pod templates of a file.
pub(super) fn of_file(path: &Path, args: &ExplainArgs) -> Result<Vec<Subject>, Failure> {
    let now = SystemClock::default().now();
    let files = policy_files(args.policy.as_deref())?;
    let mut subjects = Vec::new();
    for manifest in manifests::read(path, args.cluster.namespace.as_deref())? {
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
            notes: Vec::new(),
        });
    }
    Ok(subjects)
}

/// Evaluates the Pods of a target, and selects the one to explain: the first with a violation.
fn evaluated(
    text: &str,
    pods: Vec<Value>,
    target: &Target,
    (policies, namespaces): (Vec<PolicyUpdate>, Option<Namespaces>),
    now: Timestamp,
    mut notes: Vec<String>,
) -> Option<Subject> {
    let mut interner = Interner::default();
    let decoded = pods.into_iter().filter_map(|pod| {
        let observation = decode(&pod, &mut interner)?;
        target.matches(&observation).then_some((pod, observation))
    });
    let decoded: Vec<(Value, Observation)> = decoded.collect();
    let mut evaluation = Evaluation::new(policies, namespaces, now);
    evaluation.begin_without_pods(now);
    for (_, observation) in &decoded {
        evaluation.apply(WatchEvent::Applied(observation.clone()), now);
    }
    let count = decoded.len();
    let firing = |observation: &Observation| {
        evaluation.reported().iter().any(|reported| {
            let crate::domain::violation::Subject::Container(subject) = &reported.violation.subject;
            subject.uid == observation.uid
        })
    };
    let position = decoded
        .iter()
        .position(|(_, observation)| firing(observation))
        .unwrap_or(0);
    let (pod, observation) = decoded.into_iter().nth(position)?;
    if count > 1 {
        notes.push(format!("{text} has {count} Pods; this is {}", observation.name));
    }
    Some(Subject {
        title: title(&observation),
        pod,
        observation,
        evaluation,
        is_manifest: false,
        notes,
    })
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

/// Reads the policies of a file, or returns the policy with all defaults.
fn policy_files(path: Option<&Path>) -> Result<Vec<PolicyFile>, Failure> {
    if let Some(path) = path {
        return policies::read(path);
    }
    Ok(vec![PolicyFile::with_defaults(PolicyKind::SidecarPolicy)])
}
