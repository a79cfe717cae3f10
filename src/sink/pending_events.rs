//! Counts the pending Events of each policy: queued, or being written.
//!
//! A status waits until its policy has no pending Event. A status that lists a violation as firing shows the next
//! process that the Event was written. If the process ends between the two writes, the next process finds the violation
//! again and writes the same Event.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{domain::policy::PolicyKey, kubernetes::fence::Role};

/// The number of pending Events of each policy, and the role of the Event sink.
#[derive(Debug)]
pub struct PendingEvents {
    /// The role follows that of the fence. A new leader has counted its kept Events when the role changes, so its statuses
    /// wait for them.
    role: watch::Sender<Role>,
    counts: Mutex<HashMap<PolicyKey, usize>>,
    /// Signals that a policy no longer has a pending Event.
    drained: Notify,
}

impl PendingEvents {
    /// Creates the counts of a sink without Events.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role: watch::Sender::new(role),
            counts: Mutex::default(),
            drained: Notify::new(),
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
                self.drained.notify_waiters();
            }
        }
    }

    /// Waits until the policy has no pending Event.
    pub(super) async fn drained(&self, policy: &PolicyKey) {
        loop {
            // This comes before the check, so that an Event that ends in between is not missed.
            let drained = self.drained.notified();
            if !self.counts.lock().contains_key(policy) {
                return;
            }
            drained.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{super::event_object::tests::policy, *};
    use crate::domain::policy::PolicyKind;

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_drained_after_its_last_event() {
        let pending_events = PendingEvents::new(Role::Leader);
        let one = policy(PolicyKind::SidecarPolicy);
        let other = policy(PolicyKind::ClusterSidecarPolicy);
        pending_events.drained(&one).await;
        pending_events.begin(&one);
        pending_events.begin(&one);
        pending_events.drained(&other).await;
        let wait = Duration::from_secs(1);
        assert!(
            timeout(wait, pending_events.drained(&one)).await.is_err(),
            "two are pending"
        );
        pending_events.end(&one);
        assert!(
            timeout(wait, pending_events.drained(&one)).await.is_err(),
            "one is pending"
        );
        let end = async {
            tokio::time::sleep(wait).await;
            pending_events.end(&one);
        };
        tokio::join!(pending_events.drained(&one), end);
        assert!(pending_events.counts.lock().is_empty(), "no entry remains");
    }
}
