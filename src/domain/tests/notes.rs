//! The notes of the Events of each check: fault, onset, limit and policy, cause, consequence.

use crate::domain::{
    observation::RestartPolicy,
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, policy, web},
};

/// Returns the reason and the note of the first and of the last Event.
fn notes_of(check: Check, pods: &[(i64, Pod)], end: i64) -> [(&'static str, String); 2] {
    notes_under(policy().only(check), pods, end)
}

fn notes_under(policy: Policy, pods: &[(i64, Pod)], end: i64) -> [(&'static str, String); 2] {
    let mut harness = Harness::with(policy);
    for (second, pod) in pods {
        harness.pod_at(*second, pod);
    }
    let events = harness.at(end).events();
    let words = |event: &crate::domain::effects::Event| (event.reason, event.note.clone());
    [words(events.first().unwrap()), words(events.last().unwrap())]
}

fn assert_notes(notes: &[(&'static str, String); 2], reason: &str, note: &str, recovered: &str) {
    assert_eq!((notes[0].0, &*notes[0].1), (reason, note));
    assert_eq!((notes[1].0, &*notes[1].1), ("SidecarRecovered", recovered));
}

#[test]
fn not_ready() {
    let bad = web().unready("envoy");
    let notes = notes_of(Check::NotReady, &[(0, web()), (127, bad), (500, web())], 9000);
    assert_notes(
        &notes,
        "SidecarContainerNotReady",
        "Sidecar 'envoy' (native) has not been ready since 10:02:07Z (5m allowed by SidecarPolicy pay/mesh): its readiness \
         probe fails. The Pod is removed from its Services' endpoints.",
        "Sidecar 'envoy' (native) is ready now after 8m13s (NotReady under SidecarPolicy pay/mesh).",
    );
}

#[test]
fn main_ready_sidecar_not_ready() {
    let classic = || Pod::named("web-1").regular("app").regular("log-sidecar");
    let bad = classic().unready("log-sidecar");
    let check = Check::MainReadySidecarNotReady;
    let one = notes_of(
        check,
        &[(0, classic()), (127, bad.clone()), (500, classic())],
        9000,
    );
    assert_notes(
        &one,
        "MainContainerReadyButSidecarNot",
        "Main container 'app' is ready but sidecar 'log-sidecar' (classic) is not, since 10:02:07Z (2m allowed by \
         SidecarPolicy pay/mesh): its readiness probe fails. The Pod is removed from its Services' endpoints.",
        "Sidecar 'log-sidecar' (classic) is ready now after 8m13s (MainReadySidecarNotReady under SidecarPolicy \
         pay/mesh).",
    );
    let two = notes_of(
        check,
        &[(0, classic().regular("worker")), (127, bad.regular("worker"))],
        400,
    );
    assert!(
        two[0]
            .1
            .starts_with("Main containers 'app' and 'worker' are ready but sidecar "),
        "{}",
        two[0].1
    );
    let gone = classic().unready("log-sidecar").unready("app");
    let main_fails = notes_of(
        check,
        &[
            (0, classic()),
            (10, classic().unready("log-sidecar")),
            (200, gone),
        ],
        9000,
    );
    assert_eq!(
        main_fails[1].1,
        "Sidecar 'log-sidecar' (classic) no longer fails the check, because no main container is ready, after \
         5m10s (MainReadySidecarNotReady under SidecarPolicy pay/mesh)."
    );
}

#[test]
fn a_readiness_fault_can_end_while_the_sidecar_is_not_ready() {
    let job = || {
        Pod::named("web-1")
            .regular("app")
            .regular("log-sidecar")
            .restart_policy(RestartPolicy::Never)
    };
    let bad = || job().unready("log-sidecar");
    let recovered = |end: Pod| {
        let quick = policy()
            .only(Check::NotReady)
            .check(Check::NotReady, |c| c.keep_firing_for = minutes(0));
        notes_under(quick, &[(0, job()), (10, bad()), (610, end)], 9000)[1]
            .1
            .clone()
    };
    let table = [
        (
            bad().exits("app", 0, 600),
            "is no longer needed, because all main containers have finished, after 10m",
        ),
        (bad().exits("log-sidecar", 0, 600), "has finished after 10m"),
        (bad().uninitialized(), "is starting again with its Pod after 10m"),
    ];
    for (pod, expected) in table {
        let note = recovered(pod);
        assert_eq!(
            note,
            format!("Sidecar 'log-sidecar' (classic) {expected} (NotReady under SidecarPolicy pay/mesh).")
        );
    }
}

#[test]
fn frequent_restarts() {
    let crash = |pod: &Pod, second| {
        pod.clone()
            .exits("envoy", 1, second)
            .restarted("envoy", second + 1)
    };
    let (one, two) = (crash(&web(), 9), crash(&crash(&web(), 9), 19));
    let three = crash(&two, 29);
    let steps = [(0, web()), (10, one), (20, two.clone()), (30, three)];
    assert_notes(
        &notes_of(Check::FrequentRestarts, &steps, 9000),
        "SidecarRestartingFrequently",
        "Sidecar 'envoy' (native) restarted 3 times within 15m (limit 3, SidecarPolicy pay/mesh); last exit code 1 (Error) at \
         10:00:29Z. Only this container was restarted.",
        "Sidecar 'envoy' (native) restarted fewer than 3 times within 15m after 24m40s (FrequentRestarts under \
         SidecarPolicy pay/mesh).",
    );
    let down = crash(&two, 2000).exits("envoy", 1, 2010).backs_off("envoy");
    let steps = [(0, web()), (20, two), (2010, down)];
    let notes = notes_of(Check::FrequentRestarts, &steps, 2020);
    assert_eq!(
        notes[0].1,
        "Sidecar 'envoy' (native) is down and restarted 3 times (limit 3 within 15m, or within 1h while it is down, \
         SidecarPolicy pay/mesh); last exit code 1 (Error) at 10:33:30Z. Only this container was restarted."
    );
}

#[test]
fn a_count_in_a_note_is_that_of_the_window() {
    let restarts = [10, 905, 908, 910];
    let steps = (1..=restarts.len()).map(|n| {
        let pod = restarts[..n]
            .iter()
            .fold(web(), |pod, second| pod.restarted("envoy", *second));
        (restarts[n - 1], pod)
    });
    let steps: Vec<_> = [(0, web())].into_iter().chain(steps).collect();
    let note = notes_of(Check::FrequentRestarts, &steps, 920)[0].1.clone();
    assert!(
        note.contains("restarted 3 times within 15m"),
        "the first has just left the window: {note}"
    );
    let flaps = [10, 1770, 1780, 1790, 1795, 1800, 1810];
    let steps = flaps
        .iter()
        .flat_map(|second| [(*second, web().unready("envoy")), (second + 2, web())]);
    let steps: Vec<_> = [(0, web())].into_iter().chain(steps).collect();
    let note = notes_of(Check::Flapping, &steps, 1820)[0].1.clone();
    assert!(
        note.contains("unready 6 times within 30m"),
        "the first has just left the window: {note}"
    );
}

#[test]
fn frequent_restarts_of_other_containers() {
    let all = policy().only(Check::FrequentRestarts).with(|p| {
        p.checks.frequent_restarts.limits.scope =
            crate::domain::checks::frequent_restarts::Scope::AllContainers;
    });
    let once = all.check(Check::FrequentRestarts, |c| c.count = 1);
    let subject = |name: &str| {
        let pod = web().init("setup");
        let notes = notes_under(
            once.clone(),
            &[(0, pod.clone()), (10, pod.restarted(name, 10))],
            20,
        );
        notes[0].1.split(" restarted ").next().unwrap().to_owned()
    };
    assert_eq!(subject("app"), "Main container 'app'");
    assert_eq!(subject("setup"), "Init container 'setup'");
}

#[test]
fn startup_blocked() {
    let blocked = || {
        let pod = web()
            .regular("worker")
            .spec("envoy", |c| c.probes.startup = true)
            .uninitialized();
        pod.waiting("app", "PodInitializing")
            .waiting("worker", "PodInitializing")
    };
    let probed = blocked()
        .status("envoy", |s| s.restart_count = 3)
        .exits_with("envoy", 137, "Error", 100)
        .restarted("envoy", 101)
        .starting("envoy", 101);
    let steps = [
        (0, blocked().starting("envoy", 0)),
        (101, probed),
        (500, web().regular("worker")),
    ];
    assert_notes(
        &notes_of(Check::StartupBlocked, &steps, 9000),
        "SidecarBlocksStartup",
        "Sidecar 'envoy' (native) has not started since 10:00:00Z (5m allowed by SidecarPolicy pay/mesh): its startup \
         probe fails, 4 restarts, last exit code 137 (Error). Containers 'app' and 'worker' wait for it.",
        "Sidecar 'envoy' (native) no longer blocks the startup of its Pod after 8m20s (StartupBlocked under SidecarPolicy \
         pay/mesh).",
    );
    let init = Pod::named("web-1")
        .init("setup")
        .regular("app")
        .uninitialized()
        .starting("setup", 0);
    let notes = notes_of(
        Check::StartupBlocked,
        &[(0, init.clone()), (1900, init.sandbox(false, 1900))],
        2000,
    );
    assert_eq!(
        notes[0].1,
        "Init container 'setup' has not completed since 10:00:00Z (30m allowed by SidecarPolicy pay/mesh): it runs and \
         does not exit. Container 'app' waits for it."
    );
    assert!(
        notes[1].1.contains("is starting again with its Pod"),
        "{}",
        notes[1].1
    );
}

#[test]
fn job_held_open() {
    let job = || {
        Pod::named("job-1")
            .of("Job", "job")
            .regular("app")
            .regular("log-sidecar")
            .restart_policy(RestartPolicy::Never)
    };
    let held = job().exits("app", 0, 100);
    let steps = [
        (0, job()),
        (102, held.clone()),
        (600, held.clone().exits("log-sidecar", 0, 600)),
    ];
    assert_notes(
        &notes_of(Check::JobHeldOpen, &steps, 9000),
        "SidecarHoldsJobOpen",
        "All main containers finished at 10:01:40Z but sidecar 'log-sidecar' (classic) still runs: the Job cannot \
         complete (5m allowed by SidecarPolicy pay/mesh). A native sidecar (initContainers, restartPolicy: Always) is \
         stopped when the main containers finish.",
        "Sidecar 'log-sidecar' (classic) has finished after 8m18s (JobHeldOpen under SidecarPolicy pay/mesh).",
    );
    let again = notes_of(
        Check::JobHeldOpen,
        &[(0, job()), (102, job().exits("app", 0, 100)), (600, job())],
        9000,
    );
    assert!(
        again[1].1.contains("has a running main container again"),
        "{}",
        again[1].1
    );
    let without_job = [(0, job().of("Pod", "job-1")), (102, held.of("Pod", "job-1"))];
    let note = &notes_of(Check::JobHeldOpen, &without_job, 9000)[0].1;
    assert!(note.contains("the Pod cannot complete"), "{note}");
}

#[test]
fn oom_killed() {
    let limited = |limit: &'static str| web().spec("envoy", |c| c.memory_limit = Some(limit.into()));
    let steps = [(0, limited("64Mi")), (10, limited("64Mi").oom_killed("envoy", 9))];
    assert_notes(
        &notes_of(Check::OOMKilled, &steps, 9000),
        "SidecarOOMKilled",
        "Sidecar 'envoy' (native) was OOM-killed at 10:00:10Z (limit 64Mi). The app was not restarted.",
        "Sidecar 'envoy' (native) was not OOM-killed again after 10m (OOMKilled under SidecarPolicy pay/mesh).",
    );
    let notes = notes_of(
        Check::OOMKilled,
        &[(0, web()), (10, web().oom_killed("envoy", 9))],
        20,
    );
    assert!(
        notes[0].1.contains("(the container has no memory limit)"),
        "{}",
        notes[0].1
    );
}

#[test]
fn flapping() {
    let mut steps = vec![(0, web())];
    for n in 1..=6 {
        steps.extend([(10 * n, web().unready("envoy")), (10 * n + 5, web())]);
    }
    assert_notes(
        &notes_of(Check::Flapping, &steps, 9000),
        "SidecarFlapping",
        "Sidecar 'envoy' (native) went from ready to unready 6 times within 30m without a restart (limit 6, SidecarPolicy \
         pay/mesh). Each change removes the Pod from its Services' endpoints.",
        "Sidecar 'envoy' (native) went from ready to unready fewer than 6 times within 30m after 31m10s (Flapping \
         under SidecarPolicy pay/mesh).",
    );
}
