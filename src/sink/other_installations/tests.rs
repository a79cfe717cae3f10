//! Entries of other installations over time.

use super::*;
use crate::kubernetes::installation::StatusWriter;

const OWN: &str = "sidewatch:a/sidewatch";
const OTHER: &str = "sidewatch:b/sidewatch";
const FORMER: &str = "sidewatch";

fn own() -> Installation {
    Installation::with_lease("a", "sidewatch")
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An object with the entries of these field managers, each with the second of its last change.
fn object(entries: &[(&str, i64)]) -> ObservedStatus {
    let writer = |(manager, second): &(&str, i64)| StatusWriter {
        manager: (*manager).into(),
        written: Some(Timestamp::from_second(*second).unwrap()),
    };
    ObservedStatus {
        uid: "u".into(),
        version: 1,
        status: None,
        writers: entries.iter().map(writer).collect(),
    }
}

/// The object with the condition that reports a conflict.
fn reported(entries: &[(&str, i64)]) -> ObservedStatus {
    let status = serde_json::json!({"conditions": [{
        "type": "Exclusive", "status": "False", "reason": "SeveralInstallations", "message": "",
        "lastTransitionTime": "2026-11-20T10:42:07Z",
    }]});
    ObservedStatus {
        status: Some(serde_json::from_value(status).unwrap()),
        ..object(entries)
    }
}

/// What is required after these observations, each at a second.
fn after(observations: &[(u64, ObservedStatus)], second: u64) -> Writers {
    let start = Instant::now();
    let mut others = OtherInstallations::default();
    for (n, (second, observed)) in observations.iter().enumerate() {
        others.observe(&own(), observed, n == 0, start + secs(*second));
    }
    let (_, last) = observations.last().unwrap();
    others.writers(&own(), last, start + secs(second))
}

#[test]
fn an_installation_is_active_while_its_entry_changes() {
    let both = |other| object(&[(OWN, 1), (OTHER, other)]);
    let ended = ENDED_AFTER.as_secs();
    let alone = object(&[(OWN, 1)]);
    let table = [
        (vec![(0, alone.clone())], 0, false, "no other entry"),
        (vec![(0, both(1))], 0, false, "an entry of the first observation"),
        (vec![(0, both(1)), (5, both(1))], 5, false, "it has not changed"),
        (vec![(0, both(1)), (5, both(9))], 5, true, "it has changed"),
        (vec![(0, alone.clone()), (5, both(1))], 5, true, "it is new"),
        (
            vec![(0, both(1)), (5, both(9))],
            4 + ended,
            true,
            "it has changed recently",
        ),
        (
            vec![(0, both(1)), (5, both(9))],
            5 + ended,
            false,
            "it has not changed for long",
        ),
        (
            vec![(0, both(1)), (5, both(9)), (60, both(20))],
            5 + ended,
            true,
            "it has changed again",
        ),
        (
            vec![(0, both(1)), (5, both(9)), (6, alone.clone())],
            7,
            true,
            "its fields were overwritten",
        ),
        (
            vec![(0, both(5)), (5, both(1))],
            5,
            true,
            "another API server with a slow clock",
        ),
        (
            vec![(0, reported(&[(OWN, 1), (OTHER, 1)]))],
            0,
            true,
            "an earlier process has reported it",
        ),
        (
            vec![(0, reported(&[(OWN, 1), (OTHER, 1)]))],
            ended,
            false,
            "an earlier process has reported it, and it has ended since",
        ),
    ];
    for (observations, second, is_active, why) in table {
        let active = after(&observations, second).active;
        assert_eq!(active, ["b/sidewatch"][..usize::from(is_active)], "{why}");
    }
}

#[test]
fn entries_are_added_and_removed_only_where_others_are() {
    let ended = ENDED_AFTER.as_secs();
    let none: &[&str] = &[];
    let table = [
        (object(&[]), 0, false, none, "no entry"),
        (object(&[(OWN, 1)]), ended, false, none, "only the own entry"),
        (
            object(&[(OTHER, 1)]),
            0,
            true,
            none,
            "only the entry of another one",
        ),
        (object(&[(OTHER, 1), (OWN, 1)]), 0, false, none, "both"),
        (
            object(&[(OTHER, 1), (OWN, 1)]),
            ended,
            false,
            &[OTHER],
            "the other one has ended",
        ),
        (object(&[(FORMER, 1)]), 0, true, &[FORMER], "an upgrade"),
        (
            object(&[(FORMER, 1), (OWN, 2)]),
            0,
            false,
            &[FORMER],
            "after the first write",
        ),
    ];
    for (observed, second, own_is_missing, removed, why) in table {
        let writers = after(&[(0, observed)], second);
        assert_eq!(writers.own_is_missing, own_is_missing, "{why}");
        let managers: Vec<&str> = writers.ended.iter().map(AsRef::as_ref).collect();
        assert_eq!(managers, removed, "{why}");
        assert_eq!(
            writers.require_apply(),
            own_is_missing || !removed.is_empty(),
            "{why}"
        );
        assert_eq!(writers.active, [""; 0], "{why}");
    }
}

#[test]
fn an_operator_of_the_former_version_is_never_a_conflict() {
    let both = |second| object(&[(OWN, 1), (FORMER, second)]);
    let observations: Vec<_> = (0..20)
        .map(|n| (n * 5, both(i64::try_from(n).unwrap())))
        .collect();
    assert_eq!(after(&observations, 95).active, [""; 0]);
}

#[test]
fn the_number_of_remembered_installations_is_bounded() {
    let start = Instant::now();
    let mut others = OtherInstallations::default();
    for n in 0..100 {
        let manager = format!("sidewatch:{n}");
        others.observe(&own(), &object(&[(&manager, 1)]), false, start);
    }
    assert_eq!(others.0.len(), MAX_INSTALLATIONS);
    others.observe(&own(), &object(&[(OWN, 1)]), false, start + ENDED_AFTER);
    assert!(others.is_empty(), "an installation without an entry is forgotten");
}
