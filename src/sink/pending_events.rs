//! Counts the pending Events of each policy: queued, or being written.
//!
//! A status waits until its policy has no pending Event. A status that lists a violation as firing shows the next
//! process that the Event was written. If the process ends between the two writes, the next process finds the violation
//! again and writes the same Event.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{domain::policy::PolicyKey, kubernetes::fence::Role};

/// The number of pending Events of each policy, and the role of the Event sink.
#[derive(Debug)]
pub struct PendingEvents {
    /// The role follows that of the fence. A new leader has counted its kept Events when the role changes, so its statuses
    /// wait for them.
    role: watch::Sender<Role>,
    counts: Mutex<HashMap<PolicyKey, usize>>,
    /// Changes when a policy no longer has a pending Event.
    drained: watch::Sender<()>,
}

impl PendingEvents {
    /// Creates the counts of a sink without Events.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role: watch::Sender::new(role),
            counts: Mutex::default(),
            drained: watch::Sender::new(()),
        }
    }

    /// Returns the role of the Event sink and its later changes.
    pub(super) fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Changes the role.
    pub(super) fn set_role(&self, role: Role) {
        self.role.send_replace(role);
    }

    /// Adds a pending Event.
    pub(super) fn begin(&self, policy: &PolicyKey) {
        *self.counts.lock().entry(policy.clone()).or_default() += 1;
    }

    /// Removes a pending Event: it was written or dropped.
    pub(super) fn end(&self, policy: &PolicyKey) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(policy) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(policy);
                self.drained.send_replace(());
            }
        }
    }

    /// Reports whether the policy has a pending Event.
    pub(super) fn has(&self, policy: &PolicyKey) -> bool {
        self.counts.lock().contains_key(policy)
    }

    /// Returns a receiver that changes when a policy no longer has a pending Event.
    pub(super) fn drained(&self) -> watch::Receiver<()> {
        self.drained.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::event_object::tests::policy, *};
    use crate::domain::policy::PolicyKind;

    #[test]
    fn a_policy_is_drained_after_its_last_event() {
        let pending_events = PendingEvents::new(Role::Leader);
        let one = policy(PolicyKind::SidecarPolicy);
        let other = policy(PolicyKind::ClusterSidecarPolicy);
        let drained = pending_events.drained();
        pending_events.begin(&one);
        pending_events.begin(&one);
        assert!(pending_events.has(&one) && !pending_events.has(&other));
        pending_events.end(&one);
        assert!(pending_events.has(&one), "one is pending");
        assert!(!drained.has_changed().unwrap());
        pending_events.end(&one);
        assert!(!pending_events.has(&one));
        assert!(drained.has_changed().unwrap());
        assert!(pending_events.counts.lock().is_empty(), "no entry remains");
    }
}
