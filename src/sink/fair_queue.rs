//! Shares the writers of a sink between the namespaces. No I/O; time is an argument.
//!
//! Input: items to write, each of a namespace, and the result of each write. Output: the item to write next. The namespaces
//! take turns. A namespace whose writes fail has an open [`Circuit`]: its items wait together, and one write at a time tests
//! whether the API server accepts them again. So the writes that a tenant makes fail, or slow, do not delay those of others.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::kubernetes::backoff::Backoff;

/// Maximum number of concurrent writes.
const WRITERS: usize = 16;
/// Maximum number of concurrent writes of one namespace.
const WRITERS_PER_NAMESPACE: usize = 4;
/// Maximum number of concurrent writes of all namespaces with an open circuit.
const TESTS: usize = 4;
/// Number of namespaces at which those without items are removed.
const SWEEP_AT: usize = 1024;

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The API server has accepted the write, or has answered that it is not needed.
    Accepted,
    /// The API server has refused the write, and would refuse it again.
    Refused,
    /// The write has failed, and may succeed later.
    Failed {
        /// `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent. The next item of the namespace waits for this time.
    NotSent(Duration),
}

/// Whether the writes of a namespace are accepted. It is open after a failed write, and closes after an accepted one.
#[derive(Debug)]
struct Circuit {
    is_open: bool,
    /// Earliest time of the next write.
    not_before: Instant,
    backoff: Backoff,
}

impl Circuit {
    fn record(&mut self, attempt: Attempt, now: Instant) {
        match attempt {
            // A write that began before the failure says nothing about the time after it.
            Attempt::Accepted | Attempt::Failed { .. } if self.is_open && now < self.not_before => {}
            Attempt::Accepted => {
                self.is_open = false;
                self.not_before = now;
                self.backoff.reset();
            }
            Attempt::Refused => self.is_open = true,
            Attempt::Failed { retry_after } => {
                self.is_open = true;
                self.not_before = now + self.backoff.next_wait_or(retry_after);
            }
            Attempt::NotSent(wait) => self.not_before = self.not_before.max(now + wait),
        }
    }
}

/// The items of one namespace.
#[derive(Debug)]
struct Flow<T> {
    /// Items that were not attempted yet, oldest first.
    fresh: VecDeque<T>,
    /// Items whose write has failed, in the order of the failures.
    failed: VecDeque<T>,
    /// Number of writes that are running.
    writing: usize,
    circuit: Circuit,
    /// The namespace is in `turns` or in `waiting`.
    is_scheduled: bool,
}

impl<T> Flow<T> {
    fn new(now: Instant) -> Self {
        Self {
            fresh: VecDeque::new(),
            failed: VecDeque::new(),
            writing: 0,
            circuit: Circuit {
                is_open: false,
                not_before: now,
                backoff: Backoff::default(),
            },
            is_scheduled: false,
        }
    }

    fn len(&self) -> usize {
        self.fresh.len() + self.failed.len()
    }

    /// Returns the number of writes that test an open circuit.
    fn tests(&self) -> usize {
        if self.circuit.is_open { self.writing } else { 0 }
    }

    /// Reports whether a write may begin, while the other namespaces test their circuits with this number of writes.
    fn may_write(&self, tests: usize) -> bool {
        if self.circuit.is_open {
            self.writing == 0 && tests < TESTS
        } else {
            self.writing < WRITERS_PER_NAMESPACE
        }
    }

    /// Removes and returns the first item that may be written: new items before those that have failed.
    fn pop(&mut self, is_free: impl Fn(&T) -> bool) -> Option<T> {
        [&mut self.fresh, &mut self.failed].into_iter().find_map(|items| {
            let position = items.iter().position(&is_free)?;
            items.remove(position)
        })
    }

    fn items(&self) -> impl Iterator<Item = &T> {
        self.fresh.iter().chain(&self.failed)
    }

    /// Reports whether a new flow would equal this one.
    fn is_forgettable(&self) -> bool {
        self.len() + self.writing == 0 && !self.circuit.is_open && !self.is_scheduled
    }
}

/// The items that wait for a write, by namespace.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    flows: HashMap<Arc<str>, Flow<T>>,
    /// The namespaces whose turn comes, in order.
    turns: VecDeque<Arc<str>>,
    /// The namespaces that wait for their circuit, by time.
    waiting: BTreeSet<(Instant, Arc<str>)>,
    /// Number of items that wait.
    queued: usize,
    /// Number of writes that are running, and of those that test an open circuit.
    writing: usize,
    tests: usize,
    sweep_at: usize,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            flows: HashMap::new(),
            turns: VecDeque::new(),
            waiting: BTreeSet::new(),
            queued: 0,
            writing: 0,
            tests: 0,
            sweep_at: SWEEP_AT,
        }
    }

    /// Returns the number of items that wait or are being written.
    pub(super) fn len(&self) -> usize {
        self.queued + self.writing
    }

    /// Reports whether a namespace may add an item to a queue of this capacity. A namespace may have as many items as there
    /// is room left, so any number of namespaces leaves room for another one.
    pub(super) fn has_room(&self, namespace: &str, capacity: usize) -> bool {
        let own = self
            .flows
            .get(namespace)
            .map_or(0, |flow| flow.len() + flow.writing);
        own < capacity.saturating_sub(self.len())
    }

    /// Reports whether the last write of a namespace has failed.
    pub(super) fn is_failing(&self, namespace: &str) -> bool {
        self.flows.get(namespace).is_some_and(|flow| flow.circuit.is_open)
    }

    /// Adds a new item.
    pub(super) fn push(&mut self, namespace: &Arc<str>, item: T, now: Instant) {
        if self.flows.len() >= self.sweep_at {
            self.flows
                .retain(|_, flow| flow.len() + flow.writing > 0 || flow.circuit.not_before > now);
            self.turns.retain(|namespace| self.flows.contains_key(namespace));
            self.waiting
                .retain(|(_, namespace)| self.flows.contains_key(namespace));
            self.sweep_at = SWEEP_AT.max(self.flows.len() * 2);
        }
        let flow = self
            .flows
            .entry(Arc::clone(namespace))
            .or_insert_with(|| Flow::new(now));
        flow.fresh.push_back(item);
        self.queued += 1;
        if !std::mem::replace(&mut flow.is_scheduled, true) {
            self.turns.push_back(Arc::clone(namespace));
        }
    }

    /// Returns the next item to write, with its namespace. The caller reports the result with [`Self::end`] or
    /// [`Self::end_with`]. Skips items that are not free.
    pub(super) fn take(&mut self, now: Instant, is_free: impl Fn(&T) -> bool) -> Option<(Arc<str>, T)> {
        while let Some((due, namespace)) = self.waiting.pop_first() {
            if due > now {
                self.waiting.insert((due, namespace));
                break;
            }
            self.turns.push_back(namespace);
        }
        if self.writing >= WRITERS {
            return None;
        }
        for _ in 0..self.turns.len() {
            let namespace = self.turns.pop_front()?;
            let Some(flow) = self.flows.get_mut(&namespace) else {
                continue;
            };
            if flow.len() == 0 {
                flow.is_scheduled = false;
                if flow.is_forgettable() {
                    self.flows.remove(&namespace);
                }
                continue;
            }
            if flow.circuit.not_before > now {
                self.waiting.insert((flow.circuit.not_before, namespace));
                continue;
            }
            self.turns.push_back(Arc::clone(&namespace));
            if !flow.may_write(self.tests) {
                continue;
            }
            if let Some(item) = flow.pop(&is_free) {
                flow.writing += 1;
                self.tests += usize::from(flow.circuit.is_open);
                self.writing += 1;
                self.queued -= 1;
                return Some((namespace, item));
            }
        }
        None
    }

    /// Records the result of a write, and adds its item again, after the new ones.
    pub(super) fn end_with(&mut self, namespace: &Arc<str>, attempt: Attempt, item: T, now: Instant) {
        if let Some(flow) = self.flows.get_mut(namespace) {
            flow.failed.push_back(item);
            self.queued += 1;
            if !std::mem::replace(&mut flow.is_scheduled, true) {
                self.turns.push_back(Arc::clone(namespace));
            }
        }
        self.end(namespace, attempt, now);
    }

    /// Records the result of a write.
    pub(super) fn end(&mut self, namespace: &Arc<str>, attempt: Attempt, now: Instant) {
        let Some(flow) = self.flows.get_mut(namespace) else {
            return;
        };
        let (tests, due) = (flow.tests(), flow.circuit.not_before);
        flow.writing = flow.writing.saturating_sub(1);
        flow.circuit.record(attempt, now);
        self.tests = self.tests.saturating_sub(tests) + flow.tests();
        self.writing = self.writing.saturating_sub(1);
        let is_reset = flow.circuit.not_before != due;
        let is_forgettable = flow.is_forgettable();
        if is_reset && self.waiting.remove(&(due, Arc::clone(namespace))) {
            self.turns.push_back(Arc::clone(namespace));
        }
        if is_forgettable {
            self.flows.remove(namespace);
        }
    }

    /// Removes and returns the items of a namespace for which `is_over` is true.
    pub(super) fn remove(&mut self, namespace: &str, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(flow) = self.flows.get_mut(namespace) else {
            return Vec::new();
        };
        let mut removed = Vec::new();
        for items in [&mut flow.fresh, &mut flow.failed] {
            let (over, left) = items.drain(..).partition::<Vec<T>, _>(&is_over);
            removed.extend(over);
            items.extend(left);
        }
        self.queued -= removed.len();
        removed
    }

    /// Removes and returns all items that wait.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.queued = 0;
        let flows = self.flows.values_mut();
        flows
            .flat_map(|flow| flow.failed.drain(..).chain(flow.fresh.drain(..)))
            .collect()
    }

    /// Returns the items of a namespace that wait.
    pub(super) fn items_of(&self, namespace: &str) -> impl Iterator<Item = &T> {
        self.flows.get(namespace).into_iter().flat_map(Flow::items)
    }

    /// Returns all items that wait.
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.flows.values().flat_map(Flow::items)
    }

    /// Returns the time at which the next namespace no longer waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Ends the waits of all namespaces.
    pub(super) fn flush(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        self.turns
            .extend(waiting.into_iter().map(|(_, namespace)| namespace));
        for flow in self.flows.values_mut() {
            flow.circuit.not_before = now;
        }
    }
}

#[cfg(test)]
mod tests;
