//! Random checkpoints, with times in whole milliseconds.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection, option, prelude::*, sample::select};

use crate::domain::{
    checkpoint::{
        Checkpoint, ContainerState, FlapId, Occurrences, PodKey, PodState, PolicyState, Seen, SmallMap,
        ViolationId, ViolationState,
    },
    effects::{Delivery, Event, Regarding},
    history::{ExitId, OomKill, Prior},
    policy::{Check, PolicyKey, PolicyKind, Severity},
    testing::at,
    tracker::FiringEvent,
};

/// The latest time in whole milliseconds.
const LATEST: i64 = 253_402_207_200_000;

/// A UID in the form of the API server.
pub(super) fn format_uuid(bytes: [u8; 16]) -> String {
    let mut text = format!("{:032x}", u128::from_be_bytes(bytes));
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

fn small_map<K: Ord + std::fmt::Debug, V: std::fmt::Debug>(
    keys: impl Strategy<Value = K>,
    values: impl Strategy<Value = V>,
    size: std::ops::Range<usize>,
) -> impl Strategy<Value = SmallMap<K, V>> {
    collection::btree_map(keys, values, size).prop_map(|map| map.into_iter().collect())
}

fn name() -> impl Strategy<Value = Arc<str>> {
    select(vec!["envoy", "app", "web-7d9f-x2x9k", "", "größe"]).prop_map(Arc::from)
}

fn uid() -> impl Strategy<Value = Arc<str>> {
    let uuid = any::<[u8; 16]>().prop_map(|bytes| format_uuid(bytes).into());
    let other = select(vec![
        "u-1",
        "",
        "0A0B0C0D-0000-0000-0000-000000000000",
        "-------------------",
    ]);
    prop_oneof![3 => uuid, 1 => other.prop_map(Arc::from)]
}

/// Times in milliseconds, in the past, the future and at the limits.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (-10_000_000..10_000_000i64).prop_map(|millis| at(0) + SignedDuration::from_millis(millis)),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::from_millisecond(LATEST).unwrap()),
    ]
}

fn severity() -> impl Strategy<Value = Severity> {
    select(vec![Severity::Info, Severity::Warning, Severity::Critical])
}

fn violation() -> impl Strategy<Value = ViolationState> {
    let event = (select(vec![1, u64::MAX, 7]), any::<u32>(), any::<u32>());
    let event = event.prop_map(|(hash, before, repeats)| FiringEvent {
        hash,
        before,
        repeats,
    });
    (
        time(),
        any::<bool>(),
        option::of(time()),
        option::of(time()),
        option::of(event),
        option::of(select(vec![1, 5])),
        any::<[bool; 2]>(),
        severity(),
    )
        .prop_map(
            |(
                onset,
                observed,
                firing_since,
                gone_since,
                event,
                other_event,
                [counted, visible],
                severity,
            )| {
                ViolationState {
                    onset,
                    observed,
                    firing_since,
                    gone_since,
                    event,
                    other_event,
                    counted,
                    visible,
                    severity,
                }
            },
        )
}

fn container() -> impl Strategy<Value = ContainerState> {
    let restarts = || small_map((any::<u32>(), any::<u16>()), time(), 0..4);
    let flap = (select(vec![3, u64::MAX]), any::<i32>());
    let flap = flap.prop_map(|(run, second)| FlapId {
        run,
        second: second.into(),
    });
    let flaps = small_map((flap, any::<u16>()), time(), 0..4);
    let prior = (any::<u32>(), time(), any::<i32>());
    let prior = prior.prop_map(|(count, at, run)| Prior {
        count,
        at,
        run: SignedDuration::from_millis(run.into()),
    });
    let exit = prop_oneof![
        any::<u64>().prop_map(ExitId::Run),
        option::of(time()).prop_map(ExitId::At)
    ];
    let oom = (any::<u32>(), any::<bool>(), time(), exit);
    let oom = oom.prop_map(|(run_number, observed, at, exit)| OomKill {
        run_number,
        observed,
        at,
        exit,
    });
    let seen = (any::<u32>(), any::<bool>());
    let seen = seen.prop_map(|(restart_count, ready)| Seen { restart_count, ready });
    (
        option::of(seen),
        restarts(),
        restarts(),
        flaps,
        option::of(prior),
        option::of(oom),
        any::<u32>(),
    )
        .prop_map(
            |(seen, restarts, after, flaps, prior, oom, resized)| ContainerState {
                seen,
                restarts: Occurrences(restarts),
                restarts_after: Occurrences(after),
                flaps: Occurrences(flaps),
                prior,
                oom,
                resized: NonZeroU32::new(resized),
            },
        )
}

fn policy_key() -> impl Strategy<Value = PolicyKey> {
    let kind = select(vec![PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy]);
    (kind, name(), name()).prop_map(|(kind, namespace, name)| PolicyKey {
        kind,
        namespace,
        name,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let reason = select(vec!["SidecarRecovered", "SidecarFlapping"]);
    let delivery = prop_oneof![
        Just(Delivery::Create),
        any::<u32>().prop_map(Delivery::CreateOrRaise),
        any::<u32>().prop_map(Delivery::Repeat),
    ];
    let of = (name(), policy_key(), uid(), name(), name(), uid());
    let facts = (reason, any::<bool>(), severity(), time(), delivery);
    (of, facts, collection::vec(name(), 0..3)).prop_map(
        |(
            (name, policy, policy_uid, object, namespace, object_uid),
            (reason, warning, severity, at, delivery),
            recovers,
        )| Event {
            name: name.to_string(),
            policy,
            policy_uid,
            namespace,
            regarding: Regarding {
                kind: "Pod".into(),
                name: object,
                uid: object_uid,
                field_path: "spec.containers{envoy}".to_owned(),
            },
            reason,
            warning,
            severity,
            recovers: recovers.iter().map(ToString::to_string).collect(),
            note: "Sidecar 'envoy' is not ready.".to_owned(),
            at,
            delivery,
        },
    )
}

/// A Pod with its violations: the number of the policy, the container, the check and the state.
type RandomPod = (PodKey, PodState, Vec<(usize, Arc<str>, Check, ViolationState)>);

fn pod() -> impl Strategy<Value = RandomPod> {
    let key = (name(), name(), uid()).prop_map(|(namespace, name, uid)| PodKey { namespace, name, uid });
    let written = small_map(select(vec![1, 5, u64::MAX]), any::<u32>(), 0..3);
    let containers = small_map(name(), container(), 0..3);
    let state = (written, containers).prop_map(|(written, containers)| PodState { written, containers });
    let violation = (0..3usize, name(), select(Check::ALL.to_vec()), violation());
    (key, state, collection::vec(violation, 0..3))
}

pub(super) fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let policy = (option::of(time()), any::<bool>(), any::<i64>(), policy_key());
    let policies = collection::btree_map(uid(), policy, 0..3);
    let pods = collection::vec(pod(), 0..4);
    let waiting = collection::vec(event(), 0..3);
    (time(), policies, pods, waiting, any::<u32>()).prop_map(|(as_of, policies, pods, waiting, omitted)| {
        let policies = policies
            .into_iter()
            .map(|(uid, (held, complete, generation, key))| {
                let policy = PolicyState {
                    as_of: held.unwrap_or(as_of),
                    complete,
                    generation,
                    key,
                    violations: BTreeMap::new(),
                };
                (uid, policy)
            });
        let mut policies: Vec<_> = policies.collect();
        let mut states = BTreeMap::new();
        for (key, state, violations) in pods {
            for (policy, container, check, violation) in violations {
                if let Some((_, policy)) = policies.get_mut(policy) {
                    let id = ViolationId {
                        pod: key.clone(),
                        container,
                        check,
                    };
                    policy.violations.insert(id, violation);
                }
            }
            states.insert(key, state);
        }
        Checkpoint {
            as_of,
            policies: policies.into_iter().collect(),
            pods: states,
            waiting: waiting
                .into_iter()
                .map(|event| (event.name.clone(), event))
                .collect(),
            omitted,
        }
    })
}
