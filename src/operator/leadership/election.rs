//! Decides when a replica reads and writes the Lease, and whether it is the leader. No I/O; time is an argument.
//!
//! A standby takes the Lease over when its content has not changed for 15 s on the standby's own clock. It never compares its
//! clock with the times in the Lease. A leader renews every 2 s, and is a standby again 10 s after it sent the last successful
//! renewal. Each write requires the version that was read, so of two replicas only one succeeds.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Reading,
    kubernetes::lease::{LEASE_DURATION, LeaseRecord, LeaseWrite, RELEASED_SECONDS, Term, is_released},
};

/// Time from the sending of the last successful renewal to the end of the leadership.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two renewals.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Wait before the Lease is read again after a failure or a conflict.
pub(super) const REREAD: Duration = Duration::from_millis(500);

/// What a replica knows about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Nothing yet.
    Unknown,
    /// Another replica may be the leader.
    Standby {
        /// The Lease as it was read last; `None` if it does not exist.
        seen: Option<LeaseRecord>,
        /// The time since which the content has not changed.
        since: Reading,
    },
    /// This replica is the leader.
    Leader {
        /// The Lease that this replica wrote last.
        record: LeaseRecord,
        /// The time at which it sent that write.
        sent: Reading,
    },
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// A read or a watch returned the Lease, or `None` if it does not exist.
    Seen(Option<LeaseRecord>),
    /// A write succeeded.
    Written {
        /// The time at which it was sent.
        sent: Reading,
        /// The Lease after the write.
        record: LeaseRecord,
    },
    /// The Lease did not meet the precondition of a write.
    Conflict,
    /// A request failed. A failed write may have changed the Lease.
    Failed,
    /// The wait has ended.
    Elapsed,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Read the Lease after this wait.
    Read(Duration),
    /// Write the Lease.
    Write(LeaseWrite),
    /// Wait. A standby also watches the Lease.
    Wait(Duration),
}

/// The rules of one candidate.
#[derive(Clone, Debug)]
pub(super) struct Election {
    /// `holderIdentity` of this replica, which no other process has.
    pub(super) identity: Arc<str>,
}

impl Election {
    /// Returns the next state and what to do.
    pub(super) fn step(&self, state: State, input: Input, now: Reading) -> (State, Action) {
        let state = match state {
            State::Leader { record, sent } if is_over(sent, now) => State::expired(record, now),
            state => state,
        };
        match input {
            Input::Written { sent, record } if is_over(sent, now) => {
                (State::expired(record, now), Action::Read(Duration::ZERO))
            }
            Input::Written { sent, record } => {
                let wait = RETRY_PERIOD.saturating_sub(now.since(sent));
                (State::Leader { record, sent }, Action::Wait(wait))
            }
            Input::Conflict | Input::Failed => (state.after_failure(now), Action::Read(REREAD)),
            Input::Seen(lease) => self.seen(state, lease, now),
            Input::Elapsed => match state {
                State::Unknown => (State::Unknown, Action::Read(Duration::ZERO)),
                State::Leader { record, sent } => {
                    let write = self.write(Some(&record), now);
                    (State::Leader { record, sent }, Action::Write(write))
                }
                State::Standby { seen, since } => self.wait(seen, since, now),
            },
        }
    }

    fn seen(&self, state: State, lease: Option<LeaseRecord>, now: Reading) -> (State, Action) {
        match state {
            // An identity that somebody removed by hand belongs to the leader until its deadline.
            State::Leader { record, sent } if lease.as_ref().is_none_or(|lease| self.may_renew(lease)) => {
                let write = self.write(lease.as_ref(), now);
                (State::Leader { record, sent }, Action::Write(write))
            }
            State::Standby { seen, since } if is_same(seen.as_ref(), lease.as_ref()) => {
                self.wait(lease, since, now)
            }
            // A new process creates the Lease at once. Otherwise its deletion is no release: the leader may still write.
            State::Unknown if lease.is_none() => (State::Unknown, Action::Write(self.write(None, now))),
            State::Unknown | State::Standby { .. } | State::Leader { .. } => self.wait(lease, now, now),
        }
    }

    /// Takes the Lease over if it has no leader, or waits.
    fn wait(&self, seen: Option<LeaseRecord>, since: Reading, now: Reading) -> (State, Action) {
        let is_free = seen
            .as_ref()
            .is_some_and(|lease| is_released(&lease.term) || *lease.term.holder == *self.identity);
        // The wall clock does not count: if it is set forward, the leader has not missed a renewal.
        let unchanged = now.boot.saturating_sub(since.boot);
        let remaining = LEASE_DURATION.saturating_sub(unchanged);
        let action = if is_free || remaining.is_zero() {
            Action::Write(self.write(seen.as_ref(), now))
        } else {
            Action::Wait(remaining)
        };
        (State::Standby { seen, since }, action)
    }

    fn may_renew(&self, lease: &LeaseRecord) -> bool {
        lease.term.holder.is_empty() || *lease.term.holder == *self.identity
    }

    /// Returns the write that makes this replica the holder.
    fn write(&self, lease: Option<&LeaseRecord>, now: Reading) -> LeaseWrite {
        let before = lease.map(|lease| lease.term.clone()).unwrap_or_default();
        let is_renewal = *before.holder == *self.identity;
        LeaseWrite {
            precondition: lease.map(|lease| lease.version.clone()),
            term: Term {
                holder: self.identity.as_ref().to_owned(),
                seconds: i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(i32::MAX),
                acquired: before.acquired.filter(|_| is_renewal).or(Some(now.wall)),
                renewed: Some(now.wall),
                transitions: if lease.is_none() || is_renewal {
                    before.transitions.max(0)
                } else {
                    before.transitions.max(0).saturating_add(1)
                },
            },
        }
    }
}

impl State {
    /// Returns the state of a leader whose deadline has passed.
    fn expired(record: LeaseRecord, now: Reading) -> Self {
        Self::Standby {
            seen: Some(record),
            since: now,
        }
    }

    /// Returns the state after a request without a result. A Lease that did not exist may have existed in the meantime.
    fn after_failure(self, now: Reading) -> Self {
        match self {
            Self::Standby { seen: None, .. } => Self::Standby {
                seen: None,
                since: now,
            },
            state => state,
        }
    }

    /// Returns the time until the leadership ends without a renewal; `None` for a standby.
    pub(super) fn remaining(&self, now: Reading) -> Option<Duration> {
        match self {
            Self::Leader { sent, .. } => Some(RENEW_DEADLINE.saturating_sub(now.since(*sent))),
            Self::Unknown | Self::Standby { .. } => None,
        }
    }
}

/// Returns the write that releases the Lease, so that another replica can take it over at once.
pub(super) fn release(lease: &LeaseRecord, now: Reading) -> LeaseWrite {
    LeaseWrite {
        precondition: Some(lease.version.clone()),
        term: Term {
            holder: String::new(),
            seconds: RELEASED_SECONDS,
            renewed: Some(now.wall),
            ..lease.term.clone()
        },
    }
}

/// Reports whether the leadership has ended after the renewal that was sent at this time.
fn is_over(sent: Reading, now: Reading) -> bool {
    now.since(sent) >= RENEW_DEADLINE
}

/// Reports whether two Leases have the same content. Their versions can differ: somebody may have changed a label.
fn is_same(one: Option<&LeaseRecord>, other: Option<&LeaseRecord>) -> bool {
    one.map(|lease| &lease.term) == other.map(|lease| &lease.term)
}

#[cfg(test)]
mod tests;
