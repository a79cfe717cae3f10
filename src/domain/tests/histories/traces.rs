//! Whom a policy leaves traces of, and how its Events are named.

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

/// All that a policy ever said.
#[derive(Debug, PartialEq)]
struct Trace {
    transitions: Vec<Transition>,
    events: Vec<Event>,
    reports: Vec<Option<Report>>,
    series: Vec<String>,
}

/// What a policy says of those steps of a history that are `told`.
fn trace(policy: &PolicyKey, steps: &[Step], told: impl Fn(&Step) -> bool) -> Trace {
    let mut player = Player::new(Pace::Timely);
    let mut reports = Vec::new();
    for step in steps.iter().filter(|step| told(step)) {
        player.play(step);
    }
    reports.push(player.world.index.report(policy));
    player.play(&Step::Wait(300));
    reports.push(player.world.index.report(policy));
    let world = &mut player.world;
    let restarts = world
        .index
        .restarts()
        .filter(|r| r.policy == policy)
        .map(|r| format!("{r:?}"));
    let violations = world
        .index
        .violations()
        .filter(|v| v.policy == *policy)
        .map(|v| format!("{v:?}"));
    let counts = world
        .index
        .policies()
        .filter(|p| p.key == policy)
        .map(|p| format!("{p:?}"));
    let series = restarts.chain(violations).chain(counts).collect();
    Trace {
        transitions: world
            .transitions()
            .into_iter()
            .filter(|t| t.violation.policy == *policy)
            .collect(),
        events: world
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
    fn a_neighbour_namespace_leaves_no_trace(steps in history(), number in 0..2usize) {
        // The Pods of `shop` have the last place; those of `pay` the others.
        let is_neighbour = |place: usize| (place == 3) == (number == 0);
        let told = |step: &Step| match step {
            Step::Pod(place, _) | Step::Delete(place) => !is_neighbour(*place),
            _ => true,
        };
        let policy = policy_key(number);
        prop_assert_eq!(trace(&policy, &steps, |_| true), trace(&policy, &steps, told));
    }

    #[test]
    fn other_policies_leave_no_trace(steps in history(), number in 0..3usize) {
        let told = |step: &Step| match step {
            Step::Policy(other, _) | Step::Invalid(other) | Step::DeletePolicy(other) => *other == number,
            _ => true,
        };
        let policy = policy_key(number);
        prop_assert_eq!(trace(&policy, &steps, |_| true), trace(&policy, &steps, told));
    }

    #[test]
    fn events_are_named_and_counted_so_that_each_stands_once(steps in history()) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps).play(&Step::Wait(300));
        let mut owners = BTreeMap::new();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for event in player.world.events() {
            prop_assert!(event.name.len() <= 253 && event.note.len() <= 1024);
            prop_assert!(event.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)));
            if event.policy.kind == PolicyKind::SidecarPolicy {
                prop_assert_eq!(&event.namespace, &event.policy.namespace);
            }
            // All recoveries have one reason; the note names the check.
            let recovered = event.note.rsplit('(').next().filter(|_| !event.warning).map(str::to_owned);
            let owner = (event.policy, event.pod_uid, event.field_path, event.reason, recovered);
            match owners.entry(event.name.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(owner.clone())),
                Entry::Occupied(entry) => prop_assert_eq!(entry.get(), &owner, "one name, one matter"),
            }
            let count = match event.delivery {
                Delivery::Create => 1,
                Delivery::CreateOrRaise(count) | Delivery::Repeat(count) => count,
            };
            let before = counts.insert(event.name, count).unwrap_or(0);
            prop_assert!(count > before, "an Event's count only grows: {} after {}", count, before);
        }
    }
}
