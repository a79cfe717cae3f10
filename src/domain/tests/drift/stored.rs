//! What a later process continues: from the status of the policy, and from a checkpoint.

use super::{HOUR, drifting, pod};
use crate::domain::{
    checkpoint::Checkpoint,
    effects::Delivery,
    policy::Check,
    testing::{Harness, at, stored_about},
    violation::{ImageSubject, StoredViolation, SubjectKey},
};

fn stored(firing: bool, onset: i64) -> StoredViolation {
    let image = SubjectKey::Image(ImageSubject {
        namespace: "pay".into(),
        repository: "docker.io/mesh/proxy".into(),
    });
    stored_about(Check::VersionDrift, image, firing, onset)
}

/// A process that starts at two hours with a status or a checkpoint.
fn restarted(stored: Vec<StoredViolation>, checkpoint: Option<Checkpoint>) -> Harness {
    let pods = [pod("web-1", "web", "1.0.0"), pod("api-1", "api", "1.1.0")];
    Harness::restarted(2 * HOUR, drifting(), (stored, checkpoint), &pods)
}

fn onset(harness: &Harness) -> i64 {
    let violation = harness.index.violations().next().unwrap();
    violation.onset.as_second() - at(0).as_second()
}

#[test]
fn a_status_continues_firing_and_pending_violations() {
    let mut harness = restarted(vec![stored(true, HOUR / 2)], None);
    assert_eq!(harness.firing().len(), 1);
    assert_eq!(onset(&harness), HOUR / 2);
    assert!(harness.events().is_empty(), "announced before");
    let repeats = harness.at(HOUR * 3 / 2 + 3000).events();
    assert_eq!(repeats[0].delivery, Delivery::Repeat(2));

    let mut harness = restarted(vec![stored(false, 3 * HOUR / 2)], None);
    assert_eq!(onset(&harness), 3 * HOUR / 2);
    assert_eq!(harness.at(5 * HOUR / 2).events().len(), 1);
}

#[test]
fn without_a_stored_violation_the_time_begins_with_the_process() {
    let harness = restarted(Vec::new(), None);
    assert_eq!(onset(&harness), 2 * HOUR);
}

#[test]
fn a_checkpoint_continues_the_violation_and_its_event() {
    let mut first = super::two_versions();
    let announced = first.at(HOUR).events();
    assert_eq!(announced.len(), 1);
    let mut harness = restarted(Vec::new(), Some(first.checkpoint()));
    assert_eq!(onset(&harness), 0);
    let repeated = harness.events();
    assert_eq!(repeated[0].name, announced[0].name);
    assert_eq!(repeated[0].delivery, Delivery::Repeat(2), "announced before");
    harness.pod(&pod("web-1", "web", "1.1.0")).finish_work();
    assert_eq!(harness.events()[0].recovers, [announced[0].name.clone()]);
}
