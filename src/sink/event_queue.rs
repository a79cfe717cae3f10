//! Decides which Event is written and when: limits, retries and summaries of dropped Events. No I/O; time is an
//! argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::bucket::{Buckets, Rate};
use crate::{
    domain::{
        effects::Event,
        hash::stable_hash,
        policy::{PolicyKey, Severity},
    },
    kubernetes::backoff::Backoff,
    telemetry::metrics::DropReason,
};

/// Limit per Pod. It equals client-go's limit per object.
const PER_POD: Rate = Rate {
    burst: 25,
    every: Duration::from_mins(5),
};
/// Limit for all Pods together.
const GLOBAL: Rate = Rate {
    burst: 200,
    every: Duration::from_millis(100),
};
/// Maximum number of queued Events, retries included.
const CAPACITY: usize = 4096;
/// Time between the first dropped Event of a policy and its summary.
const SUMMARY_DELAY: Duration = Duration::from_secs(10);
/// Minimum time between two summaries of a policy.
const SUMMARY_PERIOD: Duration = Duration::from_mins(5);
/// Maximum number of names of dropped Events, about 30 bytes each.
const DROPPED_NAMES: usize = 16_384;
/// Time after which an Event that cannot be written is dropped.
const GIVE_UP: Duration = Duration::from_mins(15);

/// A message to write.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// An Event of the domain.
    Event(Event),
    /// A summary of the dropped Events of a policy.
    DroppedSummary {
        policy: PolicyKey,
        policy_uid: Arc<str>,
        dropped: u64,
    },
}

/// A message with its retries.
#[derive(Clone, Debug)]
pub(super) struct QueuedEvent {
    pub(super) message: Message,
    queued_at: Instant,
    backoff: Backoff,
}

#[derive(Debug)]
struct DroppedSummary {
    policy_uid: Arc<str>,
    dropped: u64,
    due: Instant,
}

/// The queue of Events.
#[derive(Debug)]
pub(super) struct EventQueue {
    per_pod: Buckets<Arc<str>>,
    global: Buckets<()>,
    /// Events that were not attempted yet, oldest first.
    ready: VecDeque<QueuedEvent>,
    /// Retries by due time. The number makes the keys unique.
    retries: BTreeMap<(Instant, u64), QueuedEvent>,
    next_retry_id: u64,
    /// Number of messages that are being written.
    in_flight: usize,
    dropped: HashMap<PolicyKey, DroppedSummary>,
    dropped_names: DroppedNames,
}

/// Names of dropped Events that announced a violation, as hashes, oldest first.
#[derive(Debug, Default)]
struct DroppedNames {
    reasons: HashMap<u64, DropReason>,
    order: VecDeque<u64>,
}

impl DroppedNames {
    fn insert(&mut self, name: &str, reason: DropReason) {
        let hash = stable_hash([name.as_bytes()]);
        if self.reasons.insert(hash, reason).is_some() {
            return;
        }
        self.order.push_back(hash);
        while self.order.len() > DROPPED_NAMES {
            if let Some(oldest) = self.order.pop_front() {
                self.reasons.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, name: &str) -> Option<DropReason> {
        self.reasons.remove(&stable_hash([name.as_bytes()]))
    }
}

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            per_pod: Buckets::new(PER_POD),
            global: Buckets::new(GLOBAL),
            ready: VecDeque::new(),
            retries: BTreeMap::new(),
            next_retry_id: 0,
            in_flight: 0,
            dropped: HashMap::new(),
            dropped_names: DroppedNames::default(),
        }
    }

    /// Queues an Event, or drops it and returns the reason.
    pub(super) fn push(&mut self, event: Event, now: Instant) -> Result<(), DropReason> {
        // A recovery is useless without an Event of its fault. If all of them were dropped, it is dropped as well.
        let dropped: Vec<_> = event
            .recovers
            .iter()
            .map(|name| self.dropped_names.remove(name))
            .collect();
        let without_beginning = dropped.into_iter().reduce(Option::and).flatten();
        // Critical Events may overdraw each limit by its burst, so that other Events cannot displace them.
        let reserve = |rate: Rate| {
            if event.severity == Severity::Critical {
                rate.burst
            } else {
                0
            }
        };
        let exceeded = if without_beginning.is_some() {
            without_beginning
        } else if !self
            .per_pod
            .has_one(Arc::clone(&event.pod_uid), reserve(PER_POD), now)
        {
            Some(DropReason::PodLimit)
        } else if !self.global.has_one((), reserve(GLOBAL), now) {
            Some(DropReason::GlobalLimit)
        } else if self.len() >= CAPACITY {
            Some(DropReason::QueueFull)
        } else {
            None
        };
        if let Some(reason) = exceeded {
            if event.recovers.is_empty() {
                self.dropped_names.insert(&event.name, reason);
            }
            let summary = self.dropped.entry(event.policy).or_insert(DroppedSummary {
                policy_uid: event.policy_uid,
                dropped: 0,
                due: now + SUMMARY_DELAY,
            });
            summary.dropped += 1;
            return Err(reason);
        }
        self.dropped_names.remove(&event.name);
        self.per_pod.take(Arc::clone(&event.pod_uid), now);
        self.global.take((), now);
        self.ready.push_back(QueuedEvent {
            message: Message::Event(event),
            queued_at: now,
            backoff: Backoff::default(),
        });
        Ok(())
    }

    /// Returns the next message to write. The caller ends it with [`Self::done`] or [`Self::retry`].
    pub(super) fn take(&mut self, now: Instant) -> Option<QueuedEvent> {
        let queued = match self.retries.first_entry() {
            Some(entry) if entry.key().0 <= now => Some(entry.remove()),
            _ => self.ready.pop_front().or_else(|| self.summary(now)),
        };
        self.in_flight += usize::from(queued.is_some());
        queued
    }

    /// Completes a message that was written or refused.
    pub(super) fn done(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn summary(&mut self, now: Instant) -> Option<QueuedEvent> {
        // Removes policies without a dropped Event since their last summary.
        self.dropped
            .retain(|_, summary| summary.dropped > 0 || summary.due > now);
        let (policy, summary) = self
            .dropped
            .iter_mut()
            .find(|(_, summary)| summary.dropped > 0 && summary.due <= now)?;
        summary.due = now + SUMMARY_PERIOD;
        Some(QueuedEvent {
            message: Message::DroppedSummary {
                policy: policy.clone(),
                policy_uid: Arc::clone(&summary.policy_uid),
                dropped: std::mem::take(&mut summary.dropped),
            },
            queued_at: now,
            backoff: Backoff::default(),
        })
    }

    /// Queues a message again after a failed write, or drops it after [`GIVE_UP`].
    pub(super) fn retry(
        &mut self,
        mut queued: QueuedEvent,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.done();
        let wait = queued.backoff.next_wait_or(retry_after);
        if now.saturating_duration_since(queued.queued_at) + wait > GIVE_UP {
            if let Message::Event(event) = queued.message
                && event.recovers.is_empty()
            {
                self.dropped_names.insert(&event.name, DropReason::GaveUp);
            }
            return Err(DropReason::GaveUp);
        }
        self.next_retry_id += 1;
        self.retries.insert((now + wait, self.next_retry_id), queued);
        Ok(())
    }

    /// Returns when the next retry or summary is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let retry = self.retries.keys().next().map(|(due, _)| *due);
        let summary = self
            .dropped
            .values()
            .filter(|summary| summary.dropped > 0)
            .map(|summary| summary.due)
            .min();
        retry.into_iter().chain(summary).min()
    }

    /// Returns the number of messages that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.retries.len() + self.in_flight
    }
}

#[cfg(test)]
mod tests;
