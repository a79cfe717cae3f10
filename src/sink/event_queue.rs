//! Decides which Event is written and when: limits, retries and summaries of dropped Events. No I/O; time is an
//! argument.
//!
//! The queue of a standby returns nothing to write. It applies the same limits, and keeps the Events that it admits.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    event_limits::EventLimits,
    kept_events::{CAPACITY, GIVE_UP, KeptEvents},
};
use crate::{
    domain::{effects::Event, hash::stable_hash, policy::PolicyKey},
    kubernetes::{backoff::Backoff, fence::Role},
    telemetry::metrics::DropReason,
};

/// Time between the first dropped Event of a policy and its summary.
const SUMMARY_DELAY: Duration = Duration::from_secs(10);
/// Minimum time between two summaries of a policy.
const SUMMARY_PERIOD: Duration = Duration::from_mins(5);
/// Maximum number of names of dropped Events, about 30 bytes each.
const DROPPED_NAMES: usize = 16_384;
/// Wait before an Event is attempted again that was not written because this replica had no permit.
const POSTPONED: Duration = Duration::from_secs(1);

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

impl Message {
    /// Returns the Event, or `None` for a summary.
    pub(super) fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::DroppedSummary { .. } => None,
        }
    }
}

/// A message with its retries.
#[derive(Clone, Debug)]
pub(super) struct QueuedEvent {
    pub(super) message: Message,
    /// Number that is unique in the queue.
    id: u64,
    queued_at: Instant,
    backoff: Backoff,
}

/// The dropped Events of a policy since its last summary.
#[derive(Debug)]
struct DroppedEvents {
    policy_uid: Arc<str>,
    number: u64,
    /// When the next summary is due.
    due: Instant,
}

/// The queue of Events.
#[derive(Debug)]
pub(super) struct EventQueue {
    role: Role,
    limits: EventLimits,
    /// Events that were not attempted yet, oldest first.
    ready: VecDeque<QueuedEvent>,
    /// Retries by due time and number.
    retries: BTreeMap<(Instant, u64), QueuedEvent>,
    next_id: u64,
    /// Messages that are being written, by number.
    in_flight: BTreeMap<u64, Message>,
    kept: KeptEvents,
    dropped: HashMap<PolicyKey, DroppedEvents>,
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
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            limits: EventLimits::new(),
            ready: VecDeque::new(),
            retries: BTreeMap::new(),
            next_id: 0,
            in_flight: BTreeMap::new(),
            kept: KeptEvents::default(),
            dropped: HashMap::new(),
            dropped_names: DroppedNames::default(),
        }
    }

    /// Returns the role whose rules apply.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Begins to write, first the kept Events. Returns the policies of the kept Events.
    pub(super) fn promote(&mut self, now: Instant) -> Vec<PolicyKey> {
        if self.role == Role::Leader {
            return Vec::new();
        }
        self.role = Role::Leader;
        let kept = self.kept.take(now);
        let policies = kept.iter().map(|event| event.policy.clone()).collect();
        for event in kept {
            self.enqueue(event, now);
        }
        policies
    }

    /// Stops writing, and keeps the Events that are not being written. Returns the policies of these Events.
    pub(super) fn demote(&mut self, now: Instant) -> Vec<PolicyKey> {
        self.role = Role::Standby;
        let ready = std::mem::take(&mut self.ready);
        let retries = std::mem::take(&mut self.retries);
        let waiting = retries.into_values().chain(ready);
        waiting.filter_map(|queued| self.keep(queued, now)).collect()
    }

    /// Keeps a message for the next promotion. Returns the policy of an Event.
    fn keep(&mut self, queued: QueuedEvent, now: Instant) -> Option<PolicyKey> {
        match queued.message {
            Message::Event(event) => {
                let policy = event.policy.clone();
                self.kept.keep(event, queued.queued_at, now);
                Some(policy)
            }
            Message::DroppedSummary {
                policy,
                policy_uid,
                dropped,
            } => {
                self.count_dropped(policy, policy_uid, dropped, now);
                None
            }
        }
    }

    /// Takes over the Events that a checkpoint lists as waiting. A leader ignores checkpoints.
    pub(super) fn checkpointed(&mut self, written: Option<Instant>, waiting: Vec<Event>) {
        if self.role == Role::Standby {
            self.kept.checkpointed(written, waiting);
        }
    }

    /// Removes kept Events.
    pub(super) fn withdraw(&mut self, names: &[String]) {
        self.kept.withdraw(names);
    }

    /// Returns the Events that are not written yet.
    pub(super) fn waiting(&self) -> Vec<Event> {
        let queued = self.retries.values().chain(&self.ready);
        let messages = self
            .in_flight
            .values()
            .chain(queued.map(|queued| &queued.message));
        messages.filter_map(Message::event).cloned().collect()
    }

    /// Queues an Event, or drops it and returns the reason. A standby keeps the Event.
    pub(super) fn push(&mut self, event: Event, now: Instant) -> Result<(), DropReason> {
        // A recovery is useless without an Event of its fault. If all Events of the fault were dropped, it is dropped too.
        let dropped: Vec<_> = event
            .recovers
            .iter()
            .map(|name| self.dropped_names.remove(name))
            .collect();
        let all_dropped = dropped.into_iter().reduce(Option::and).flatten();
        let admitted = match all_dropped {
            Some(reason) => Err(reason),
            None if self.len() >= CAPACITY => Err(DropReason::QueueFull),
            None => self.limits.admit(&event, now),
        };
        if let Err(reason) = admitted {
            if event.recovers.is_empty() {
                self.dropped_names.insert(&event.name, reason);
            }
            // The leader reports the Events that a standby drops.
            if self.role == Role::Leader {
                self.count_dropped(event.policy, event.policy_uid, 1, now);
            }
            return Err(reason);
        }
        self.dropped_names.remove(&event.name);
        match self.role {
            Role::Leader => self.enqueue(event, now),
            Role::Standby => self.kept.keep(event, now, now),
        }
        Ok(())
    }

    fn enqueue(&mut self, event: Event, now: Instant) {
        let queued = self.queued(Message::Event(event), now);
        self.ready.push_back(queued);
    }

    fn queued(&mut self, message: Message, now: Instant) -> QueuedEvent {
        self.next_id += 1;
        QueuedEvent {
            message,
            id: self.next_id,
            queued_at: now,
            backoff: Backoff::default(),
        }
    }

    fn count_dropped(&mut self, policy: PolicyKey, policy_uid: Arc<str>, dropped: u64, now: Instant) {
        let events = self.dropped.entry(policy).or_insert(DroppedEvents {
            policy_uid,
            number: 0,
            due: now + SUMMARY_DELAY,
        });
        events.number += dropped;
    }

    /// Returns the next message to write. The caller ends it with [`Self::done`], [`Self::retry`] or [`Self::postpone`].
    pub(super) fn take(&mut self, now: Instant) -> Option<QueuedEvent> {
        if self.role == Role::Standby {
            return None;
        }
        let retry = match self.retries.first_entry() {
            Some(entry) if entry.key().0 <= now => Some(entry.remove()),
            _ => None,
        };
        let queued = retry
            .or_else(|| self.next_ready())
            .or_else(|| self.summary(now))?;
        self.in_flight.insert(queued.id, queued.message.clone());
        Some(queued)
    }

    /// Returns the first Event whose name is not being written. Two Events with one name are written in order, because the
    /// later one sets the count of the object.
    fn next_ready(&mut self) -> Option<QueuedEvent> {
        let in_flight = self.in_flight.values().filter_map(Message::event);
        let names: Vec<&str> = in_flight.map(|event| event.name.as_str()).collect();
        let position = self.ready.iter().position(|queued| {
            let event = queued.message.event();
            event.is_none_or(|event| !names.contains(&event.name.as_str()))
        })?;
        self.ready.remove(position)
    }

    /// Completes a message that was written or refused.
    pub(super) fn done(&mut self, queued: &QueuedEvent) {
        self.in_flight.remove(&queued.id);
    }

    /// Returns a message that was not written because this replica had no permit. Returns the policy if the Event is now
    /// kept instead of queued.
    pub(super) fn postpone(&mut self, queued: QueuedEvent, now: Instant) -> Option<PolicyKey> {
        self.done(&queued);
        match self.role {
            Role::Standby => self.keep(queued, now),
            Role::Leader => {
                self.retries.insert((now + POSTPONED, queued.id), queued);
                None
            }
        }
    }

    fn summary(&mut self, now: Instant) -> Option<QueuedEvent> {
        // Removes policies without a dropped Event since their last summary.
        self.dropped
            .retain(|_, events| events.number > 0 || events.due > now);
        let (policy, events) = self
            .dropped
            .iter_mut()
            .find(|(_, events)| events.number > 0 && events.due <= now)?;
        events.due = now + SUMMARY_PERIOD;
        let message = Message::DroppedSummary {
            policy: policy.clone(),
            policy_uid: Arc::clone(&events.policy_uid),
            dropped: std::mem::take(&mut events.number),
        };
        Some(self.queued(message, now))
    }

    /// Queues a message again after a failed write, or drops it after [`GIVE_UP`].
    pub(super) fn retry(
        &mut self,
        mut queued: QueuedEvent,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.done(&queued);
        let wait = queued.backoff.next_wait_or(retry_after);
        if now.saturating_duration_since(queued.queued_at) + wait > GIVE_UP {
            if let Some(event) = queued.message.event()
                && event.recovers.is_empty()
            {
                self.dropped_names.insert(&event.name, DropReason::GaveUp);
            }
            return Err(DropReason::GaveUp);
        }
        self.retries.insert((now + wait, queued.id), queued);
        Ok(())
    }

    /// Returns when the next retry or summary is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.role == Role::Standby {
            return None;
        }
        let retry = self.retries.keys().next().map(|(due, _)| *due);
        let summary = self
            .dropped
            .values()
            .filter(|events| events.number > 0)
            .map(|events| events.due)
            .min();
        retry.into_iter().chain(summary).min()
    }

    /// Returns the number of messages that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.retries.len() + self.in_flight.len()
    }
}

#[cfg(test)]
mod tests;
