//! Work on many Pods is done in steps, and updates are applied between them.

use crate::domain::{
    expected::{Expected, Rule, Sidecar},
    policy::{Check, Policy, Severity},
    testing::{Harness, Pod, at, cluster_key, key, key_in, minutes, one_of, policy, seconds, web_named},
};

fn not_ready(hold_for: i64, severity: Severity) -> Policy {
    policy().only(Check::NotReady).check(Check::NotReady, |c| {
        (c.hold_for, c.severity) = (seconds(hold_for), severity);
    })
}

fn pods(count: usize) -> Vec<Pod> {
    let pod = |n| web_named(&format!("web-{n}"));
    (0..count).map(pod).collect()
}

/// Ten Pods whose violations fire with severity Warning, and steps of one unit from now on.
fn firing() -> (Harness, Vec<Pod>) {
    let pods: Vec<Pod> = pods(10).into_iter().map(|pod| pod.unready("envoy")).collect();
    let mut harness = Harness::with(not_ready(0, Severity::Warning));
    for pod in &pods {
        harness.pod(pod);
    }
    harness.at(10).units_per_step(1);
    harness.log();
    (harness, pods)
}

fn with(harness: &Harness, severity: Severity) -> usize {
    harness
        .index
        .violations()
        .filter(|violation| violation.severity == severity)
        .count()
}

#[test]
fn each_pod_is_under_the_old_or_the_new_version_and_the_status_waits_for_the_last() {
    let (mut harness, _) = firing();
    let before = harness.report().generation;
    harness.policy(not_ready(0, Severity::Critical));
    for moved in 1..10 {
        assert_eq!(with(&harness, Severity::Critical), moved);
        assert_eq!(with(&harness, Severity::Warning), 10 - moved);
        assert_eq!(harness.index.report(&key("mesh")), None, "after {moved} Pods");
        harness.changed();
        harness.work();
    }
    harness.finish_work();
    assert_eq!(with(&harness, Severity::Critical), 10);
    assert_eq!(harness.report().generation, before + 1);
    assert_eq!(
        harness.changed(),
        [key("mesh")],
        "the last step reports the change"
    );
    assert_eq!(harness.log(), [""; 0], "the violations stay");
}

#[test]
fn a_newer_edit_starts_over() {
    let (mut harness, _) = firing();
    harness.policy(not_ready(0, Severity::Critical)).work().work();
    harness.policy(not_ready(0, Severity::Info)).work();
    let shown =
        [Severity::Info, Severity::Critical, Severity::Warning].map(|severity| with(&harness, severity));
    assert_eq!(shown, [2, 1, 7], "Pods under three versions");
    harness.finish_work();
    assert_eq!(with(&harness, Severity::Info), 10);
    harness.policy(not_ready(600, Severity::Info)).work();
    harness.policy(not_ready(0, Severity::Info)).finish_work();
    assert_eq!(harness.firing().len(), 10);
}

#[test]
fn updates_between_the_steps_are_applied() {
    let (mut harness, pods) = firing();
    harness.policy(not_ready(0, Severity::Critical)).work();
    harness.pod(&pods[9].clone().ready("envoy")).delete(&pods[8]);
    harness.pod(&web_named("new").unready("envoy"));
    assert!(harness.index.has_work());
    assert_eq!(
        with(&harness, Severity::Critical),
        3,
        "two Pods were moved, and the new Pod is under the new version"
    );
    harness.at(1_000).finish_work();
    assert_eq!(harness.firing().len(), 9);
    assert_eq!(with(&harness, Severity::Critical), 9);
}

#[test]
fn a_deleted_policy_is_gone_at_once_and_its_pods_are_released_in_steps() {
    let (mut harness, pods) = firing();
    harness.delete_policy(&key("mesh"));
    assert_eq!(harness.index.policies().count(), 0);
    assert_eq!(harness.index.violations().count(), 0);
    assert_eq!(harness.log().len(), 1, "one violation has ended");
    harness.policy(not_ready(0, Severity::Critical));
    assert_eq!(harness.index.policies().count(), 1, "the policy is created again");
    harness.pod(&pods[9].clone().ready("envoy")).finish_work();
    assert_eq!(with(&harness, Severity::Critical), 9);
    assert_eq!(harness.report().summary.pods, 10);
}

#[test]
fn one_policy_of_many_is_edited_alone() {
    let (mut harness, _) = firing();
    for n in 0..20 {
        harness.add(cluster_key(&format!("other-{n}")), not_ready(0, Severity::Info));
    }
    harness.finish_work().units_per_step(25);
    harness.policy(not_ready(0, Severity::Critical));
    assert!(!harness.index.has_work(), "two units for each of ten Pods");
}

#[test]
fn a_namespace_matches_again_in_steps() {
    let pods = pods(10);
    let mut harness = Harness::starting();
    let of_pay = policy().with(|p| p.namespaces = one_of("team", "pay"));
    harness.resync(&pods).add(cluster_key("all"), of_pay);
    let matched = |harness: &Harness| harness.index.policies().map(|policy| policy.pods).sum::<u32>();
    assert_eq!(matched(&harness), 10);
    harness.units_per_step(1).namespace("pay", "none");
    assert_eq!(matched(&harness), 9);
    harness.work().namespace("pay", "pay");
    assert_eq!(
        matched(&harness),
        9,
        "the labels changed again, and the first Pod matches again"
    );
    harness.finish_work();
    assert_eq!(matched(&harness), 10);
}

/// Delivers a complete list of ten Pods without the first five.
fn listed(harness: &mut Harness, pods: &[Pod]) {
    harness.begin_resync();
    for pod in &pods[5..] {
        harness.pod(pod);
    }
    harness.finish_resync();
}

#[test]
fn pods_that_a_list_does_not_contain_are_removed_in_steps_before_others_are_evaluated() {
    let (mut harness, pods) = firing();
    listed(&mut harness, &pods);
    assert_eq!(harness.index.tracked_pods(), 9);
    let recovered = pods[9].clone().ready("envoy");
    harness.pod(&recovered).at(20);
    assert_eq!(
        harness.firing().len(),
        9,
        "the watch is held until the removals are done"
    );
    harness.pod(&pods[1]).finish_work();
    assert_eq!(
        harness.index.tracked_pods(),
        6,
        "a Pod that was created after the list stays"
    );
    harness.at(1_000);
    assert_eq!(harness.firing().len(), 5);
}

#[test]
fn a_list_that_begins_during_the_removals_decides_instead() {
    let (mut harness, pods) = firing();
    listed(&mut harness, &pods);
    harness.resync(&pods[1..3]).finish_work();
    assert_eq!(harness.index.tracked_pods(), 2);
}

#[test]
fn a_watch_that_fails_again_during_the_removals_stays_held() {
    let (mut harness, pods) = firing();
    listed(&mut harness, &pods);
    harness.hold().finish_work();
    assert_eq!(harness.index.tracked_pods(), 5);
    harness.pod(&pods[9].clone().ready("envoy")).at(1_000);
    assert_eq!(harness.firing().len(), 5, "nothing resolves");
    harness.resume().finish_work().at(2_000);
    assert_eq!(harness.firing().len(), 4);
}

#[test]
fn pods_are_evaluated_in_steps_after_the_first_list_and_the_status_waits_for_the_last() {
    let pods: Vec<Pod> = pods(10).into_iter().map(|pod| pod.unready("envoy")).collect();
    let mut harness = Harness::starting();
    harness
        .policy(not_ready(0, Severity::Warning))
        .units_per_step(4)
        .resync(&pods);
    assert!((1..9).contains(&harness.firing().len()), "{:?}", harness.firing());
    assert_eq!(harness.index.report(&key("mesh")), None);
    harness.pod(&pods[9].clone().ready("envoy"));
    harness.hold().finish_work();
    assert_eq!(
        harness.index.report(&key("mesh")),
        None,
        "the others wait for the end of the hold"
    );
    harness.resume().finish_work();
    assert_eq!((harness.firing().len(), harness.report().summary.firing), (9, 9));
}

#[test]
fn deadlines_that_are_too_many_for_one_step_wait_for_the_next() {
    let mut harness = Harness::with(not_ready(60, Severity::Warning));
    for pod in pods(10) {
        harness.pod(&pod.unready("envoy"));
    }
    harness.at(30).units_per_step(4).late(at(60));
    let fired = harness.firing().len();
    assert!((1..10).contains(&fired), "{fired}");
    harness.at(60);
    assert_eq!(harness.firing().len(), 10);
}

/// Edits five policies that select the ten Pods of [`firing`].
fn edit_five(harness: &mut Harness, severity: Severity) {
    for n in 0..5 {
        harness.add(key(&format!("mesh-{n}")), not_ready(0, severity));
    }
}

#[test]
fn namespaces_take_turns() {
    let (mut harness, _) = firing();
    for n in 0..4 {
        harness.pod(
            &web_named(&format!("shop-{n}"))
                .in_namespace("shop")
                .unready("envoy"),
        );
    }
    harness.finish_work().units_per_step(4);
    edit_five(&mut harness, Severity::Warning);
    let shop = key_in("shop", "mesh");
    harness.add(shop.clone(), not_ready(0, Severity::Warning));
    for _ in 0..4 {
        harness.work();
    }
    let report = harness.index.report(&shop);
    assert_eq!(report.map(|report| report.summary.firing), Some(4));
    assert!(harness.index.has_work(), "pay has work for 25 steps");
    harness.add(cluster_key("all"), not_ready(0, Severity::Warning));
    edit_five(&mut harness, Severity::Critical);
    harness.finish_work();
    assert_eq!(with(&harness, Severity::Critical), 50);
    assert_eq!(harness.firing().len(), 60 + 4 + 14);
}

#[test]
fn edits_without_a_pause_do_not_stop_the_checks_on_workloads_of_others() {
    let expecting = policy().only(Check::SidecarMissing).with(|policy| {
        policy.expected = vec![Expected {
            name: "agent".into(),
            rule: Rule::Custom {
                sidecar: Sidecar::Name("agent".into()),
                when: Vec::new(),
                unless: Vec::new(),
            },
            hold_for: minutes(0),
        }];
    });
    let (mut harness, _) = firing();
    harness.add(key_in("shop", "agent"), expecting.clone());
    harness
        .add(key("agent"), expecting)
        .finish_work()
        .units_per_step(4);
    harness.pod(&web_named("shop-1").in_namespace("shop"));
    for round in 0..10 {
        let severity = if round % 2 == 0 {
            Severity::Critical
        } else {
            Severity::Info
        };
        edit_five(&mut harness, severity);
        assert!(harness.index.has_work());
    }
    let missing = |harness: &Harness| {
        let missing = harness
            .firing()
            .into_iter()
            .filter(|firing| firing.contains("Missing"));
        missing.count()
    };
    assert_eq!(missing(&harness), 2, "in both namespaces");
}
