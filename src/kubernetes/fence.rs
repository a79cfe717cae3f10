//! Decides whether this replica may write to the API server now.
//!
//! Only the leader writes. Its leadership ends at a deadline, which the election moves with each renewal of the Lease. Each
//! write asks for a [`Permit`] first. A write without a permit does not start, and a permit ends a write that takes too long.
//! Without leader election every write is permitted.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::clock::{LeaseClock, Reading};

/// Maximum duration of a write. Five seconds remain between the end of the last write of a leader and the takeover: the
/// deadline is 10 s after the last renewal, and a standby waits for 15 s.
const WRITE_LIMIT: Duration = Duration::from_secs(4);

/// Role of this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Another replica writes, or none does.
    Standby,
    /// This replica writes.
    Leader,
}

/// Decides whether this replica may write. Clones share their state.
#[derive(Clone)]
pub struct Fence(Arc<Shared>);

struct Shared {
    role: watch::Sender<Role>,
    /// `None` without leader election.
    lease: Option<Lease>,
}

struct Lease {
    clock: Arc<dyn LeaseClock>,
    /// Time from the sending of a renewal to the end of the leadership.
    renew_deadline: Duration,
    /// The clocks when the last successful renewal was sent; `None` for a standby.
    renewed: Mutex<Option<Reading>>,
}

/// Changes the role of a [`Fence`]. The election has the only one.
pub struct FenceControl(Fence);

impl Fence {
    /// Creates a fence that permits every write, for an operator without leader election.
    pub fn always() -> Self {
        let (role, _) = watch::channel(Role::Leader);
        Self(Arc::new(Shared { role, lease: None }))
    }

    /// Creates the fence of a standby. Leadership lasts for `renew_deadline` after the sending of the last renewal.
    pub fn elected(clock: Arc<dyn LeaseClock>, renew_deadline: Duration) -> (FenceControl, Self) {
        let (role, _) = watch::channel(Role::Standby);
        let lease = Some(Lease {
            clock,
            renew_deadline,
            renewed: Mutex::default(),
        });
        let fence = Self(Arc::new(Shared { role, lease }));
        (FenceControl(fence.clone()), fence)
    }

    /// Returns the permit of a write that starts now, or `None` if this replica is not the leader or its deadline has passed.
    pub fn permit(&self) -> Option<Permit> {
        let limit = match &self.0.lease {
            None => WRITE_LIMIT,
            Some(lease) => lease.remaining()?.min(WRITE_LIMIT),
        };
        let fence = self.clone();
        Some(Permit { fence, limit })
    }

    /// Returns the role and its later changes. A role can last longer than the permits: the election notices a deadline
    /// that has passed when it runs.
    pub fn subscribe(&self) -> watch::Receiver<Role> {
        self.0.role.subscribe()
    }
}

impl Lease {
    /// Returns the time until the deadline, or `None` if it has passed.
    fn remaining(&self) -> Option<Duration> {
        let renewed = (*self.renewed.lock())?;
        let elapsed = self.clock.read().since(renewed);
        self.renew_deadline
            .checked_sub(elapsed)
            .filter(|remaining| !remaining.is_zero())
    }
}

impl FenceControl {
    /// Makes this replica the leader until the deadline after `sent`, the time at which the renewal was sent.
    pub fn renew(&self, sent: Reading) {
        self.set(Some(sent), Role::Leader);
    }

    /// Makes this replica a standby.
    pub fn revoke(&self) {
        self.set(None, Role::Standby);
    }

    fn set(&self, renewed: Option<Reading>, role: Role) {
        let Self(Fence(shared)) = self;
        if let Some(lease) = &shared.lease {
            *lease.renewed.lock() = renewed;
        }
        shared
            .role
            .send_if_modified(|current| std::mem::replace(current, role) != role);
    }
}

/// Permission for one write that starts now.
#[must_use]
pub struct Permit {
    fence: Fence,
    limit: Duration,
}

/// Error of a write that did not end within the limit of its permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no response within the time limit of the write")]
pub struct LimitReached;

impl Permit {
    /// Returns how long the write may take: at most 4 s, and not beyond the deadline.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs a write within the limit.
    ///
    /// Checks the deadline before each poll. A timer is not enough: after a pause of the process or of the machine, the
    /// write would be polled, and could start, before its timer.
    pub async fn run<F: Future>(self, write: F) -> Result<F::Output, LimitReached> {
        let mut write = pin!(write);
        let fenced = std::future::poll_fn(|context| {
            if self.fence.permit().is_none() {
                return Poll::Ready(Err(LimitReached));
            }
            write.as_mut().poll(context).map(Ok)
        });
        timeout(self.limit, fenced).await.unwrap_or(Err(LimitReached))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicBool, Ordering},
    };

    use tokio::time::{Instant, advance};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Clocks that a test sets.
    #[derive(Default)]
    struct Clocks(Mutex<(u64, i64)>);

    impl LeaseClock for Clocks {
        fn read(&self) -> Reading {
            let (boot, wall) = *self.0.lock();
            Reading {
                boot: Duration::from_secs(boot),
                wall: jiff::Timestamp::from_second(wall).unwrap(),
            }
        }
    }

    fn elected() -> (Arc<Clocks>, FenceControl, Fence) {
        let clocks = Arc::new(Clocks::default());
        let (control, fence) = Fence::elected(Arc::clone(&clocks) as _, DEADLINE);
        (clocks, control, fence)
    }

    fn limit(fence: &Fence) -> Option<u64> {
        fence.permit().map(|permit| permit.limit().as_secs())
    }

    #[test]
    fn every_write_is_permitted_without_election() {
        let fence = Fence::always();
        assert_eq!(limit(&fence), Some(4));
        assert_eq!(*fence.subscribe().borrow(), Role::Leader);
    }

    #[test]
    fn a_permit_ends_at_the_earlier_deadline_of_both_clocks() {
        let table = [
            ((100, 1000), Some(4), "at the renewal"),
            ((105, 1005), Some(4), "five seconds remain"),
            ((108, 1008), Some(2), "two seconds remain"),
            ((110, 1010), None, "the deadline"),
            ((108, 700), Some(2), "the wall clock was set back"),
            ((101, 1300), None, "the wall clock was set forward"),
            ((400, 1001), None, "the machine was suspended"),
        ];
        for (reading, expected, why) in table {
            let (clocks, control, fence) = elected();
            assert_eq!(limit(&fence), None, "a standby");
            *clocks.0.lock() = (100, 1000);
            control.renew(clocks.read());
            *clocks.0.lock() = reading;
            assert_eq!(limit(&fence), expected, "{why}");
        }
    }

    #[test]
    fn the_role_changes_with_the_lease() {
        let (clocks, control, fence) = elected();
        let mut role = fence.subscribe();
        assert_eq!(*role.borrow_and_update(), Role::Standby);
        control.renew(clocks.read());
        assert!(role.has_changed().unwrap());
        assert_eq!(*role.borrow_and_update(), Role::Leader);
        control.renew(clocks.read());
        assert!(!role.has_changed().unwrap(), "a renewal is no change");
        control.revoke();
        assert_eq!(*role.borrow_and_update(), Role::Standby);
        assert_eq!(limit(&fence), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_ends_at_its_limit() {
        let fence = Fence::always();
        assert_eq!(fence.permit().unwrap().run(ready(7)).await, Ok(7));
        let start = Instant::now();
        let result = fence.permit().unwrap().run(pending::<()>()).await;
        assert_eq!(result, Err(LimitReached));
        assert_eq!(start.elapsed(), WRITE_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_does_not_continue_after_a_pause_that_ends_after_the_deadline() {
        let (clocks, control, fence) = elected();
        control.renew(clocks.read());
        let started = AtomicBool::new(false);
        // The connection is made during the pause. The request would be sent next.
        let write = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            started.store(true, Ordering::Relaxed);
        };
        let pause = async {
            tokio::task::yield_now().await;
            *clocks.0.lock() = (60, 60);
            advance(Duration::from_mins(1)).await;
        };
        let (result, ()) = tokio::join!(fence.permit().unwrap().run(write), pause);
        assert_eq!(result, Err(LimitReached));
        assert!(!started.load(Ordering::Relaxed), "the request was not sent");
    }
}
