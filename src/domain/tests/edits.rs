//! The effects of an edit, a deletion or an invalid version of a policy on existing violations.

use crate::domain::{
    effects::{Change, Effects},
    pattern::Pattern,
    policy::{Check, Mode, Policy, PolicyUpdate, Severity},
    testing::{
        Harness, Pod, at, cluster_key, invalid, key, minutes, one_of, only, policy, policy_update, seconds,
        undecodable, web,
    },
};

fn not_ready() -> Policy {
    policy().only(Check::NotReady)
}

/// Envoy is unready since second 10.
fn failing(policy: Policy) -> Harness {
    let mut harness = Harness::with(policy);
    harness.pod(&web()).pod_at(10, &web().unready("envoy"));
    harness
}

#[test]
fn an_edit_keeps_onsets() {
    let mut harness = failing(only(Check::NotReady, 300));
    harness.at(100).log();
    harness.policy(only(Check::NotReady, 60));
    assert_eq!(
        harness.log(),
        ["100 firing envoy NotReady"],
        "a shorter `for` that has already passed acts at once"
    );
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(10.0));
    harness.events();
    harness.policy(only(Check::NotReady, 200));
    assert_eq!(
        harness.log(),
        ["100 pending envoy NotReady"],
        "a longer `for` returns the violation to pending"
    );
    harness.at(300);
    assert_eq!(
        harness.log(),
        ["210 firing envoy NotReady"],
        "the violation keeps its onset"
    );
    assert_eq!(harness.events(), [], "the Event exists already");
    let fired = harness.index.policies().next().unwrap().fired[0];
    assert_eq!(fired, (Check::NotReady, 1), "the violation counts once");
}

#[test]
fn an_edit_moves_deadlines() {
    let mut harness = failing(only(Check::NotReady, 300));
    harness.at(20).policy(only(Check::NotReady, 100));
    assert_eq!(harness.index.next_deadline(), Some(at(35)), "it becomes visible");
    harness.at(35);
    assert_eq!(harness.index.next_deadline(), Some(at(110)));
    harness
        .pod_at(500, &web())
        .policy(only(Check::NotReady, 100).check(Check::NotReady, |c| c.keep_firing_for = seconds(10)));
    assert_eq!(harness.index.next_deadline(), Some(at(510)));
    harness.log();
    harness.at(600);
    assert_eq!(harness.log(), ["510 resolved envoy NotReady"]);
}

#[test]
fn violations_outside_an_edited_policy_end_without_events() {
    let excluding = only(Check::NotReady, 60)
        .with(|p| p.sidecars.exclude_pattern = Some(Pattern::parse("env.*").unwrap()));
    #[rustfmt::skip]
    let table = [
        (excluding, "the container is no longer a sidecar"),
        (policy().only(Check::JobHeldOpen), "the check is off"),
        (only(Check::NotReady, 60).with(|p| p.mode = Mode::Off), "the policy is off"),
        (only(Check::NotReady, 60).with(|p| p.pods = one_of("app", "other")), "the Pod no longer matches"),
    ];
    for (edited, why) in table {
        let mut harness = failing(only(Check::NotReady, 60));
        harness.at(100).events();
        harness.log();
        harness.policy(edited);
        assert_eq!(harness.log(), ["100 ended envoy NotReady"], "{why}");
        assert_eq!(
            (harness.events(), harness.index.next_deadline()),
            (Vec::new(), None),
            "{why}"
        );
    }
    let mut harness = failing(policy());
    harness.at(400).log();
    harness.policy(policy().only(Check::NotReady));
    assert_eq!(
        harness.log(),
        ["400 ended envoy MainReadySidecarNotReady"],
        "no other violation ends"
    );
    assert_eq!(harness.firing(), ["envoy NotReady"]);
}

#[test]
fn a_deleted_policy_ends_all_its_violations_without_events() {
    let mut harness = failing(not_ready());
    harness.add(key("other"), not_ready());
    harness.at(400).events();
    harness.log();
    harness.changed();
    harness.delete_policy(&key("mesh"));
    assert_eq!(
        harness.log(),
        ["400 ended envoy NotReady"],
        "only the violation of the deleted policy ends"
    );
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(harness.events(), []);
    assert_eq!(harness.changed(), [key("mesh")]);
    assert!(harness.index.report(&key("mesh")).is_none());
    harness.delete_policy(&key("other")).delete_policy(&key("other"));
    assert_eq!(harness.index.policies().count(), 0);
    assert_eq!(harness.index.next_deadline(), None, "no deadline remains");
}

#[test]
fn a_policy_of_the_same_name_and_another_uid_is_another_policy() {
    let mut harness = failing(not_ready());
    harness.at(400).log();
    let update = PolicyUpdate {
        uid: "another".into(),
        ..policy_update(key("mesh"), Ok(only(Check::NotReady, 1000)))
    };
    let effects = harness.index.apply_policy(update, at(400));
    let changes: Vec<_> = effects.transitions.iter().map(|t| t.to).collect();
    assert_eq!(changes, [Change::Ended, Change::Pending]);
    harness.index.assert_counts();
    assert_eq!(harness.report().generation, 1);
}

#[test]
fn a_policy_that_was_never_valid_reports_only_its_error() {
    let mut harness = Harness::with(not_ready());
    harness.policy_as(key("new"), undecodable(), Vec::new());
    let report = harness.index.report(&key("new")).unwrap();
    assert_eq!(
        report.conditions[0].message,
        "the object cannot be decoded: no; correct it, or install the CRDs of this version"
    );
    assert_eq!(harness.report().conditions[0].reason, "Evaluating");
}

#[test]
fn a_repeated_input_has_no_effect() {
    let mut harness = Harness::with(not_ready());
    let mut is_changed = |spec: Result<Policy, &'static str>| {
        let update = policy_update(key("mesh"), spec.or_else(invalid));
        !harness.index.apply_policy(update, at(0)).changed.is_empty()
    };
    let table = [
        (Ok(not_ready()), false, "unchanged and valid"),
        (Err("no"), true, "the new version is invalid"),
        (Err("no"), false, "unchanged and invalid"),
        (Err("still no"), true, "invalid for another reason"),
        (Ok(not_ready()), true, "valid again, without a change"),
        (Ok(not_ready()), false, "unchanged after recovery"),
    ];
    for (spec, expected, why) in table {
        assert_eq!(is_changed(spec), expected, "{why}");
    }
}

#[test]
fn after_an_invalid_version_the_last_valid_one_stays_in_use_and_no_other_policy_changes() {
    let mut harness = failing(not_ready());
    harness.add(key("other"), not_ready());
    harness.at(20).changed();
    harness.policy_as(key("mesh"), invalid("no"), Vec::new());
    assert_eq!(harness.changed(), [key("mesh")]);
    harness.at(400);
    assert_eq!(
        harness.firing(),
        ["envoy NotReady", "envoy NotReady"],
        "both policies stay in use"
    );
    let report = harness.report();
    let [ready, healthy, _] = &report.conditions;
    assert_eq!((ready.status, ready.reason), (Some(false), "Invalid"));
    assert_eq!(
        ready.message,
        "spec.expected: no. The last valid version stays in use."
    );
    assert_eq!(healthy.status, Some(false), "health describes the version in use");
    assert_eq!(report.generation, 3, "the status names the newest version");
    harness.changed();
    harness.policy(not_ready());
    assert_eq!(harness.report().conditions[0].reason, "Evaluating");
    assert_eq!(harness.changed(), [key("mesh")]);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(10.0),
        "the violation keeps its onset"
    );
}

#[test]
fn a_policy_that_cannot_be_decoded_any_more_is_new_when_it_can() {
    let mut harness = failing(not_ready());
    harness.add(key("other"), not_ready());
    harness.at(400).events();
    harness.log();
    harness.policy_as(key("mesh"), undecodable(), Vec::new());
    assert_eq!(harness.events(), [], "its violations end without an Event");
    assert_eq!(harness.firing(), ["envoy NotReady"], "of the other policy");
    let report = harness.report();
    let [ready, healthy, _] = &report.conditions;
    assert_eq!((ready.status, ready.reason), (Some(false), "Invalid"));
    assert!(!ready.message.contains("last valid"), "{}", ready.message);
    assert_eq!(healthy.reason, "Invalid");
    assert!(report.violations.is_empty());
    harness.index.assert_counts();
    harness.log();
    harness.at(500).policy(not_ready()).add(key("new"), not_ready());
    let log = harness.log();
    let (again, new) = log.split_at(log.len() / 2);
    assert!(
        !log.is_empty() && again == new,
        "as of a policy that is created now: {log:?}"
    );
    assert_eq!(harness.events().len(), 2);
}

#[test]
fn an_edit_of_a_severity_changes_existing_violations() {
    let mut harness = failing(policy());
    harness
        .at(400)
        .policy(policy().check(Check::NotReady, |c| c.severity = Severity::Critical));
    let listed: Vec<_> = harness
        .report()
        .violations
        .iter()
        .map(|v| (v.violation.check, v.violation.severity))
        .collect();
    assert_eq!(
        listed,
        [
            (Check::NotReady, Severity::Critical),
            (Check::MainReadySidecarNotReady, Severity::Warning)
        ]
    );
    assert_eq!(
        harness.log().len(),
        4,
        "two pending and two firing transitions, none for the edit"
    );
}

#[test]
fn an_unchanged_policy_has_no_effects() {
    let mut harness = failing(not_ready());
    harness.at(400).changed();
    let mut same = |generation| {
        let update = PolicyUpdate {
            generation,
            ..policy_update(key("mesh"), Ok(not_ready()))
        };
        harness.index.apply_policy(update, at(400))
    };
    assert_eq!(
        same(1),
        Effects::default(),
        "a status write of the operator has no effect"
    );
    assert_eq!(same(2).changed.len(), 1, "a new generation changes the status");
}

#[test]
fn selectors_decide_which_pods_a_policy_matches() {
    let shop = || {
        Pod::named("shop-1")
            .in_namespace("shop")
            .native("envoy")
            .regular("app")
            .unready("envoy")
    };
    let pay = || web().unready("envoy").labels(&[("app", "web")]);
    let at_once = |policy: Policy| policy.only(Check::NotReady).hold_for(Check::NotReady, minutes(0));
    let seen = |key, policy| {
        let mut harness = Harness::starting();
        harness.resync([&pay(), &shop()]);
        harness.add(key, at_once(policy));
        let pods = harness.index.violations().map(|v| v.subject.pod());
        pods.collect::<Vec<_>>().join(" ")
    };
    let namespaces = |team| policy().with(|p| p.namespaces = one_of("team", team));
    let pods = |app| policy().with(|p| p.pods = one_of("app", app));
    #[rustfmt::skip]
    let table = [
        (key("m"), policy(), "web-1", "a SidecarPolicy matches its own namespace"),
        (key("m"), namespaces("shop"), "web-1", "a SidecarPolicy has no namespaceSelector"),
        (key("m"), pods("web"), "web-1", "Pods with the label"),
        (key("m"), pods("db"), "", "Pods without the label do not match"),
        (cluster_key("m"), policy(), "web-1 shop-1", "an empty namespaceSelector matches all namespaces"),
        (cluster_key("m"), namespaces("shop"), "shop-1", "namespaces with the label match"),
        (cluster_key("m"), namespaces("pay").with(|p| p.pods = one_of("app", "db")), "", "both selectors must match"),
    ];
    for (key, policy, expected, why) in table {
        assert_eq!(seen(key, policy), expected, "{why}");
    }
}

#[test]
fn changes_of_labels_match_the_pod_again() {
    let selecting = only(Check::NotReady, 60).with(|p| {
        (p.namespaces, p.pods) = (one_of("team", "pay"), one_of("app", "web"));
    });
    let labels = |app| web().starting("envoy", 0).labels(&[("app", app)]);
    let mut harness = Harness::starting();
    harness.resync([&labels("web")]).add(cluster_key("p"), selecting);
    harness.at(70);
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    harness.log();
    harness.namespace("pay", "none");
    assert_eq!(
        harness.log(),
        ["70 ended envoy NotReady"],
        "the namespace no longer matches"
    );
    harness.at(80).namespace("pay", "pay");
    assert_eq!(
        harness.log(),
        ["80 firing envoy NotReady"],
        "the namespace matches again, and the fault keeps its onset"
    );
    harness.pod_at(90, &labels("db"));
    assert_eq!(
        harness.log(),
        ["90 ended envoy NotReady"],
        "the Pod does not match"
    );
    harness.pod_at(100, &labels("web"));
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    let effects = harness.index.delete_namespace("pay", at(110));
    assert_eq!(
        effects.transitions.len(),
        1,
        "a namespace without labels does not match"
    );
    harness.index.assert_counts();
}

#[test]
fn an_empty_selector_needs_no_namespace() {
    let mut harness = Harness::starting();
    harness
        .resync([&web().unready("envoy")])
        .add(cluster_key("p"), only(Check::NotReady, 0));
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    let effects = harness.index.delete_namespace("pay", at(10));
    assert_eq!(effects.transitions, [], "unknown namespaces match too");
    harness.delete(&web());
    harness.index.assert_counts();
}
