//! The body of a checkpoint: policies, Pods with their violations and histories, and Events that wait.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    DecodeError,
    reader::{RANGE, Reader, TAG},
    writer::{Writer, millis},
};
use crate::domain::{
    checkpoint::{Checkpoint, PodKey, PodState, PolicyState, ViolationId, ViolationState},
    policy::{Check, PolicyKey, PolicyKind, Severity},
    tracker::FiringEvent,
};

mod containers;
mod events;

type Result<T> = std::result::Result<T, DecodeError>;

/// The bits of a violation's flags.
mod flags {
    pub(super) const FIRING: u8 = 1;
    pub(super) const GONE: u8 = 1 << 1;
    pub(super) const EVENT: u8 = 1 << 2;
    pub(super) const OTHER_EVENT: u8 = 1 << 3;
    pub(super) const OBSERVED: u8 = 1 << 4;
    pub(super) const COUNTED: u8 = 1 << 5;
    pub(super) const VISIBLE: u8 = 1 << 6;
}

/// A violation with the number of its policy.
type Numbered<'a> = (usize, &'a ViolationId, &'a ViolationState);

pub(super) fn write(checkpoint: &Checkpoint, to: &mut Writer) {
    let violations = checkpoint.policies.values().flat_map(|policy| &policy.violations);
    let oldest = violations.map(|(_, violation)| violation.onset).min();
    to.base(oldest.unwrap_or(Timestamp::UNIX_EPOCH));
    let mut by_pod: BTreeMap<&PodKey, Vec<Numbered<'_>>> = BTreeMap::new();
    to.length(checkpoint.policies.len());
    for (number, (uid, policy)) in checkpoint.policies.iter().enumerate() {
        write_policy(uid, policy, checkpoint.as_of, to);
        for (id, violation) in &policy.violations {
            by_pod.entry(&id.pod).or_default().push((number, id, violation));
        }
    }
    to.length(checkpoint.pods.len());
    for (key, pod) in &checkpoint.pods {
        write_pod(key, pod, by_pod.get(key).map_or(&[], Vec::as_slice), to);
    }
    to.length(checkpoint.waiting.len());
    for event in checkpoint.waiting.values() {
        events::write(event, to);
    }
}

pub(super) fn read(from: &mut Reader<'_>, as_of: Timestamp) -> Result<Checkpoint> {
    let mut policies = Vec::new();
    for _ in 0..from.length()? {
        policies.push(read_policy(from, as_of)?);
    }
    let mut checkpoint = Checkpoint {
        as_of,
        ..Checkpoint::default()
    };
    for _ in 0..from.length()? {
        let (key, pod) = read_pod(from, &mut policies)?;
        if checkpoint.pods.insert(key, pod).is_some() {
            return Err(DecodeError::Content("a Pod twice"));
        }
    }
    for _ in 0..from.length()? {
        let event = events::read(from)?;
        checkpoint.waiting.insert(event.name.clone(), event);
    }
    checkpoint.policies = policies.into_iter().collect();
    Ok(checkpoint)
}

/// The bits of a policy.
const CLUSTER: u8 = 1;
const COMPLETE: u8 = 1 << 1;
/// A watch was held: an earlier time of the data follows.
const HELD: u8 = 1 << 2;

/// Returns the bits whose conditions hold.
fn bits<const N: usize>(flags: [(bool, u8); N]) -> u8 {
    let set = flags.into_iter().filter(|(is_set, _)| *is_set);
    set.fold(0, |bits, (_, bit)| bits | bit)
}

fn write_policy(uid: &Arc<str>, policy: &PolicyState, as_of: Timestamp, to: &mut Writer) {
    let PolicyState {
        as_of: data,
        complete,
        generation,
        key: PolicyKey {
            kind,
            namespace,
            name,
        },
        violations: _,
    } = policy;
    let held = *data != as_of;
    to.uid(uid);
    let is_cluster = *kind == PolicyKind::ClusterSidecarPolicy;
    to.byte(bits([(is_cluster, CLUSTER), (*complete, COMPLETE), (held, HELD)]));
    to.string(namespace);
    to.string(name);
    to.signed(*generation);
    if held {
        to.time(*data);
    }
}

fn read_policy(from: &mut Reader<'_>, as_of: Timestamp) -> Result<(Arc<str>, PolicyState)> {
    let uid = from.uid()?;
    let bits = from.byte()?;
    if bits > CLUSTER | COMPLETE | HELD {
        return Err(TAG);
    }
    let key = read_policy_key(bits & CLUSTER != 0, from)?;
    let generation = from.signed()?;
    let as_of = if bits & HELD == 0 { as_of } else { from.time()? };
    let policy = PolicyState {
        as_of,
        complete: bits & COMPLETE != 0,
        generation,
        key,
        violations: BTreeMap::new(),
    };
    Ok((uid, policy))
}

fn read_policy_key(is_cluster: bool, from: &mut Reader<'_>) -> Result<PolicyKey> {
    Ok(PolicyKey {
        kind: if is_cluster {
            PolicyKind::ClusterSidecarPolicy
        } else {
            PolicyKind::SidecarPolicy
        },
        namespace: from.string()?,
        name: from.string()?,
    })
}

fn write_pod(key: &PodKey, pod: &PodState, violations: &[Numbered<'_>], to: &mut Writer) {
    let PodKey { namespace, name, uid } = key;
    let PodState { written, containers } = pod;
    to.string(namespace);
    to.text(name);
    to.uid(uid);
    to.length(written.len());
    for (hash, times) in written {
        to.hash(*hash);
        to.integer(u64::from(*times));
    }
    to.length(containers.len());
    for (name, container) in containers {
        to.string(name);
        containers::write(container, to);
    }
    to.length(violations.len());
    for (policy, id, violation) in violations {
        to.length(*policy);
        to.string(&id.container);
        to.string(id.check.as_str());
        write_violation(violation, written, to);
    }
}

fn read_pod(from: &mut Reader<'_>, policies: &mut [(Arc<str>, PolicyState)]) -> Result<(PodKey, PodState)> {
    let key = PodKey {
        namespace: from.string()?,
        name: from.text()?.into(),
        uid: from.uid()?,
    };
    let mut pod = PodState::default();
    let mut hashes = Vec::new();
    for _ in 0..from.length()? {
        let hash = from.hash()?;
        hashes.push(hash);
        pod.written.insert(hash, from.small()?);
    }
    for _ in 0..from.length()? {
        pod.containers.insert(from.string()?, containers::read(from)?);
    }
    for _ in 0..from.length()? {
        let policy: usize = from.small()?;
        let container = from.string()?;
        let check = Check::parse(&from.string()?).ok_or(DecodeError::Content("an unknown check"))?;
        let id = ViolationId {
            pod: key.clone(),
            container,
            check,
        };
        let violation = read_violation(from, &hashes)?;
        let (_, policy) = policies
            .get_mut(policy)
            .ok_or(DecodeError::Content("an unknown policy"))?;
        policy.violations.insert(id, violation);
    }
    Ok((key, pod))
}

fn write_violation(violation: &ViolationState, written: &BTreeMap<u64, u32>, to: &mut Writer) {
    let ViolationState {
        onset,
        observed,
        firing_since,
        gone_since,
        event,
        other_event,
        counted,
        visible,
        severity,
    } = violation;
    to.byte(bits([
        (firing_since.is_some(), flags::FIRING),
        (gone_since.is_some(), flags::GONE),
        (event.is_some(), flags::EVENT),
        (other_event.is_some(), flags::OTHER_EVENT),
        (*observed, flags::OBSERVED),
        (*counted, flags::COUNTED),
        (*visible, flags::VISIBLE),
    ]));
    write_severity(*severity, to);
    to.time(*onset);
    for since in [firing_since, gone_since].into_iter().flatten() {
        to.signed(millis(*since).wrapping_sub(millis(*onset)));
    }
    if let Some(event) = event {
        write_hash(event.hash, written, to);
        to.integer(u64::from(event.before));
        to.integer(u64::from(event.repeats));
    }
    if let Some(hash) = other_event {
        write_hash(*hash, written, to);
    }
}

fn read_violation(from: &mut Reader<'_>, written: &[u64]) -> Result<ViolationState> {
    let bits = from.byte()?;
    let has = |bit: u8| bits & bit != 0;
    if has(1 << 7) {
        return Err(TAG);
    }
    let severity = read_severity(from)?;
    let onset = from.time()?;
    let since = |from: &mut Reader<'_>| -> Result<Timestamp> {
        let at = onset.as_millisecond().wrapping_add(from.signed()?);
        Timestamp::from_millisecond(at).map_err(|_| RANGE)
    };
    let firing_since = has(flags::FIRING).then(|| since(from)).transpose()?;
    let gone_since = has(flags::GONE).then(|| since(from)).transpose()?;
    let event = if has(flags::EVENT) {
        Some(FiringEvent {
            hash: read_hash(from, written)?,
            before: from.small()?,
            repeats: from.small()?,
        })
    } else {
        None
    };
    let other_event = has(flags::OTHER_EVENT)
        .then(|| read_hash(from, written))
        .transpose()?;
    Ok(ViolationState {
        onset,
        observed: has(flags::OBSERVED),
        firing_since,
        gone_since,
        event,
        other_event,
        counted: has(flags::COUNTED),
        visible: has(flags::VISIBLE),
        severity,
    })
}

fn write_severity(severity: Severity, to: &mut Writer) {
    to.byte(match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    });
}

fn read_severity(from: &mut Reader<'_>) -> Result<Severity> {
    match from.byte()? {
        0 => Ok(Severity::Info),
        1 => Ok(Severity::Warning),
        2 => Ok(Severity::Critical),
        _ => Err(TAG),
    }
}

/// Writes a hash as its number among the Events of the Pod, or 0 and the hash.
fn write_hash(hash: u64, written: &BTreeMap<u64, u32>, to: &mut Writer) {
    if let Some(position) = written.keys().position(|known| *known == hash) {
        to.length(position + 1);
    } else {
        to.integer(0);
        to.hash(hash);
    }
}

fn read_hash(from: &mut Reader<'_>, written: &[u64]) -> Result<u64> {
    let number: usize = from.small()?;
    match number.checked_sub(1) {
        None => from.hash(),
        Some(position) => written.get(position).copied().ok_or(RANGE),
    }
}
