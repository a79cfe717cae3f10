//! VersionDrift: sidecar images of which the Pods of a policy run several versions.

mod stored;

use std::collections::BTreeSet;

use crate::domain::{
    effects::{Delivery, RECOVERED},
    policy::{Check, Mode, Policy, PolicyKey},
    testing::{Harness, Pod, cluster_key, key, minutes, policy},
};

const HOUR: i64 = 3600;

/// A policy with only VersionDrift, which fires after an hour.
pub(super) fn drifting() -> Policy {
    policy().only(Check::VersionDrift).with(|policy| {
        policy.checks.version_drift.common.mode = Mode::Alert;
        policy.checks.version_drift.limits.hold_for = minutes(60);
    })
}

/// A Pod of a Deployment with a native sidecar with this tag.
pub(super) fn pod(name: &str, workload: &str, tag: &str) -> Pod {
    Pod::named(name)
        .of("Deployment", workload)
        .regular("app")
        .native("envoy")
        .spec("envoy", |container| {
            container.image = format!("mesh/proxy:{tag}").into();
        })
}

fn two_versions() -> Harness {
    let mut harness = Harness::with(drifting());
    harness
        .pod(&pod("web-1", "web", "1.0.0"))
        .pod(&pod("api-1", "api", "1.1.0"))
        .finish_work();
    harness
}

fn details(harness: &Harness, policy: &PolicyKey) -> Vec<String> {
    let report = harness.index.report(policy).unwrap();
    report
        .violations
        .into_iter()
        .map(|violation| violation.detail)
        .collect()
}

#[test]
fn it_is_off_unless_the_policy_names_it() {
    let mut harness = Harness::with(policy());
    harness
        .pod(&pod("web-1", "web", "1.0.0"))
        .pod(&pod("api-1", "api", "1.1.0"))
        .finish_work();
    harness.at(30 * 24 * HOUR);
    assert_eq!(harness.index.violations().count(), 0);
}

#[test]
fn two_versions_fire_after_the_limit_and_one_version_resolves() {
    let mut harness = two_versions();
    assert!(harness.at(HOUR - 1).events().is_empty());
    let events = harness.at(HOUR).events();
    let [event] = &events[..] else {
        panic!("one Event: {events:?}")
    };
    assert_eq!(event.reason, "SidecarVersionDrift");
    assert_eq!(
        (&*event.regarding.kind, &*event.regarding.name),
        ("SidecarPolicy", "mesh")
    );
    assert_eq!((&*event.namespace, &*event.regarding.field_path), ("pay", ""));
    assert_eq!(
        event.note,
        "The sidecar image 'docker.io/mesh/proxy' runs in 2 versions for more than 1h under SidecarPolicy pay/mesh: \
         1.1.0 in 1 Pod, 1.0.0 in 1 Pod; behind 1.1.0: Deployment/web in pay; an injected sidecar gets the new version \
         with new Pods: kubectl rollout restart deployment/web -n pay; for a sidecar in the Pod template, change its \
         image there."
    );
    let violations: Vec<_> = harness.index.violations().cloned().collect();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].subject.image(), "docker.io/mesh/proxy");
    assert_eq!(violations[0].key().to_string().parse(), Ok(violations[0].key()));
    let message = &harness.report().conditions[1].message;
    assert_eq!(
        message,
        "1 image fails: VersionDrift 1 (Warning); worst: docker.io/mesh/proxy"
    );

    let repeated = harness.at(HOUR + 3000).events();
    assert_eq!(repeated[0].delivery, Delivery::Repeat(2));

    harness.at(3 * HOUR).events();
    harness
        .pod(&pod("web-1", "web", "1.1.0-distroless"))
        .finish_work();
    let events = harness.events();
    assert_eq!(events[0].reason, RECOVERED);
    assert_eq!(events[0].recovers, std::slice::from_ref(&event.name));
    assert!(
        events[0]
            .note
            .contains("(VersionDrift under SidecarPolicy pay/mesh)"),
        "{}",
        events[0].note
    );
    assert_eq!(harness.index.violations().count(), 0);
}

#[test]
fn each_image_has_its_own_event_and_series() {
    let with_logs = |name: &str, workload: &str, tag: &str| {
        pod(name, workload, tag)
            .native("logs")
            .spec("logs", |container| container.image = format!("logs:{tag}").into())
    };
    let mut harness = Harness::with(drifting());
    harness
        .pod(&with_logs("web-1", "web", "1.0.0"))
        .pod(&with_logs("api-1", "api", "1.1.0"))
        .finish_work();
    let events = harness.at(HOUR).events();
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].name, events[1].name);
    let images = |harness: &mut Harness| {
        let series = harness.series();
        let images = series.violations.iter().map(|of| of.subject.image().to_owned());
        images.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let both = ["docker.io/library/logs", "docker.io/mesh/proxy"];
    assert_eq!(images(&mut harness), both);
    let mixed =
        with_logs("web-1", "web", "1.0.0").spec("logs", |container| container.image = "logs:1.1.0".into());
    harness.pod(&mixed).finish_work();
    assert_eq!(images(&mut harness), both[1..]);
    let messages = &harness.report().conditions[1].message;
    assert!(messages.contains("worst: docker.io/mesh/proxy"), "{messages}");
}

#[test]
fn a_short_rollout_is_not_a_violation() {
    let mut harness = two_versions();
    harness
        .pod_at(HOUR - 10, &pod("web-1", "web", "1.1.0"))
        .finish_work();
    harness.pod_at(HOUR, &pod("web-1", "web", "1.0.0")).finish_work();
    assert!(
        harness.at(2 * HOUR - 1).events().is_empty(),
        "the time begins again"
    );
    assert_eq!(harness.at(2 * HOUR).events().len(), 1);
}

#[test]
fn laggards_are_named_only_if_all_versions_have_an_order() {
    let mut harness = two_versions();
    harness.at(2 * HOUR);
    let mesh = key("mesh");
    for n in 1..=4 {
        let name = format!("old-{n}");
        harness
            .pod(&pod(&format!("{name}-1"), &name, "0.9.0"))
            .finish_work();
    }
    let detail = &details(&harness, &mesh)[0];
    assert!(
        detail.starts_with("3 versions run: 1.1.0 in 1 Pod, 1.0.0 in 1 Pod, 0.9.0 in 4 Pods; behind 1.1.0: "),
        "{detail}"
    );
    assert!(
        detail
            .contains("Deployment/old-1 in pay, Deployment/old-2 in pay, Deployment/old-3 in pay and 2 more"),
        "{detail}"
    );
    harness.pod(&pod("db-1", "db", "latest")).finish_work();
    let detail = &details(&harness, &mesh)[0];
    assert!(detail.contains("these versions have no order"), "{detail}");
    assert!(!detail.contains("Deployment"), "{detail}");
}

#[test]
fn the_event_of_a_cluster_policy_is_in_default_and_names_no_workload() {
    let mut harness = Harness::with(policy());
    let all = cluster_key("all");
    harness.add(all.clone(), drifting());
    harness
        .pod(&pod("web-1", "web", "1.0.0"))
        .pod(&pod("api-1", "api", "1.1.0").in_namespace("shop"))
        .finish_work();
    let events = harness.at(HOUR).events();
    let event = &events[0];
    assert_eq!(&*event.namespace, "default");
    assert_eq!(
        (&*event.regarding.kind, &*event.regarding.name),
        ("ClusterSidecarPolicy", "all")
    );
    assert!(!event.note.contains("Deployment"), "{}", event.note);
    assert!(
        details(&harness, &all)[0].contains("Deployment/web in pay"),
        "the status does"
    );
}

#[test]
fn an_edit_that_turns_the_check_off_ends_the_violation_and_on_begins_a_new_one() {
    let mut harness = two_versions();
    assert_eq!(harness.at(HOUR).events().len(), 1);
    harness.policy(policy()).finish_work();
    assert_eq!(harness.index.violations().count(), 0);
    assert!(harness.events().is_empty(), "no recovery");
    harness.policy(drifting()).finish_work();
    assert!(harness.at(2 * HOUR - 1).events().is_empty());
    assert_eq!(harness.at(2 * HOUR).events().len(), 1);
    harness.policy(drifting().with(|policy| policy.checks.version_drift.limits.hold_for = minutes(600)));
    harness.finish_work();
    assert!(
        harness.firing().is_empty(),
        "an edit of for returns it to pending"
    );
}

#[test]
fn it_ends_with_the_last_pod_of_a_version_and_with_the_policy() {
    let mut harness = two_versions();
    harness.at(HOUR).events();
    harness.delete(&pod("web-1", "web", "1.0.0")).finish_work();
    assert_eq!(harness.events()[0].reason, RECOVERED);
    harness.pod(&pod("web-1", "web", "1.0.0")).finish_work();
    harness.at(3 * HOUR).events();
    assert_eq!(harness.index.violations().count(), 1);
    harness.delete_policy(&key("mesh")).finish_work();
    assert_eq!(harness.index.violations().count(), 0);
    assert!(harness.events().is_empty());
}
