//! Which policies have Events on their way.
//!
//! In: Events that are taken in, and that are written or never will be. Out: a way to wait until a policy has none. A
//! status that lists a violation as firing tells the next process that its Event is out, so the Event must go first:
//! what dies between the two then finds the violation anew, and writes the same Event.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::domain::policy::PolicyKey;

/// Counts the Events of each policy that are on their way.
#[derive(Debug, Default)]
pub struct PendingEvents {
    open: Mutex<HashMap<PolicyKey, usize>>,
    /// A policy's last Event is out.
    told: Notify,
}

impl PendingEvents {
    pub(super) fn begin(&self, policy: &PolicyKey) {
        *self.open().entry(policy.clone()).or_default() += 1;
    }

    /// One is written, or never will be.
    pub(super) fn end(&self, policy: &PolicyKey) {
        let mut open = self.open();
        if let Some(count) = open.get_mut(policy) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(policy);
                self.told.notify_waiters();
            }
        }
    }

    /// Waits until no Event of the policy is on its way.
    pub(super) async fn told(&self, policy: &PolicyKey) {
        loop {
            // Made before the look, so that what ends in between is not missed.
            let told = self.told.notified();
            if !self.open().contains_key(policy) {
                return;
            }
            told.await;
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PolicyKey, usize>> {
        self.open.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{super::event_object::tests::policy, *};
    use crate::domain::policy::PolicyKind;

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_told_when_its_last_event_is_out() {
        let pending_events = PendingEvents::default();
        let one = policy(PolicyKind::SidecarPolicy);
        let other = policy(PolicyKind::ClusterSidecarPolicy);
        pending_events.told(&one).await;
        pending_events.begin(&one);
        pending_events.begin(&one);
        pending_events.told(&other).await;
        let wait = Duration::from_secs(1);
        assert!(
            timeout(wait, pending_events.told(&one)).await.is_err(),
            "two on their way"
        );
        pending_events.end(&one);
        assert!(
            timeout(wait, pending_events.told(&one)).await.is_err(),
            "one on its way"
        );
        let end = async {
            tokio::time::sleep(wait).await;
            pending_events.end(&one);
        };
        tokio::join!(pending_events.told(&one), end);
        assert!(pending_events.open().is_empty(), "nothing is kept of it");
    }
}
