//! The Pods of the simulation and their changes, and an exemption.

use serde_json::json;
use sidewatch::{domain::exemption::ExemptionUpdate, kubernetes::decode::exemption::exemption_update};
use testkit::kubelet::{Kind, Pod, RestartPolicy, at};

use crate::simulation::END;

/// An exemption of all Pods of the namespace `shop`. Cluster policies alone select these Pods.
pub(crate) fn exemption() -> ExemptionUpdate {
    let object = json!({
        "metadata": {
            "name": "all", "namespace": "shop", "uid": "all", "generation": 1, "creationTimestamp": at(0).to_string(),
        },
        "spec": {"selector": {}, "reason": "a test", "until": at(2 * END).to_string()},
    });
    exemption_update(&serde_json::from_value(object).unwrap()).unwrap()
}

/// The changes of the Pods in order.
pub(crate) fn script() -> Vec<(i64, Pod)> {
    let registry = "registry.example/acme/app:1";
    let with_envoy = |namespace, name| {
        Pod::new(namespace, name, 0)
            .container(Kind::Native, "envoy", "registry.example/envoy:1")
            .container(Kind::Regular, "app", registry)
    };
    let db = Pod::new("pay", "db-1", 0)
        .container(Kind::Regular, "app", registry)
        .container(Kind::Regular, "istio-proxy", "registry.example/istio/proxyv2:1");
    let tool = Pod::new("pay", "tool-1", 0)
        .container(Kind::Regular, "app", registry)
        .container(Kind::Regular, "tool", "registry.example/acme/tool:1");
    let mut script = Vec::new();
    let mut emit = |second: i64, pod: Pod| {
        script.push((second, pod.clone()));
        pod
    };

    // Sidecars that are not ready for a time.
    let web = with_envoy("pay", "web-1").container(Kind::Regular, "second", registry);
    for (pod, sidecar, from, to) in [
        (web, "envoy", 100, 2000),
        (with_envoy("pay", "api-1"), "envoy", 160, 2050),
        (with_envoy("pay", "api-2"), "envoy", 170, 2050),
        (with_envoy("shop", "web-2"), "envoy", 150, 2100),
        (tool, "tool", 200, 1500),
    ] {
        let pod = emit(0, pod);
        let pod = emit(from, pod.ready(sidecar, false, from));
        let _last = emit(to, pod.ready(sidecar, true, to));
    }

    // A sidecar and a main container that restart.
    for (pod, container, first) in [
        (db, "istio-proxy", 200),
        (with_envoy("pay", "main-1"), "app", 210),
    ] {
        let mut pod = emit(0, pod);
        for second in [first, first + 60, first + 120] {
            pod = emit(second, pod.restarted(container, 1, second));
        }
    }

    // A native sidecar and an init container that start slowly.
    for (name, kind, container, image, end) in [
        ("start-1", Kind::Native, "agent", "registry.example/agent:1", 2000),
        ("migration-1", Kind::Init, "migrate", registry, 2600),
    ] {
        let pod = Pod::new("pay", name, 100)
            .container(kind, container, image)
            .container(Kind::Regular, "app", registry);
        let pod = emit(100, pod.starting(container, 100));
        let _last = emit(end, pod.started(container, end));
    }

    let pod = Pod::new("pay", "job-1", 0)
        .restart_policy(RestartPolicy::Never)
        .container(Kind::Regular, "main", registry);
    let pod = emit(
        0,
        pod.container(
            Kind::Regular,
            "fluent-bit",
            "registry.example/fluent/fluent-bit:3",
        ),
    );
    let pod = emit(300, pod.exits("main", 0, 300));
    let _last = emit(2500, pod.exits("fluent-bit", 0, 2500));

    // Another version of the image of `with_envoy`.
    let pod = Pod::new("pay", "cache-1", 0).container(Kind::Native, "cache", "registry.example/envoy:2");
    let pod = emit(0, pod.container(Kind::Regular, "app", registry));
    let _last = emit(420, pod.oom_killed("cache", 420));

    let mut pod = emit(0, with_envoy("pay", "flap-1"));
    for second in (500..620).step_by(20) {
        pod = emit(second, pod.ready("envoy", false, second));
        pod = emit(second + 10, pod.ready("envoy", true, second + 10));
    }

    script.sort_by_key(|(second, _)| *second);
    script
}
