//! The limits on SidecarPolicies: how many of a namespace are evaluated, and how severe their violations can be.

use std::{collections::BTreeSet, num::NonZeroUsize};

use proptest::{collection::vec, prelude::*, test_runner::Config};

use crate::domain::{
    effects::{Change, Effects},
    policy::{Check, Mode, Policy, PolicyKey, PolicyKind, PolicyLimits, PolicyUpdate, Severity},
    summary::Report,
    testing::{Harness, at, cluster_key, invalid, key, policy, policy_update, stored, web},
};

/// Creates a harness with these limits and a Pod whose sidecar is not ready.
fn limited(per_namespace: usize, severity: Severity) -> Harness {
    let mut harness = Harness::starting();
    harness.index = harness.index.with_policy_limits(PolicyLimits {
        per_namespace: NonZeroUsize::new(per_namespace).unwrap(),
        severity,
    });
    harness.resync([&web()]).pod_at(10, &web().unready("envoy"));
    harness
}

fn not_ready() -> Policy {
    policy().only(Check::NotReady)
}

/// A policy that was created at this second.
fn created(name: &str, second: i64, spec: Policy) -> PolicyUpdate {
    PolicyUpdate {
        uid: format!("{name} of {second}").into(),
        created: at(second),
        ..policy_update(key(name), Ok(spec))
    }
}

fn apply(harness: &mut Harness, update: PolicyUpdate) {
    drop(effects_of(harness, update));
}

fn effects_of(harness: &mut Harness, update: PolicyUpdate) -> Effects {
    let effects = harness.index.apply_policy(update, harness.now);
    harness.index.assert_counts();
    effects
}

/// The policies that have a violation.
fn with_violations(harness: &Harness) -> BTreeSet<PolicyKey> {
    harness
        .index
        .violations()
        .map(|violation| violation.policy.clone())
        .collect()
}

fn report(harness: &Harness, name: &str) -> Report {
    harness.index.report(&key(name)).unwrap()
}

/// Status and reason of the three conditions.
fn conditions(harness: &Harness, name: &str) -> [(Option<bool>, &'static str); 3] {
    report(harness, name)
        .conditions
        .map(|condition| (condition.status, condition.reason))
}

#[test]
fn only_the_oldest_policies_of_a_namespace_are_evaluated() {
    let mut harness = limited(2, Severity::Critical);
    for (name, second) in [("b", 5), ("c", 6), ("a", 6)] {
        apply(&mut harness, created(name, second, not_ready()));
    }
    assert_eq!(
        with_violations(&harness),
        [key("a"), key("b")].into(),
        "a comes before c by its name"
    );
    let excess = [
        (Some(false), "TooManyPolicies"),
        (None, "TooManyPolicies"),
        (None, "TooManyPolicies"),
    ];
    assert_eq!(conditions(&harness, "c"), excess);
    let message = report(&harness, "c").conditions[0].message.clone();
    assert_eq!(
        message,
        "The namespace has more than 2 SidecarPolicies, and only the 2 oldest are evaluated \
         (--max-policies-per-namespace): delete this one or an older one"
    );
    assert_eq!(conditions(&harness, "a")[0], (Some(true), "Evaluating"));

    let series = harness.series();
    assert_eq!(series.excess_policies, 1);
    assert_eq!(
        series.policies.len(),
        2,
        "a policy that is not evaluated has no series"
    );
}

#[test]
fn a_deletion_activates_the_oldest_of_the_others_and_a_creation_can_replace_the_youngest() {
    let mut harness = limited(1, Severity::Critical);
    apply(&mut harness, created("b", 5, not_ready()));
    apply(&mut harness, created("c", 6, not_ready()));
    harness.at(400);
    harness.events();
    harness.log();
    harness.delete_policy(&key("b"));
    assert_eq!(with_violations(&harness), [key("c")].into());
    assert_eq!(harness.changed(), [key("b"), key("c")]);

    let effects = effects_of(&mut harness, created("a", 6, not_ready()));
    assert_eq!(with_violations(&harness), [key("a")].into());
    let ended = effects
        .transitions
        .iter()
        .filter(|transition| transition.to == Change::Ended);
    assert_eq!(ended.count(), 1);
    assert!(
        effects.events.iter().all(|event| event.policy == key("a")),
        "no Event says that a violation ended"
    );
}

#[test]
fn other_namespaces_and_cluster_policies_do_not_count() {
    let mut harness = limited(1, Severity::Critical);
    let mut elsewhere = created("a", 1, not_ready());
    elsewhere.key.namespace = "shop".into();
    apply(&mut harness, elsewhere);
    for name in ["x", "y"] {
        let mut everywhere = created(name, 1, not_ready());
        everywhere.key = cluster_key(name);
        apply(&mut harness, everywhere);
    }
    apply(&mut harness, created("b", 5, not_ready()));
    assert_eq!(
        with_violations(&harness),
        [key("b"), cluster_key("x"), cluster_key("y")].into()
    );
}

#[test]
fn an_edit_changes_no_other_policy_and_a_policy_above_the_limit_changes_only_its_status() {
    let mut harness = limited(1, Severity::Critical);
    apply(&mut harness, created("a", 1, not_ready()));
    let new = effects_of(&mut harness, created("b", 2, not_ready()));
    let only_status = |effects: &Effects| {
        let Effects {
            events,
            withdrawn,
            changed,
            exemptions: _,
            relist_exemptions: _,
            transitions,
        } = effects;
        events.is_empty() && withdrawn.is_empty() && transitions.is_empty() && *changed == [key("b")].into()
    };
    assert!(only_status(&new), "{new:?}");
    let edits = [
        Ok(not_ready().with(|policy| policy.mode = Mode::Off)),
        invalid("no"),
        Ok(not_ready()),
    ];
    for (spec, generation) in edits.into_iter().zip(2..) {
        let update = PolicyUpdate {
            generation,
            spec,
            ..created("b", 2, policy())
        };
        let effects = effects_of(&mut harness, update);
        assert!(only_status(&effects), "{effects:?}");
        assert_eq!(report(&harness, "b").generation, generation);
        assert_eq!(conditions(&harness, "b")[0].1, "TooManyPolicies");
    }
    let off = PolicyUpdate {
        generation: 2,
        ..created("a", 1, not_ready().with(|policy| policy.mode = Mode::Off))
    };
    apply(&mut harness, off);
    assert_eq!(
        with_violations(&harness),
        [].into(),
        "a policy with the mode Off keeps its place"
    );
}

#[test]
fn a_list_activates_policies_when_it_is_complete() {
    let mut harness = limited(1, Severity::Critical);
    harness.at(400);
    harness
        .index
        .begin_policy_resync(PolicyKind::SidecarPolicy, &None);
    let young = effects_of(&mut harness, created("a", 9, not_ready()));
    assert_eq!(
        (young.events.len(), young.transitions.len()),
        (0, 0),
        "an older policy may follow"
    );
    assert_eq!(harness.index.report(&key("a")), None, "no status yet");
    let old = PolicyUpdate {
        stored: vec![stored(Check::NotReady, "envoy", true, 20)],
        ..created("mesh", 5, not_ready())
    };
    apply(&mut harness, old);
    let effects = harness
        .index
        .finish_policy_resync(PolicyKind::SidecarPolicy, &None, at(400));
    harness.index.assert_counts();
    assert_eq!(effects.changed, [key("a"), key("mesh")].into());
    assert_eq!(
        effects.events,
        [],
        "the violation comes from the status of the policy, so its Event exists"
    );
    assert_eq!(with_violations(&harness), [key("mesh")].into());
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(20.0));
    assert_eq!(conditions(&harness, "a")[0].1, "TooManyPolicies");
}

#[test]
fn severities_of_a_namespaced_policy_are_lowered_to_the_limit() {
    let critical = not_ready().check(Check::NotReady, |check| check.severity = Severity::Critical);
    let mut harness = limited(5, Severity::Warning);
    apply(&mut harness, created("a", 1, critical.clone()));
    let mut everywhere = created("x", 1, critical.clone());
    everywhere.key = cluster_key("x");
    apply(&mut harness, everywhere);
    let info = not_ready().check(Check::NotReady, |check| check.severity = Severity::Info);
    apply(&mut harness, created("b", 1, info.clone()));
    let severities: Vec<_> = harness
        .index
        .violations()
        .map(|violation| (violation.policy.clone(), violation.severity))
        .collect();
    let expected = [
        (key("a"), Severity::Warning),
        (cluster_key("x"), Severity::Critical),
        (key("b"), Severity::Info),
    ];
    assert_eq!(severities, expected);
    let message = |harness: &Harness| report(harness, "a").conditions[0].message.clone();
    let lowered = message(&harness);
    assert!(
        lowered.contains("The severity of ") && lowered.contains("NotReady"),
        "{lowered}"
    );
    assert!(
        lowered.contains("is lowered to Warning, the highest for SidecarPolicies (--max-tenant-severity)"),
        "{lowered}"
    );
    let all_low = Check::ALL.into_iter().fold(info, |policy, check| {
        policy.check(check, |settings| settings.severity = Severity::Warning)
    });
    apply(
        &mut harness,
        PolicyUpdate {
            generation: 2,
            ..created("a", 1, all_low)
        },
    );
    assert_eq!(message(&harness), "The policy is valid and being evaluated");
}

/// A creation (or edit) or a deletion of one of eight policies.
#[derive(Clone, Copy, Debug)]
enum Step {
    Apply { name: u8, second: i64 },
    Delete { name: u8 },
    List,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8, 0..4_i64).prop_map(|(name, second)| Step::Apply { name, second }),
        2 => (0..8_u8).prop_map(|name| Step::Delete { name }),
        1 => Just(Step::List),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    /// Which policies are evaluated follows from the existing policies, not from the order of the steps.
    #[test]
    fn the_active_policies_follow_from_the_existing_ones(steps in vec(step(), 1..40), limit in 1..4_usize) {
        let mut harness = limited(limit, Severity::Critical);
        let mut existing = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply { name, second } => {
                    let name = format!("p{name}");
                    let update = created(&name, second, not_ready());
                    existing.insert(name, update.clone());
                    apply(&mut harness, update);
                }
                Step::Delete { name } => {
                    let name = format!("p{name}");
                    existing.remove(&name);
                    harness.delete_policy(&key(&name));
                }
                Step::List => {
                    harness.index.begin_policy_resync(PolicyKind::SidecarPolicy, &None);
                    for update in existing.values() {
                        apply(&mut harness, update.clone());
                    }
                    drop(harness.index.finish_policy_resync(PolicyKind::SidecarPolicy, &None, harness.now));
                    harness.index.assert_counts();
                }
            }
            let mut oldest: Vec<_> = existing.values().map(|update| (update.created, update.key.clone())).collect();
            oldest.sort();
            let (active, excess) = oldest.split_at(limit.min(oldest.len()));
            prop_assert_eq!(with_violations(&harness), active.iter().map(|(_, key)| key.clone()).collect());
            for (_, key) in active {
                prop_assert_eq!(harness.index.report(key).unwrap().conditions[0].reason, "Evaluating");
            }
            for (_, key) in excess {
                prop_assert_eq!(harness.index.report(key).unwrap().conditions[0].reason, "TooManyPolicies");
            }
        }
    }
}
