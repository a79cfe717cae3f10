//! Rules that no recording shows: times, rejected steps, last phases.

use jiff::{SignedDuration, Timestamp};

use super::Step::{self, *};
use super::{Container, PodSpec, PodState, RestartPolicy};

pub(super) fn pod(name: &str) -> PodSpec {
    PodSpec::new(name)
}

pub(super) fn job(name: &str) -> PodSpec {
    pod(name).restart_policy(RestartPolicy::Never)
}

pub(super) fn native(name: &str) -> Container {
    Container::native(name)
}

pub(super) fn regular(name: &str) -> Container {
    Container::regular(name)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A Pod after these steps, one per second from 0.
fn after(spec: &PodSpec, steps: &[Step<'_>]) -> PodState {
    let mut pod = PodState::new(spec, "shop", "uid-1");
    for (second, step) in (0..).zip(steps) {
        pod.apply(*step, at(second)).unwrap();
    }
    pod
}

fn healthy(spec: &PodSpec) -> PodState {
    after(spec, &spec.healthy_start())
}

fn mesh() -> PodSpec {
    pod("web")
        .container(native("envoy").readiness_probe())
        .container(regular("app"))
}

#[test]
fn transition_times_change_only_with_the_status() {
    let transition = |pod: &PodState, kind: &str| {
        let status = pod.status();
        let found = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["type"] == kind)
            .unwrap();
        (
            found["status"].as_str().unwrap().to_owned(),
            found["lastTransitionTime"].as_str().unwrap().to_owned(),
        )
    };
    // Admit 0, SandboxReady 1, Start envoy 2, Ready envoy 3, Start app 4
    let mut pod = healthy(&mesh());
    let expect = |pod: &PodState, kind: &str, status: &str, second: i64, why: &str| {
        assert_eq!(
            transition(pod, kind),
            (status.to_owned(), at(second).to_string()),
            "{kind}: {why}"
        );
    };
    expect(&pod, "PodReadyToStartContainers", "True", 1, "with the sandbox");
    expect(
        &pod,
        "Initialized",
        "True",
        2,
        "with the start of the last native sidecar",
    );
    expect(&pod, "Ready", "True", 4, "with the last container");
    pod.apply(Unready("envoy"), at(60)).unwrap();
    expect(&pod, "Ready", "False", 60, "with the sidecar");
    pod.apply(Exit("app", 1), at(70)).unwrap();
    expect(
        &pod,
        "ContainersReady",
        "False",
        60,
        "another reason is no transition",
    );
    pod.apply(Start("app"), at(80) + SignedDuration::from_millis(900))
        .unwrap();
    pod.apply(Ready("envoy"), at(90) + SignedDuration::from_millis(900))
        .unwrap();
    expect(&pod, "Ready", "True", 90, "whole seconds, cut off");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn impossible_steps_are_rejected() {
    let held = job("held").container(regular("main")).container(native("late"));
    #[rustfmt::skip]
    let rows = [
        (after(&mesh(), &[]), SandboxReady, "admitted", "a sandbox before the kubelet has admitted the Pod"),
        (after(&mesh(), &[Admit]), Start("envoy"), "no sandbox", "a container without a sandbox"),
        (after(&mesh(), &[Admit, SandboxReady]), Start("app"), "envoy comes first", "a main before its native sidecar"),
        (after(&held, &[Admit, SandboxReady]), Start("main"), "late comes first", "the order of the builder has no effect"),
        (after(&mesh(), &[Admit, SandboxReady]), Ready("envoy"), "does not run", "ready without running"),
        (healthy(&mesh()), Start("envoy"), "runs", "a second start"),
        (healthy(&mesh()), Ready("app"), "no readiness probe", "a probe that is not there"),
        (healthy(&mesh()), ProbeKill("envoy", 137), "no probe that kills", "a kill by a readiness probe"),
        (healthy(&mesh()), Exit("nginx", 1), "no container nginx", "a container that is not there"),
        (healthy(&mesh()), BackOff("envoy"), "not waiting", "a back-off of a running container"),
        (healthy(&mesh()), End(&[]), "not being deleted", "an end without a deletion"),
        (healthy(&mesh()), RestartAll("app"), "no rule", "a restart of all without a rule"),
        (healthy(&mesh()), Settle, "not finished", "a last phase while containers run"),
        (after(&mesh(), &[Admit, SandboxReady, Start("envoy"), Exit("envoy", 0), Start("envoy"), Exit("envoy", 0)]),
            BackOff("envoy"), "shown as completed", "CrashLoopBackOff of a native sidecar after exit 0"),
        (after(&held, &[Admit, SandboxReady, Start("late"), Start("main"), Exit("main", 0)]), Start("main"), "finished",
            "a finished main"),
    ];
    for (mut pod, step, reason, why) in rows {
        let before = pod.status();
        let error = format!("{:#}", pod.apply(step, at(99)).expect_err(why));
        assert!(error.contains(reason), "{why}: {error}");
        assert_eq!(pod.status(), before, "{why}: nothing changes");
    }
    let mut deleted = healthy(&mesh());
    deleted.deleted(2, at(50));
    deleted
        .apply(Exit("envoy", 1), at(51))
        .expect_err("exits of a terminating Pod are reported all at once");
}

#[test]
fn the_last_phase_follows_the_regular_containers() {
    let batch = |policy| {
        pod("batch")
            .restart_policy(policy)
            .container(native("proxy"))
            .container(regular("main"))
    };
    #[rustfmt::skip]
    let rows: [(RestartPolicy, &[Step<'_>], &str, &str); 6] = [
        (RestartPolicy::Never, &[Exit("main", 0)], "Running", "the sidecar still runs"),
        (RestartPolicy::Never, &[Exit("main", 0), StopSidecars(9)], "Running", "not settled yet"),
        (RestartPolicy::Never, &[Exit("main", 0), StopSidecars(9), Settle], "Succeeded",
            "the sidecar's code is ignored"),
        (RestartPolicy::Never, &[Exit("main", 3), StopSidecars(0), Settle], "Failed", "the main's code is not"),
        (RestartPolicy::OnFailure, &[Exit("main", 3)], "Running", "it is started again"),
        (RestartPolicy::Always, &[Exit("main", 0)], "Running", "it is started again even after 0"),
    ];
    for (policy, steps, phase, why) in rows {
        let spec = batch(policy);
        let mut all = spec.healthy_start();
        all.extend(steps);
        assert_eq!(
            after(&spec, &all).status()["phase"],
            phase,
            "{policy:?}, {steps:?}: {why}"
        );
    }
}
