//! The roles of containers.

use std::sync::Arc;

use crate::domain::{
    observation::{AppNames, NamedBy, Shape},
    pattern::{Glob, Pattern},
    policy::{Check, Policy, SidecarRules},
    roles::{Role, Roles},
    testing::{Harness, Pod, policy, seconds, web},
};

fn rules(change: impl FnOnce(&mut SidecarRules)) -> Policy {
    policy().with(|policy| change(&mut policy.sidecars))
}

fn named(names: &[&str]) -> Policy {
    rules(|rules| rules.names = names.iter().copied().map(Box::from).collect())
}

fn excluded(names: &[&str]) -> Policy {
    rules(|rules| rules.exclude_names = names.iter().copied().map(Box::from).collect())
}

fn mains(names: &[&str]) -> Policy {
    policy().with(|policy| policy.mains = names.iter().copied().map(Box::from).collect())
}

fn pattern(source: &str) -> Pattern {
    Pattern::parse(source).unwrap()
}

/// Checks the roles of the containers of a Pod. A row has the policy and the roles, such as `app Main, helper=acme/agent:3
/// Sidecar` with the image of `helper`. The Pod has also the init container `setup` and the native sidecar `agent`, with the
/// roles `Init` and `Sidecar` unless the row has others.
fn check<const N: usize>(table: [(Policy, &str, &str); N]) {
    for (policy, row, why) in table {
        let row = row
            .split(", ")
            .map(|container| container.rsplit_once(' ').unwrap());
        let mut pod = Pod::named("web-1").init("setup").native("agent");
        let mut expected = vec![("setup", "Init"), ("agent", "Sidecar")];
        for (container, role) in row {
            if let Some(known) = expected.iter_mut().find(|(name, _)| *name == container) {
                known.1 = role;
                continue;
            }
            let (name, image) = container.split_once('=').unzip();
            let name = name.unwrap_or(container);
            pod = pod.regular(name);
            if let Some(image) = image {
                pod = pod.spec(name, |container| container.image = image.into());
            }
            expected.push((name, role));
        }
        let roles = Roles::assign(&policy, &pod.0.shape);
        for (place, (name, role)) in expected.into_iter().enumerate() {
            assert_eq!(format!("{:?}", roles.of(place)), role, "{why}: {name}");
        }
    }
}

#[test]
fn sidecars_are_found_by_rule() {
    #[rustfmt::skip]
    check([
        (policy(), "app Main, helper Main", "native sidecars are sidecars"),
        (rules(|r| r.native = false), "agent Ignored, app Main, helper Main", "native: Exclude ignores native sidecars"),
        (named(&["helper"]), "app Main, helper Sidecar", "a rule by name"),
        (rules(|r| r.name_pattern = Some(pattern("help.*"))), "app Main, helper Sidecar", "a rule by name pattern"),
        (rules(|r| r.images = vec![Glob::new("acme/*")]), "app Main, helper=acme/agent:3 Sidecar", "a rule by image"),
        (policy(), "app Main, helper=fluent/fluent-bit:3 Sidecar", "a catalogue entry by image"),
        (policy(), "app Main, istio-proxy Sidecar", "a catalogue entry by name"),
        (rules(|r| r.well_known = false), "app Main, istio-proxy Main", "wellKnown: Exclude disables the catalogue"),
        (named(&["istio-proxy"]).with(|p| p.sidecars.well_known = false), "app Main, istio-proxy Sidecar",
            "a container needs only one matching rule"),
        (named(&["setup"]).with(|p| p.sidecars.images = vec![Glob::new("*")]), "app= Main",
            "plain init containers are never sidecars"),
        (rules(|r| r.name_pattern = Some(pattern("agent"))), "app Main", "a native sidecar that a rule also names"),
    ]);
}

#[test]
fn exclude_precedes_main_names_which_precede_the_sidecar_rules() {
    let by_pattern = rules(|r| r.exclude_pattern = Some(pattern("istio-.*|ag.*")));
    #[rustfmt::skip]
    check([
        (excluded(&["agent"]), "agent Ignored, app Main, istio-proxy Sidecar", "exclude of a native sidecar"),
        (excluded(&["istio-proxy"]), "app Main, istio-proxy Main", "exclude of a regular container"),
        (excluded(&["setup"]), "setup Ignored, app Main, istio-proxy Sidecar", "exclude of an init container"),
        (by_pattern, "agent Ignored, app Main, istio-proxy Main", "exclude by name pattern"),
        (excluded(&["istio-proxy"]).with(|p| p.sidecars.names = ["istio-proxy".into()].into()),
            "app Main, istio-proxy Main", "exclude overrides names"),
        (mains(&["istio-proxy", "app"]), "app Main, istio-proxy Main", "mainContainers overrides the sidecar rules"),
        (excluded(&["app"]).with(|p| p.mains = ["istio-proxy".into()].into()), "app Main, istio-proxy Main",
            "an excluded regular container is a main container, even if others are named"),
        (mains(&["agent", "app"]), "app Main, istio-proxy Sidecar", "mainContainers applies only to regular containers"),
    ]);
}

#[test]
fn if_main_containers_are_named_there_are_no_others() {
    #[rustfmt::skip]
    check([
        (mains(&["app"]), "app Main, worker Ignored, envoy Sidecar", "other regular containers are ignored"),
        (mains(&["app"]), "worker Main, envoy Sidecar", "the Pod has none of the names"),
        (mains(&["app", "worker"]), "worker Main, x Ignored", "one of the names in the Pod is enough"),
        (mains(&["setup"]), "worker Main", "an init container is not a main container"),
    ]);
}

#[test]
fn a_pod_always_has_a_main_container() {
    #[rustfmt::skip]
    check([
        (policy(), "envoy Main", "a Pod with only a catalogue container"),
        (policy(), "fluentd Main, log-sidecar Sidecar", "only one of them can be the app"),
        (rules(|r| r.native = false), "agent Ignored, envoy Main", "an excluded native sidecar stays ignored"),
        (policy(), "envoy Sidecar, app Main", "one main container is enough"),
    ]);
}

#[test]
fn in_a_gateway_pod_the_gateway_is_the_main_container() {
    #[rustfmt::skip]
    check([
        (policy(), "shutdown-manager Sidecar, envoy Main", "Contour"),
        (policy(), "envoy Main, shutdown-manager=envoyproxy/gateway:v1.5.0 Sidecar", "Envoy Gateway"),
        (policy(), "istio-proxy Main", "an Istio gateway"),
        (policy(), "opa Main, mgmt=openpolicyagent/kube-mgmt:9 Sidecar", "OPA with kube-mgmt, by image"),
        (policy(), "pgbouncer Main, pgbouncer-exporter Sidecar", "PgBouncer with its exporter"),
        (policy(), "shutdown-manager Sidecar, envoy Main, istio-proxy Sidecar", "a gateway with an injected sidecar"),
        (policy(), "app Main, pgbouncer Sidecar, pgbouncer-exporter Sidecar", "an app beside PgBouncer and its exporter"),
        (rules(|r| r.well_known = false), "shutdown-manager Main, envoy Main", "wellKnown: Exclude disables the catalogue"),
        (named(&["envoy"]), "shutdown-manager Main, envoy Sidecar", "a rule of the policy makes Envoy a sidecar"),
        (named(&["shutdown-manager"]), "shutdown-manager Sidecar, envoy Main", "a rule of the policy selects the helper"),
        (excluded(&["shutdown-manager"]), "shutdown-manager Main, envoy Sidecar", "exclude of the helper"),
        (mains(&["shutdown-manager"]), "shutdown-manager Main, envoy Sidecar", "mainContainers names the helper"),
    ]);
}

#[test]
fn the_workload_and_the_default_container_name_the_app() {
    use NamedBy::{Annotation, Workload};
    #[rustfmt::skip]
    let table = [
        (policy(), "app alloy", None, "app", "a product that can be the app, beside another main container"),
        (policy(), "geo-ip alloy", Some(("alloy", Workload)), "geo-ip alloy", "the workload has the name of the product"),
        (policy(), "app istio-proxy", Some(("istio-proxy", Annotation)), "app istio-proxy", "the annotation names a proxy"),
        (policy(), "fluent-bit istio-proxy", Some(("istio-proxy", Annotation)), "istio-proxy", "a gateway with a log shipper"),
        (named(&["alloy"]), "app alloy", Some(("alloy", Annotation)), "app", "the policy names the container"),
        (mains(&["app"]), "app alloy", Some(("alloy", Workload)), "app", "the policy names the main container"),
        (rules(|r| r.well_known = false), "app envoy", None, "app envoy", "without the catalogue"),
        (policy(), "node-exporter kube-rbac-proxy", None, "node-exporter", "an exporter runs alone, its proxy does not"),
        (policy(), "blackbox-exporter config-reloader", None, "blackbox-exporter", "nor does its reloader"),
        (policy(), "istio-proxy linkerd-proxy", None, "istio-proxy linkerd-proxy", "nothing else is left"),
        (named(&["helper"]), "helper istio-proxy", None, "istio-proxy", "what the policy names stays a sidecar"),
        (named(&["helper", "other"]), "helper other", None, "helper other", "unless nothing else is left"),
    ];
    for (policy, names, named_by, expected, why) in table {
        let mut pod = names.split(' ').fold(Pod::named("web-1"), Pod::regular);
        if let Some((name, named_by)) = named_by {
            pod = pod.spec(name, |container| container.named_by = Some(named_by));
        }
        let shape = &pod.0.shape;
        let roles = Roles::assign(&policy, shape);
        let found: Vec<_> = roles
            .with(Role::Main)
            .map(|idx| &*shape.containers[idx].name)
            .collect();
        assert_eq!(found.join(" "), expected, "{why}");
    }
}

#[test]
fn equal_containers_of_an_app_are_all_main() {
    let names = ["agent", "trace-agent", "helper"];
    let mut pod = names.into_iter().fold(Pod::named("web-1"), Pod::regular);
    for name in ["agent", "trace-agent"] {
        pod = pod.spec(name, |container| container.image = "datadog/agent:7".into());
    }
    pod = pod.spec("agent", |container| container.named_by = Some(NamedBy::Workload));
    let roles = Roles::assign(&policy(), &pod.0.shape);
    assert_eq!(roles.with(Role::Main).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn the_name_of_the_workload_counts_for_products_that_can_be_the_app() {
    let named = |kind, workload, label, name, image| {
        let names = AppNames {
            default_container: None,
            workload: Some((kind, workload)),
            label,
        };
        names.of(name, image) == Some(NamedBy::Workload)
    };
    #[rustfmt::skip]
    let table = [
        (named("DaemonSet", "alloy", None, "alloy", "grafana/alloy:v1"), true, "the name of the container"),
        (named("DaemonSet", "alloy", None, "agent", "mirror.example/grafana/alloy:v1"), true, "the last part of the image"),
        (named("DaemonSet", "my-alloy", Some("alloy"), "alloy", "x"), true, "the label"),
        (named("Job", "alloy", None, "alloy", "grafana/alloy:v1"), false, "a Job has the name of what it does"),
        (named("Deployment", "istio-proxy", None, "istio-proxy", "x"), false, "a product that cannot be the app"),
        (named("Deployment", "web", Some("web"), "web", "shop/web"), false, "no product: shapes stay shared"),
        (named("Deployment", "", Some(""), "otc-container", ""), false, "an empty name"),
    ];
    for (found, expected, why) in table {
        assert_eq!(found, expected, "{why}");
    }
}

#[test]
fn the_places_of_a_role_are_those_of_the_spec() {
    let pod = Pod::named("web-1")
        .init("setup")
        .native("agent")
        .regular("app")
        .regular("envoy");
    let roles = Roles::assign(&policy(), &pod.0.shape);
    assert_eq!(roles.with(Role::Sidecar).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(roles.with(Role::Main).collect::<Vec<_>>(), [2]);
    assert_eq!(roles.of(99), Role::Ignored, "a container that the spec lacks");
}

#[test]
fn roles_follow_the_shape_and_the_version_of_the_policy() {
    let quick = |policy: Policy| policy.only(Check::NotReady).hold_for(Check::NotReady, seconds(0));
    let mut harness = Harness::with(quick(policy()));
    let pod = web().regular("helper").unready("helper");
    harness.pod(&pod);
    assert_eq!(harness.firing(), [""; 0], "helper is a main container");
    harness.policy(quick(named(&["helper"])));
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
