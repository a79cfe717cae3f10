//! The workloads of the known Pods, and the revisions of their Pods.
//!
//! The state is kept with each Pod that comes, changes and goes. Nothing is searched for: the creation times of the Pods
//! say which revision is the newer one, also after the list of a new process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use crate::domain::{
    observation::{Observation, Workload},
    rollout::{Revision, RevisionKey, Rollout},
};

/// A namespace and a workload.
pub(super) type WorkloadKey = (Arc<str>, Arc<Workload>);

/// A workload that has no Pods any more, and its revisions.
type EndedWorkload = (Arc<Workload>, Box<Revisions>);

/// The maximum number of revisions of one workload with Pods at the same time. A workload with more does not have one
/// template for its Pods.
const MAX_REVISIONS: usize = 8;
/// The maximum number of workloads without Pods whose revisions are kept: a Deployment with the strategy Recreate has no
/// Pods for a moment, and a CronJob has none between two Jobs.
const MAX_ENDED: usize = 1_000;

/// The workloads of the known Pods.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    known: HashMap<WorkloadKey, Entry>,
    /// The revisions of workloads that have no Pods any more, by namespace, in the order of their end.
    ended: BTreeMap<Arc<str>, VecDeque<EndedWorkload>>,
    /// The number of workloads in `ended`.
    ended_count: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// The number of its Pods.
    pods: u32,
    /// The revisions of its Pods. `None` if it cannot have several.
    revisions: Option<Box<Revisions>>,
}

/// The revisions of the Pods of a workload.
#[derive(Debug, Default)]
struct Revisions {
    /// The revisions with live Pods.
    live: Vec<LiveRevision>,
    /// The latest revision whose last live Pod has gone.
    gone: Option<Box<LiveRevision>>,
    /// There were more than [`MAX_REVISIONS`] at the same time, and they are not followed any more.
    too_many: bool,
}

#[derive(Debug)]
struct LiveRevision {
    key: RevisionKey,
    revision: Arc<Revision>,
    /// The number of its live Pods.
    pods: u32,
    /// The creation of its first Pod.
    first: Timestamp,
    /// The revision before and the creation of its first Pod, if it was known when this revision came.
    before: Option<Box<(Timestamp, Arc<Revision>)>>,
}

impl Workloads {
    /// Adds a Pod.
    pub(super) fn add(&mut self, pod: &Observation) {
        let key = key_of(pod);
        if !self.known.contains_key(&key) {
            let revisions = self.take_ended(&key);
            self.known.insert(key.clone(), Entry { pods: 0, revisions });
        }
        if let Some(entry) = self.known.get_mut(&key) {
            entry.pods += 1;
            if let Some(created) = live_since(pod) {
                entry.revisions.get_or_insert_default().add(pod, created);
            }
        }
    }

    /// Changes a Pod at `now`. Returns its workload before, if that has ended as in [`Self::remove`].
    pub(super) fn change(
        &mut self,
        before: &Observation,
        next: &Observation,
        now: Timestamp,
    ) -> Option<WorkloadKey> {
        if before.workload != next.workload {
            self.add(next);
            return self.remove(before);
        }
        let (was_live, is_live) = (live_since(before), live_since(next));
        let is_same_revision = || {
            let is_same =
                Arc::ptr_eq(&before.labels, &next.labels) && Arc::ptr_eq(&before.shape, &next.shape);
            is_same || Revision::key_of(before) == Revision::key_of(next)
        };
        if was_live == is_live && (is_live.is_none() || is_same_revision()) {
            return None;
        }
        if let Some(entry) = self.known.get_mut(&key_of(next)) {
            let revisions = entry.revisions.get_or_insert_default();
            if was_live.is_some() {
                revisions.remove(before);
            }
            if let Some(created) = is_live {
                // An image that changes in a running Pod is new from now on.
                revisions.add(next, if was_live.is_some() { now } else { created });
            }
        }
        None
    }

    /// Removes a Pod. Returns its workload if it has ended: it has no Pods any more, or it is the Pod itself. A list can contain
    /// the successor of a Pod without an owner before the removal is known.
    pub(super) fn remove(&mut self, pod: &Observation) -> Option<WorkloadKey> {
        let key = key_of(pod);
        let entry = self.known.get_mut(&key)?;
        if live_since(pod).is_some()
            && let Some(revisions) = &mut entry.revisions
        {
            revisions.remove(pod);
        }
        entry.pods -= 1;
        if entry.pods > 0 {
            return pod.is_own_workload().then_some(key);
        }
        let entry = self.known.remove(&key)?;
        if let Some(revisions) = entry.revisions.filter(|revisions| revisions.gone.is_some()) {
            self.keep_ended(&key, revisions);
        }
        Some(key)
    }

    /// The latest rollout of a Pod's workload, if it brought the revision of this Pod.
    pub(super) fn rollout_of(&self, pod: &Observation) -> Option<Rollout> {
        let revisions = self.known.get(&key_of(pod))?.revisions.as_ref()?;
        revisions.rollout_to(Revision::key_of(pod))
    }

    /// Keeps the revisions of a workload without Pods. If there are too many, the oldest of the namespace that has the most is
    /// dropped, so that no tenant can displace those of the others.
    fn keep_ended(&mut self, (namespace, workload): &WorkloadKey, revisions: Box<Revisions>) {
        let of_namespace = self.ended.entry(Arc::clone(namespace)).or_default();
        of_namespace.push_back((Arc::clone(workload), revisions));
        self.ended_count += 1;
        if self.ended_count > MAX_ENDED {
            let most = self.ended.iter().max_by_key(|(_, ended)| ended.len());
            if let Some(most) = most.map(|(namespace, _)| Arc::clone(namespace)) {
                self.remove_ended(&most, 0);
            }
        }
    }

    fn take_ended(&mut self, (namespace, workload): &WorkloadKey) -> Option<Box<Revisions>> {
        let of_namespace = self.ended.get(namespace)?;
        let position = of_namespace.iter().position(|(other, _)| other == workload)?;
        let (_, revisions) = self.remove_ended(namespace, position)?;
        Some(revisions)
    }

    /// Removes a workload without Pods, and its namespace with the last one.
    fn remove_ended(&mut self, namespace: &Arc<str>, position: usize) -> Option<EndedWorkload> {
        let of_namespace = self.ended.get_mut(namespace)?;
        let removed = of_namespace.remove(position)?;
        if of_namespace.is_empty() {
            self.ended.remove(namespace);
        }
        self.ended_count -= 1;
        Some(removed)
    }
}

impl Revisions {
    /// Adds a live Pod. A revision without other live Pods is new since `since`.
    fn add(&mut self, pod: &Observation, since: Timestamp) {
        if self.too_many {
            return;
        }
        let key = Revision::key_of(pod);
        if let Some(live) = self.live.iter_mut().find(|live| live.key == key) {
            live.pods += 1;
            live.first = live.first.min(since);
            return;
        }
        if self.live.len() == MAX_REVISIONS {
            *self = Self {
                too_many: true,
                ..Self::default()
            };
            return;
        }
        let is_replaced = |gone: &mut Box<LiveRevision>| self.live.is_empty() && gone.key == key;
        let added = match self.gone.take_if(is_replaced) {
            // The only Pod of the workload was replaced by one of the same revision.
            Some(gone) => LiveRevision {
                pods: 1,
                first: gone.first.min(since),
                ..*gone
            },
            None => LiveRevision {
                key,
                revision: Arc::new(Revision::of(pod)),
                pods: 1,
                first: since,
                before: self.newest_before(key, since).map(Box::new),
            },
        };
        self.live.reserve_exact(1);
        self.live.push(added);
    }

    /// Removes a live Pod.
    fn remove(&mut self, pod: &Observation) {
        let key = Revision::key_of(pod);
        let Some(position) = self.live.iter().position(|live| live.key == key) else {
            return;
        };
        let is_last = self.live.get_mut(position).is_some_and(|live| {
            live.pods -= 1;
            live.pods == 0
        });
        if is_last {
            self.gone = Some(Box::new(self.live.remove(position)));
        }
    }

    /// The rollout that brought a revision, from the newest of the revisions that are older.
    fn rollout_to(&self, key: RevisionKey) -> Option<Rollout> {
        let to = self.live.iter().find(|live| live.key == key)?;
        // A list can deliver the older revision later.
        let now = self.newest_before(key, to.first);
        let then = to.before.as_deref().filter(|(first, _)| *first < to.first);
        let (_, from) = now.iter().chain(then).max_by_key(|(first, _)| *first)?;
        Some(Rollout {
            from: Arc::clone(from),
            to: Arc::clone(&to.revision),
            began: to.first,
        })
    }

    /// The newest of the other revisions whose first Pod is older than this time, with the creation of that Pod.
    fn newest_before(&self, key: RevisionKey, time: Timestamp) -> Option<(Timestamp, Arc<Revision>)> {
        let others = self.live.iter().chain(self.gone.as_deref());
        let older = others.filter(|other| other.key != key && other.first < time);
        let newest = older.max_by_key(|other| other.first)?;
        Some((newest.first, Arc::clone(&newest.revision)))
    }
}

fn key_of(pod: &Observation) -> WorkloadKey {
    (Arc::clone(&pod.namespace), Arc::clone(&pod.workload))
}

/// The creation time of a Pod that shows which revision its workload has: a Pod of a controller with one template, that does
/// not end. The Pods of a Job never have another template.
fn live_since(pod: &Observation) -> Option<Timestamp> {
    let has_template = !pod.workload.is_pod() && &*pod.workload.kind != "Job";
    pod.created.get().filter(|_| has_template && !pod.is_ending())
}

#[cfg(test)]
impl Workloads {
    /// The number of Pods of each workload.
    pub(super) fn pods(&self) -> BTreeMap<WorkloadKey, u32> {
        let entries = self.known.iter();
        entries.map(|(key, entry)| (key.clone(), entry.pods)).collect()
    }

    /// The number of live Pods of each revision of each workload.
    pub(super) fn live(&self) -> BTreeMap<(WorkloadKey, RevisionKey), u32> {
        let mut live = BTreeMap::new();
        for (key, entry) in &self.known {
            for revision in entry.revisions.iter().flat_map(|revisions| &revisions.live) {
                live.insert((key.clone(), revision.key), revision.pods);
            }
        }
        live
    }

    /// The number of live Pods of each revision of each workload, from all Pods.
    pub(super) fn recount<'a>(
        pods: impl Iterator<Item = &'a Observation>,
    ) -> BTreeMap<(WorkloadKey, RevisionKey), u32> {
        let mut live = BTreeMap::new();
        for pod in pods.filter(|pod| live_since(pod).is_some()) {
            *live.entry((key_of(pod), Revision::key_of(pod))).or_default() += 1;
        }
        live
    }

    pub(super) fn contains(&self, key: &WorkloadKey) -> bool {
        self.known.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Pod, at};

    /// The Pods of a Deployment come and go.
    fn end(workloads: &mut Workloads, namespace: &str, name: &str) {
        let pod = Pod::named(name).in_namespace(namespace).with(|pod| {
            pod.created = Some(at(0)).into();
            pod.workload = Arc::new(Workload {
                kind: "Deployment".into(),
                name: name.into(),
            });
        });
        workloads.add(&pod.0);
        assert!(workloads.remove(&pod.0).is_some());
    }

    #[test]
    fn a_namespace_does_not_displace_the_ended_workloads_of_others() {
        let mut workloads = Workloads::default();
        end(&mut workloads, "shop", "web");
        for n in 0..2 * MAX_ENDED {
            end(&mut workloads, "tenant", &format!("w{n}"));
        }
        let kept: Vec<_> = workloads.ended.values().map(VecDeque::len).collect();
        assert_eq!(kept, [1, MAX_ENDED - 1]);
    }

    #[test]
    fn namespaces_of_dropped_workloads_are_removed() {
        let mut workloads = Workloads::default();
        for n in 0..2 * MAX_ENDED {
            end(&mut workloads, &format!("n{n}"), "web");
        }
        assert_eq!(
            (workloads.ended.len(), workloads.ended_count),
            (MAX_ENDED, MAX_ENDED)
        );
    }
}
