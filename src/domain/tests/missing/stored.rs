//! What a later process continues: from the status of the policy, and from a checkpoint.

use std::sync::Arc;

use super::{bare, expecting, injected};
use crate::domain::{
    checkpoint::Checkpoint,
    effects::Delivery,
    observation::Workload,
    policy::Check,
    testing::{Harness, at, stored_about},
    violation::{StoredViolation, SubjectKey, WorkloadSubject},
};

fn stored(firing: bool, onset: i64) -> StoredViolation {
    let workload = SubjectKey::Workload(WorkloadSubject {
        namespace: "pay".into(),
        workload: Arc::new(Workload {
            kind: "Deployment".into(),
            name: "web".into(),
        }),
        sidecar: "envoy".into(),
    });
    stored_about(Check::SidecarMissing, workload, firing, onset)
}

/// A process that starts at second 1000 with a status or a checkpoint.
fn restarted(stored: Vec<StoredViolation>, checkpoint: Option<Checkpoint>) -> Harness {
    let pods = [bare("web-1", 900), bare("web-2", 900)];
    Harness::restarted(1000, expecting(), (stored, checkpoint), &pods)
}

#[test]
fn a_firing_violation_of_a_status_continues_without_an_event() {
    let mut harness = restarted(vec![stored(true, 500)], None);
    assert_eq!(harness.firing(), ["envoy SidecarMissing"]);
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(500.0));
    assert!(harness.events().is_empty(), "announced before");
    let repeats = harness.at(800 + 3000).events();
    assert_eq!(repeats[0].delivery, Delivery::Repeat(2));
}

#[test]
fn a_pending_violation_of_a_status_keeps_its_onset() {
    let mut harness = restarted(vec![stored(false, 950)], None);
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(950.0));
    harness.at(1250);
    assert_eq!(harness.events().len(), 1);
}

#[test]
fn without_a_stored_violation_the_onset_is_the_creation_of_the_oldest_pod() {
    let harness = restarted(Vec::new(), None);
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(900.0));
}

#[test]
fn a_checkpoint_continues_the_violation_and_its_event() {
    let mut first = Harness::with(expecting());
    first.namespace("pay", "pay");
    first
        .pod_at(100, &bare("web-1", 100))
        .pod(&bare("web-2", 100))
        .finish_work();
    let announced = first.at(900).events();
    assert_eq!(announced.len(), 1);
    let checkpoint = first.checkpoint();
    let mut harness = restarted(Vec::new(), Some(checkpoint));
    assert_eq!(harness.firing(), ["envoy SidecarMissing"]);
    assert_eq!(harness.onset("envoy", Check::SidecarMissing), Some(100.0));
    assert!(harness.events().is_empty(), "announced before");
    harness
        .pod_at(1100, &injected("web-1", 900))
        .pod(&injected("web-2", 900))
        .finish_work();
    let recovery = &harness.events()[0];
    assert_eq!(recovery.recovers, [announced[0].name.clone()]);
}

#[test]
fn a_standby_joins_the_event_of_the_leader() {
    let start = || {
        let mut harness = Harness::with(expecting());
        harness.namespace("pay", "pay");
        harness.pod_at(100, &bare("web-1", 100)).finish_work();
        harness
    };
    let (mut leader, mut standby) = (start(), start());
    leader.at(400);
    standby.at(400);
    let checkpoint = leader.checkpoint();
    standby.index.import(checkpoint, at(400));
    standby.finish_work();
    assert_eq!(leader.events(), standby.events(), "one name on every replica");
    assert_eq!(
        leader.at(3400).events(),
        standby.at(3400).events(),
        "the same repetition"
    );
}
