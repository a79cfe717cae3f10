//! Which Pods a policy affects, and the names of its Events.

use std::collections::{BTreeMap, btree_map::Entry};

use proptest::prelude::*;

use super::{
    few,
    script::{Pace, Player, Step, history, policy_key},
};
use crate::domain::{
    effects::{Delivery, Event, Transition},
    policy::{PolicyKey, PolicyKind},
    summary::Report,
};

/// All effects of a policy.
#[derive(Debug, PartialEq)]
struct Trace {
    transitions: Vec<Transition>,
    events: Vec<Event>,
    reports: Vec<Option<Report>>,
    series: Vec<String>,
}

/// Returns the effects of a policy for the selected steps of a history.
fn trace(policy: &PolicyKey, steps: &[Step], selected: impl Fn(&Step) -> bool) -> Trace {
    let mut player = Player::new(Pace::Timely);
    let mut reports = Vec::new();
    for step in steps.iter().filter(|step| selected(step)) {
        player.play(step);
    }
    reports.push(player.harness.index.report(policy));
    player.play(&Step::Wait(300));
    reports.push(player.harness.index.report(policy));
    let harness = &mut player.harness;
    let restarts = harness
        .index
        .restarts()
        .filter(|r| r.policy == policy)
        .map(|r| format!("{r:?}"));
    let violations = harness
        .index
        .violations()
        .filter(|v| v.policy == *policy)
        .map(|v| format!("{v:?}"));
    let counts = harness
        .index
        .policies()
        .filter(|p| p.key == *policy)
        .map(|p| format!("{p:?}"));
    let series = restarts.chain(violations).chain(counts).collect();
    Trace {
        transitions: harness
            .transitions()
            .into_iter()
            .filter(|t| t.violation.policy == *policy)
            .collect(),
        events: harness
            .events()
            .into_iter()
            .filter(|e| e.policy == *policy)
            .collect(),
        reports: reports
            .into_iter()
            .map(|r| r.map(|r| Report { generation: 0, ..r }))
            .collect(),
        series,
    }
}

proptest! {
    #![proptest_config(few(32))]

    #[test]
    fn another_namespace_has_no_effect(steps in history(), number in 0..2usize) {
        // The last Pod is in `shop`, the others are in `pay`.
        let is_neighbour = |place: usize| (place == 3) == (number == 0);
        let selected = |step: &Step| match step {
            Step::Pod(place, _) | Step::Delete(place) => !is_neighbour(*place),
            _ => true,
        };
        let policy = policy_key(number);
        prop_assert_eq!(trace(&policy, &steps, |_| true), trace(&policy, &steps, selected));
    }

    #[test]
    fn other_policies_have_no_effect(steps in history(), number in 0..3usize) {
        let selected = |step: &Step| match step {
            Step::Policy(other, _) | Step::Invalid(other) | Step::DeletePolicy(other) => *other == number,
            _ => true,
        };
        let policy = policy_key(number);
        prop_assert_eq!(trace(&policy, &steps, |_| true), trace(&policy, &steps, selected));
    }

    #[test]
    fn each_event_name_belongs_to_one_violation_and_its_count_only_increases(steps in history()) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps).play(&Step::Wait(300));
        let mut owners = BTreeMap::new();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for event in player.harness.events() {
            prop_assert!(event.name.len() <= 253 && event.note.len() <= 1024);
            prop_assert!(event.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)));
            if event.policy.kind == PolicyKind::SidecarPolicy {
                prop_assert_eq!(&event.namespace, &event.policy.namespace);
            }
            // All recovery Events have the same reason. The note names the check. NotReady and MainReadySidecarNotReady
            // report one fault and share the Event of its recovery, whichever of them ends last.
            let recovered = event.note.rsplit('(').next().filter(|_| !event.warning);
            let recovered = recovered.map(|check| check.replace("MainReadySidecarNotReady", "NotReady"));
            let owner = (event.policy, event.regarding, event.reason, recovered);
            match owners.entry(event.name.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(owner.clone())),
                Entry::Occupied(entry) => prop_assert_eq!(entry.get(), &owner, "one Event name belongs to one violation"),
            }
            let count = match event.delivery {
                Delivery::Create => 1,
                Delivery::CreateOrRaise(count) | Delivery::Repeat(count) => count,
            };
            let before = counts.insert(event.name, count).unwrap_or(0);
            prop_assert!(count > before, "the count of an Event only increases: {} after {}", count, before);
        }
    }
}
