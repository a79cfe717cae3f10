//! StartupBlocked by the postStart hook of a classic sidecar.

use super::startup_blocked::{blocked, startup_only};
use crate::domain::{
    policy::Check,
    testing::{Harness, Pod},
};

/// Returns a Pod without init containers. Its regular containers have not been created.
fn unstarted(names: &[&str], hook: &str) -> Pod {
    let pod = names
        .iter()
        .fold(Pod::named("web-1"), |pod, name| pod.regular(name));
    let pod = pod.spec(hook, |container| container.has_post_start = true);
    names
        .iter()
        .fold(pod, |pod, name| pod.waiting(name, "ContainerCreating"))
}

#[test]
fn a_classic_sidecar_with_a_post_start_hook_blocks_the_containers_after_it() {
    let pod = || unstarted(&["istio-proxy", "app"], "istio-proxy");
    #[rustfmt::skip]
    let table = [
        (pod(), Some("istio-proxy"), "no container has begun"),
        (pod().waiting("istio-proxy", "PodInitializing").waiting("app", "PodInitializing"), Some("istio-proxy"),
            "the Pod has init containers"),
        (pod().spec("istio-proxy", |c| c.has_post_start = false), None, "no postStart hook"),
        (unstarted(&["istio-proxy", "app"], "app"), None, "the hook of a main container"),
        (unstarted(&["app", "istio-proxy"], "istio-proxy"), None, "no main container comes after it"),
        (pod().sandbox(false, 0), None, "the sandbox is not ready"),
        (pod().conditions(|c| c.sandbox_ready = None), None, "an old kubelet does not report the sandbox"),
        (pod().uninitialized(), None, "the Pod is not initialized"),
        (pod().starting("istio-proxy", 5), None, "it runs"),
        (pod().waiting("istio-proxy", "ImagePullBackOff"), None, "it waits for another reason"),
        (pod().starting("app", 5), None, "a container after it has begun"),
        (pod().waiting("app", "ErrImagePull"), None, "the kubelet has tried to start a container after it"),
        (pod().unreported("app"), None, "a container after it has no status"),
        (pod().status("istio-proxy", |s| s.restart_count = 1), None, "it has run before"),
        (unstarted(&["fluent-bit", "istio-proxy", "app"], "istio-proxy"), Some("istio-proxy"),
            "the statuses of earlier containers are as old"),
        (
            unstarted(&["istio-proxy", "vault-agent", "app"], "istio-proxy")
                .spec("vault-agent", |c| c.has_post_start = true),
            Some("istio-proxy"),
            "the first of two hooks",
        ),
    ];
    for (pod, expected, why) in table {
        assert_eq!(blocked(startup_only(), &pod).as_deref(), expected, "{why}");
    }
}

#[test]
fn a_hook_that_hangs_fires_after_for_and_its_onset_follows_the_init_containers() {
    let pod = || {
        let names = ["istio-proxy", "app"];
        let pod = Pod::named("web-1").init("setup").starting("setup", 0);
        let pod = pod.exits("setup", 0, 40).ready("setup");
        let pod = names.iter().fold(pod, |pod, name| pod.regular(name));
        let pod = pod.spec("istio-proxy", |container| container.has_post_start = true);
        names
            .iter()
            .fold(pod, |pod, name| pod.waiting(name, "PodInitializing"))
    };
    let mut harness = Harness::with(startup_only());
    harness.pod_at(100, &pod());
    assert_eq!(
        harness.onset("istio-proxy", Check::StartupBlocked),
        Some(40.0),
        "the end of the init container"
    );
    harness.at(40 + 300);
    let note = "Sidecar 'istio-proxy' (classic) has not started since 10:00:40Z (5m allowed by SidecarPolicy pay/mesh): \
                its postStart hook has not returned, or its image or that of a later container is still being pulled. \
                Container 'app' waits for it.";
    assert_eq!(harness.events().remove(0).note, note);
    let started = pod().starting("istio-proxy", 350).starting("app", 351);
    harness.pod_at(352, &started);
    let note = harness.events().remove(0).note;
    assert!(note.contains("no longer blocks the startup of its Pod"), "{note}");
}
