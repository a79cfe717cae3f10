//! Comparison with recordings of a real kubelet: the same steps give the same statuses.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Step::{self, *};
use super::tests::{job, native, pod, regular};
use super::{Container, PodSpec, PodState, RestartPolicy};
use crate::recordings;

/// A status without times, ids, addresses and messages of the runtime.
fn comparable(status: &Value) -> Value {
    let mut comparable = Map::new();
    comparable.insert("phase".into(), status["phase"].clone());
    let known = ["hostIP", "podIP", "startTime"];
    comparable.insert("has".into(), json!(known.map(|key| status.get(key).is_some())));
    comparable.insert("observedGeneration".into(), status["observedGeneration"].clone());
    for condition in status["conditions"].as_array().unwrap() {
        let kept = ["status", "reason", "message", "observedGeneration"].map(|key| condition[key].clone());
        comparable.insert(condition["type"].as_str().unwrap().into(), json!(kept));
    }
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in status[list].as_array().into_iter().flatten() {
            let has = ["containerID", "resources", "user"].map(|key| container.get(key).is_some());
            // Containers that were removed for a restart are reported with or without ids.
            let removed = container["state"]["waiting"]["reason"] == "RestartingAllContainers";
            let kept = json!({
                "state": state(&container["state"]),
                "lastState": state(&container["lastState"]),
                "ready": container["ready"],
                "started": container["started"],
                "restartCount": container["restartCount"],
                "made": removed || container["imageID"] != "",
                "has": if removed { Value::Null } else { json!(has) },
            });
            comparable.insert(format!("{list}/{}", container["name"].as_str().unwrap()), kept);
        }
    }
    comparable.into()
}

fn state(state: &Value) -> Value {
    let time = |time: &Value| match time.as_str() {
        None => "none",
        Some("1970-01-01T00:00:00Z") => "1970",
        Some(_) => "some",
    };
    if let Some(running) = state.get("running") {
        return json!({"running": time(&running["startedAt"])});
    }
    if let Some(exit) = state.get("terminated") {
        let times = [time(&exit["startedAt"]), time(&exit["finishedAt"])];
        return json!({"exit": [exit["exitCode"], exit["reason"], times, exit.get("containerID").is_some()]});
    }
    let Some(waiting) = state.get("waiting") else {
        return Value::Null;
    };
    let ours = ["CrashLoopBackOff", "RestartingAllContainers"].contains(&waiting["reason"].as_str().unwrap());
    json!({"waiting": [waiting["reason"], if ours { waiting["message"].clone() } else { Value::Null }]})
}

/// UID and statuses of one Pod of a recording.
fn recorded(trace: &str, pod: &str) -> (String, Vec<Value>) {
    let recording = recordings::all()
        .into_iter()
        .find(|recording| recording.name == trace);
    let (_, lines) = recording
        .unwrap_or_else(|| panic!("no recording {trace}"))
        .lines();
    let ours: Vec<Value> = lines
        .into_iter()
        .map(|line| line.object)
        .filter(|object| object["metadata"]["name"].as_str().unwrap().starts_with(pod))
        .collect();
    let uid = ours[0]["metadata"]["uid"].as_str().unwrap().to_owned();
    let statuses = ours
        .iter()
        .filter(|object| object["metadata"]["uid"] == uid.as_str());
    let written = statuses
        .map(|object| &object["status"])
        .filter(|status| status.get("observedGeneration").is_some());
    let mut written: Vec<Value> = written.map(comparable).collect();
    written.dedup();
    (uid, written)
}

/// Steps between two writes of a status.
type Write<'a> = &'a [Step<'a>];

/// Deletion of the Pod.
const DELETE: Write<'static> = &[];

struct Row {
    trace: &'static str,
    /// Its name is the name of the recorded Pod or a prefix of it.
    spec: PodSpec,
    writes: &'static [Write<'static>],
}

fn row(trace: &'static str, spec: PodSpec, writes: &'static [Write<'static>]) -> Row {
    Row { trace, spec, writes }
}

fn probed(name: &str) -> Container {
    regular(name).readiness_probe()
}

#[rustfmt::skip] // a table: a line a phase of the Pod's life
#[allow(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let both_probed = |name| pod(name).container(native("envoy").readiness_probe()).container(probed("app"));
    let log_sidecar = |name| pod(name).container(native("log-sidecar")).container(probed("app"));
    vec![
        row("healthy-native", both_probed("healthy-native"), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Ready("envoy")], &[Start("app"), Ready("app")],
        ]),
        row("native-crashloop", log_sidecar("native-crashloop"), &[
            &[Admit], &[SandboxReady], &[Start("log-sidecar")], &[Start("app")], &[Ready("app")],
            &[Exit("log-sidecar", 1)], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
        ]),
        row("native-exits-zero", log_sidecar("native-exits-zero"), &[
            &[Admit], &[SandboxReady], &[Start("log-sidecar")], &[Start("app")], &[Ready("app")],
            &[Exit("log-sidecar", 0)], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 0)], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 0)], &[Start("log-sidecar")],
        ]),
        row("sidecar-exits-zero", pod("sidecar-exits-zero").container(probed("app")).container(regular("log-sidecar")), &[
            &[Admit], &[SandboxReady], &[Start("app"), Ready("app"), Start("log-sidecar")],
            &[Exit("log-sidecar", 0)], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 0)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
        ]),
        row("native-startup-killed", pod("native-startup-killed").container(native("istio-proxy").startup_probe()).container(probed("app")), &[
            &[Admit], &[SandboxReady], &[Start("istio-proxy")],
            &[ProbeKill("istio-proxy", 0)], &[ProbeKill("istio-proxy", 0)],
            &[ProbeKillIntoBackOff("istio-proxy", 0)], &[Start("istio-proxy")],
            &[ProbeKillIntoBackOff("istio-proxy", 0)], &[Start("istio-proxy")],
        ]),
        row("liveness-killed", pod("liveness-killed").container(native("envoy").liveness_probe()).container(probed("app")), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Start("app")], &[Ready("app")],
            &[ProbeKill("envoy", 137)], &[ProbeKill("envoy", 137)], &[ProbeKill("envoy", 137)], &[ProbeKill("envoy", 137)],
            &[ProbeKillIntoBackOff("envoy", 137)], &[Start("envoy")],
            &[ProbeKillIntoBackOff("envoy", 137)], &[Start("envoy")],
        ]),
        row("oom-sidecar", pod("oom-sidecar").container(native("log-sidecar").memory_limit("32Mi")).container(probed("app")), &[
            &[Admit], &[SandboxReady], &[Start("log-sidecar")], &[Start("app")], &[Ready("app")],
            &[OomKill("log-sidecar")], &[Start("log-sidecar")],
            &[OomKill("log-sidecar")], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
        ]),
        row("image-missing-native", log_sidecar("image-missing-native"), &[
            &[Admit], &[SandboxReady], &[ImageNeverPull("log-sidecar")],
        ]),
        row("image-pull-backoff-classic", pod("image-pull-backoff-classic").container(regular("app")).container(regular("log-sidecar")), &[
            &[Admit], &[SandboxReady], &[Start("app"), ImagePullFails("log-sidecar")],
            &[ImagePullBackOff("log-sidecar")], &[ImagePullFails("log-sidecar")], &[ImagePullBackOff("log-sidecar")],
        ]),
        row("command-missing-classic", pod("command-missing-classic").container(regular("app")).container(regular("log-sidecar")), &[
            &[Admit], &[SandboxReady], &[Start("app"), StartFails("log-sidecar")],
            &[StartFails("log-sidecar")], &[BackOff("log-sidecar")],
            &[StartFails("log-sidecar")], &[BackOff("log-sidecar")],
        ]),
        row("restart-policy-init", job("restart-policy-init").container(Container::init("setup").restart_policy(RestartPolicy::OnFailure)).container(probed("app")), &[
            &[Admit], &[SandboxReady], &[Start("setup")],
            &[Exit("setup", 1)], &[Start("setup")],
            &[Exit("setup", 1)], &[BackOff("setup")], &[Start("setup")],
            &[Exit("setup", 1)], &[BackOff("setup")], &[Start("setup")],
            &[Exit("setup", 0)], &[Start("app")], &[Ready("app")],
        ]),
        row("always-in-containers", job("always-in-containers").container(regular("main")).container(regular("log-sidecar").restart_policy(RestartPolicy::Always)), &[
            &[Admit], &[SandboxReady], &[Start("main"), Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[Start("log-sidecar")],
            &[Exit("log-sidecar", 1)], &[BackOff("log-sidecar")], &[Start("log-sidecar")],
        ]),
        row("job-classic", job("job-classic").container(regular("main")).container(regular("log-sidecar")), &[
            &[Admit], &[SandboxReady], &[Start("main"), Start("log-sidecar")], &[Exit("main", 0)],
        ]),
        row("job-native-137", job("job-native-137").container(native("log-sidecar")).container(regular("main")), &[
            &[Admit], &[SandboxReady], &[Start("log-sidecar")], &[Start("main")],
            &[Exit("main", 0)], &[StopSidecars(137)], &[Settle],
        ]),
        row("terminating-classic", pod("terminating-classic").container(probed("app")).container(probed("envoy")), &[
            &[Admit], &[SandboxReady], &[Start("app"), Start("envoy")], &[Ready("app")], &[Ready("envoy")],
            DELETE, &[Unready("envoy")], &[End(&[("envoy", 1)])],
        ]),
        row("terminating-native", both_probed("terminating-native"), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Ready("envoy")], &[Start("app")], &[Ready("app")],
            DELETE, &[End(&[])],
        ]),
        row("sandbox-lost", both_probed("native"), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Ready("envoy"), Start("app"), Ready("app")],
            &[SandboxLost], &[SandboxReady], &[Start("envoy")], &[Ready("envoy")], &[Start("app")], &[Ready("app")],
        ]),
        row("sandbox-lost", pod("classic").container(probed("app")).container(probed("envoy")), &[
            &[Admit], &[SandboxReady], &[Start("app"), Start("envoy")], &[Ready("app"), Ready("envoy")],
            &[SandboxLost], &[SandboxReady], &[Start("app"), Start("envoy")], &[Ready("app"), Ready("envoy")],
        ]),
        row("node-lost", both_probed("native"), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Ready("envoy")], &[Start("app")], &[Ready("app")],
            &[NodeLost], &[NodeBack], &[Ready("app")], &[Ready("envoy")],
        ]),
        row("node-lost", both_probed("bad"), &[
            &[Admit], &[SandboxReady], &[Start("envoy")], &[Start("app")], &[Ready("app")],
            &[NodeLost], &[NodeBack], &[Ready("app")],
        ]),
        row("restart-all", pod("restart-all").container(Container::init("setup")).container(native("envoy").readiness_probe())
            .container(probed("app")).container(regular("watcher-sidecar").restarts_all_on(88)), &[
            &[Admit], &[SandboxReady], &[Start("setup")], &[Exit("setup", 0)], &[Start("envoy")], &[Ready("envoy")],
            &[Start("app"), Start("watcher-sidecar")], &[Ready("app")],
            &[RestartAll("watcher-sidecar")], &[AllRemoved], &[Start("setup")], &[Exit("setup", 0)],
        ]),
    ]
}

#[test]
fn steps_give_the_statuses_of_a_real_kubelet() {
    let mut wrong = Vec::new();
    for row in rows() {
        let (uid, recorded) = recorded(row.trace, &row.spec.name);
        let mut pod = PodState::new(&row.spec, row.trace, &uid);
        let mut now: Timestamp = "2026-11-21T10:00:00.5Z".parse().unwrap();
        pod.scheduled(now);
        let mut written = Vec::new();
        for write in row.writes {
            now += SignedDuration::from_secs(10);
            if write.is_empty() {
                pod.deleted(2, now);
            }
            for step in *write {
                pod.apply(*step, now)
                    .unwrap_or_else(|error| panic!("{}: {error:#}", row.trace));
            }
            let status = comparable(&pod.status());
            if written.last() != Some(&status) {
                written.push(status);
            }
            let (at, ours) = (written.len() - 1, written.last());
            if ours != recorded.get(at) {
                let show =
                    |status: Option<&Value>| status.map(|status| format!("{status:#}")).unwrap_or_default();
                wrong.push(format!(
                    "{}/{} at {write:?}:\n{}",
                    row.trace,
                    row.spec.name,
                    diff(&show(recorded.get(at)), &show(ours))
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn diff(kubelet: &str, ours: &str) -> String {
    let only = |a: &str, b: &str| {
        let lines = a.lines().filter(|line| !b.lines().any(|other| other == *line));
        lines.collect::<Vec<_>>().join("\n")
    };
    format!(
        "the kubelet:\n{}\nours:\n{}\n",
        only(kubelet, ours),
        only(ours, kubelet)
    )
}
