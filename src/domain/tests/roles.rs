//! The roles of containers.

use std::sync::Arc;

use crate::domain::{
    observation::Shape,
    pattern::{Glob, Pattern},
    policy::{Check, Policy},
    roles::{Role, Roles},
    testing::{Harness, Pod, minutes, policy, web},
};

/// Formats the roles of a Pod as `app Main, envoy Sidecar`.
fn roles(policy: &Policy, pod: &Pod) -> String {
    let roles = Roles::assign(policy, &pod.0.shape);
    let containers = pod.0.shape.containers.iter().enumerate();
    let words: Vec<_> = containers
        .map(|(at, c)| format!("{} {:?}", c.name, roles.of(at)))
        .collect();
    words.join(", ")
}

fn rules(change: impl FnOnce(&mut crate::domain::policy::SidecarRules)) -> Policy {
    policy().with(|policy| change(&mut policy.sidecars))
}

fn mains(names: &[&str]) -> Policy {
    policy().with(|policy| policy.mains = names.iter().map(|name| Box::from(*name)).collect())
}

fn pod(regular: &[&str]) -> Pod {
    let pod = Pod::named("web-1").init("setup").native("agent");
    regular.iter().fold(pod, |pod, name| pod.regular(name))
}

#[test]
fn sidecars_are_found_by_rule() {
    let app = || pod(&["app", "helper"]);
    let image = |image: &str| app().spec("helper", |c| c.image = image.into());
    let table = [
        (
            policy(),
            app(),
            "agent Sidecar, app Main, helper Main",
            "native sidecars are sidecars",
        ),
        (
            rules(|r| r.native = false),
            app(),
            "agent Ignored, app Main, helper Main",
            "native: Exclude ignores native sidecars",
        ),
        (
            rules(|r| r.names = ["helper".into()].into()),
            app(),
            "agent Sidecar, app Main, helper Sidecar",
            "a rule by name",
        ),
        (
            rules(|r| r.name_pattern = Some(Pattern::parse("help.*").unwrap())),
            app(),
            "agent Sidecar, app Main, helper Sidecar",
            "a rule by name pattern",
        ),
        (
            rules(|r| r.images = vec![Glob::new("acme/*")]),
            image("acme/agent:3"),
            "agent Sidecar, app Main, helper Sidecar",
            "a rule by image",
        ),
        (
            policy(),
            image("fluent/fluent-bit:3"),
            "agent Sidecar, app Main, helper Sidecar",
            "a catalogue entry by image",
        ),
        (
            policy(),
            pod(&["app", "istio-proxy"]),
            "agent Sidecar, app Main, istio-proxy Sidecar",
            "a catalogue entry by name",
        ),
        (
            rules(|r| r.well_known = false),
            pod(&["app", "istio-proxy"]),
            "agent Sidecar, app Main, istio-proxy Main",
            "wellKnown: Exclude disables the catalogue",
        ),
        (
            rules(|r| (r.well_known, r.names) = (false, ["istio-proxy".into()].into())),
            pod(&["app", "istio-proxy"]),
            "agent Sidecar, app Main, istio-proxy Sidecar",
            "a container needs only one matching rule",
        ),
        (
            rules(|r| (r.names, r.images) = (["setup".into()].into(), vec![Glob::new("*")])),
            pod(&["app"]).spec("app", |c| c.image = "".into()),
            "agent Sidecar, app Main",
            "plain init containers are never sidecars",
        ),
        (
            rules(|r| r.name_pattern = Some(Pattern::parse("agent").unwrap())),
            pod(&["app"]),
            "agent Sidecar, app Main",
            "a native sidecar that a rule also names",
        ),
    ];
    for (policy, pod, expected, why) in table {
        assert_eq!(roles(&policy, &pod), format!("setup Init, {expected}"), "{why}");
    }
}

#[test]
fn exclude_goes_first_then_main_names_then_the_sidecar_rules() {
    let excluded = |names: &[&str]| -> Policy {
        rules(|r| r.exclude_names = names.iter().map(|name| Box::from(*name)).collect())
    };
    let by_pattern = rules(|r| r.exclude_pattern = Some(Pattern::parse("istio-.*|ag.*").unwrap()));
    let table = [
        (
            excluded(&["agent"]),
            "setup Init, agent Ignored, app Main, istio-proxy Sidecar",
            "exclude of a native sidecar",
        ),
        (
            excluded(&["istio-proxy"]),
            "setup Init, agent Sidecar, app Main, istio-proxy Main",
            "exclude of a regular container",
        ),
        (
            excluded(&["setup"]),
            "setup Ignored, agent Sidecar, app Main, istio-proxy Sidecar",
            "exclude of an init container",
        ),
        (
            by_pattern,
            "setup Init, agent Ignored, app Main, istio-proxy Main",
            "exclude by name pattern",
        ),
        (
            excluded(&["istio-proxy"]).with(|p| p.sidecars.names = ["istio-proxy".into()].into()),
            "setup Init, agent Sidecar, app Main, istio-proxy Main",
            "exclude overrides names",
        ),
        (
            mains(&["istio-proxy", "app"]),
            "setup Init, agent Sidecar, app Main, istio-proxy Main",
            "mainContainers overrides the sidecar rules",
        ),
        (
            excluded(&["app"]).with(|p| p.mains = ["istio-proxy".into()].into()),
            "setup Init, agent Sidecar, app Main, istio-proxy Main",
            "an excluded regular container is a main, even if others are named",
        ),
        (
            mains(&["agent", "app"]),
            "setup Init, agent Sidecar, app Main, istio-proxy Sidecar",
            "mainContainers applies only to regular containers",
        ),
    ];
    for (policy, expected, why) in table {
        assert_eq!(roles(&policy, &pod(&["app", "istio-proxy"])), expected, "{why}");
    }
}

#[test]
fn named_mains_leave_no_others() {
    let table = [
        (
            mains(&["app"]),
            pod(&["app", "worker", "envoy"]),
            "app Main, worker Ignored, envoy Sidecar",
            "other regular containers are ignored",
        ),
        (
            mains(&["app"]),
            pod(&["worker", "envoy"]),
            "worker Main, envoy Sidecar",
            "the Pod has none of the names",
        ),
        (
            mains(&["app", "worker"]),
            pod(&["worker", "x"]),
            "worker Main, x Ignored",
            "one of the names in the Pod is enough",
        ),
        (
            mains(&["setup"]),
            pod(&["worker"]),
            "worker Main",
            "an init container is not a main",
        ),
    ];
    for (policy, pod, expected, why) in table {
        assert_eq!(
            roles(&policy, &pod),
            format!("setup Init, agent Sidecar, {expected}"),
            "{why}"
        );
    }
}

#[test]
fn a_pod_always_has_a_main_container() {
    let native_excluded = rules(|r| r.native = false);
    let table = [
        (
            policy(),
            pod(&["envoy"]),
            "agent Sidecar, envoy Main",
            "a Pod with only a catalogue container",
        ),
        (
            policy(),
            pod(&["fluentd", "log-sidecar"]),
            "agent Sidecar, fluentd Main, log-sidecar Main",
            "all regular containers are in the catalogue",
        ),
        (
            native_excluded,
            pod(&["envoy"]),
            "agent Ignored, envoy Main",
            "an excluded native sidecar stays ignored",
        ),
        (
            policy(),
            pod(&["envoy", "app"]),
            "agent Sidecar, envoy Sidecar, app Main",
            "one main is enough",
        ),
    ];
    for (policy, pod, expected, why) in table {
        assert_eq!(roles(&policy, &pod), format!("setup Init, {expected}"), "{why}");
    }
}

#[test]
fn in_a_gateway_pod_the_gateway_is_the_main_container() {
    let opa = pod(&["opa", "mgmt"]).spec("mgmt", |c| c.image = "openpolicyagent/kube-mgmt:9".into());
    let gateway_image =
        || pod(&["envoy", "manager"]).spec("manager", |c| c.image = "envoyproxy/gateway:v1.5.0".into());
    let table = [
        (
            policy(),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Sidecar, envoy Main",
            "Contour",
        ),
        (
            policy(),
            gateway_image(),
            "envoy Main, manager Sidecar",
            "Envoy Gateway, by the image of the companion",
        ),
        (
            policy(),
            pod(&["istio-proxy"]),
            "istio-proxy Main",
            "an Istio gateway",
        ),
        (policy(), opa, "opa Main, mgmt Sidecar", "OPA with kube-mgmt"),
        (
            policy(),
            pod(&["pgbouncer", "pgbouncer-exporter"]),
            "pgbouncer Main, pgbouncer-exporter Sidecar",
            "PgBouncer with its exporter",
        ),
        (
            policy(),
            pod(&["shutdown-manager", "envoy", "istio-proxy"]),
            "shutdown-manager Sidecar, envoy Main, istio-proxy Sidecar",
            "a gateway with an injected sidecar",
        ),
        (
            policy(),
            pod(&["app", "pgbouncer", "pgbouncer-exporter"]),
            "app Main, pgbouncer Sidecar, pgbouncer-exporter Sidecar",
            "an app beside the program and its companion",
        ),
        (
            rules(|r| r.well_known = false),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Main, envoy Main",
            "wellKnown: Exclude disables companions",
        ),
        (
            rules(|r| r.names = ["envoy".into()].into()),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Main, envoy Sidecar",
            "a rule of the policy makes Envoy a sidecar",
        ),
        (
            rules(|r| r.names = ["shutdown-manager".into()].into()),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Sidecar, envoy Main",
            "a rule of the policy selects the companion",
        ),
        (
            rules(|r| r.exclude_names = ["shutdown-manager".into()].into()),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Main, envoy Sidecar",
            "exclude of the companion",
        ),
        (
            mains(&["shutdown-manager"]),
            pod(&["shutdown-manager", "envoy"]),
            "shutdown-manager Main, envoy Sidecar",
            "mainContainers names the companion",
        ),
    ];
    for (policy, pod, expected, why) in table {
        assert_eq!(
            roles(&policy, &pod),
            format!("setup Init, agent Sidecar, {expected}"),
            "{why}"
        );
    }
}

#[test]
fn the_places_of_a_role_are_those_of_the_spec() {
    let pod = pod(&["app", "envoy"]);
    let roles = Roles::assign(&policy(), &pod.0.shape);
    assert_eq!(roles.with(Role::Sidecar).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(roles.with(Role::Main).collect::<Vec<_>>(), [2]);
    assert_eq!(roles.of(99), Role::Ignored, "a container that the spec lacks");
}

#[test]
fn roles_follow_the_shape_and_the_version_of_the_policy() {
    let quick = |policy: Policy| {
        policy
            .check(Check::NotReady, |c| c.hold_for = minutes(0))
            .only(Check::NotReady)
    };
    let mut harness = Harness::with(quick(policy()));
    let pod = web().regular("helper").unready("helper");
    harness.pod(&pod);
    assert_eq!(harness.firing(), [""; 0], "helper is a main container");
    harness.policy(quick(rules(|r| r.names = ["helper".into()].into())));
    assert_eq!(harness.firing(), ["helper NotReady"], "an edit changes the roles");
    // Another template has the same names. The content of the shape decides, not its address.
    for n in 0..100 {
        let shape = Arc::new(Shape::clone(&pod.0.shape));
        let other = Pod::named(&format!("web-{n}-x")).with(|o| {
            (o.shape, o.statuses) = (shape, pod.0.statuses.clone());
        });
        harness.pod(&other).delete(&other);
    }
    let native = web().native("helper").unready("helper").unready("envoy");
    harness.delete(&pod).pod(&native);
    assert_eq!(harness.firing(), ["envoy NotReady", "helper NotReady"]);
}
