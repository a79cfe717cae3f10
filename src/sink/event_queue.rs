//! Decides which Event is written and when: limits, retries and summaries of dropped Events. The namespaces share the
//! writers and the capacity as [`FairQueue`] says. No I/O; time is an argument.
//!
//! The queue of a standby returns nothing to write. It applies the same limits, and keeps the Events that it admits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    dropped_names::DroppedNames,
    event_limits::EventLimits,
    event_object::summary_namespace,
    fair_queue::{Attempt, FairQueue},
    kept_events::{CAPACITY, GIVE_UP, KeptEvents},
};
use crate::{
    domain::{effects::Event, policy::PolicyKey},
    kubernetes::fence::Role,
    telemetry::metrics::DropReason,
};

/// Time between the first dropped Event of a policy and its summary.
const SUMMARY_DELAY: Duration = Duration::from_secs(10);
/// Minimum time between two summaries of a policy.
const SUMMARY_PERIOD: Duration = Duration::from_mins(5);
/// Wait after a write that was not sent because this replica had no permit.
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

    /// Returns the namespace in which the message is written.
    fn namespace(&self) -> Arc<str> {
        match self {
            Self::Event(event) => Arc::clone(&event.namespace),
            Self::DroppedSummary { policy, .. } => summary_namespace(policy),
        }
    }

    /// Reports whether both write the same object. The later one is then enough: each kind of delivery creates the object if
    /// it does not exist.
    fn is_same_object(&self, other: &Self) -> bool {
        match (self.event(), other.event()) {
            (Some(one), Some(other)) => one.name == other.name,
            _ => false,
        }
    }
}

/// A message that waits or is being written.
#[derive(Clone, Debug)]
pub(super) struct QueuedEvent {
    pub(super) message: Message,
    /// Number that is unique in the queue.
    id: u64,
    queued_at: Instant,
}

/// The messages that left the queue after a failed write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// The policies of the Events that are no longer queued.
    pub(super) policies: Vec<PolicyKey>,
    /// Number of messages that were dropped, because they could not be written for [`GIVE_UP`].
    pub(super) gave_up: u64,
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
    queue: FairQueue<QueuedEvent>,
    next_id: u64,
    /// Messages that are being written, by number.
    in_flight: BTreeMap<u64, Message>,
    kept: KeptEvents,
    dropped: HashMap<PolicyKey, DroppedEvents>,
    dropped_names: DroppedNames,
}

impl EventQueue {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            limits: EventLimits::new(),
            queue: FairQueue::new(),
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
        self.queue.flush(now);
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
        let waiting = self.queue.drain();
        waiting
            .into_iter()
            .filter_map(|queued| self.keep(queued, now))
            .collect()
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
        let queued = self.queue.items().map(|queued| &queued.message);
        let messages = self.in_flight.values().chain(queued);
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
        let is_failing = self.queue.is_failing(&event.namespace);
        let admitted = match all_dropped {
            Some(reason) => Err(reason),
            None if !self.queue.has_room(&event.namespace, CAPACITY) => Err(DropReason::QueueFull),
            None => self.limits.admit(&event, is_failing, now),
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
        self.add(Message::Event(event), now);
    }

    fn add(&mut self, message: Message, now: Instant) {
        self.next_id += 1;
        let namespace = message.namespace();
        let queued = QueuedEvent {
            message,
            id: self.next_id,
            queued_at: now,
        };
        self.queue.push(&namespace, queued, now);
    }

    fn count_dropped(&mut self, policy: PolicyKey, policy_uid: Arc<str>, dropped: u64, now: Instant) {
        let events = self.dropped.entry(policy).or_insert(DroppedEvents {
            policy_uid,
            number: 0,
            due: now + SUMMARY_DELAY,
        });
        events.number += dropped;
    }

    /// Returns the next message to write. The caller ends it with [`Self::done`], [`Self::refused`], [`Self::retry`] or
    /// [`Self::postpone`].
    pub(super) fn take(&mut self, now: Instant) -> Option<QueuedEvent> {
        if self.role == Role::Standby {
            return None;
        }
        self.add_summaries(now);
        // Two Events with one name are written in order, because the later one sets the count of the object.
        let in_flight: Vec<&Message> = self.in_flight.values().collect();
        let is_free = |queued: &QueuedEvent| {
            !in_flight
                .iter()
                .any(|message| message.is_same_object(&queued.message))
        };
        let (_, queued) = self.queue.take(now, is_free)?;
        self.in_flight.insert(queued.id, queued.message.clone());
        Some(queued)
    }

    /// Completes a message that was written.
    pub(super) fn done(&mut self, queued: &QueuedEvent, now: Instant) {
        self.end(queued, Attempt::Accepted, now);
    }

    /// Completes a message that the API server will never accept.
    pub(super) fn refused(&mut self, queued: &QueuedEvent, now: Instant) {
        self.end(queued, Attempt::Refused, now);
    }

    fn end(&mut self, queued: &QueuedEvent, attempt: Attempt, now: Instant) {
        self.in_flight.remove(&queued.id);
        self.queue.end(&queued.message.namespace(), attempt, now);
    }

    /// Returns a message that was not written because this replica had no permit. Returns the policy if the Event is now
    /// kept instead of queued.
    pub(super) fn postpone(&mut self, queued: QueuedEvent, now: Instant) -> Option<PolicyKey> {
        let attempt = Attempt::NotSent(POSTPONED);
        match self.role {
            Role::Standby => {
                self.end(&queued, attempt, now);
                self.keep(queued, now)
            }
            Role::Leader => {
                self.end_with(queued, attempt, now);
                None
            }
        }
    }

    fn end_with(&mut self, queued: QueuedEvent, attempt: Attempt, now: Instant) {
        self.in_flight.remove(&queued.id);
        let namespace = queued.message.namespace();
        self.queue.end_with(&namespace, attempt, queued, now);
    }

    /// Queues the summaries that are due.
    fn add_summaries(&mut self, now: Instant) {
        // Removes policies without a dropped Event since their last summary.
        self.dropped
            .retain(|_, events| events.number > 0 || events.due > now);
        let mut summaries = Vec::new();
        for (policy, events) in &mut self.dropped {
            if events.number > 0 && events.due <= now {
                events.due = now + SUMMARY_PERIOD;
                summaries.push(Message::DroppedSummary {
                    policy: policy.clone(),
                    policy_uid: Arc::clone(&events.policy_uid),
                    dropped: std::mem::take(&mut events.number),
                });
            }
        }
        for summary in summaries {
            self.add(summary, now);
        }
    }

    /// Queues a message again after a failed write. Then the circuit of its namespace is open. Drops the messages of the
    /// namespace that were queued [`GIVE_UP`] ago.
    pub(super) fn retry(&mut self, queued: QueuedEvent, retry_after: Option<Duration>, now: Instant) -> Left {
        let attempt = Attempt::Failed { retry_after };
        let namespace = queued.message.namespace();
        let mut left = Left::default();
        let is_replaced = self
            .queue
            .items_of(&namespace)
            .any(|later| later.id > queued.id && later.message.is_same_object(&queued.message));
        if is_replaced {
            self.end(&queued, attempt, now);
            left.policies
                .extend(queued.message.event().map(|event| event.policy.clone()));
            return left;
        }
        self.end_with(queued, attempt, now);
        let is_over = |queued: &QueuedEvent| now.saturating_duration_since(queued.queued_at) >= GIVE_UP;
        for over in self.queue.remove(&namespace, is_over) {
            left.gave_up += 1;
            if let Message::Event(event) = over.message {
                if event.recovers.is_empty() {
                    self.dropped_names.insert(&event.name, DropReason::GaveUp);
                }
                left.policies.push(event.policy);
            }
        }
        left
    }

    /// Returns the time at which the next circuit may close, or the next summary is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.role == Role::Standby {
            return None;
        }
        let summary = self
            .dropped
            .values()
            .filter(|events| events.number > 0)
            .map(|events| events.due)
            .min();
        self.queue.next_due().into_iter().chain(summary).min()
    }

    /// Returns the number of messages that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests;
