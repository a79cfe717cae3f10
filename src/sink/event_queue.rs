//! Which Event is written when: limits, retries, and the summaries of what was dropped. No I/O; time is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::bucket::{Buckets, Rate};
use crate::{
    domain::{effects::Event, policy::PolicyKey},
    kubernetes::backoff::Backoff,
    telemetry::metrics::DropReason,
};

/// For one Pod: client-go's figures for its own Events.
const PER_POD: Rate = Rate {
    burst: 25,
    every: Duration::from_mins(5),
};
/// For all of them together.
const GLOBAL: Rate = Rate {
    burst: 200,
    every: Duration::from_millis(100),
};
/// How many may wait, those to be tried again included.
const CAPACITY: usize = 4096;
/// A storm is told this long after its first dropped Event, so that the number is worth reading,
const STORM_DELAY: Duration = Duration::from_secs(10);
/// and not again before this.
const STORM_PERIOD: Duration = Duration::from_mins(5);
/// An Event that could not be written for this long is given up.
const GIVE_UP: Duration = Duration::from_mins(15);

/// What there is to write.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// An Event of the domain.
    Event(Event),
    /// This many Events under a policy were dropped.
    DroppedSummary {
        policy: PolicyKey,
        policy_uid: Arc<str>,
        dropped: u64,
    },
}

/// A message and how often it was tried.
#[derive(Clone, Debug)]
pub(super) struct QueuedEvent {
    pub(super) message: Message,
    since: Instant,
    backoff: Backoff,
}

#[derive(Debug)]
struct DroppedSummary {
    policy_uid: Arc<str>,
    dropped: u64,
    due: Instant,
}

/// The Events to be written.
#[derive(Debug)]
pub(super) struct EventQueue {
    per_pod: Buckets<Arc<str>>,
    global: Buckets<()>,
    ready: VecDeque<QueuedEvent>,
    later: BTreeMap<(Instant, u64), QueuedEvent>,
    sequence: u64,
    /// Given out and not back yet.
    under_way: usize,
    dropped: HashMap<PolicyKey, DroppedSummary>,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            per_pod: Buckets::new(PER_POD),
            global: Buckets::new(GLOBAL),
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            sequence: 0,
            under_way: 0,
            dropped: HashMap::new(),
        }
    }

    /// Takes an Event in, or drops it.
    pub(super) fn push(&mut self, event: Event, now: Instant) -> Result<(), DropReason> {
        let refused = if !self.per_pod.has_one(Arc::clone(&event.pod_uid), now) {
            Some(DropReason::PodLimit)
        } else if !self.global.has_one((), now) {
            Some(DropReason::GlobalLimit)
        } else if self.len() >= CAPACITY {
            Some(DropReason::QueueFull)
        } else {
            None
        };
        if let Some(reason) = refused {
            let storm = self.dropped.entry(event.policy).or_insert(DroppedSummary {
                policy_uid: event.policy_uid,
                dropped: 0,
                due: now + STORM_DELAY,
            });
            storm.dropped += 1;
            return Err(reason);
        }
        self.per_pod.take(Arc::clone(&event.pod_uid), now);
        self.global.take((), now);
        self.ready.push_back(QueuedEvent {
            message: Message::Event(event),
            since: now,
            backoff: Backoff::default(),
        });
        Ok(())
    }

    /// The next message to write now. It comes back by [`Self::done`] or [`Self::retry`].
    pub(super) fn take(&mut self, now: Instant) -> Option<QueuedEvent> {
        let letter = match self.later.first_entry() {
            Some(entry) if entry.key().0 <= now => Some(entry.remove()),
            _ => self.ready.pop_front().or_else(|| self.storm(now)),
        };
        self.under_way += usize::from(letter.is_some());
        letter
    }

    /// A message is written, or never will be.
    pub(super) fn done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn storm(&mut self, now: Instant) -> Option<QueuedEvent> {
        // A storm that was told and then had nothing more to tell is over.
        self.dropped
            .retain(|_, storm| storm.dropped > 0 || storm.due > now);
        let (policy, storm) = self
            .dropped
            .iter_mut()
            .find(|(_, storm)| storm.dropped > 0 && storm.due <= now)?;
        storm.due = now + STORM_PERIOD;
        Some(QueuedEvent {
            message: Message::DroppedSummary {
                policy: policy.clone(),
                policy_uid: Arc::clone(&storm.policy_uid),
                dropped: std::mem::take(&mut storm.dropped),
            },
            since: now,
            backoff: Backoff::default(),
        })
    }

    /// Puts a message back that could not be written; `asked` is how long the API server asked us to wait.
    pub(super) fn retry(
        &mut self,
        mut letter: QueuedEvent,
        asked: Option<Duration>,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.done();
        let wait = letter.backoff.next_wait_asked(asked);
        if now.saturating_duration_since(letter.since) + wait > GIVE_UP {
            return Err(DropReason::GaveUp);
        }
        self.sequence += 1;
        self.later.insert((now + wait, self.sequence), letter);
        Ok(())
    }

    /// When [`Self::take`] has something next, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let retry = self.later.keys().next().map(|(due, _)| *due);
        let storm = self
            .dropped
            .values()
            .filter(|storm| storm.dropped > 0)
            .map(|storm| storm.due)
            .min();
        retry.into_iter().chain(storm).min()
    }

    /// How many messages are not written yet.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.later.len() + self.under_way
    }
}

#[cfg(test)]
mod tests {
    use super::{super::event_object::tests::example, *};

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn names(event_queue: &mut EventQueue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| event_queue.take(now))
            .map(|letter| match letter.message {
                Message::Event(event) => event.name,
                Message::DroppedSummary { dropped, .. } => format!("{dropped} dropped"),
            })
            .collect()
    }

    #[test]
    fn events_come_out_in_their_order() {
        let now = Instant::now();
        let mut event_queue = EventQueue::new();
        for name in ["a", "b", "c"] {
            event_queue.push(example(name, "pod"), now).unwrap();
        }
        assert_eq!(names(&mut event_queue, now), ["a", "b", "c"]);
        assert_eq!(event_queue.next_due(), None);
    }

    #[test]
    fn a_pod_has_25_and_then_one_every_five_minutes() {
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
            "one came"
        );
        assert_eq!(
            event_queue.push(example("x", "pod"), start + secs(300)),
            Err(DropReason::PodLimit)
        );
        assert_eq!(
            event_queue.push(example("x", "other"), start),
            Ok(()),
            "another Pod has its own"
        );
    }

    #[test]
    fn all_pods_have_200_and_then_ten_a_second() {
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
    fn what_waits_is_bounded() {
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
    fn a_storm_is_told_once_in_five_minutes() {
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
        assert_eq!(names(&mut event_queue, again), [""; 0], "told not long ago");
        assert_eq!(event_queue.next_due(), Some(start + secs(310)));
        assert_eq!(names(&mut event_queue, start + secs(310)), ["1 dropped"]);
        assert_eq!(
            names(&mut event_queue, start + secs(620)),
            [""; 0],
            "nothing more to tell"
        );
        assert!(
            event_queue.dropped.is_empty(),
            "a storm that is over is forgotten"
        );
    }

    #[test]
    fn a_retry_waits_and_blocks_nobody() {
        let start = Instant::now();
        let mut event_queue = EventQueue::new();
        event_queue.push(example("busy", "pod"), start).unwrap();
        event_queue.push(example("other", "pod"), start).unwrap();
        let letter = event_queue.take(start).unwrap();
        event_queue.retry(letter, Some(secs(7)), start).unwrap();
        assert_eq!(names(&mut event_queue, start), ["other"]);
        assert_eq!(event_queue.len(), 2, "one waits, one is under way");
        event_queue.done();
        assert_eq!(
            event_queue.next_due(),
            Some(start + secs(7)),
            "as the API server asked"
        );
        let letter = event_queue.take(start + secs(7)).unwrap();
        event_queue.retry(letter, None, start + secs(7)).unwrap();
        let due = event_queue.next_due().unwrap().duration_since(start + secs(7));
        assert!(
            due >= Duration::from_millis(800) && due <= Duration::from_millis(1600),
            "doubled: {due:?}"
        );
        let letter = event_queue.take(start + secs(60)).unwrap();
        assert_eq!(
            event_queue.retry(letter, None, start + GIVE_UP),
            Err(DropReason::GaveUp)
        );
        assert_eq!(event_queue.len(), 0);
    }
}
