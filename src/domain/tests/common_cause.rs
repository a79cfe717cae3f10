//! CommonCause: an image that fails the same check in several workloads since about the same time.

use std::collections::BTreeSet;

use crate::domain::{
    checkpoint::Checkpoint,
    effects::{Delivery, Event, RECOVERED},
    exemption::ExemptedPods,
    observation::Workload,
    policy::{Check, Mode, Policy, PolicyKey},
    testing::{Harness, Pod, at, cluster_key, edited_exemption, key, minutes, policy, stored, stored_about},
    violation::{ImageSubject, StoredViolation, SubjectKey},
};

/// A policy with NotReady, which fires after a minute, and CommonCause with three workloads.
fn caused() -> Policy {
    policy().only(Check::NotReady).with(|policy| {
        policy.checks.not_ready.limits.hold_for = minutes(1);
        policy.checks.not_ready.limits.keep_firing_for = minutes(0);
        policy.checks.common_cause.common.mode = Mode::Alert;
    })
}

fn pod(workload: &str) -> Pod {
    Pod::named(&format!("{workload}-1"))
        .of("Deployment", workload)
        .regular("app")
        .native("envoy")
        .spec("envoy", |container| container.image = "mesh/proxy:1.0".into())
}

fn broken(workload: &str) -> Pod {
    pod(workload).unready("envoy")
}

/// Four workloads, one second after the third became unready.
fn three_of_four() -> Harness {
    let mut harness = Harness::with(caused());
    for workload in ["a", "b", "c", "d"] {
        harness.pod(&pod(workload));
    }
    for (second, workload) in [(10, "a"), (20, "b"), (40, "c")] {
        harness.pod_at(second, &broken(workload));
    }
    harness.finish_work();
    harness
}

fn of_cause(events: Vec<Event>) -> Vec<Event> {
    let recovers_image =
        |event: &Event| event.reason == RECOVERED && event.regarding.kind.ends_with("Policy");
    events
        .into_iter()
        .filter(|event| event.reason == "SidecarCommonCause" || recovers_image(event))
        .collect()
}

fn causes(harness: &Harness) -> Vec<String> {
    let all = harness.index.violations();
    let of_images = all.filter(|violation| violation.check == Check::CommonCause);
    of_images
        .map(|violation| violation.subject.image().to_owned())
        .collect()
}

fn detail(harness: &Harness, policy: &PolicyKey) -> String {
    let report = harness.index.report(policy).unwrap();
    let mut violations = report.violations.into_iter();
    let cause = violations.find(|reported| reported.violation.check == Check::CommonCause);
    cause.unwrap().detail
}

/// Advances the clock and evaluates what is queued.
fn settle(harness: &mut Harness, second: i64) {
    harness.at(second).finish_work().at(second + 2).finish_work();
}

#[test]
fn it_is_off_unless_the_policy_names_it() {
    let mut harness = three_of_four();
    harness.policy(caused().with(|policy| policy.checks.common_cause.common.mode = Mode::Off));
    settle(&mut harness, 1000);
    assert!(causes(&harness).is_empty());
}

#[test]
fn the_third_workload_fires_and_a_recovery_resolves() {
    let mut harness = three_of_four();
    settle(&mut harness, 95);
    assert!(of_cause(harness.events()).is_empty(), "two workloads fire");
    settle(&mut harness, 100);
    let events = of_cause(harness.events());
    let [event] = &events[..] else {
        panic!("one Event: {events:?}")
    };
    assert_eq!(
        (&*event.regarding.kind, &*event.regarding.name),
        ("SidecarPolicy", "mesh")
    );
    assert_eq!(
        event.note,
        "The sidecar image 'docker.io/mesh/proxy' fails NotReady in 3 of 4 workloads (3 Pods, 1 namespace) under \
         SidecarPolicy pay/mesh, all within 30s: Deployment/a in pay, Deployment/b in pay, Deployment/c in pay. Look for a \
         cause that they share: the image, its configuration, or a service that it needs."
    );
    assert_eq!(
        detail(&harness, &key("mesh")),
        "NotReady in 3 of 4 workloads (3 Pods, 1 namespace), first at 10:00:10Z, latest at 10:00:40Z: \
         Deployment/a in pay, Deployment/b in pay, Deployment/c in pay"
    );
    assert_eq!(harness.firing().len(), 4, "the single violations stay");
    let cause = harness
        .index
        .violations()
        .find(|violation| violation.check == Check::CommonCause);
    assert_eq!(cause.unwrap().onset, at(10));

    let repeated = of_cause(harness.at(100 + 3000).events());
    assert_eq!(repeated[0].delivery, Delivery::Repeat(2));

    harness.pod(&pod("b"));
    settle(&mut harness, 3200);
    let events = of_cause(harness.events());
    assert_eq!(events[0].reason, RECOVERED);
    assert_eq!(events[0].recovers, std::slice::from_ref(&event.name));
    assert!(causes(&harness).is_empty());
    assert_eq!(harness.firing().len(), 2);
}

#[test]
fn it_ends_without_an_event_with_its_pods_and_with_the_policy() {
    for deletes_policy in [false, true] {
        let mut harness = three_of_four();
        settle(&mut harness, 100);
        harness.events();
        if deletes_policy {
            harness.delete_policy(&key("mesh"));
        } else {
            for workload in ["a", "b", "c", "d"] {
                harness.delete(&pod(workload));
            }
        }
        settle(&mut harness, 200);
        assert!(causes(&harness).is_empty());
        assert!(of_cause(harness.events()).is_empty());
    }
}

#[test]
fn nothing_remains_of_an_image_that_failed_and_is_not_used_any_more() {
    let mut harness = three_of_four();
    settle(&mut harness, 100);
    for workload in ["a", "b", "c", "d"] {
        harness.pod(&pod(workload));
    }
    settle(&mut harness, 200);
    for workload in ["a", "b", "c", "d"] {
        harness.delete(&pod(workload));
    }
    harness.finish_work();
    harness.index.assert_no_pods();
}

#[test]
fn workloads_that_fail_at_other_times_have_no_common_cause() {
    let mut harness = Harness::with(caused());
    for (second, workload) in [(0, "a"), (400, "b"), (601, "c")] {
        harness.pod(&pod(workload));
        harness.pod_at(second, &broken(workload));
    }
    settle(&mut harness, 700);
    assert!(causes(&harness).is_empty(), "601 s");
    harness.pod(&pod("d")).pod_at(1000, &broken("d"));
    settle(&mut harness, 1060);
    assert_eq!(causes(&harness).len(), 1, "b, c and d within 600 s");
    assert!(detail(&harness, &key("mesh")).starts_with("NotReady in 3 of 4 workloads"));
}

#[test]
fn a_fifth_of_the_workloads_must_fail() {
    let mut harness = Harness::with(caused());
    for number in 0..13 {
        harness.pod(&pod(&format!("healthy-{number}")));
    }
    for workload in ["a", "b", "c"] {
        harness.pod(&broken(workload));
    }
    settle(&mut harness, 100);
    assert!(causes(&harness).is_empty(), "3 of 16");
    harness.delete(&pod("healthy-0"));
    settle(&mut harness, 110);
    assert_eq!(causes(&harness).len(), 1, "3 of 15");
}

#[test]
fn other_images_and_other_checks_do_not_count() {
    let mut harness = Harness::with(caused());
    let other = |workload: &str| {
        broken(workload).spec("envoy", |container| container.image = "mesh/other:1.0".into())
    };
    harness
        .pod(&broken("a"))
        .pod(&broken("b"))
        .pod(&other("c"))
        .pod(&other("d"));
    settle(&mut harness, 100);
    assert!(causes(&harness).is_empty());
}

#[test]
fn one_namespace_cannot_hide_a_cause_of_a_cluster_policy_by_many_workloads() {
    let mut harness = Harness::with(policy().with(|policy| policy.mode = Mode::Off));
    harness.add(cluster_key("all"), caused());
    for number in 0..100 {
        harness.pod(&pod(&format!("tenant-{number}")).in_namespace("shop"));
    }
    for workload in ["a", "b", "c", "d"] {
        harness.pod(&broken(workload));
    }
    settle(&mut harness, 100);
    assert!(causes(&harness).is_empty(), "4 of 4 and 20");
    harness.pod(&broken("e"));
    settle(&mut harness, 200);
    assert_eq!(causes(&harness).len(), 1, "5 of 5 and 20");
    let events = of_cause(harness.events());
    assert_eq!(&*events[0].namespace, "default");
    assert!(!events[0].note.contains("Deployment/"), "{}", events[0].note);
    assert!(detail(&harness, &cluster_key("all")).starts_with("NotReady in 5 of 105 workloads"));
}

#[test]
fn a_share_of_exactly_a_fifth_is_enough_with_weights_that_are_rounded() {
    let mut harness = Harness::with(policy().with(|policy| policy.mode = Mode::Off));
    harness.add(cluster_key("all"), caused());
    for number in 0..80 {
        // Four namespaces, each below the limit for one.
        let namespace = format!("healthy-{}", number % 4);
        harness.pod(&pod(&format!("w-{number}")).in_namespace(&namespace));
    }
    for number in 0..30 {
        harness.pod(&broken(&format!("failing-{number}")));
    }
    settle(&mut harness, 100);
    assert_eq!(causes(&harness).len(), 1, "30 count as 20 of 100");
}

#[test]
fn violations_under_an_exemption_do_not_count_until_its_end() {
    let mut harness = Harness::with(caused());
    harness.exempt(edited_exemption("a", |spec| {
        spec.pods = ExemptedPods::Of(Workload {
            kind: "Deployment".into(),
            name: "a".into(),
        });
        spec.until = at(500);
    }));
    for workload in ["a", "b", "c"] {
        harness.pod(&pod(workload)).pod(&broken(workload));
    }
    settle(&mut harness, 400);
    assert!(causes(&harness).is_empty());
    settle(&mut harness, 501);
    assert_eq!(causes(&harness).len(), 1);
}

#[test]
fn pods_that_change_in_one_second_are_evaluated_once() {
    let mut harness = three_of_four();
    settle(&mut harness, 100);
    harness.at(200).delete(&pod("d")).finish_work();
    harness.delete(&pod("c")).finish_work();
    assert_eq!(causes(&harness).len(), 1, "not evaluated again yet");
    settle(&mut harness, 201);
    assert!(causes(&harness).is_empty());
}

/// A process that starts at second 300 with the violations of the status, or with a checkpoint.
fn restarted(stored: Vec<StoredViolation>, checkpoint: Option<Checkpoint>) -> Harness {
    let pods = [broken("web"), broken("b"), broken("c"), pod("d")];
    let mut harness = Harness::restarted(300, caused(), (stored, checkpoint), &pods);
    settle(&mut harness, 300);
    harness
}

#[test]
fn a_later_process_continues_it() {
    let image = SubjectKey::Image(ImageSubject {
        namespace: "pay".into(),
        repository: "docker.io/mesh/proxy".into(),
    });
    let of_pod = |name: &str| {
        let mut stored = stored(Check::NotReady, "envoy", true, 10);
        if let SubjectKey::Container { pod, .. } = &mut stored.key.subject {
            *pod = format!("{name}-1").into();
        }
        stored
    };
    let mut of_status: Vec<_> = ["web", "b", "c"].map(of_pod).into();
    of_status.push(stored_about(Check::CommonCause, image, true, 10));
    let mut harness = restarted(of_status, None);
    assert_eq!(causes(&harness).len(), 1);
    assert!(harness.events().is_empty(), "announced before");

    let mut first = Harness::with(caused());
    let pods = [broken("web"), broken("b"), broken("c"), pod("d")];
    for pod in &pods {
        first.pod_at(10, pod);
    }
    settle(&mut first, 100);
    let announced = of_cause(first.events());
    let mut harness = restarted(Vec::new(), Some(first.checkpoint()));
    assert_eq!(causes(&harness).len(), 1);
    assert!(of_cause(harness.events()).is_empty(), "announced before");
    harness.pod(&pod("b"));
    settle(&mut harness, 400);
    let ended = of_cause(harness.events());
    let recovered: BTreeSet<_> = ended.iter().flat_map(|event| event.recovers.clone()).collect();
    assert_eq!(recovered, BTreeSet::from([announced[0].name.clone()]));
}
