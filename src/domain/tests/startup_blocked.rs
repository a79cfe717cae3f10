//! StartupBlocked.

use crate::domain::{
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, policy, web},
};

pub(super) fn startup_only() -> Policy {
    policy().only(Check::StartupBlocked)
}

/// Returns a scheduled Pod whose containers `setup`, `envoy` and `app` have not been created.
fn fresh() -> Pod {
    let waiting = "PodInitializing";
    let pod = Pod::named("web-1")
        .init("setup")
        .native("envoy")
        .regular("app")
        .uninitialized();
    pod.waiting("setup", waiting)
        .waiting("envoy", waiting)
        .waiting("app", waiting)
}

fn completed(pod: Pod) -> Pod {
    pod.starting("setup", 0).exits("setup", 0, 5).ready("setup")
}

/// Returns the container of the StartupBlocked violation of a Pod.
pub(super) fn blocked(policy: Policy, pod: &Pod) -> Option<String> {
    let mut harness = Harness::with(policy);
    harness.pod(pod);
    let found: Vec<_> = harness.failing_containers();
    assert!(found.len() <= 1, "at most one container blocks the start");
    found.into_iter().next()
}

#[test]
fn the_first_init_container_that_is_not_done_is_the_subject() {
    let excluding = |name: &str| startup_only().with(|p| p.sidecars.exclude_names = [name.into()].into());
    #[rustfmt::skip]
    let table = [
        (startup_only(), fresh(), Some("setup"), "no container is done"),
        (startup_only(), fresh().starting("setup", 1), Some("setup"), "a plain init container runs"),
        (startup_only(), fresh().starting("setup", 1).exits("setup", 1, 2), Some("setup"),
            "a plain init container has failed"),
        (startup_only(), completed(fresh()), Some("envoy"), "a plain init container with exit 0 is done"),
        (startup_only(), completed(fresh()).starting("envoy", 1), Some("envoy"), "a native sidecar has not started"),
        (startup_only(), completed(fresh()).starting("envoy", 1).status("envoy", |s| s.started = true), None,
            "a started native sidecar is done, even if unready"),
        (startup_only(), completed(fresh()).conditions(|c| c.initialized = true), None, "Initialized=True"),
        (startup_only(), fresh().with(|p| p.scheduled = false), None, "the Pod has no node"),
        (startup_only(), fresh().unreported("setup"), None, "a container without a status hides the later ones"),
        (startup_only(), completed(fresh()).unreported("envoy"), None, "a later container has no status"),
        (excluding("setup"), fresh(), None, "the policy excludes it"),
        (excluding("envoy"), completed(fresh()), None, "the policy excludes a native sidecar"),
        (excluding("envoy"), fresh(), Some("setup"), "a later one is excluded"),
        (startup_only().with(|p| p.sidecars.native = false), completed(fresh()), None,
            "native: Exclude excludes native sidecars"),
    ];
    for (policy, pod, expected, why) in table {
        assert_eq!(blocked(policy, &pod).as_deref(), expected, "{why}");
    }
    let without_sidecars = Pod::named("web-1")
        .init("setup")
        .regular("app")
        .uninitialized()
        .starting("setup", 1);
    assert_eq!(
        blocked(startup_only(), &without_sidecars).as_deref(),
        Some("setup"),
        "a Pod without sidecars"
    );
    let never = web().uninitialized();
    assert_eq!(
        blocked(startup_only(), &never),
        None,
        "all containers are done, but Initialized is still False"
    );
}

#[test]
fn the_sandbox_must_be_ready() {
    let absent = |pod: Pod| pod.conditions(|c| c.sandbox_ready = None);
    #[rustfmt::skip]
    let table = [
        (fresh().sandbox(true, 0), true, "the sandbox is ready"),
        (fresh().starting("setup", 1).sandbox(false, 0), false, "the sandbox is not ready"),
        (absent(fresh()), false, "no condition, and the container has not been created"),
        (absent(fresh().waiting("setup", "ContainerCreating")), false,
            "no condition, and the container is being created"),
        (absent(fresh().waiting("setup", "ImagePullBackOff")), true,
            "no condition, but the image pull shows a sandbox"),
        (absent(fresh().starting("setup", 1)), true, "no condition, but the container runs"),
        (absent(fresh().exits("setup", 1, 1).backs_off("setup")), true, "no condition, but the container has run"),
        (absent(fresh().status("setup", |s| s.restart_count = 1)), true,
            "no condition, but the container has been restarted"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(blocked(startup_only(), &pod).is_some(), expected, "{why}");
    }
}

#[test]
fn for_applies_to_native_sidecars_and_init_containers_for_to_plain_init_containers() {
    let mut harness = Harness::with(startup_only());
    harness.pod_at(0, &fresh()).at(30 * 60 - 1);
    assert_eq!(harness.firing(), [""; 0]);
    harness.at(30 * 60);
    assert_eq!(
        harness.log(),
        [
            "0 pending setup StartupBlocked",
            "1800 firing setup StartupBlocked"
        ]
    );
    harness.pod_at(1900, &completed(fresh()));
    assert_eq!(
        harness.log(),
        [
            "1900 pending envoy StartupBlocked",
            "1900 resolved setup StartupBlocked"
        ],
        "the next container has its own onset, and keepFiringFor is 0s"
    );
    harness.at(1900 + 5 * 60);
    assert_eq!(harness.log(), ["2200 firing envoy StartupBlocked"]);
}

#[test]
fn a_sidecar_that_stands_as_a_plain_init_container_blocks_after_for() {
    let table = [
        ("cloud-sql-proxy", 300, "a sidecar that never exits"),
        ("git-sync", 1800, "a sidecar that can run once"),
        ("install-sidecar", 1800, "only a pattern matches the name"),
    ];
    for (name, expected, why) in table {
        let pod = fresh().starting("setup", 1);
        let pod = pod.spec("setup", |container| container.name = name.into());
        let mut harness = Harness::with(startup_only());
        harness.pod(&pod).at(expected - 1);
        assert_eq!(harness.firing(), [""; 0], "{why}");
        harness.at(expected);
        assert_eq!(harness.firing(), [format!("{name} StartupBlocked")], "{why}");
    }
}

#[test]
fn an_init_container_that_fails_is_blocked_after_for() {
    let failed = |times: u32| {
        let pod = fresh().starting("setup", 1).exits("setup", 1, 2);
        pod.status("setup", |status| status.restart_count = times)
    };
    #[rustfmt::skip]
    let table = [
        (failed(3), 300, "as many restarts as FrequentRestarts allows"),
        (failed(3).backs_off("setup"), 300, "it backs off"),
        (failed(4).backs_off("setup").starting("setup", 4), 300, "it runs again after more failures"),
        (failed(3).backs_off("setup").starting("setup", 4), 1800,
            "the run after the last restart that is allowed can still succeed"),
        (failed(2), 1800, "fewer restarts"),
        (failed(3).backs_off("setup").status("setup", |s| s.last_exit = None), 1800, "the last exit is unknown"),
        (fresh().starting("setup", 1), 1800, "it runs for a long time"),
    ];
    for (pod, expected, why) in table {
        let mut harness = Harness::with(startup_only());
        harness.pod(&pod).at(expected - 1);
        assert_eq!(harness.firing(), [""; 0], "{why}");
        harness.at(expected);
        assert_eq!(harness.firing(), ["setup StartupBlocked"], "{why}");
    }
    let mut harness = Harness::with(startup_only());
    harness.pod(&failed(1)).pod_at(600, &failed(3));
    assert_eq!(
        harness.log(),
        [
            "0 pending setup StartupBlocked",
            "600 firing setup StartupBlocked"
        ],
        "the failure after the last restart that is allowed makes an old fault fire"
    );
    let note = harness.events().remove(0).note;
    assert!(note.contains("(5m allowed by"), "{note}");
    let short = startup_only().with(|p| {
        p.checks.startup_blocked.limits.init_containers_for = minutes(1);
    });
    let mut harness = Harness::with(short);
    harness.pod(&failed(3)).at(60);
    assert_eq!(
        harness.firing(),
        ["setup StartupBlocked"],
        "initContainersFor applies if it is shorter"
    );
}

#[test]
fn the_detail_gives_the_cause_and_the_waiting_containers() {
    let detail = |pod: &Pod| {
        let mut harness = Harness::with(startup_only());
        harness.pod(pod).at(600);
        harness.detail()
    };
    let native = |pod: Pod| completed(pod.spec("envoy", |c| c.probes.startup = true));
    #[rustfmt::skip]
    let table = [
        (fresh(),
            "its image is still being pulled; blocked: 'envoy' and 'app'"),
        (fresh().starting("setup", 1), "it runs and does not exit; blocked: 'envoy' and 'app'"),
        (native(fresh()).starting("envoy", 1), "its startup probe has not passed; blocked: 'app'"),
        (native(fresh()).starting("envoy", 1).restarted("envoy", 2).starting("envoy", 2),
            "its startup probe has not passed, 1 restart, last exit code 1 (Error); blocked: 'app'"),
        (native(fresh()).waiting("envoy", "ErrImagePull"), "it is waiting: ErrImagePull; blocked: 'app'"),
    ];
    for (pod, expected) in table {
        assert_eq!(detail(&pod), expected);
    }
}

/// `computeInitContainerActions` of the kubelet walks the init containers backwards.
#[test]
fn a_container_blocks_nothing_once_a_later_one_has_begun() {
    let pod = || {
        let pod = Pod::named("web-1").native("proxy").init("migrate").regular("app");
        pod.uninitialized().sandbox(true, 10)
    };
    let down = |pod: Pod| pod.exits("proxy", 1, 100).backs_off("proxy");
    let app_has_run = |pod: Pod| pod.starting("app", 20).exits("app", 1, 90);
    #[rustfmt::skip]
    let table = [
        (down(pod().starting("migrate", 12)), Some("migrate"), "the later init container runs"),
        (down(pod().starting("migrate", 12).exits("migrate", 1, 50).backs_off("migrate")), Some("migrate"),
            "the later init container has failed in this sandbox"),
        (down(pod().starting("migrate", 2).exits("migrate", 1, 5).backs_off("migrate")), Some("proxy"),
            "the later init container has failed in an earlier sandbox"),
        (down(pod().waiting("migrate", "ImagePullBackOff")), Some("proxy"), "the later init container has not begun"),
        (down(app_has_run(pod().exits("migrate", 0, 15))), None, "the app has run in this sandbox"),
        (down(app_has_run(pod().exits("migrate", 0, 15)).backs_off("app")), None,
            "the app has run in this sandbox, and the kubelet reports Initialized=False again"),
        (pod().starting("proxy", 101).starting("migrate", 12).exits_with("migrate", 137, "RestartingAllContainers", 100),
            Some("proxy"), "all containers were restarted since"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(blocked(startup_only(), &pod).as_deref(), expected, "{why}");
    }
}

#[test]
fn the_onset_of_a_blocking_container_does_not_move_with_the_one_before() {
    let pod = |proxy: i64| {
        let pod = Pod::named("web-1").native("proxy").init("migrate").regular("app");
        let pod = pod.uninitialized().sandbox(true, 10).starting("migrate", 12);
        if proxy == 0 {
            pod
        } else {
            pod.restarted("proxy", proxy)
        }
    };
    let mut harness = Harness::with(startup_only());
    harness.pod(&pod(0)).pod_at(1500, &pod(1500));
    harness.pod_at(1600, &pod(1500).exits("proxy", 1, 1600).backs_off("proxy"));
    assert_eq!(harness.onset("migrate", Check::StartupBlocked), Some(0.0));
    let mut restarted = Harness::starting();
    restarted.policy(startup_only()).at(2000).resync([&pod(1500)]);
    assert_eq!(
        restarted.onset("migrate", Check::StartupBlocked),
        Some(12.0),
        "its own start"
    );
}
