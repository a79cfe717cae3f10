//! Work that concerns many Pods, done in steps.
//!
//! An edit of a policy, a change of the labels of a namespace, the end of a list and the end of a hold are queued here.
//! The update that queues the work also does its first step. [`Index::work`] does the others; watch events are applied
//! between them. A step ends after a number of units. A unit is a Pod that was examined, or a policy that evaluated a
//! Pod. The domain reads no clock.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::Bound,
    sync::Arc,
    vec,
};

use jiff::Timestamp;

use super::{Index, entry::PolicyId, pods::PodId, watches::Scope};
use crate::domain::effects::Effects;

/// The number of units in one step: some milliseconds for healthy Pods, and less than 50 ms if every unit is a violation
/// that fires.
pub(super) const UNITS: usize = 2_000;

/// Workloads and images get at least one of this many units of a step.
const SUBJECT_SHARE: usize = 8;

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Moves the Pods of a policy to its latest version, or to none if the policy was deleted.
    Policy(PolicyId),
    /// Matches the Pods of a namespace with all policies again.
    Namespace(Arc<str>),
    /// Ends the first list of namespaces, after the work on the single namespaces.
    NamespacesSynced,
    /// Removes the Pods that a complete list does not contain, and ends the hold of the watch.
    Resync(Scope),
    /// Evaluates the Pods that waited for the end of a hold.
    Release(Scope),
    /// Evaluates the Pods of a namespace whose violations are exempt, or can be.
    Exemptions(Arc<str>),
    /// Joins a checkpoint to the Pods that it contains.
    Restore,
}

/// The queue of work. Work on the whole cluster waits for all work that was queued before it. Work of namespaces is done in
/// turns, one step for each namespace, so that no namespace delays the others by editing its policies.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    parts: VecDeque<Part>,
    /// All work in `parts`.
    queued: HashSet<Work>,
    /// The namespace that had the latest turn.
    latest: Arc<str>,
}

/// Work that follows the earlier parts.
#[derive(Debug)]
enum Part {
    /// Work on the whole cluster.
    Cluster(Item),
    /// Work on the policies and exemptions of namespaces.
    Namespaces(BTreeMap<Arc<str>, VecDeque<Item>>),
}

#[derive(Debug)]
struct Item {
    work: Work,
    /// The Pods that remain. `None` before the work has begun.
    pods: Option<vec::IntoIter<PodId>>,
}

impl WorkQueue {
    /// Adds work on the whole cluster at the end. The same work starts over if it is in the queue already.
    pub(super) fn push(&mut self, work: Work) {
        self.push_for(&Arc::default(), work);
    }

    /// Adds work at the end that a namespace causes; an empty name is the cluster. The same work starts over if it is in the
    /// queue already.
    pub(super) fn push_for(&mut self, namespace: &Arc<str>, work: Work) {
        self.remove(&work);
        self.queued.insert(work.clone());
        let item = Item { work, pods: None };
        if namespace.is_empty() {
            self.parts.push_back(Part::Cluster(item));
        } else if let Some(Part::Namespaces(items)) = self.parts.back_mut() {
            items.entry(Arc::clone(namespace)).or_default().push_back(item);
        } else {
            let items = BTreeMap::from([(Arc::clone(namespace), VecDeque::from([item]))]);
            self.parts.push_back(Part::Namespaces(items));
        }
    }

    pub(super) fn remove(&mut self, work: &Work) {
        if !self.queued.remove(work) {
            return;
        }
        self.parts.retain_mut(|part| match part {
            Part::Cluster(item) => item.work != *work,
            Part::Namespaces(items) => {
                items.retain(|_, items| {
                    items.retain(|item| item.work != *work);
                    !items.is_empty()
                });
                !items.is_empty()
            }
        });
    }

    pub(super) fn contains(&self, work: &Work) -> bool {
        self.queued.contains(work)
    }

    /// Whether work on the whole cluster is queued.
    pub(super) fn is_on_cluster(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Cluster(_)))
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Removes the next work, of the namespace whose turn it is. The name is empty for the cluster.
    fn pop(&mut self) -> Option<(Arc<str>, Item)> {
        let (namespace, item) = match self.parts.pop_front()? {
            Part::Cluster(item) => (Arc::default(), item),
            Part::Namespaces(mut all) => {
                let after = (Bound::Excluded(Arc::clone(&self.latest)), Bound::Unbounded);
                let next = all.range(after).next().or_else(|| all.first_key_value());
                let namespace = next.map(|(namespace, _)| Arc::clone(namespace))?;
                let mut items = all.remove(&namespace).unwrap_or_default();
                let item = items.pop_front()?;
                if !items.is_empty() {
                    all.insert(Arc::clone(&namespace), items);
                }
                if !all.is_empty() {
                    self.parts.push_front(Part::Namespaces(all));
                }
                self.latest = Arc::clone(&namespace);
                (namespace, item)
            }
        };
        self.queued.remove(&item.work);
        Some((namespace, item))
    }

    /// Puts work back that is not done, before the other work of its namespace.
    fn put_back(&mut self, namespace: Arc<str>, item: Item) {
        self.queued.insert(item.work.clone());
        if namespace.is_empty() {
            self.parts.push_front(Part::Cluster(item));
        } else if let Some(Part::Namespaces(items)) = self.parts.front_mut() {
            items.entry(namespace).or_default().push_front(item);
        } else {
            let items = BTreeMap::from([(namespace, VecDeque::from([item]))]);
            self.parts.push_front(Part::Namespaces(items));
        }
    }
}

impl Index {
    /// Whether [`Self::work`] has work to do.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty() || self.missing.queue.has_work() || self.image_states.queue.has_work()
    }

    /// Sets the number of units in one step.
    pub fn set_units_per_step(&mut self, units: usize) {
        self.units_per_step = units;
    }

    /// Does one step of the queued work.
    pub fn work(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        let mut units = self.units_per_step;
        while units > 0
            && let Some((namespace, Item { work, pods })) = self.work.pop()
        {
            let mut pods = pods.unwrap_or_else(|| self.begin_work(&work, now).into_iter());
            while units > 0
                && let Some(pod) = pods.next()
            {
                units = units.saturating_sub(self.visit(&work, pod, now, &mut effects));
            }
            if pods.len() > 0 {
                let pods = Some(pods);
                self.work.put_back(namespace, Item { work, pods });
            } else {
                units = units.saturating_sub(1);
                self.finish_work(&work, &mut effects);
            }
        }
        if !self.work.is_on_cluster() {
            // Edits without a pause must not stop these checks.
            let units = units.max(self.units_per_step / SUBJECT_SHARE).max(1);
            let units = self.evaluate_workloads(units, now, &mut effects);
            self.evaluate_images(units, now, &mut effects);
        }
        effects
    }

    /// The Pods that the work concerns. Later Pods need no work.
    fn begin_work(&mut self, work: &Work, now: Timestamp) -> Vec<PodId> {
        match work {
            Work::Policy(id) => self
                .policies
                .get(id)
                .map(|policy| self.visible_pods(&policy.key))
                .unwrap_or_default(),
            Work::Namespace(name) | Work::Exemptions(name) => self.pods_of_namespace(name),
            Work::NamespacesSynced => Vec::new(),
            Work::Resync(scope) => self.unseen_pods(scope),
            Work::Release(scope) => self.watches.waiting_of(scope),
            Work::Restore => {
                self.join_workloads(now);
                self.join_images(now);
                self.restored_pods()
            }
        }
    }

    /// Does the work on one Pod. Returns the number of units.
    fn visit(&mut self, work: &Work, pod: PodId, now: Timestamp, effects: &mut Effects) -> usize {
        match work {
            Work::Policy(id) => self.move_to_latest(pod, *id, now, effects),
            Work::Namespace(_) => self.rematch(pod, now, effects),
            Work::Exemptions(_) => self.examine_exempt(pod, now, effects),
            Work::NamespacesSynced => 1,
            Work::Resync(scope) => self.remove_unseen(pod, scope, now, effects),
            Work::Release(scope) => self.release_pod(pod, scope, now, effects),
            Work::Restore => self.restore_pod(pod, now, effects),
        }
    }

    fn finish_work(&mut self, work: &Work, effects: &mut Effects) {
        match work {
            Work::Policy(id) => self.finish_policy(*id, effects),
            Work::Namespace(_) => {}
            Work::Exemptions(name) => self.exemptions.report_all(|of| *of == **name, effects),
            Work::NamespacesSynced => self.finish_first_namespaces(effects),
            Work::Resync(scope) => self.finish_removal(scope),
            Work::Release(scope) => self.finish_release(scope, effects),
            Work::Restore => self.finish_restore(),
        }
        self.drop_stored();
    }
}
