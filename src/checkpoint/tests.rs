mod random;

use std::{collections::BTreeMap, num::NonZeroU32};

use jiff::SignedDuration;
use miniz_oxide::deflate::compress_to_vec;
use proptest::{collection, prelude::*};

use self::random::{checkpoint, format_uuid};
use super::*;
use crate::domain::{
    checkpoint::{
        ContainerState, FlapId, Occurrences, PodKey, PodState, PolicyState, Seen, ViolationId, ViolationState,
    },
    effects::{Delivery, Event, Regarding},
    history::{ExitId, OomKill, Prior},
    policy::{Check, PolicyKey, PolicyKind, Severity},
    testing::at,
    tracker::FiringEvent,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A checkpoint with one firing violation, and a Pod with a history.
fn example() -> Checkpoint {
    let pod = PodKey {
        namespace: "pay".into(),
        name: "web-1".into(),
        uid: "3f0b6e2c-8f3a-4a3b-9d55-0a1b2c3d4e5f".into(),
    };
    let id = ViolationId {
        pod: pod.clone(),
        container: "envoy".into(),
        check: Check::NotReady,
    };
    let violation = ViolationState {
        onset: at(500),
        observed: true,
        firing_since: Some(at(800)),
        gone_since: None,
        event: Some(FiringEvent {
            hash: 42,
            before: 0,
            repeats: 1,
        }),
        other_event: None,
        counted: true,
        visible: true,
        severity: Severity::Warning,
    };
    let mut restarts = Occurrences::default();
    restarts.push(3, at(100));
    let mut restarts_after = Occurrences::default();
    restarts_after.push(2, at(95));
    let mut flaps = Occurrences::default();
    flaps.push(FlapId { run: 8, second: 90 }, at(90));
    let container = ContainerState {
        seen: Some(Seen {
            restart_count: 3,
            ready: false,
        }),
        restarts,
        restarts_after,
        flaps,
        prior: Some(Prior {
            count: 2,
            at: at(50),
            run: SignedDuration::from_secs(20),
        }),
        oom: Some(OomKill {
            run_number: 2,
            observed: true,
            at: at(100),
            exit: ExitId::Run(7),
        }),
        resized: NonZeroU32::new(5),
    };
    let state = PodState {
        written: vec![(42, 2)].into(),
        containers: vec![("envoy".into(), container)].into(),
    };
    let policy = PolicyState {
        as_of: at(1000),
        complete: true,
        generation: 2,
        key: PolicyKey {
            kind: PolicyKind::SidecarPolicy,
            namespace: "pay".into(),
            name: "mesh".into(),
        },
        violations: [(id, violation)].into(),
    };
    Checkpoint {
        as_of: at(1000),
        policies: [("b1d5c0de-0000-4000-8000-000000000001".into(), policy)].into(),
        pods: [(pod.clone(), state)].into(),
        waiting: [("web-1.42".into(), waiting(pod))].into(),
        ..Checkpoint::default()
    }
}

fn waiting(pod: PodKey) -> Event {
    Event {
        name: "web-1.42".into(),
        policy: PolicyKey {
            kind: PolicyKind::ClusterSidecarPolicy,
            namespace: "".into(),
            name: "mesh".into(),
        },
        policy_uid: "u-1".into(),
        namespace: pod.namespace,
        regarding: Regarding {
            kind: "Pod".into(),
            name: pod.name,
            uid: pod.uid,
            field_path: "spec.containers{envoy}".into(),
        },
        reason: "SidecarRecovered",
        warning: false,
        severity: Severity::Warning,
        recovers: vec!["web-1.41".into()],
        note: "Sidecar 'envoy' is ready again.".into(),
        at: at(900),
        delivery: Delivery::CreateOrRaise(2),
    }
}

/// A checkpoint with these bytes as its body.
fn with_body(body: &[u8]) -> Vec<u8> {
    let head = Head {
        as_of: at(0),
        size: body.len().try_into().unwrap(),
        omitted: 0,
        cut: Vec::new(),
    };
    seal(&head, &compress_to_vec(body, 6))
}

fn bytes() -> Vec<u8> {
    encode(example(), MAX_SIZE).bytes
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_checkpoint_is_read_back_from_its_bytes(checkpoint in checkpoint()) {
        let encoded = encode(checkpoint.clone(), MAX_SIZE);
        prop_assert_eq!(decode(&encoded.bytes), Ok(checkpoint));
    }

    #[test]
    fn a_body_of_random_bytes_with_the_right_checksum_does_not_panic(body in collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&with_body(&body));
    }

    #[test]
    fn a_changed_body_with_the_right_checksum_does_not_panic(
        checkpoint in checkpoint(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let entries = checkpoint.into_entries();
        let mut body: Vec<u8> = entries.iter().flat_map(|entry| postcard::to_allocvec(entry).unwrap()).collect();
        if !body.is_empty() {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let _ = decode(&with_body(&body));
    }

    #[test]
    fn an_encoding_has_at_most_the_size_of_the_limit(checkpoint in checkpoint(), limit in 60..2000usize) {
        let entries = checkpoint.entries() + checkpoint.waiting.len();
        let before = checkpoint.omitted;
        let encoded = encode(checkpoint, limit);
        prop_assert!(encoded.bytes.len() <= limit, "{} bytes", encoded.bytes.len());
        let decoded = decode(&encoded.bytes).unwrap();
        let left = decoded.entries() + decoded.waiting.len();
        prop_assert_eq!(before.saturating_add(u32::try_from(entries - left).unwrap()), decoded.omitted);
        prop_assert_eq!((encoded.entries, encoded.omitted), (decoded.entries(), decoded.omitted));
    }

    #[test]
    fn checkpoints_merge_in_any_order(one in checkpoint(), two in checkpoint(), three in checkpoint()) {
        let merged = |parts: [&Checkpoint; 3]| {
            let mut merged = Checkpoint::default();
            for part in parts {
                merged.merge(part.clone());
            }
            merged
        };
        let expected = merged([&one, &two, &three]);
        for parts in [[&one, &three, &two], [&two, &one, &three], [&two, &three, &one], [&three, &two, &one]] {
            prop_assert_eq!(merged(parts), expected.clone());
        }
        let mut pair = two.clone();
        pair.merge(three.clone());
        let mut other = one.clone();
        other.merge(pair);
        prop_assert_eq!(other, expected.clone(), "associative");
        let mut again = expected.clone();
        again.merge(one);
        prop_assert_eq!(again, expected, "idempotent");
    }
}

#[test]
fn a_time_at_the_end_of_the_range_is_read_back() {
    let mut checkpoint = example();
    let policy = checkpoint.policies.values_mut().next().unwrap();
    for violation in policy.violations.values_mut() {
        violation.onset = Timestamp::MAX;
    }
    let decoded = decode(&encode(checkpoint, MAX_SIZE).bytes).unwrap();
    let policy = decoded.policies.values().next().unwrap();
    let violation = policy.violations.values().next().unwrap();
    assert_eq!(violation.onset.as_second(), Timestamp::MAX.as_second());
}

/// A file that version 1 of the format wrote. A later version reads it until it has a successor.
const VERSION_1: &[u8] = include_bytes!("tests/version-1.checkpoint");

#[test]
fn a_checkpoint_of_this_version_is_read() {
    assert_eq!(decode(VERSION_1), Ok(example()));
    assert!(bytes() == VERSION_1, "a change of the format needs a new version");
}

#[test]
fn every_changed_byte_is_an_error() {
    let bytes = bytes();
    for place in 0..bytes.len() {
        for change in 1..=255 {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            assert!(decode(&changed).is_err(), "byte {place} changed by {change}");
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = bytes();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode(&longer), Err(DecodeError::Length));
}

#[test]
fn other_content_is_an_error_with_its_reason() {
    let table: [(&[u8], &str); 5] = [
        (b"", "foreign"),
        (b"SWC", "foreign"),
        (b"{\"some\": \"json\"}", "foreign"),
        (b"SWCP\x02\x00 an earlier format", "foreign"),
        (b"SWCK", "truncated"),
    ];
    for (bytes, reason) in table {
        assert_eq!(decode(bytes).unwrap_err().as_str(), reason, "{bytes:?}");
    }
    let mut newer = bytes();
    newer[4] = 3;
    assert_eq!(
        decode(&newer),
        Err(DecodeError::Version(3)),
        "before the checksum"
    );
    let mut changed = bytes();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(decode(&changed), Err(DecodeError::Checksum));
}

#[test]
fn a_body_that_is_larger_than_its_size_is_not_decompressed() {
    let zeros = vec![0; MAX_BODY + 1];
    let bomb = with_body(&zeros);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    assert_eq!(decode(&bomb), Err(DecodeError::TooLarge));
    let head = Head {
        as_of: at(0),
        size: 1000,
        omitted: 0,
        cut: Vec::new(),
    };
    let wrong_size = seal(&head, &compress_to_vec(&zeros, 6));
    assert!(matches!(decode(&wrong_size), Err(DecodeError::Content(_))));
}

#[test]
fn the_time_of_the_checkpoint_is_not_content() {
    let one = encode(example(), MAX_SIZE);
    let mut later = example();
    later.as_of = at(2000);
    for policy in later.policies.values_mut() {
        policy.as_of = at(2000);
    }
    let later = encode(later, MAX_SIZE);
    assert_eq!(one.content, later.content);
    assert_ne!(one.bytes, later.bytes);
    let mut changed = example();
    changed.pods.clear();
    assert_ne!(one.content, encode(changed, MAX_SIZE).content);
}

#[test]
fn the_least_important_entries_are_left_out_first() {
    let mut checkpoint = example();
    let (_, policy) = checkpoint.policies.pop_first().unwrap();
    let (id, violation) = policy.violations.first_key_value().unwrap();
    let firing = violation.clone();
    let pod = checkpoint.pods.values().next().unwrap().clone();
    let mut policy = PolicyState {
        violations: BTreeMap::new(),
        ..policy.clone()
    };
    checkpoint.pods.clear();
    let mut add = |name: String, violation: Option<ViolationState>, state: PodState| {
        let uid = format_uuid(u128::from(stable_hash([name.as_bytes()])).pow(2).to_le_bytes());
        let key = PodKey {
            name: name.into(),
            uid: uid.into(),
            ..id.pod.clone()
        };
        if let Some(violation) = violation {
            let id = ViolationId {
                pod: key.clone(),
                ..id.clone()
            };
            policy.violations.insert(id, violation);
        }
        checkpoint.pods.insert(key, state);
    };
    for i in 0..100i64 {
        let of = |severity, onset: i64| ViolationState {
            severity,
            onset: at(onset),
            ..firing.clone()
        };
        let pending = ViolationState {
            firing_since: None,
            event: None,
            ..of(Severity::Critical, 700)
        };
        let events = PodState {
            written: vec![(i.unsigned_abs(), 1)].into(),
            ..PodState::default()
        };
        let pods = [
            ("critical", Some(of(Severity::Critical, 900)), &events),
            ("old", Some(of(Severity::Warning, 100)), &events),
            ("young", Some(of(Severity::Warning, 700)), &events),
            ("pending", Some(pending), &events),
            ("events", None, &events),
            ("history", None, &pod),
        ];
        for (kind, violation, state) in pods {
            add(format!("{kind}-{i}"), violation, state.clone());
        }
    }
    checkpoint.policies.insert("u-1".into(), policy);
    let order = ["critical", "old", "young", "history", "pending", "events"];
    let full = encode(checkpoint.clone(), MAX_SIZE).bytes.len();
    for tenths in 1..10 {
        let decoded = decode(&encode(checkpoint.clone(), full * tenths / 10).bytes).unwrap();
        let kept = order.map(|kind| {
            let names = decoded.pods.keys().map(|key| &key.name);
            names.filter(|name| name.starts_with(kind)).count()
        });
        let partial = kept.iter().filter(|count| !matches!(count, 0 | 100)).count();
        assert!(
            kept.is_sorted_by(|a, b| a >= b) && partial <= 1,
            "{tenths}: {kept:?}"
        );
        assert!(decoded.omitted > 0);
        let policy = &decoded.policies["u-1"];
        assert_eq!(policy.complete, policy.violations.len() == 400);
    }
}
