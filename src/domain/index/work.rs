//! Work that concerns many Pods, done in steps.
//!
//! An edit of a policy, a change of the labels of a namespace, the end of a list and the end of a hold are queued here.
//! The update that queues the work also does its first step. [`Index::work`] does the others; watch events are applied
//! between them. A step ends after a number of units. A unit is a Pod that was examined, or a policy that evaluated a
//! Pod. The domain reads no clock.

use std::{collections::VecDeque, sync::Arc, vec};

use jiff::Timestamp;

use super::{Index, entry::PolicyId, pods::PodId, watches::Scope};
use crate::domain::effects::Effects;

/// The number of units in one step: some milliseconds for healthy Pods, and less than 50 ms if every unit is a violation
/// that fires.
pub(super) const UNITS: usize = 2_000;

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The queue of work. The first item is in progress.
#[derive(Debug, Default)]
pub(super) struct WorkQueue(VecDeque<Item>);

#[derive(Debug)]
struct Item {
    work: Work,
    /// The Pods that remain. `None` before the work has begun.
    pods: Option<vec::IntoIter<PodId>>,
}

impl WorkQueue {
    /// Adds work at the end. The same work starts over if it is in the queue already.
    pub(super) fn push(&mut self, work: Work) {
        self.remove(&work);
        self.0.push_back(Item { work, pods: None });
    }

    pub(super) fn remove(&mut self, work: &Work) {
        self.0.retain(|item| item.work != *work);
    }

    pub(super) fn contains(&self, work: &Work) -> bool {
        self.0.iter().any(|item| item.work == *work)
    }
}

impl Index {
    /// Whether [`Self::work`] has work to do.
    pub fn has_work(&self) -> bool {
        !self.work.0.is_empty() || self.missing.queue.has_work() || self.image_states.queue.has_work()
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
            && let Some(Item { work, pods }) = self.work.0.pop_front()
        {
            let mut pods = pods.unwrap_or_else(|| self.begin_work(&work, now).into_iter());
            while units > 0
                && let Some(pod) = pods.next()
            {
                units = units.saturating_sub(self.visit(&work, pod, now, &mut effects));
            }
            if pods.len() > 0 {
                self.work.0.push_front(Item {
                    work,
                    pods: Some(pods),
                });
            } else {
                units = units.saturating_sub(1);
                self.finish_work(&work, &mut effects);
            }
        }
        if units > 0 {
            units = self.evaluate_workloads(units, now, &mut effects);
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
