//! Exports the state that the API does not show, and joins the state that other processes have exported.
//!
//! Both are done in steps. A step visits a number of Pods; watch events are applied between the steps. An export first finds
//! out how important each Pod is, and then returns the entries in this order, so that the writer can stop at its limit and
//! no step holds the whole state. A Pod that changes after its visit is in the next checkpoint. The time of the checkpoint is the start of the export, so no data in it is
//! older.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    vec,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    pods::{Findings, PodId, Selected, Unevaluated},
    work::Work,
};
use crate::domain::{
    checkpoint::{
        Checkpoint, Entry, Importance, PodKey, PodState, PodViolation, SmallMap, StoredPod, StoredPolicy,
    },
    effects::Effects,
    history::{DOWN_WINDOWS, History, Observed},
    observation::Observation,
};

/// The minimum age of the restarts and flaps that a checkpoint contains.
const SHORTEST_HISTORY: SignedDuration = SignedDuration::from_hours(1);

/// The number of Pods in a checkpoint that are looked up in one step: some milliseconds. If there are more, the work visits all
/// Pods instead.
const MAX_LOOKUPS: usize = 10_000;

/// An export in progress.
#[derive(Debug)]
pub struct Export {
    /// The time of the checkpoint.
    pub as_of: Timestamp,
    /// Restarts and flaps before this time are left out.
    history_since: Timestamp,
    /// The policies, until they have been returned.
    policies: Vec<Entry>,
    /// The number of each policy in the checkpoint.
    numbers: HashMap<PolicyId, u32>,
    /// What is stored of other subjects than Pods, and of Pods that a checkpoint has not been joined to yet.
    others: BTreeMap<PodKey, StoredPod>,
    /// The first Pod whose importance is not known yet.
    next: PodId,
    /// What is stored, in the order of the Pods.
    found: Vec<(Reverse<Importance>, Source)>,
    /// What has not been returned yet, the most important first. `None` until the importance of every Pod is known.
    ordered: Option<vec::IntoIter<(Reverse<Importance>, Source)>>,
}

/// Where the state of an entry is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Pod(PodId),
    Other(Box<PodKey>),
}

impl Export {
    /// The number of a policy. `None` if it is not stored.
    pub(super) fn number_of(&self, policy: PolicyId) -> Option<u32> {
        self.numbers.get(&policy).copied()
    }

    /// Adds the state of another subject than a known Pod.
    pub(super) fn add_other(&mut self, key: PodKey, state: PodState, violation: Option<PodViolation>) {
        let stored = self.others.entry(key.clone()).or_insert_with(|| StoredPod {
            key,
            state: PodState::default(),
            violations: Vec::new(),
        });
        stored.state.merge(state);
        stored.violations.extend(violation);
    }
}

impl Index {
    /// Starts an export. `None` until every Pod has been evaluated once: the state would lack what an earlier process
    /// stored.
    pub fn begin_export(&self, now: Timestamp) -> Option<Export> {
        if !self.watches.is_synced("") || !self.watches.namespaces_synced {
            return None;
        }
        let as_of = self.latest.max(now);
        let mut policies: Vec<_> = self
            .policies
            .iter()
            .filter(|(_, policy)| !policy.deleted)
            .collect();
        // If there are too many, those without a firing violation are left out.
        policies.sort_by_key(|(_, policy)| policy.firing() == 0);
        let stored = |id: PolicyId, policy: &PolicyEntry| {
            let held = self.watches.data_since(&policy.key.namespace);
            Entry::Policy(StoredPolicy {
                uid: Arc::clone(&policy.uid),
                key: policy.key.clone(),
                generation: policy.generation,
                complete: policy.latest.is_some() && !self.work.is_on_cluster() && !self.is_worked_on(id),
                as_of: held.filter(|held| *held < as_of),
            })
        };
        let mut export = Export {
            as_of,
            history_since: self.history_since(as_of),
            policies: policies.iter().map(|(id, policy)| stored(**id, policy)).collect(),
            numbers: policies.iter().map(|(id, _)| **id).zip(0..).collect(),
            others: BTreeMap::new(),
            next: 0,
            found: Vec::new(),
            ordered: None,
        };
        // What has not been joined yet.
        for (key, state) in &self.restored.pods {
            export.add_other(key.clone(), state.clone(), None);
        }
        self.export_workloads(&mut export);
        self.export_images(&mut export);
        Some(export)
    }

    /// The time before which no restart and no flap counts under any policy.
    fn history_since(&self, now: Timestamp) -> Timestamp {
        let specs = self.policies.values().filter_map(|policy| policy.spec());
        let windows = specs.flat_map(|spec| {
            let restarts = &spec.checks.frequent_restarts.limits;
            let down = restarts.window.saturating_mul(DOWN_WINDOWS);
            [down, restarts.slow.window, spec.checks.flapping.limits.window]
        });
        let longest = windows.max().unwrap_or_default().max(SHORTEST_HISTORY);
        now.checked_sub(longest).unwrap_or(Timestamp::MIN)
    }

    /// Does one step: returns the policies, looks for the Pods with a state that is stored, or returns these Pods, the most
    /// important first. A step visits up to `pods` Pods, or returns a quarter as many. `None` after the last step.
    pub fn export(&self, export: &mut Export, pods: usize) -> Option<Vec<Entry>> {
        if !export.policies.is_empty() {
            return Some(std::mem::take(&mut export.policies));
        }
        if export.ordered.is_none() {
            self.find_exported(export, pods);
            return Some(Vec::new());
        }
        let mut entries = Vec::new();
        let ordered = export.ordered.as_mut()?;
        for (_, source) in ordered.take(pods.div_ceil(4)) {
            entries.extend(match source {
                Source::Pod(id) => self.export_pod(id, &export.numbers, (export.as_of, export.history_since)),
                Source::Other(key) => export.others.remove(&*key).map(Entry::Pod),
            });
        }
        let is_last = entries.is_empty() && ordered.len() == 0;
        (!is_last).then_some(entries)
    }

    /// Visits up to `pods` Pods for their importance.
    fn find_exported(&self, export: &mut Export, pods: usize) {
        let mut visited = 0;
        for (id, pod) in self.pods.range(export.next..).take(pods) {
            export.next = id + 1;
            visited += 1;
            let observation = &pod.observation;
            let has_history = observation.is_evaluated()
                && History::is_exported(pod.history.as_deref(), observation, export.as_of);
            if has_history || pod.findings.is_some() {
                let violations = pod.all_tracked().flat_map(|(policy, tracked)| {
                    let matched = pod
                        .matches
                        .get(policy)
                        .filter(|_| export.numbers.contains_key(&policy));
                    tracked.iter().filter_map(move |tracked| {
                        let severity = matched?.version.spec.checks.common(tracked.check).severity;
                        Some((severity, tracked.onset, tracked.is_firing()))
                    })
                });
                let importance = Importance::of(has_history, violations);
                export.found.push((Reverse(importance), Source::Pod(*id)));
            }
        }
        if visited < pods {
            let others = export.others.iter();
            let others = others
                .map(|(key, other)| (Reverse(other.importance()), Source::Other(Box::new(key.clone()))));
            export.found.extend(others);
            export.found.sort_unstable();
            export.ordered = Some(std::mem::take(&mut export.found).into_iter());
        }
    }

    fn export_pod(
        &self,
        id: PodId,
        numbers: &HashMap<PolicyId, u32>,
        (as_of, history_since): (Timestamp, Timestamp),
    ) -> Option<Entry> {
        let pod = self.pods.get(&id)?;
        let observation = &pod.observation;
        let containers = if observation.is_evaluated() {
            History::export(pod.history.as_deref(), observation, as_of, history_since)
        } else {
            SmallMap::default()
        };
        let mut violations = Vec::new();
        for (id, tracked) in pod.all_tracked() {
            let Some((policy, matched)) = numbers.get(&id).zip(pod.matches.get(id)) else {
                continue;
            };
            violations.extend(tracked.iter().filter_map(|tracked| {
                let container = observation.shape.containers.get(usize::from(tracked.container))?;
                let severity = matched.version.spec.checks.common(tracked.check).severity;
                Some(PodViolation {
                    policy: *policy,
                    container: Arc::clone(&container.name),
                    check: tracked.check,
                    state: tracked.exported(severity),
                })
            }));
        }
        let findings = pod.findings.iter();
        let written =
            findings.flat_map(|findings| findings.written.iter().map(|event| (event.hash, event.times)));
        Some(Entry::Pod(StoredPod {
            key: key_of(observation),
            state: PodState {
                written: written.collect(),
                containers,
            },
            violations,
        }))
    }

    /// Joins a checkpoint of another process. Pods that are not known yet continue their state when they arrive. Pods
    /// that have been evaluated are changed in steps, see [`Self::work`]; their violations keep their state, except that
    /// an onset that nobody observed becomes the stored one.
    pub fn import(&mut self, mut checkpoint: Checkpoint, now: Timestamp) {
        let now = self.advance_time(now);
        // The clock of the other process may be ahead.
        checkpoint.as_of = checkpoint.as_of.min(now);
        for policy in checkpoint.policies.values_mut() {
            policy.as_of = policy.as_of.min(now);
        }
        // The time of an earlier checkpoint that has been used up must not remain.
        if self.restored.is_empty() && self.restored.policies.is_empty() {
            self.restored = checkpoint;
        } else {
            self.restored.merge(checkpoint);
        }
        let mut policies = std::mem::take(&mut self.policies);
        for policy in policies.values_mut().filter(|policy| !policy.deleted) {
            self.claim_restored(policy);
        }
        self.policies = policies;
        self.work.push(Work::Restore);
    }

    /// Moves the stored violations of a policy to its entry, unless its Pods have been evaluated already.
    pub(super) fn claim_restored(&mut self, policy: &mut PolicyEntry) {
        if policy.adoption_ended {
            return;
        }
        let state = self.restored.policies.remove(&policy.uid);
        if let Some(state) = state.filter(|state| state.key == policy.key) {
            let is_same_version = state.generation == policy.generation;
            policy.covered_until = (state.complete && is_same_version).then_some(state.as_of);
            policy.stored.set_checkpoint(state);
        }
    }

    /// The history and the Events of a Pod that this process has not seen before.
    pub(super) fn first_state(
        &mut self,
        pod: &Observation,
        now: Timestamp,
    ) -> (Option<Box<History>>, Option<Box<Findings>>) {
        let stored = if self.restored.pods.is_empty() {
            None
        } else {
            self.restored.pods.remove(&key_of(pod))
        };
        let PodState { written, containers } = stored.unwrap_or_default();
        let mut history = None;
        if pod.is_evaluated() {
            let times = (now, self.restored.as_of);
            History::restore(&mut history, containers, pod, times);
        }
        let findings = (!written.is_empty()).then(|| Box::new(Findings::with_written(written)));
        (history, findings)
    }

    /// The known Pods that a checkpoint contains, or all Pods if it contains many.
    pub(super) fn restored_pods(&self) -> Vec<PodId> {
        if self.restored.pods.len() > MAX_LOOKUPS {
            return self.pods.keys().copied().collect();
        }
        let keys = self.restored.pods.keys();
        let mut pods: Vec<PodId> = keys
            .filter_map(|key| self.pod_id(&key.namespace, &key.uid))
            .collect();
        pods.sort_unstable();
        pods
    }

    /// Joins a checkpoint to a Pod. Returns the number of units of work.
    pub(super) fn restore_pod(&mut self, id: PodId, now: Timestamp, effects: &mut Effects) -> usize {
        let Some(pod) = self.pods.get(&id) else { return 1 };
        let units = 1 + pod.matches.len();
        let Some(stored) = self.restored.pods.remove(&key_of(&pod.observation)) else {
            return 1;
        };
        self.uncount(id, Selected::All);
        self.join_stored(id, &stored, now, effects);
        self.reevaluate(
            id,
            Selected::All,
            (now, Observed::Live),
            Unevaluated::NONE,
            effects,
        );
        units
    }

    /// Forgets the part of a checkpoint that no Pod of a synced index has.
    pub(super) fn finish_restore(&mut self) {
        if self.watches.is_synced("") && self.watches.namespaces_synced {
            self.restored = Checkpoint::default();
        }
    }
}

pub(super) fn key_of(pod: &Observation) -> PodKey {
    PodKey {
        namespace: Arc::clone(&pod.namespace),
        name: Arc::clone(&pod.name),
        uid: Arc::clone(&pod.uid),
    }
}
