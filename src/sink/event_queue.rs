//! Decides which Event is written when: limits, retries and summaries of dropped Events. No I/O; time is an argument.

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
        policy::{PolicyKey, Severity},
    },
    kubernetes::backoff::Backoff,
    telemetry::metrics::DropReason,
};

/// Limit per Pod, the same as client-go's limit per object.
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
/// Maximum number of names of dropped Events, about 100 bytes each.
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
    /// Never attempted, oldest first.
    ready: VecDeque<QueuedEvent>,
    /// Retries by their time; the number makes keys unique.
    retries: BTreeMap<(Instant, u64), QueuedEvent>,
    next_retry_id: u64,
    /// Number of messages that are being written.
    in_flight: usize,
    dropped: HashMap<PolicyKey, DroppedSummary>,
    dropped_names: DroppedNames,
}

/// The names of Events that announced a violation and were dropped, oldest first.
#[derive(Debug, Default)]
struct DroppedNames {
    reasons: HashMap<String, DropReason>,
    order: VecDeque<String>,
}

impl DroppedNames {
    fn insert(&mut self, name: String, reason: DropReason) {
        if self.reasons.insert(name.clone(), reason).is_some() {
            return;
        }
        self.order.push_back(name);
        while self.order.len() > DROPPED_NAMES {
            if let Some(oldest) = self.order.pop_front() {
                self.reasons.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, name: &str) -> Option<DropReason> {
        self.reasons.remove(name)
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
        // A recovery without its beginning says nothing.
        let without_beginning = event
            .recovers
            .as_ref()
            .and_then(|name| self.dropped_names.remove(name));
        // Critical Events may use each limit a second time, so that others cannot displace them.
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
            if event.recovers.is_none() {
                self.dropped_names.insert(event.name, reason);
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

    /// Ends a message that was written or refused.
    pub(super) fn done(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn summary(&mut self, now: Instant) -> Option<QueuedEvent> {
        // Forgets policies without a dropped Event since their last summary.
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

    /// Queues a message again after a failed write, or drops it after too long.
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
                && event.recovers.is_none()
            {
                self.dropped_names.insert(event.name, DropReason::GaveUp);
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
mod tests {
    use super::{super::event_object::tests::example, *};
    use crate::domain::policy::Severity;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn names(event_queue: &mut EventQueue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| event_queue.take(now))
            .map(|queued| match queued.message {
                Message::Event(event) => event.name,
                Message::DroppedSummary { dropped, .. } => format!("{dropped} dropped"),
            })
            .collect()
    }

    #[test]
    fn events_leave_the_queue_in_order() {
        let now = Instant::now();
        let mut event_queue = EventQueue::new();
        for name in ["a", "b", "c"] {
            event_queue.push(example(name, "pod"), now).unwrap();
        }
        assert_eq!(names(&mut event_queue, now), ["a", "b", "c"]);
        assert_eq!(event_queue.next_due(), None);
    }

    #[test]
    fn a_pod_is_limited_to_25_events_and_one_more_every_five_minutes() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        let pushed = (0..100).filter(|n| event_queue.push(example(&n.to_string(), "pod"), start).is_ok());
        assert_eq!(pushed.count(), 25);
        assert_eq!(
            event_queue.push(example("x", "pod"), start + secs(299)),
            Err(DropReason::PodLimit)
        );
        assert_eq!(
            event_queue.push(example("x", "pod"), start + secs(300)),
            Ok(()),
            "one token was added"
        );
        assert_eq!(
            event_queue.push(example("x", "pod"), start + secs(300)),
            Err(DropReason::PodLimit)
        );
        assert_eq!(
            event_queue.push(example("x", "other"), start),
            Ok(()),
            "another Pod has its own limit"
        );
    }

    #[test]
    fn all_pods_are_limited_to_200_events_and_ten_more_per_second() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        let mut push = |n: u32, now| event_queue.push(example("x", &n.to_string()), now);
        assert_eq!((0..300).filter(|n| push(*n, start).is_ok()).count(), 200);
        assert_eq!(push(1000, start), Err(DropReason::GlobalLimit));
        assert_eq!(
            (2000..2100).filter(|n| push(*n, start + secs(1)).is_ok()).count(),
            10
        );
    }

    #[test]
    fn a_recovery_is_dropped_with_the_event_that_it_would_end() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        let recovery = |of: &str| Event {
            recovers: Some(of.to_owned()),
            ..example(&format!("{of}-recovered"), "pod")
        };
        for n in 0..26 {
            let _ = event_queue.push(example(&n.to_string(), "pod"), start);
        }
        let later = start + secs(3000);
        assert_eq!(event_queue.push(recovery("24"), later), Ok(()), "24 was queued");
        let dropped = event_queue.push(recovery("25"), later);
        assert_eq!(dropped, Err(DropReason::PodLimit), "25 was dropped");
        event_queue.push(example("25", "pod"), later).unwrap();
        assert_eq!(
            event_queue.push(recovery("25"), later),
            Ok(()),
            "25 was repeated and queued"
        );
    }

    #[test]
    fn critical_events_have_a_reserve() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        let mut push = |severity, pod: &str| {
            let event = Event {
                severity,
                ..example("x", pod)
            };
            event_queue.push(event, start).is_ok()
        };
        let accepted = (0..100).filter(|_| push(Severity::Info, "pod")).count();
        assert_eq!(accepted, 25);
        let accepted = (0..100).filter(|_| push(Severity::Critical, "pod")).count();
        assert_eq!(accepted, 25, "as many again for critical Events");
        let accepted = (0..1000)
            .filter(|n| push(Severity::Warning, &n.to_string()))
            .count();
        assert_eq!(accepted, 150, "all Events together stay within the limit");
        let accepted = (0..1000)
            .filter(|n| push(Severity::Critical, &n.to_string()))
            .count();
        assert_eq!(accepted, 200, "as many again for critical Events");
    }

    #[test]
    fn the_queue_is_bounded() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        let mut refused = None;
        for n in 0..6000_u32 {
            let now = start + Duration::from_millis(100) * n;
            if let Err(reason) = event_queue.push(example("x", &n.to_string()), now) {
                refused.get_or_insert((n, reason));
            }
        }
        assert_eq!(refused, Some((4096, DropReason::QueueFull)));
        assert_eq!(event_queue.len(), CAPACITY);
    }

    #[test]
    fn dropped_events_are_summarised_at_most_every_five_minutes() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        for n in 0..125 {
            let _ = event_queue.push(example(&n.to_string(), "pod"), start);
        }
        assert_eq!(names(&mut event_queue, start).len(), 25);
        assert_eq!(event_queue.next_due(), Some(start + secs(10)));
        assert_eq!(names(&mut event_queue, start + secs(10)), ["100 dropped"]);
        let again = start + secs(60);
        assert_eq!(
            event_queue.push(example("x", "pod"), again),
            Err(DropReason::PodLimit)
        );
        assert_eq!(
            names(&mut event_queue, again),
            [""; 0],
            "too soon after the last summary"
        );
        assert_eq!(event_queue.next_due(), Some(start + secs(310)));
        assert_eq!(names(&mut event_queue, start + secs(310)), ["1 dropped"]);
        assert_eq!(
            names(&mut event_queue, start + secs(620)),
            [""; 0],
            "no dropped Event since"
        );
        assert!(event_queue.dropped.is_empty(), "the entry is removed");
    }

    #[test]
    fn a_retry_waits_and_does_not_delay_other_events() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        event_queue.push(example("busy", "pod"), start).unwrap();
        event_queue.push(example("other", "pod"), start).unwrap();
        let queued = event_queue.take(start).unwrap();
        event_queue.retry(queued, Some(secs(7)), start).unwrap();
        assert_eq!(names(&mut event_queue, start), ["other"]);
        assert_eq!(event_queue.len(), 2, "one waits, one is being written");
        event_queue.done();
        assert_eq!(
            event_queue.next_due(),
            Some(start + secs(7)),
            "Retry-After is respected"
        );
        let queued = event_queue.take(start + secs(7)).unwrap();
        event_queue.retry(queued, None, start + secs(7)).unwrap();
        let due = event_queue.next_due().unwrap().duration_since(start + secs(7));
        assert!(
            due >= Duration::from_millis(800) && due <= Duration::from_millis(1600),
            "doubled: {due:?}"
        );
        let queued = event_queue.take(start + secs(60)).unwrap();
        assert_eq!(
            event_queue.retry(queued, None, start + GIVE_UP),
            Err(DropReason::GaveUp)
        );
        assert_eq!(event_queue.len(), 0);
    }
}
