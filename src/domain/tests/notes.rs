//! The texts of the Events. They are tested here and nowhere else: `snapshots/` has what each scenario writes. Other tests assert
//! the check, the reason and the container. After a change of a text, run these tests with `INSTA_UPDATE=always` and review the
//! difference.

use std::fmt::Write as _;

use crate::domain::{
    checks::frequent_restarts::Scope,
    observation::{ContainerKind, RestartPolicy},
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, policy, web},
};

/// The versions of a Pod with the seconds in which they appear.
type Steps = Vec<(i64, Pod)>;

/// Returns the Events under a policy as text: the time, the reason and the note of each.
fn events_under(policy: Policy, steps: &[(i64, Pod)], end: i64) -> String {
    let mut harness = Harness::with(policy);
    for (second, pod) in steps {
        harness.pod_at(*second, pod);
    }
    let mut text = String::new();
    for event in harness.at(end).events() {
        writeln!(text, "  {} {}", event.at, event.reason).unwrap();
        writeln!(text, "    {}", event.note).unwrap();
    }
    text
}

/// Writes a heading and the Events of each scenario under the default limits of a check.
fn texts_of(check: Check, scenarios: Vec<(&str, Steps, i64)>) -> String {
    let mut text = String::new();
    for (about, steps, end) in scenarios {
        writeln!(text, "{about}").unwrap();
        text += &events_under(policy().only(check), &steps, end);
    }
    text
}

fn job() -> Pod {
    let pod = Pod::named("job-1")
        .of("Job", "job")
        .regular("app")
        .regular("log-sidecar");
    pod.restart_policy(RestartPolicy::Never)
}

fn classic() -> Pod {
    Pod::named("web-1").regular("app").regular("log-sidecar")
}

#[test]
fn not_ready() {
    let bad = || web().unready("envoy");
    let starts = || {
        web()
            .unready("envoy")
            .waiting("app", "CreateContainerConfigError")
    };
    let ended = || job().exits("log-sidecar", 2, 127);
    let probed = |pod: Pod| pod.spec("envoy", |c| c.probes.startup = true);
    let knative = || {
        Pod::named("web-1")
            .regular("user-container")
            .regular("queue-proxy")
    };
    let mesh = || {
        let pod = Pod::named("web-1").regular("app").regular("istio-proxy");
        pod.spec("app", |c| c.probes.readiness_through_mesh = true)
    };
    let yesterday = 14 * 3600;
    let scenarios = vec![
        (
            "unready and ready again",
            vec![(0, web()), (127, bad()), (500, web())],
            9000,
        ),
        (
            "the main container has not been created",
            vec![(0, starts())],
            400,
        ),
        (
            "the startup probe has not passed",
            vec![(0, probed(web().starting("envoy", 0)))],
            400,
        ),
        (
            "in a Job, and not restarted",
            vec![(0, job()), (127, ended())],
            9000,
        ),
        (
            "no longer needed",
            vec![
                (0, job()),
                (10, job().unready("log-sidecar")),
                (610, ended().exits("app", 0, 600)),
            ],
            9000,
        ),
        (
            "starting again",
            vec![(0, web()), (10, bad()), (610, bad().uninitialized())],
            9000,
        ),
        (
            "its readiness includes that of the app",
            vec![(0, knative()), (127, knative().unready("queue-proxy"))],
            500,
        ),
        (
            "the same, while it does not run",
            vec![
                (0, knative()),
                (127, knative().unready("queue-proxy").backs_off("queue-proxy")),
            ],
            500,
        ),
        (
            "the app is probed through it",
            vec![(0, mesh()), (127, mesh().unready("app").unready("istio-proxy"))],
            260,
        ),
        (
            "the next day",
            vec![(yesterday - 100, web()), (yesterday - 100, bad())],
            yesterday + 300,
        ),
    ];
    insta::assert_snapshot!("not_ready", texts_of(Check::NotReady, scenarios));
}

#[test]
fn main_ready_sidecar_not_ready() {
    let bad = || classic().unready("log-sidecar");
    let scenarios = vec![
        (
            "unready and ready again",
            vec![(0, classic()), (127, bad()), (500, classic())],
            9000,
        ),
        (
            "two main containers",
            vec![(0, classic().regular("worker")), (127, bad().regular("worker"))],
            400,
        ),
        (
            "the main container becomes unready too",
            vec![(0, classic()), (10, bad()), (200, bad().unready("app"))],
            9000,
        ),
        (
            "in a Job, and not restarted",
            vec![(0, job()), (10, job().exits("log-sidecar", 2, 10))],
            400,
        ),
    ];
    insta::assert_snapshot!(
        "main_ready_sidecar_not_ready",
        texts_of(Check::MainReadySidecarNotReady, scenarios)
    );
}

#[test]
fn frequent_restarts() {
    let crashes = |names: &[&str], seconds: &[i64]| {
        let mut pod = web();
        let mut steps = vec![(0, pod.clone())];
        for second in seconds {
            for name in names {
                pod = pod.exits(name, 1, second - 1).restarted(name, *second);
            }
            steps.push((*second, pod.clone()));
        }
        steps
    };
    let mut down = crashes(&["envoy"], &[20, 1000]);
    let (_, last) = down.last().unwrap().clone();
    down.push((
        2010,
        last.restarted("envoy", 2000)
            .exits("envoy", 1, 2010)
            .backs_off("envoy"),
    ));
    let slow: Vec<i64> = (1..=6).map(|n| 45 * 60 * n).collect();
    let scenarios = vec![
        ("three restarts", crashes(&["envoy"], &[10, 20, 30]), 9000),
        ("down", down, 2020),
        (
            "the app restarts too",
            crashes(&["envoy", "app"], &[10, 20, 30]),
            40,
        ),
        ("every 45 minutes", crashes(&["envoy"], &slow), 32000),
        (
            "four restarts, the first of which has left the window",
            crashes(&["envoy"], &[10, 905, 908, 910]),
            920,
        ),
    ];
    let mut text = texts_of(Check::FrequentRestarts, scenarios);
    let all = policy().only(Check::FrequentRestarts).with(|p| {
        p.checks.frequent_restarts.limits.scope = Scope::AllContainers;
    });
    let once = all.check(Check::FrequentRestarts, |c| c.count = 1);
    for name in ["app", "setup"] {
        let pod = web().init("setup");
        let steps = [(0, pod.clone()), (10, pod.restarted(name, 10))];
        text += "scope AllContainers: ";
        text += name;
        text += "\n";
        text += &events_under(once.clone(), &steps, 20);
    }
    insta::assert_snapshot!("frequent_restarts", text);
}

/// The init container `setup` fails again and again.
fn fails(pod: Pod) -> Pod {
    let failing = pod.starting("setup", 0).status("setup", |s| s.restart_count = 4);
    failing.exits("setup", 1, 250).backs_off("setup")
}

#[test]
fn an_init_container_that_fails_before_a_proxy() {
    let before = |proxy: &str| {
        let pod = Pod::named("web-1").init("setup").regular("app");
        pod.regular(proxy).uninitialized()
    };
    let image = |pod: Pod, name: &str| pod.spec(name, |c| c.image = "cr.l5d.io/linkerd/proxy:edge".into());
    let validator = image(image(before("linkerd-proxy"), "setup"), "linkerd-proxy");
    let scenarios = vec![
        ("a mesh proxy", vec![(0, fails(before("istio-proxy")))], 400),
        ("with the image of the proxy", vec![(0, fails(validator))], 400),
        ("an auth proxy", vec![(0, fails(before("kube-rbac-proxy")))], 400),
    ];
    insta::assert_snapshot!("init_before_proxy", texts_of(Check::StartupBlocked, scenarios));
}

#[test]
fn startup_blocked() {
    let blocked = || {
        let pod = web().regular("worker").spec("envoy", |c| c.probes.startup = true);
        pod.uninitialized()
    };
    let killed = blocked()
        .starting("envoy", 0)
        .status("envoy", |s| s.restart_count = 3)
        .exits_with("envoy", 137, "Error", 100)
        .restarted("envoy", 101)
        .starting("envoy", 101);
    let init = |pod: Pod| {
        pod.init("setup")
            .regular("app")
            .regular("istio-proxy")
            .uninitialized()
    };
    let setup = || init(Pod::named("web-1"));
    let failed = || fails(setup());
    let hook = |pod: Pod| {
        let pod = pod
            .regular("log-sidecar")
            .spec("log-sidecar", |c| c.has_post_start = true);
        let pod = pod.regular("worker").sandbox(true, 0);
        ["trainer", "log-sidecar", "worker"]
            .into_iter()
            .fold(pod, |pod, name| {
                if pod.0.shape.position(name).is_some() {
                    pod.waiting(name, "ContainerCreating")
                } else {
                    pod
                }
            })
    };
    let pulled = |kind: ContainerKind| {
        let pod = Pod::named("web-1").init("setup").regular("app").uninitialized();
        let pod = pod.spec("setup", |c| {
            c.kind = kind;
            c.has_post_start = kind == ContainerKind::Native;
        });
        pod.waiting("setup", "PodInitializing").sandbox(true, 0)
    };
    let scenarios = vec![
        (
            "a native sidecar is killed by its startup probe, and starts later",
            vec![
                (0, blocked().starting("envoy", 0)),
                (101, killed),
                (500, web().regular("worker")),
            ],
            9000,
        ),
        (
            "a plain init container does not end, and starts again in a new sandbox",
            vec![
                (0, setup().starting("setup", 0)),
                (1900, setup().starting("setup", 0).sandbox(false, 1900)),
            ],
            2000,
        ),
        (
            "a plain init container fails before a classic proxy",
            vec![(0, failed())],
            400,
        ),
        (
            "a plain init container without a hook",
            vec![(0, pulled(ContainerKind::Init))],
            2000,
        ),
        (
            "a native sidecar with a hook",
            vec![(0, pulled(ContainerKind::Native))],
            400,
        ),
        (
            "a hook of the first container",
            vec![(0, hook(Pod::named("web-1")))],
            400,
        ),
        (
            "a hook after another container",
            vec![(0, hook(Pod::named("web-1").regular("trainer")))],
            400,
        ),
    ];
    insta::assert_snapshot!("startup_blocked", texts_of(Check::StartupBlocked, scenarios));
}

#[test]
fn job_held_open() {
    let held = || job().exits("app", 0, 100);
    let uploader = |pod: Pod| {
        pod.spec("log-sidecar", |c| {
            c.image = "quay.io/argoproj/argoexec:v3.6.2".into();
        })
    };
    let on_failure = |pod: Pod| pod.restart_policy(RestartPolicy::OnFailure);
    let scenarios = vec![
        (
            "until the sidecar finishes",
            vec![
                (0, job()),
                (102, held()),
                (600, held().exits("log-sidecar", 0, 600)),
            ],
            9000,
        ),
        (
            "until a main container runs again",
            vec![(0, job()), (102, held()), (600, job())],
            9000,
        ),
        (
            "a Pod without a Job",
            vec![(0, job().of("Pod", "job-1")), (102, held().of("Pod", "job-1"))],
            500,
        ),
        (
            "the main container was OOM-killed",
            vec![(0, job()), (102, job().oom_killed("app", 100))],
            500,
        ),
        (
            "its image cannot be pulled",
            vec![(0, held().waiting("log-sidecar", "ImagePullBackOff"))],
            500,
        ),
        (
            "it fails and is restarted",
            vec![
                (0, on_failure(job())),
                (102, on_failure(held()).exits("log-sidecar", 1, 101)),
            ],
            500,
        ),
        (
            "a container that works after the main containers",
            vec![(0, uploader(job())), (102, uploader(held()))],
            2000,
        ),
        (
            "the same after a failure",
            vec![(0, uploader(job())), (102, uploader(job()).exits("app", 3, 100))],
            500,
        ),
    ];
    insta::assert_snapshot!("job_held_open", texts_of(Check::JobHeldOpen, scenarios));
}

#[test]
fn oom_killed() {
    let limited = || web().spec("envoy", |c| c.memory_limit = Some("64Mi".into()));
    let killed = || web().oom_killed("envoy", 9);
    let scenarios = vec![
        (
            "with a limit",
            vec![(0, limited()), (10, limited().oom_killed("envoy", 9))],
            9000,
        ),
        ("without a limit", vec![(0, web()), (10, killed())], 20),
        (
            "the app ended too",
            vec![(0, web()), (10, killed().exits("app", 1, 8))],
            20,
        ),
        (
            "the app was restarted too",
            vec![(0, web()), (10, killed().restarted("app", 8))],
            20,
        ),
    ];
    insta::assert_snapshot!("oom_killed", texts_of(Check::OOMKilled, scenarios));
}

#[test]
fn flapping() {
    let flaps = |seconds: &[i64], pod: fn() -> Pod, name: &str| {
        let mut steps = vec![(0, pod())];
        for second in seconds {
            steps.extend([(*second, pod().unready(name)), (second + 2, pod())]);
        }
        steps
    };
    let scenarios = vec![
        (
            "six changes",
            flaps(&[10, 20, 30, 40, 50, 60], web, "envoy"),
            9000,
        ),
        (
            "seven changes, the first of which has left the window",
            flaps(&[10, 1770, 1780, 1790, 1795, 1800, 1810], web, "envoy"),
            1820,
        ),
        (
            "in a Job",
            flaps(&[10, 20, 30, 40, 50, 60], job, "log-sidecar"),
            70,
        ),
    ];
    insta::assert_snapshot!("flapping", texts_of(Check::Flapping, scenarios));
}

#[test]
fn a_short_keep_firing_for_shows_how_a_fault_ends() {
    let quick = policy()
        .only(Check::NotReady)
        .check(Check::NotReady, |c| c.keep_firing_for = minutes(0));
    let steps = [
        (0, job()),
        (10, job().unready("log-sidecar")),
        (610, job().exits("log-sidecar", 0, 600)),
    ];
    insta::assert_snapshot!("finished", events_under(quick, &steps, 9000));
}
