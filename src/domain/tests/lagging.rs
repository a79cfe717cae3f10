//! A replica whose watch of Pods is late receives the checkpoint of one that has seen more.

use crate::domain::{
    checkpoint::Assembly,
    effects::Delivery,
    index::Index,
    policy::{Check, Policy},
    testing::{Harness, Pod, at, key, only, policy, seconds, stored, unready_since, web, web_named},
};

/// Two replicas that have seen a healthy Pod. The second then receives nothing.
fn replicas(check: Check) -> (Harness, Harness) {
    let mut leader = Harness::with(policy().only(check));
    leader.pod(&web());
    let mut late = Harness::with(policy().only(check));
    late.pod(&web());
    (leader, late)
}

fn restarts(index: &Index) -> Vec<u64> {
    index.restarts().map(|view| view.count).collect()
}

#[test]
fn restarts_in_a_checkpoint_count_once_when_the_watch_delivers_them() {
    // The check fires from three restarts on.
    let (mut leader, mut late) = replicas(Check::FrequentRestarts);
    let once = web().exits("envoy", 1, 10).restarted("envoy", 11);
    let twice = once.clone().exits("envoy", 1, 12).restarted("envoy", 13);
    leader.pod_at(11, &once).pod_at(13, &twice);
    late.at(20).import(leader.checkpoint());
    late.pod_at(30, &once).pod(&twice);
    assert_eq!(late.firing(), [""; 0], "two restarts");
    assert_eq!(
        restarts(&late.index),
        [2],
        "the series counts what the watch delivered"
    );
    let again = twice.exits("envoy", 1, 40).restarted("envoy", 41);
    for replica in [&mut leader, &mut late] {
        replica.pod_at(41, &again);
        assert_eq!(replica.firing().len(), 1, "three restarts");
    }
}

#[test]
fn later_restarts_of_one_update_count() {
    let (mut leader, mut late) = replicas(Check::FrequentRestarts);
    let once = web().exits("envoy", 1, 10).restarted("envoy", 11);
    leader.pod_at(11, &once);
    late.at(20).import(leader.checkpoint());
    let pod = once
        .exits("envoy", 1, 21)
        .restarted("envoy", 22)
        .exits("envoy", 1, 23);
    late.pod_at(30, &pod.clone().restarted("envoy", 24));
    assert_eq!(
        late.firing().len(),
        1,
        "three restarts, of which the checkpoint has one"
    );
}

fn flapping() -> Policy {
    policy()
        .only(Check::Flapping)
        .with(|policy| policy.checks.flapping.limits.count = 3)
}

#[test]
fn readiness_changes_in_a_checkpoint_count_once_when_the_watch_delivers_them() {
    let mut leader = Harness::with(flapping());
    leader.pod(&web());
    let mut late = Harness::with(flapping());
    late.pod(&web());
    leader
        .pod_at(10, &unready_since(10))
        .pod_at(20, &web())
        .pod_at(30, &unready_since(30));
    late.at(40).import(leader.checkpoint());
    late.pod_at(50, &unready_since(10))
        .pod(&web())
        .pod(&unready_since(30));
    assert_eq!(late.firing(), [""; 0], "two changes");
    for replica in [&mut leader, &mut late] {
        replica.pod_at(60, &web()).pod_at(70, &unready_since(70));
        assert_eq!(replica.firing().len(), 1, "three changes");
    }
}

#[test]
fn the_earlier_of_two_observed_onsets_wins() {
    let (mut leader, mut late) = replicas(Check::NotReady);
    let bad: Pod = unready_since(10);
    leader.pod_at(10, &bad);
    late.pod_at(25, &bad);
    assert_eq!(late.onset("envoy", Check::NotReady), Some(25.0));
    leader.at(30);
    late.at(30).import(leader.checkpoint());
    assert_eq!(
        late.onset("envoy", Check::NotReady),
        Some(10.0),
        "the begin was observed"
    );
    late.at(400);
    leader.at(400).import(late.checkpoint());
    assert_eq!(leader.onset("envoy", Check::NotReady), Some(10.0));
}

#[test]
fn an_earlier_fault_in_an_older_checkpoint_does_not_change_the_onset() {
    let (mut leader, mut late) = replicas(Check::NotReady);
    leader.pod_at(10, &unready_since(10));
    let old = leader.checkpoint();
    late.pod_at(10, &unready_since(10));
    late.pod_at(15, &web());
    late.pod_at(25, &unready_since(25));
    late.at(30).import(old);
    assert_eq!(late.onset("envoy", Check::NotReady), Some(25.0));
}

#[test]
fn an_earlier_fault_of_a_late_writer_does_not_change_the_onset() {
    // The end of the first fault and the second fault have not reached the writer.
    let (mut replica, mut late) = replicas(Check::NotReady);
    let first = unready_since(10);
    let second = unready_since(100);
    late.pod_at(10, &first);
    replica.pod_at(10, &first).pod_at(50, &web());
    replica.pod_at(100, &second);
    for seconds in [150, 320] {
        late.at(seconds);
        replica.at(seconds).import(late.checkpoint());
        assert_eq!(replica.onset("envoy", Check::NotReady), Some(100.0));
    }
    assert_eq!(late.firing().len(), 1, "the first fault, after five minutes");
    assert_eq!(replica.firing(), [""; 0]);
    assert_eq!(replica.events(), []);
}

#[test]
fn an_event_in_the_checkpoint_counts_once_when_the_watch_delivers_its_cause() {
    let at_once = || {
        policy().only(Check::NotReady).check(Check::NotReady, |check| {
            (check.hold_for, check.keep_firing_for) = (seconds(2), seconds(1));
        })
    };
    let (mut leader, mut late) = (Harness::with(at_once()), Harness::with(at_once()));
    let bad = unready_since(10);
    for replica in [&mut leader, &mut late] {
        replica.pod(&web());
    }
    let deliveries = |replica: &mut Harness| -> Vec<_> {
        let events = replica.events().into_iter();
        events.map(|event| (event.name, event.delivery)).collect()
    };
    leader.pod_at(10, &bad).pod_at(20, &web()).at(100);
    late.at(100).import(leader.checkpoint());
    late.pod_at(110, &bad).pod_at(120, &web()).at(200);
    let once = deliveries(&mut leader);
    assert_eq!(once.len(), 2, "firing and recovered");
    assert_eq!(deliveries(&mut late), once);
    // A second fault in the same second has the same names.
    for replica in [&mut leader, &mut late] {
        replica.pod_at(210, &bad).pod_at(220, &web()).at(300);
        let raised: Vec<_> = deliveries(replica)
            .into_iter()
            .map(|(_, delivery)| delivery)
            .collect();
        assert_eq!(raised, [Delivery::CreateOrRaise(2); 2]);
    }
}

#[test]
fn the_events_of_a_pod_stay_limited_beside_checkpoints() {
    let at_once = || only(Check::NotReady, 2);
    let (mut first, mut second) = (Harness::with(at_once()), Harness::with(at_once()));
    let fault = |replica: &mut Harness, since| {
        let bad = unready_since(since);
        replica.pod_at(since, &bad).pod_at(since + 100, &web());
    };
    for begin in (1000..100_000).step_by(1000) {
        fault(&mut first, begin);
        fault(&mut second, begin);
        fault(&mut second, begin + 500);
        first.at(begin + 900).import(second.checkpoint());
    }
    let events = |replica: &Harness| -> usize {
        let pods = replica.checkpoint().pods;
        pods.values().map(|pod| pod.written.len()).sum()
    };
    assert_eq!([events(&first), events(&second)], [64, 64]);
}

#[test]
fn a_violation_that_fires_in_the_checkpoint_has_no_second_event() {
    let (mut leader, mut late) = replicas(Check::NotReady);
    let bad = unready_since(10);
    leader.pod_at(10, &bad).at(320);
    assert_eq!(leader.events().len(), 1);
    late.pod_at(40, &bad).at(320);
    assert_eq!(
        late.events(),
        [],
        "five minutes after the onset that it has observed"
    );
    late.import(leader.checkpoint());
    assert_eq!(late.firing(), leader.firing());
    leader.at(400);
    late.at(400);
    assert_eq!(late.events(), [], "the Event is written");
    leader.pod(&web()).at(600);
    late.pod(&web()).at(600);
    assert_eq!(late.events(), leader.events(), "the same recovery");
}

#[test]
fn a_checkpoint_of_many_pods_is_joined_in_steps() {
    // More Pods than one step looks up.
    const PODS: i64 = 10_001;
    let (mut leader, mut late) = replicas(Check::NotReady);
    for (replica, second) in [(&mut leader, 10), (&mut late, 25)] {
        replica.recounts = false;
        replica.at(second);
        for number in 0..PODS {
            let pod = web_named(&format!("web-{number}"));
            replica.pod(&pod.ready("app").starting("envoy", 10));
        }
        replica.at(30);
    }
    let mut export = leader.index.begin_export(leader.now).unwrap();
    let mut assembly = Assembly::new(export.as_of, 0);
    while let Some(entries) = leader.index.export(&mut export, usize::MAX) {
        for entry in entries {
            assembly.add(entry).unwrap();
        }
    }
    late.index.import(assembly.finish(|_| false), late.now);
    let mut steps = 0;
    while late.index.has_work() {
        late.work();
        steps += 1;
    }
    assert!(steps >= 10, "{steps}");
    let mut onsets = late.index.violations().map(|violation| violation.onset);
    assert!(onsets.all(|onset| onset == at(10)), "those of the leader");
    assert_eq!(late.pending().len(), 10_001);
}

#[test]
fn keep_firing_for_begins_when_the_first_replica_sees_the_end_of_the_fault() {
    let bad = unready_since(10);
    let mut leader = Harness::with(policy().only(Check::NotReady));
    leader.pod(&web()).pod_at(10, &bad).at(400);
    assert_eq!(leader.firing(), ["envoy NotReady"]);
    // The fault ends between the checkpoint and the start of another process.
    let before = leader.checkpoint();
    leader.pod_at(410, &web());
    let mut restarted = Harness::starting();
    restarted.at(420).import(before);
    restarted.policy(policy().only(Check::NotReady)).resync([&web()]);
    assert_eq!(restarted.firing(), leader.firing());
    leader.at(430);
    restarted.at(430).import(leader.checkpoint());
    leader.at(1000);
    restarted.at(1000);
    let resolved = |log: Vec<String>| log.last().cloned();
    assert_eq!(
        resolved(leader.log()),
        Some("530 resolved envoy NotReady".to_owned())
    );
    assert_eq!(
        resolved(restarted.log()),
        Some("530 resolved envoy NotReady".to_owned())
    );
}

#[test]
fn a_violation_that_only_the_checkpoint_explains_goes_on() {
    let mut leader = Harness::with(flapping());
    leader.pod(&web());
    for since in [10, 20, 30] {
        leader
            .pod_at(since, &unready_since(since))
            .pod_at(since + 5, &web());
    }
    assert_eq!(leader.events().len(), 1);
    // A new process finds the violation in the status and no checkpoint. It knows no readiness change.
    let mut restarted = Harness::starting();
    let listed = vec![stored(Check::Flapping, "envoy", true, 30)];
    restarted.at(100).policy_as(key("mesh"), Ok(flapping()), listed);
    restarted.resync([&web()]).at(300);
    assert_eq!(restarted.firing(), [""; 0]);
    let wrong: Vec<String> = restarted.events().into_iter().map(|event| event.name).collect();
    assert_eq!(wrong.len(), 1, "a recovery");
    leader.at(310);
    restarted.at(310).import(leader.checkpoint());
    assert_eq!(restarted.firing(), leader.firing());
    assert_eq!(restarted.onset("envoy", Check::Flapping), Some(30.0));
    assert_eq!(restarted.events(), [], "the Event of the violation is written");
    assert_eq!(restarted.withdrawn(), wrong);
    leader.at(3000);
    restarted.at(3000);
    let recovered = leader.events();
    assert_eq!(recovered.len(), 1);
    assert_eq!(restarted.events(), recovered);
}
