//! Deadlines and restarts of the operator do not change the result.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    few,
    script::{Pace, Player, Step, history, history_in_seconds, policy_key, version},
    successor::{Outcome, in_status},
};
use crate::domain::{
    effects::{Change, Event, Transition},
    index::Index,
    testing::{Harness, seconds},
    violation::{SubjectKey, Violation, ViolationKey},
};

/// Returns the effects of a history.
fn outcome(pace: Pace, steps: &[Step]) -> Outcome {
    let mut player = Player::new(pace);
    player.play_all(steps).play(&Step::Wait(300));
    player.outcome()
}

proptest! {
    #![proptest_config(few(24))]

    #[test]
    fn deadlines_have_the_effects_of_polling(steps in history()) {
        prop_assert_eq!(outcome(Pace::Timely, &steps), outcome(Pace::Polling, &steps));
    }

    #[test]
    fn a_late_timer_changes_nothing(steps in history()) {
        prop_assert_eq!(outcome(Pace::Timely, &steps), outcome(Pace::Late, &steps));
    }

    #[test]
    fn counts_that_are_kept_up_to_date_equal_a_recount(steps in history()) {
        let mut player = Player::new(Pace::Timely);
        player.harness.recounts = true;
        player.play_all(&steps);
    }

    #[test]
    fn when_all_pods_are_deleted_nothing_is_left(steps in history()) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps);
        for place in 0..player.pods.len() {
            player.play(&Step::Delete(place));
        }
        player.resume();
        player.harness.index.assert_no_pods();
    }

    #[test]
    fn a_restarted_operator_adopts_violations(steps in history_in_seconds()) {
        let mut player = Player::new(Pace::Timely);
        player.play_all(&steps);
        player.play(&Step::Relist(false));
        let old = &mut player.harness;
        let visible: BTreeSet<_> = old.index.violations().filter(|v| v.visible).map(Violation::key).collect();
        let mut before = states(&old.index);
        before.retain(|key, _| visible.contains(key));
        let mut new = Harness::starting();
        new.namespace("pay", if player.team { "pay" } else { "none" });
        new.now = old.now;
        for (number, of) in player.policies.iter().enumerate() {
            let Some(of) = of else { continue };
            let key = policy_key(number);
            let listed = old.index.report(&key).unwrap().violations.into_iter().map(|v| in_status(&v.violation));
            new.policy_as(key, Ok(version(*of)), listed.collect());
        }
        new.resync(player.pods.iter().flatten());
        let after = states(&new.index);
        for (place, state) in &before {
            prop_assert_eq!(after.get(place), Some(state), "{:?} keeps its state and onset", place);
        }
        let known: BTreeSet<_> = old.events().into_iter().filter(|e| e.warning).map(|e| e.name).collect();
        let again: Vec<_> = new.events().into_iter().filter(|e| e.warning && known.contains(&e.name)).collect();
        let listed = |t: &Transition| before.contains_key(&key_of(t));
        prop_assert!(again.iter().all(|event| !before.keys().any(|p| is_of(event, p))), "a restored violation repeats its Event: {:?}", again);
        prop_assert!(!new.transitions().iter().any(listed), "a restored violation has no transition");
        let horizon = old.now + seconds(60);
        old.transitions();
        let firings = |harness: &mut Harness| -> Vec<_> {
            let due = harness.until(horizon).transitions().into_iter();
            let due = due.filter(|t| t.to == Change::Firing && before.contains_key(&key_of(t)));
            due.map(|t| (t.at, key_of(&t))).collect()
        };
        let (mut then, mut now) = (firings(old), firings(&mut new));
        then.sort();
        now.sort();
        prop_assert_eq!(then, now, "pending violations fire at the same time");
    }
}

fn key_of(t: &Transition) -> ViolationKey {
    t.violation.key()
}

fn is_of(event: &Event, key: &ViolationKey) -> bool {
    let reason = crate::domain::checks::rule(key.check).reason();
    let SubjectKey::Container { uid, container, .. } = &key.subject else {
        return false;
    };
    event.policy == key.policy
        && uid.as_ref() == Some(&event.regarding.uid)
        && event.reason == reason
        && event.regarding.field_path.ends_with(&format!("{{{container}}}"))
}

/// Returns the state and onset of every violation.
fn states(index: &Index) -> BTreeMap<ViolationKey, (bool, jiff::Timestamp)> {
    let states = index.states();
    states.collect()
}
