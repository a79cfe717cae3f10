//! Exports the state that the API does not show, and joins the state that other processes have exported.
//!
//! Both are done in steps. A step visits a number of Pods; watch events are applied between the steps. A Pod that changes
//! after its visit is in the next checkpoint. The time of the checkpoint is the start of the export, so no data in it is
//! older.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    Index,
    entry::PolicyEntry,
    pods::{Findings, PodEntry, PodId, Selected, Unevaluated},
    work::Work,
};
use crate::domain::{
    checkpoint::{Checkpoint, PodKey, PodState, PolicyState, ViolationId},
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
    checkpoint: Checkpoint,
    /// The first Pod that has not been visited.
    next: PodId,
    /// Restarts and flaps before this time are left out.
    history_since: Timestamp,
}

impl Index {
    /// Starts an export. `None` until every Pod has been evaluated once: the state would lack what an earlier process
    /// stored.
    pub fn begin_export(&self, now: Timestamp) -> Option<Export> {
        if !self.watches.is_synced("") || !self.watches.namespaces_synced {
            return None;
        }
        let as_of = self.latest.max(now);
        let policies = self.policies.values().filter(|policy| !policy.deleted);
        let policies = policies.map(|policy| {
            let held = self.watches.data_since(&policy.key.namespace);
            let state = PolicyState {
                as_of: held.unwrap_or(as_of).min(as_of),
                complete: policy.latest.is_some() && !self.has_work(),
                generation: policy.generation,
                key: policy.key.clone(),
                violations: BTreeMap::new(),
            };
            (Arc::clone(&policy.uid), state)
        });
        let mut checkpoint = Checkpoint {
            as_of,
            policies: policies.collect(),
            // What has not been joined yet.
            pods: self.restored.pods.clone(),
            ..Checkpoint::default()
        };
        self.export_workloads(&mut checkpoint);
        self.export_images(&mut checkpoint);
        Some(Export {
            checkpoint,
            next: 0,
            history_since: self.history_since(as_of),
        })
    }

    /// The time before which no restart and no flap counts under any policy.
    fn history_since(&self, now: Timestamp) -> Timestamp {
        let specs = self.policies.values().filter_map(|policy| policy.spec());
        let windows = specs.flat_map(|spec| {
            let restarts = spec.checks.frequent_restarts.limits.window;
            let flaps = spec.checks.flapping.limits.window;
            [restarts.saturating_mul(DOWN_WINDOWS), flaps]
        });
        let longest = windows.max().unwrap_or_default().max(SHORTEST_HISTORY);
        now.checked_sub(longest).unwrap_or(Timestamp::MIN)
    }

    /// Visits up to `pods` Pods. Returns the checkpoint after the last one.
    pub fn export(&self, mut export: Export, pods: usize) -> Result<Checkpoint, Export> {
        let mut visited = 0;
        for (id, pod) in self.pods.range(export.next..).take(pods) {
            export.next = id + 1;
            visited += 1;
            self.export_pod(pod, &mut export);
        }
        if visited < pods {
            Ok(export.checkpoint)
        } else {
            Err(export)
        }
    }

    fn export_pod(&self, pod: &PodEntry, export: &mut Export) {
        let observation = &pod.observation;
        let containers = if observation.is_evaluated() {
            let history = pod.history.as_deref();
            History::export(
                history,
                observation,
                export.checkpoint.as_of,
                export.history_since,
            )
        } else {
            BTreeMap::new()
        };
        let findings = pod.findings.as_deref();
        if containers.is_empty() && findings.is_none() {
            return;
        }
        let key = key_of(observation);
        for (id, tracked) in pod.all_tracked() {
            let Some((policy, matched)) = self.policies.get(&id).zip(pod.matches.get(id)) else {
                continue;
            };
            let Some(state) = export.checkpoint.policies.get_mut(&policy.uid) else {
                continue;
            };
            for tracked in tracked {
                let Some(container) = observation.shape.containers.get(usize::from(tracked.container)) else {
                    continue;
                };
                let id = ViolationId {
                    pod: key.clone(),
                    container: Arc::clone(&container.name),
                    check: tracked.check,
                };
                let severity = matched.version.spec.checks.common(tracked.check).severity;
                state.violations.insert(id, tracked.exported(severity));
            }
        }
        let written = findings.map(|findings| {
            let events = findings.written.iter();
            events.map(|event| (event.hash, event.times)).collect()
        });
        let state = PodState {
            written: written.unwrap_or_default(),
            containers,
        };
        export.checkpoint.pods.entry(key).or_default().merge(state);
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
