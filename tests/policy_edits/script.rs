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
    let mut script = Vec::new();
    let mut emit = |second: i64, pod: Pod| {
        script.push((second, pod.clone()));
        pod
    };

    let pod = emit(
        0,
        with_envoy("pay", "web-1").container(Kind::Regular, "second", registry),
    );
    let pod = emit(100, pod.ready("envoy", false, 100));
    let _last = emit(2000, pod.ready("envoy", true, 2000));
    // Three workloads have a common cause.
    for (name, unready) in [("api-1", 160), ("api-2", 170)] {
        let pod = emit(0, with_envoy("pay", name));
        let pod = emit(unready, pod.ready("envoy", false, unready));
        let _last = emit(2050, pod.ready("envoy", true, 2050));
    }
    let pod = emit(0, with_envoy("shop", "web-2"));
    let pod = emit(150, pod.ready("envoy", false, 150));
    let _last = emit(2100, pod.ready("envoy", true, 2100));

    let pod = Pod::new("pay", "db-1", 0).container(Kind::Regular, "app", registry);
    let mut pod = emit(
        0,
        pod.container(Kind::Regular, "istio-proxy", "registry.example/istio/proxyv2:1"),
    );
    for second in [200, 260, 320] {
        pod = emit(second, pod.restarted("istio-proxy", 1, second));
    }
    let mut pod = emit(0, with_envoy("pay", "main-1"));
    for second in [210, 270, 330] {
        pod = emit(second, pod.restarted("app", 1, second));
    }

    let pod = Pod::new("pay", "start-1", 100).container(Kind::Native, "agent", "registry.example/agent:1");
    let pod = emit(
        100,
        pod.container(Kind::Regular, "app", registry)
            .starting("agent", 100),
    );
    let _last = emit(2000, pod.started("agent", 2000));
    let pod = Pod::new("pay", "migration-1", 100).container(Kind::Init, "migrate", registry);
    let pod = emit(
        100,
        pod.container(Kind::Regular, "app", registry)
            .starting("migrate", 100),
    );
    let _last = emit(2600, pod.started("migrate", 2600));

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

    let pod = Pod::new("pay", "tool-1", 0).container(Kind::Regular, "app", registry);
    let pod = emit(
        0,
        pod.container(Kind::Regular, "tool", "registry.example/acme/tool:1"),
    );
    let pod = emit(200, pod.ready("tool", false, 200));
    let _last = emit(1500, pod.ready("tool", true, 1500));

    script.sort_by_key(|(second, _)| *second);
    script
}
