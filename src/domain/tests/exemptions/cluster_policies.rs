//! A `ClusterSidecarPolicy` decides whether exemptions hide its violations, and for how long.

use super::{bad, brief, not_ready, pod_events, until};
use crate::domain::{
    exemption::{EXEMPTION_ACTIVE, ExemptionReport, ExemptionState},
    index::Index,
    policy::{AllowedExemptions, Policy, PolicyKey},
    selector::Selector,
    testing::{Harness, at, cluster_key, exemption, exemption_key, one_of, seconds},
};

fn all() -> PolicyKey {
    cluster_key("all")
}

/// Allows the exemptions of these namespaces for this number of seconds after their creation.
fn allowing(namespaces: Selector, n: i64) -> Policy {
    not_ready().with(|policy| {
        policy.exemptions = Some(AllowedExemptions {
            namespaces,
            max_duration: seconds(n),
        });
    })
}

/// Envoy is unready since second 10 under this cluster policy only. The exemption was created at second 0.
fn failing(policy: Policy) -> Harness {
    let mut harness = Harness::starting();
    harness.resync([]).add(all(), policy);
    harness.pod(&bad().ready("envoy")).pod_at(10, &bad());
    harness.exempt(exemption("snooze")).at(100);
    harness
}

fn report(harness: &Harness) -> ExemptionReport {
    harness.index.exemption_report(&exemption_key("snooze")).unwrap()
}

/// The number of violations that are announced, and that are hidden.
fn counts(harness: &Harness) -> (usize, u32) {
    let hides = report(harness).hides;
    assert_eq!(harness.exempted(), hides);
    (harness.firing().len(), hides)
}

#[test]
fn a_cluster_policy_without_the_field_is_not_affected() {
    let mut harness = failing(not_ready());
    harness.policy(not_ready()).at(200);
    let events = pod_events(&mut harness);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].policy, all());
    assert_eq!(
        counts(&harness),
        (1, 1),
        "the policy of the namespace is affected"
    );
}

#[test]
fn an_exemption_that_seems_to_be_created_later_is_not_allowed_either() {
    // The clock of the API server is ahead.
    let mut ahead = exemption("snooze");
    ahead.created = at(500);
    for policy in [not_ready(), allowing(one_of("team", "shop"), 5000)] {
        let mut harness = failing(policy);
        harness.end_exemption("snooze").exempt(ahead.clone()).at(200);
        assert_eq!(counts(&harness), (1, 0));
    }
}

#[test]
fn the_selector_decides_by_the_labels_of_the_namespace() {
    for (selector, is_hidden) in [
        (Selector::default(), true),
        (one_of("team", "pay"), true),
        (one_of("team", "shop"), false),
    ] {
        let harness = failing(allowing(selector.clone(), 5000));
        assert_eq!(harness.firing().is_empty(), is_hidden, "{selector:?}");
        assert_eq!(harness.exempted(), u32::from(is_hidden), "{selector:?}");
    }
    let mut harness = failing(allowing(one_of("team", "pay"), 5000));
    harness.at(200).namespace("pay", "shop");
    assert_eq!(counts(&harness), (1, 0), "another label");
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady Create"]
    );
    assert_eq!(harness.fired(), 1);
    harness.at(300).namespace("pay", "pay");
    assert_eq!(counts(&harness), (0, 1), "the label again");
    harness.at(1000);
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady CreateOrRaise(2)"]
    );
    assert_eq!((counts(&harness), harness.fired()), ((1, 0), 1));
}

#[test]
fn violations_are_announced_after_the_longest_time_that_the_policy_allows() {
    let mut harness = failing(allowing(Selector::default(), 500));
    let note = format!(
        "It hides firing violations of ClusterSidecarPolicy all until {}",
        at(500)
    );
    let events = harness.events();
    assert_eq!(events[0].reason, EXEMPTION_ACTIVE);
    assert!(events[0].note.starts_with(&note), "{}", events[0].note);
    assert_eq!(report(&harness).hidden[0].policy, all());
    // An edit of the exemption does not extend the time, which begins with its creation.
    harness.exempt(until("snooze", 3000)).at(499);
    assert_eq!((pod_events(&mut harness), counts(&harness)), (Vec::new(), (0, 1)));
    harness.at(500);
    let events = pod_events(&mut harness);
    assert_eq!(brief(&events), ["SidecarContainerNotReady Create"]);
    assert_eq!(events[0].at, at(500), "the end is a deadline of the Pod");
    assert_eq!(counts(&harness), (1, 0));
    assert_eq!(
        report(&harness).state,
        ExemptionState::Active(at(3000)),
        "it still hides violations of SidecarPolicies"
    );
    // Another exemption begins anew.
    let mut another = until("another", 900);
    another.created = at(600);
    harness.at(600).exempt(another).at(899);
    assert_eq!((harness.firing().len(), harness.exempted()), (0, 1));
    harness.at(900);
    assert_eq!((harness.firing().len(), harness.exempted()), (1, 0));
}

#[test]
fn the_exemption_that_hides_for_longest_under_the_policy_counts() {
    // The older exemption has the later end, but the policy allows it for a shorter time.
    let mut harness = failing(allowing(Selector::default(), 500));
    let mut younger = until("younger", 800);
    younger.created = at(100);
    harness.exempt(younger).at(400);
    let hides = |harness: &Harness, name| {
        harness
            .index
            .exemption_report(&exemption_key(name))
            .unwrap()
            .hides
    };
    assert_eq!((hides(&harness, "snooze"), hides(&harness, "younger")), (0, 1));
    harness.at(599);
    assert_eq!(pod_events(&mut harness), []);
    harness.at(600);
    assert_eq!(pod_events(&mut harness).len(), 1);
}

#[test]
fn an_edit_of_the_field_and_its_reversal_change_nothing() {
    let before = allowing(one_of("team", "pay"), 5000);
    for (edit, why) in [
        (not_ready(), "no field"),
        (allowing(one_of("team", "shop"), 5000), "the selector"),
        (allowing(one_of("team", "pay"), 50), "the time"),
    ] {
        let mut harness = failing(before.clone());
        let state = |harness: &Harness| (report(harness), harness.firing(), harness.index.report(&all()));
        let (listed, firing, policy) = state(&harness);
        harness.add(all(), edit);
        assert_eq!(counts(&harness), (1, 0), "{why}");
        assert_eq!(pod_events(&mut harness).len(), 1, "{why}");
        harness.add(all(), before.clone());
        let (listed_after, firing_after, policy_after) = state(&harness);
        assert_eq!((listed_after, firing_after), (listed, firing), "{why}");
        let summaries = (policy.unwrap().summary, policy_after.unwrap().summary);
        assert_eq!(summaries.0, summaries.1, "{why}");
    }
}

#[test]
fn nothing_is_announced_before_the_labels_of_namespaces_are_known() {
    let mut before = failing(allowing(one_of("team", "pay"), 5000));
    before.at(200);
    let mut harness = before.successor();
    harness.index = Index::new([None], true);
    harness.index.begin_namespace_resync();
    harness
        .exempt(exemption("snooze"))
        .add(all(), allowing(one_of("team", "pay"), 5000))
        .resync([&bad().containers_unready_since(10)])
        .at(300);
    assert_eq!(
        (pod_events(&mut harness), harness.firing()),
        (Vec::new(), Vec::new())
    );
    assert_eq!(harness.index.report(&all()), None);
    harness.namespace("pay", "pay");
    let effects = harness.index.finish_namespace_resync(at(300));
    assert_eq!(effects.events, []);
    harness.at(400);
    assert_eq!((pod_events(&mut harness), counts(&harness)), (Vec::new(), (0, 1)));
}
