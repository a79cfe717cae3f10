//! A process that continues a checkpoint does what the process before it would have done.

use proptest::prelude::*;

use crate::domain::{checkpoint::Checkpoint, violation::ViolationKey};

use super::{
    few,
    script::{Change, Pace, Player, Step, history},
    successor::Outcome,
};

/// Plays steps and relists, so that the watch works at the end.
fn played(steps: &[Step]) -> Player {
    let mut player = Player::new(Pace::Timely);
    player.play_all(steps).play(&Step::Relist(false));
    player.harness.finish_work();
    player
}

fn is_of(key: &ViolationKey, pod: &str) -> bool {
    key.subject.uid().map(|uid| &**uid) == Some(pod)
}

/// Plays three histories. The checkpoint after the first is imported after the second, or not.
fn outcome_with_own_checkpoint(
    [before, between, after]: [&[Step]; 3],
    units: usize,
    imports: bool,
) -> Outcome {
    let mut player = played(before);
    player.harness.units_per_step(units);
    let checkpoint = player.harness.checkpoint();
    player.play_all(between);
    if imports {
        player.harness.import(checkpoint.clone());
        player.harness.import(checkpoint);
    }
    player.harness.finish_work().units_per_step(usize::MAX);
    player.play_all(after).play(&Step::Wait(600));
    player.outcome()
}

/// Histories in which a checkpoint changed something; random ones found them.
#[test]
fn a_checkpoint_does_not_bring_back_an_earlier_fault() {
    use Change::*;
    let cases: [(&str, [&[Step]; 3]); 4] = [
        (
            "a container loses its status, so its restarts are counted from zero again",
            [
                &[Step::Pod(3, Ready(0)), Step::Pod(3, Restart(1))],
                &[
                    Step::Pod(3, Unreported(1)),
                    Step::Policy(1, 4),
                    Step::Pod(3, Ready(1)),
                ],
                &[Step::Pod(3, Restart(1))],
            ],
        ),
        (
            "a fault after a resolved one waits for its evaluation",
            [
                &[Step::Pod(3, Starting(0)), Step::Wait(50)],
                &[
                    Step::Pod(3, Unready(1)),
                    Step::Pod(2, Ready(0)),
                    Step::Pod(1, Ready(0)),
                    Step::Pod(0, Ready(0)),
                    Step::Policy(0, 0),
                    Step::Policy(2, 1),
                    Step::Wait(40),
                    Step::Relist(false),
                    Step::Pod(3, Ready(1)),
                ],
                &[],
            ],
        ),
        (
            "the Event of the resolved violation was repeated, and that of the new one has the same name",
            [
                &[Step::Pod(2, Waiting(1)), Step::Wait(140)],
                &[
                    Step::Pod(2, Ready(1)),
                    Step::Wait(40),
                    Step::Pod(2, Starting(1)),
                    Step::Wait(54),
                ],
                &[],
            ],
        ),
        (
            "a fault ends again at the time of the checkpoint",
            [
                &[
                    Step::Pod(3, Unready(0)),
                    Step::Wait(50),
                    Step::Pod(3, Unready(1)),
                    Step::Wait(1),
                ],
                &[Step::Pod(3, Restart(1)), Step::Pod(3, Ready(0))],
                &[],
            ],
        ),
    ];
    for (case, histories) in cases {
        let play = |imports| outcome_with_own_checkpoint(histories, 1, imports);
        assert_eq!(play(true), play(false), "{case}");
    }
}

proptest! {
    #![proptest_config(few(64))]

    #[test]
    fn a_killed_operator_continues_with_its_checkpoint(before in history(), after in history()) {
        let mut undisturbed = played(&before);
        let mut restarted = undisturbed.successor(Some(undisturbed.harness.checkpoint()));
        let (transitions, events, left) = restarted.outcome();
        prop_assert_eq!(transitions, [], "the restart changes no violation");
        prop_assert_eq!(events, [], "the restart writes no Event");
        prop_assert_eq!(left, undisturbed.outcome().2);
        undisturbed.play_all(&after).play(&Step::Wait(600));
        restarted.play_all(&after).play(&Step::Wait(600));
        prop_assert_eq!(restarted.outcome(), undisturbed.outcome());
    }

    #[test]
    fn a_checkpoint_changes_nothing_in_a_process_that_has_seen_everything(
        before in history(), between in history(), after in history(), units in 1..20usize,
    ) {
        // A policy that is created again has another UID. The script does not model that.
        let between: Vec<_> = between.into_iter().filter(|step| !matches!(step, Step::DeletePolicy(_))).collect();
        let play = |imports| outcome_with_own_checkpoint([&before, &between, &after], units, imports);
        prop_assert_eq!(play(true), play(false), "no resolved fault again, no restart twice");
    }

    #[test]
    fn two_checkpoints_of_a_process_are_merged_in_any_order(before in history(), between in history(), after in history()) {
        let mut player = played(&before);
        let old = player.harness.checkpoint();
        player.play_all(&between).play(&Step::Relist(false));
        player.harness.finish_work();
        let new = player.harness.checkpoint();
        player.outcome();
        let continued = |order: [&Checkpoint; 2]| {
            let mut merged = order[0].clone();
            merged.merge(order[1].clone());
            let mut successor = player.successor(Some(merged));
            successor.play_all(&after).play(&Step::Wait(600));
            successor.outcome()
        };
        prop_assert_eq!(continued([&old, &new]), continued([&new, &old]));
    }

    #[test]
    fn what_changed_after_the_checkpoint_does_not_undo_it(before in history(), gap in history(), after in history()) {
        let mut undisturbed = played(&before);
        let checkpoint = undisturbed.harness.checkpoint();
        undisturbed.play_all(&gap).play(&Step::Relist(false));
        undisturbed.harness.finish_work();
        undisturbed.outcome();
        let mut restarted = undisturbed.successor(Some(checkpoint));
        restarted.harness.recounts = true;
        for player in [&mut restarted, &mut undisturbed] {
            player.play_all(&after);
            player.play(&Step::Relist(false));
            player.play(&Step::Wait(600));
        }
        let firing = |player: &Player| -> Vec<_> {
            // The violations of a held Pod do not change, so what the checkpoint lacks stays unknown.
            let held: Vec<_> = player.pods.iter().flatten().filter(|pod| pod.0.is_held()).map(|pod| pod.0.uid.clone()).collect();
            let states = player.harness.index.states().map(|(key, (firing, _))| (key, firing));
            let mut states: Vec<_> = states.filter(|(key, _)| !held.iter().any(|uid| is_of(key, uid))).collect();
            states.sort();
            states
        };
        prop_assert_eq!(firing(&restarted), firing(&undisturbed), "the same violations one minute later");
    }
}
