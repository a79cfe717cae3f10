//! The report depends on the current state only, not on the order of the inputs.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::{
    few,
    script::{POLICIES, Pace, Player, Step, history, policy_key, version},
};
use crate::domain::{
    effects::Event,
    index::{Index, series::PolicySeries},
    policy::PolicyKey,
    summary::{Report, Summary},
    testing::{Harness, Pod},
    violation::ViolationKey,
};

/// The part of a report that does not depend on the history of the Pods.
fn coverage(index: &Index) -> Vec<(PolicyKey, String, Option<Summary>)> {
    let line = |view: PolicySeries| {
        let report = index.report(&view.key);
        let summary = report.map(|r| Summary {
            firing: 0,
            pending: 0,
            ..r.summary
        });
        (
            view.key.clone(),
            format!("{} {:?}", view.pods, view.containers),
            summary,
        )
    };
    let mut lines: Vec<_> = index.policies().map(line).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}

fn reports(index: &Index) -> Vec<Option<Report>> {
    let reports = (0..POLICIES).map(|number| index.report(&policy_key(number)));
    reports
        .map(|report| {
            report.map(|report| Report {
                generation: 0,
                ..report
            })
        })
        .collect()
}

/// One input of a starting operator.
#[derive(Clone, Debug)]
enum Input {
    Pod(Box<Pod>),
    Policy(PolicyKey, usize),
    Namespace(bool),
}

fn inputs(player: &Player) -> Vec<Input> {
    let pods = player
        .pods
        .iter()
        .flatten()
        .map(|pod| Input::Pod(Box::new(pod.clone())));
    let policies = player.policies.iter().enumerate();
    let policies = policies.filter_map(|(number, of)| Some(Input::Policy(policy_key(number), (*of)?)));
    pods.chain(policies)
        .chain([Input::Namespace(player.team)])
        .collect()
}

/// Starts an operator that receives the inputs in this order, during or after the list, and does long work in steps of
/// this size.
fn started(player: &Player, inputs: &[Input], while_listing: bool, units: usize) -> Harness {
    let mut harness = Harness::starting();
    harness.recounts = false;
    harness.units_per_step(units);
    harness.now = player.harness.now;
    harness.begin_resync();
    if !while_listing {
        // A label change after the list is a different history, not a different order.
        harness.namespace("pay", if player.team { "pay" } else { "none" });
        harness.finish_resync();
    }
    for input in inputs {
        match input {
            Input::Pod(pod) => harness.pod(pod),
            Input::Policy(key, of) => harness.add(key.clone(), version(*of)),
            Input::Namespace(team) => harness.namespace("pay", if *team { "pay" } else { "none" }),
        };
    }
    if while_listing {
        harness.finish_resync();
    }
    harness.finish_work();
    harness
}

fn sorted(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by(|a, b| a.name.cmp(&b.name));
    events
}

proptest! {
    #![proptest_config(few(32))]

    #[test]
    fn a_resync_sees_what_a_fresh_start_sees(steps in history(), units in 1..20usize) {
        let mut player = Player::new(Pace::Timely);
        player.harness.recounts = true;
        player.harness.units_per_step(units);
        player.play_all(&steps).play(&Step::Relist(false));
        player.harness.finish_work();
        let fresh = started(&player, &inputs(&player), true, usize::MAX);
        prop_assert_eq!(coverage(&player.harness.index), coverage(&fresh.index));
        prop_assert_eq!(player.harness.index.tracked_pods(), fresh.index.tracked_pods());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        steps in history(),
        order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(),
        while_listing in any::<bool>(),
        units in 1..20usize,
    ) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps);
        let inputs = inputs(&player);
        let shuffled: Vec<_> = order.into_iter().filter_map(|at| inputs.get(at).cloned()).collect();
        let mut one = started(&player, &inputs, true, usize::MAX);
        let mut other = started(&player, &shuffled, while_listing, units);
        prop_assert_eq!(reports(&one.index), reports(&other.index));
        prop_assert_eq!(sorted(one.events()), sorted(other.events()));
        let later = player.harness.now + crate::domain::testing::seconds(60);
        one.until(later);
        other.until(later);
        prop_assert_eq!(reports(&one.index), reports(&other.index));
        prop_assert_eq!(sorted(one.events()), sorted(other.events()));
    }

    #[test]
    fn an_edit_and_its_reversal_change_nothing(
        steps in history(), number in 0..POLICIES, of in 1..4usize, units in 1..20usize,
    ) {
        let play = |edited: bool| {
            let mut player = Player::new(Pace::Timely);
            player.play_all(&steps).play(&Step::Policy(number, 0));
            player.harness.transitions();
            if edited {
                player.harness.units_per_step(units);
                player.play(&Step::Policy(number, of));
                player.play(&Step::Policy(number, 0));
                player.harness.finish_work();
            }
            let now = reports(&player.harness.index);
            player.harness.transitions();
            player.play(&Step::Wait(600));
            (now, player.harness.log(), reports(&player.harness.index))
        };
        prop_assert_eq!(play(false), play(true));
    }

    #[test]
    fn an_edit_that_covers_less_for_a_moment_ends_only_violations_without_a_fault(
        steps in history(), number in 0..POLICIES, of in 4..9usize,
    ) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps).play(&Step::Relist(false));
        player.play(&Step::Policy(number, 0));
        let (covered, without_fault) = (coverage(&player.harness.index), player.harness.index.kept_firing());
        let held: Vec<_> = player.pods.iter().flatten().filter(|pod| pod.0.is_held()).map(|p| p.0.uid.clone()).collect();
        let kept = |index: &Index| -> BTreeSet<_> {
            let places = index.states().map(|(place, _)| place);
            places.filter(|place| !without_fault.contains(place) && !uid_of(place).is_some_and(|uid| held.contains(uid))).collect()
        };
        let before = kept(&player.harness.index);
        player.play(&Step::Policy(number, of));
        player.play(&Step::Policy(number, 0));
        prop_assert_eq!(coverage(&player.harness.index), covered);
        prop_assert_eq!(kept(&player.harness.index), before);
    }
}

fn uid_of(key: &ViolationKey) -> Option<&Arc<str>> {
    key.subject.uid()
}
