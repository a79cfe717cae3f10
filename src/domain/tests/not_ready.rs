//! NotReady and MainReadySidecarNotReady.

use crate::domain::{
    observation::RestartPolicy,
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, only, policy, web},
};

fn at_once(check: Check) -> Policy {
    only(check, 0)
}

/// Returns the containers with a violation of a check.
fn failing(check: Check, pod: &Pod) -> Vec<String> {
    let mut harness = Harness::with(at_once(check));
    harness.pod(pod);
    harness.failing_containers()
}

fn is_not_ready(pod: &Pod) -> bool {
    failing(Check::NotReady, pod) == ["envoy"]
}

fn two_mains() -> Pod {
    web().regular("worker").restart_policy(RestartPolicy::OnFailure)
}

#[test]
fn an_unready_sidecar_of_an_initialized_pod_fails_while_a_main_is_left() {
    let done = |name: &str, pod: Pod| pod.exits(name, 0, 10);
    #[rustfmt::skip]
    let table = [
        (web(), false, "the sidecar is ready"),
        (web().unready("envoy"), true, "the sidecar is unready"),
        (web().unready("envoy").uninitialized(), false, "the Pod is not initialized"),
        (done("app", two_mains()).unready("envoy"), true, "not every main has finished"),
        (done("worker", done("app", two_mains())).unready("envoy"), false, "every main has finished"),
        (web().unready("envoy").unready("app"), true, "the state of the main does not matter"),
        (web().unready("app"), false, "an unready main is not a sidecar"),
        (web().unready("envoy").conditions(|c| c.containers_ready = None), true, "the container status decides"),
        (web().unreported("envoy"), false, "a sidecar without a status is unknown"),
        (web().unready("envoy").unreported("app"), true, "a main without a status has not finished"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(is_not_ready(&pod), expected, "{why}");
    }
}

#[test]
fn a_sidecar_is_unready_unless_it_is_being_created_and_no_main_container_has_started() {
    let classic = |policy| {
        Pod::named("web-1")
            .regular("envoy")
            .regular("app")
            .restart_policy(policy)
    };
    let making = |reason: &str| web().waiting("envoy", reason).waiting("app", "PodInitializing");
    #[rustfmt::skip]
    let table = [
        (classic(RestartPolicy::OnFailure).exits("envoy", 0, 10), true, "a proxy that finished with exit 0"),
        (classic(RestartPolicy::Never).exits("envoy", 1, 10), true, "finished with exit 1"),
        (classic(RestartPolicy::Always).exits("envoy", 0, 10), true, "terminated, to be restarted"),
        (web().exits("envoy", 0, 10), true, "a native sidecar is never finished"),
        (making("ContainerCreating"), false, "the sidecar is being created, and no main has started"),
        (making("PodInitializing"), false, "the sidecar is being initialized"),
        (making("RestartingAllContainers"), false, "all containers are restarting"),
        (making("ImagePullBackOff"), true, "any other reason counts"),
        (making("ContainerCreating").ready("app").starting("app", 5), true, "a main has started"),
        (making("ContainerCreating").exits_with("app", 1, "Error", 5), true, "a main has started and terminated"),
        (making("ContainerCreating").status("app", |s| s.restart_count = 1), true, "a main has been restarted"),
        (making("ContainerCreating").exits("app", 1, 5).backs_off("app"), true, "a main waits for its next run"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(is_not_ready(&pod), expected, "{why}");
    }
}

#[test]
fn a_proxy_that_succeeds_is_unready_while_a_main_container_is_left() {
    let with = |name: &str, policy| {
        Pod::named("web-1")
            .regular("app")
            .regular(name)
            .restart_policy(policy)
            .containers_unready_since(4)
            .exits(name, 0, 10)
    };
    let proxy = |policy| with("istio-proxy", policy);
    let (on_failure, never) = (RestartPolicy::OnFailure, RestartPolicy::Never);
    #[rustfmt::skip]
    let table = [
        (proxy(on_failure), true, "a proxy under OnFailure"),
        (proxy(never), true, "a proxy under Never"),
        (proxy(RestartPolicy::Always), true, "a proxy that will be restarted"),
        (with("fetch-sidecar", never), false, "a helper that is not in the catalogue"),
        (with("fluent-bit", never), false, "a log shipper"),
        (with("helper", never).spec("helper", |c| c.image = "istio/proxyv2:1.28.0".into()), true,
            "a proxy by its image"),
        (proxy(never).exits("app", 0, 12), false, "every main container has finished"),
        (proxy(never).waiting("app", "ContainerCreating"), false, "no main container has begun"),
        (proxy(on_failure).exits("app", 1, 12).backs_off("app"), true, "the main container will be restarted"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(
            failing(Check::NotReady, &pod).len(),
            usize::from(expected),
            "{why}"
        );
        let has_ready_main = pod.0.statuses[0].as_ref().unwrap().ready;
        let both = failing(Check::MainReadySidecarNotReady, &pod).len();
        assert_eq!(both, usize::from(expected && has_ready_main), "{why}");
    }
    let mut harness = Harness::with(at_once(Check::NotReady));
    harness.pod_at(60, &proxy(never));
    assert_eq!(
        harness.onset("istio-proxy", Check::NotReady),
        Some(10.0),
        "the onset is the exit, not the time at which another container became unready"
    );
    assert_eq!(
        harness.detail(),
        "it exited with code 0 (Completed) and is not restarted"
    );
}

#[test]
fn only_sidecars_have_violations() {
    let pod = web()
        .init("setup")
        .regular("istio-proxy")
        .unready("setup")
        .unready("istio-proxy")
        .unready("app");
    for check in [Check::NotReady, Check::MainReadySidecarNotReady] {
        let pod = pod.clone().regular("worker").unready("envoy");
        assert_eq!(
            failing(check, &pod),
            ["envoy", "istio-proxy"],
            "native and classic sidecars, no main, no init container"
        );
    }
}

#[test]
fn main_ready_sidecar_not_ready_needs_a_ready_main() {
    let fails = |pod: &Pod| failing(Check::MainReadySidecarNotReady, pod) == ["envoy"];
    #[rustfmt::skip]
    let table = [
        (web().unready("envoy"), true, "the main is ready"),
        (web().unready("envoy").unready("app"), false, "no main is ready"),
        (two_mains().unready("envoy").unready("app"), true, "one ready main is enough"),
        (web().unready("envoy").unready("app").init("setup"), false, "a completed init container is not a main"),
        (web().unready("envoy").uninitialized(), false, "the Pod is not initialized, as for NotReady"),
        (two_mains().exits("app", 0, 5).exits("worker", 0, 5).unready("envoy"), false,
            "every main has finished, as for NotReady"),
        (web(), false, "the sidecar is ready"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(fails(&pod), expected, "{why}");
    }
}

#[test]
fn a_sidecar_that_reflects_the_app_is_only_not_ready() {
    let pod = web().regular("queue-proxy").unready("queue-proxy");
    assert_eq!(failing(Check::NotReady, &pod), ["queue-proxy"]);
    assert_eq!(failing(Check::MainReadySidecarNotReady, &pod), [""; 0]);
}

#[test]
fn the_detail_names_the_ready_mains() {
    let detail = |pod: &Pod| {
        let mut harness = Harness::with(at_once(Check::MainReadySidecarNotReady));
        harness.pod(pod);
        harness.detail()
    };
    let pod = two_mains().unready("envoy");
    assert_eq!(
        detail(&pod),
        "its readiness probe fails; ready: 'app' and 'worker'"
    );
    assert_eq!(
        detail(&pod.clone().unready("app")),
        "its readiness probe fails; ready: 'worker'"
    );
    let many = pod.regular("b").regular("c");
    assert_eq!(
        detail(&many),
        "its readiness probe fails; ready: 'app', 'worker' and 2 more"
    );
}

#[test]
fn the_detail_gives_the_cause() {
    let detail = |pod: &Pod| {
        let mut harness = Harness::with(at_once(Check::NotReady).check(Check::NotReady, |c| {
            c.keep_firing_for = minutes(5);
        }));
        harness.pod(&web().unready("envoy")).pod_at(1, pod);
        harness.detail()
    };
    let crashed = || web().exits("envoy", 1, 10);
    #[rustfmt::skip]
    let table = [
        (web().unready("envoy"), "its readiness probe fails"),
        (web().unready("envoy").spec("envoy", |c| c.probes.readiness = false), "it runs but is not ready"),
        (web().starting("envoy", 1).spec("envoy", |c| c.probes.startup = true), "its startup probe has not passed"),
        (web().starting("envoy", 1), "it runs but is not started"),
        (web().waiting("envoy", "ImagePullBackOff"), "it is waiting: ImagePullBackOff"),
        (web().waiting("envoy", "ContainerCreating"), "it has not been created yet"),
        (web().waiting("envoy", ""), "it has not been created yet"),
        (crashed(), "it exited with code 1 (Error)"),
        (crashed().backs_off("envoy"), "it is waiting: CrashLoopBackOff, last exit code 1 (Error)"),
        (crashed().restarted("envoy", 11).unready("envoy"),
            "its readiness probe fails, 1 restart, last exit code 1 (Error)"),
        (crashed().restarted("envoy", 11).restarted("envoy", 12).exits_with("envoy", 3, "", 13),
            "it exited with code 3, 2 restarts"),
        (web(), "it is ready now"),
    ];
    for (pod, expected) in table {
        assert_eq!(detail(&pod), expected);
    }
}

/// The kubelet writes `Initialized=False` again while all regular containers wait and a native sidecar has not started.
#[test]
fn an_initialized_pod_stays_so_in_its_sandbox() {
    let down = |pod: Pod| {
        let pod = pod.conditions(|c| c.initialized = false).sandbox(true, 5);
        pod.exits("envoy", 1, 100).backs_off("envoy")
    };
    let crashed = || web().exits("app", 1, 90).backs_off("app");
    #[rustfmt::skip]
    let table = [
        (down(crashed()), true, "the app has run in this sandbox"),
        (down(crashed()).sandbox(true, 95), false, "the app has run in an earlier sandbox"),
        (down(web().waiting("app", "PodInitializing")), false, "the app waits in a new sandbox"),
        (down(web().exits_with("app", 137, "ContainerStatusUnknown", 90)).sandbox(false, 5), false, "no sandbox"),
        (web().unready("envoy").conditions(|c| {
            (c.initialized, c.sandbox_ready) = (false, None);
        }), true, "a virtual kubelet writes no condition Initialized, and the app runs"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(is_not_ready(&pod), expected, "{why}");
    }
}

/// The probes of the app go through the proxy of Istio, so the app is never ready without it.
#[test]
fn a_proxy_that_the_app_is_probed_through_has_the_shorter_limit() {
    let pod = |through| {
        let pod = Pod::named("web-1").regular("istio-proxy").regular("app");
        let pod = pod.spec("app", |c| c.probes.readiness_through_mesh = through);
        pod.unready("istio-proxy").unready("app")
    };
    for (through, expected) in [(true, "120"), (false, "300")] {
        let mut harness = Harness::with(policy().only(Check::NotReady));
        harness.pod(&pod(through)).at(400);
        let log = harness.log();
        assert!(
            log.contains(&format!("{expected} firing istio-proxy NotReady")),
            "{log:?}"
        );
    }
}
