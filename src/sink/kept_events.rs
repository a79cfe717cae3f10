//! The Events that a standby keeps, because the leader may end before it has written them. No I/O; time is an argument.
//!
//! Event names are computed from the objects, so a standby and the leader have the same Events. A checkpoint lists the
//! Events that the leader had not written yet; older Events of the standby are then no longer needed. Without checkpoints, a
//! standby keeps Events for as long as a leader tries to write them. To write an Event again is harmless: an object with its
//! name exists, and its count is set to the same number.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::effects::{Delivery, Event};

/// Maximum number of Events that a standby keeps, and that the queue of a leader has, retries included.
pub(super) const CAPACITY: usize = 4096;
/// Time after which an Event that cannot be written is dropped, and for which a standby keeps one.
pub(super) const GIVE_UP: Duration = Duration::from_mins(15);
/// Maximum time between an Event of the leader and the state of a checkpoint that does not list it although it was not
/// written: the leader may have seen the change later than this replica.
const CHECKPOINT_MARGIN: Duration = Duration::from_secs(20);

/// The Events that a standby keeps, oldest first.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    /// Events with the time at which this replica saw the change.
    kept: VecDeque<(Instant, Event)>,
    /// Events that the last checkpoint lists as waiting.
    checkpointed: Vec<Event>,
}

impl KeptEvents {
    /// Keeps an Event. Removes Events that are too old, and the oldest of the namespace with the most Events if there are too
    /// many.
    pub(super) fn keep(&mut self, event: Event, seen: Instant, now: Instant) {
        let position = self.kept.partition_point(|(other, _)| *other <= seen);
        self.kept.insert(position, (seen, event));
        self.forget_before(now.checked_sub(GIVE_UP));
        if self.kept.len() > CAPACITY {
            self.forget_one();
        }
    }

    /// Replaces the Events that are needed because of the last checkpoint, whose state is of the time `written`.
    pub(super) fn checkpointed(&mut self, written: Option<Instant>, mut waiting: Vec<Event>) {
        self.forget_before(written.and_then(|at| at.checked_sub(CHECKPOINT_MARGIN)));
        waiting.truncate(CAPACITY);
        self.checkpointed = waiting;
    }

    /// Removes Events that this replica has seen by mistake.
    pub(super) fn withdraw(&mut self, names: &[String]) {
        self.kept.retain(|(_, event)| !names.contains(&event.name));
    }

    /// Removes and returns the Events that a new leader writes, without duplicates.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Event> {
        self.forget_before(now.checked_sub(GIVE_UP));
        let mut events = std::mem::take(&mut self.checkpointed);
        let listed: HashMap<String, Delivery> = events
            .iter()
            .map(|event| (event.name.clone(), event.delivery))
            .collect();
        let seen = self.kept.drain(..).map(|(_, event)| event);
        events.extend(seen.filter(|event| listed.get(&event.name) != Some(&event.delivery)));
        events
    }

    fn forget_one(&mut self) {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (_, event) in &self.kept {
            *numbers.entry(&event.namespace).or_default() += 1;
        }
        let most = numbers.into_iter().max_by_key(|(_, number)| *number);
        let oldest = self
            .kept
            .iter()
            .position(|(_, event)| most.is_some_and(|(namespace, _)| *event.namespace == *namespace));
        if let Some(oldest) = oldest {
            self.kept.remove(oldest);
        }
    }

    fn forget_before(&mut self, time: Option<Instant>) {
        if let Some(time) = time {
            self.kept.retain(|(seen, _)| *seen >= time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::event_object::tests::example, *};

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn names(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.name.as_str()).collect()
    }

    /// Events `0`, `1`, ... that were seen every ten seconds until `now`.
    fn kept(now: Instant, number: u32) -> KeptEvents {
        let mut kept = KeptEvents::default();
        for n in 0..number {
            let seen = now - secs(10) * (number - 1 - n);
            kept.keep(example(&n.to_string(), "pod"), seen, seen);
        }
        kept
    }

    #[test]
    fn a_new_leader_writes_what_a_checkpoint_lists_and_what_it_saw_since() {
        let now = Instant::now() + secs(3600);
        let mut kept = kept(now, 6);
        // The Events 0 to 3 are older than the checkpoint by more than 20 s.
        kept.checkpointed(
            Some(now + secs(5)),
            vec![example("1", "pod"), example("5", "pod")],
        );
        assert_eq!(names(&kept.take(now)), ["1", "5", "4"]);
        assert_eq!(names(&kept.take(now)), [""; 0], "they are taken once");
    }

    #[test]
    fn a_new_leader_does_not_write_what_was_withdrawn() {
        let now = Instant::now() + secs(3600);
        let mut kept = kept(now, 3);
        kept.withdraw(&["1".to_owned()]);
        assert_eq!(names(&kept.take(now)), ["0", "2"]);
    }

    #[test]
    fn two_deliveries_with_one_name_are_both_kept() {
        let now = Instant::now();
        let mut kept = kept(now, 1);
        let again = Event {
            delivery: Delivery::CreateOrRaise(2),
            ..example("0", "pod")
        };
        kept.keep(again, now, now);
        kept.checkpointed(Some(now), vec![example("0", "pod")]);
        let deliveries: Vec<_> = kept.take(now).iter().map(|event| event.delivery).collect();
        assert_eq!(deliveries, [Delivery::Create, Delivery::CreateOrRaise(2)]);
    }

    #[test]
    fn the_kept_events_are_bounded_by_age_and_number() {
        let now = Instant::now() + secs(3600);
        let events = kept(now, 200).take(now);
        assert_eq!(events.len(), 91, "15 minutes");
        assert_eq!(events.last().unwrap().name, "199");
        let mut kept = KeptEvents::default();
        for n in 0..CAPACITY + 10 {
            kept.keep(example(&n.to_string(), "pod"), now, now);
        }
        let quiet = Event {
            namespace: "quiet".into(),
            ..example("quiet", "other")
        };
        kept.keep(quiet, now - secs(1), now);
        let events = kept.take(now);
        assert_eq!(events.len(), CAPACITY);
        let first = [events[0].name.as_str(), events[1].name.as_str()];
        assert_eq!(
            first,
            ["quiet", "11"],
            "the oldest of the namespace with the most are removed"
        );
    }

    #[test]
    fn events_of_a_former_leader_are_kept_in_the_order_of_the_changes() {
        let now = Instant::now();
        let mut kept = kept(now + secs(10), 2);
        kept.keep(example("earlier", "pod"), now - secs(1), now + secs(10));
        assert_eq!(names(&kept.take(now)), ["earlier", "0", "1"]);
    }
}
