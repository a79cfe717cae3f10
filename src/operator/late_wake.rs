//! Delays overdue deadlines after a late wake of the reconciler, until the watch events that wait have been applied.
//!
//! CPU throttling, a suspended machine and a clock that was set forward make deadlines overdue while watch events wait
//! that can change what the deadlines do. After such a stall the connected Pod watches are held, as after a reconnect,
//! until the inputs pause. No I/O, no clock: `now` is an argument.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tracing::info;

use crate::{
    domain::{
        effects::Effects,
        index::{Index, Scope},
        time::later,
    },
    kubernetes::{
        inputs::Input,
        recovery::{CATCH_UP, LATE, QUIET},
        watch::WatchEvent,
    },
};

/// The connected Pod watches, and the hold after a late wake.
#[derive(Debug)]
pub(super) struct LateWake {
    /// The scopes whose Pod watch is in sync.
    connected: BTreeSet<Scope>,
    /// The last wake of the reconciler. Until then the index was up to date.
    last_wake: Timestamp,
    hold: Option<Hold>,
}

/// A hold of the watches that were connected at a late wake.
#[derive(Debug)]
struct Hold {
    /// The held scopes, without those that were disconnected during the hold.
    scopes: BTreeSet<Scope>,
    begin: Timestamp,
    last_input: Timestamp,
}

impl Hold {
    fn new(scopes: BTreeSet<Scope>, now: Timestamp) -> Self {
        Self {
            scopes,
            begin: now,
            last_input: now,
        }
    }

    /// The end of the hold if no further input arrives.
    fn end(&self) -> Timestamp {
        let quiet = later(self.last_input, signed(QUIET));
        quiet.min(later(self.begin, signed(CATCH_UP)))
    }
}

impl LateWake {
    /// Creates the state of a reconciler that starts now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            connected: BTreeSet::new(),
            last_wake: now,
            hold: None,
        }
    }

    /// Reports whether watches are held.
    pub(super) fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// Reports whether the watches have been held until the end of the hold.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.hold_end().is_some_and(|end| end <= now)
    }

    /// Returns the end of the hold if no further input arrives.
    pub(super) fn hold_end(&self) -> Option<Timestamp> {
        self.hold.as_ref().map(Hold::end)
    }

    /// Records a wake of the reconciler. Must run before the index is changed.
    ///
    /// The wake is late if a deadline, or the end of the hold, passed more than [`LATE`] ago. Then the connected watches
    /// are held, or the hold begins again.
    pub(super) fn wake(&mut self, index: &mut Index, now: Timestamp) {
        let last_wake = std::mem::replace(&mut self.last_wake, now);
        let expected = self.hold_end().or_else(|| index.next_deadline());
        let Some(late_by) = expected
            .map(|expected| now.duration_since(expected))
            .filter(|late_by| *late_by > signed(LATE))
        else {
            return;
        };
        if let Some(hold) = &mut self.hold {
            *hold = Hold::new(std::mem::take(&mut hold.scopes), now);
            return;
        }
        info!(
            late_by_ms = late_by.as_millis(),
            "late wake, deadlines wait for watch events"
        );
        for scope in &self.connected {
            index.hold(scope, last_wake);
        }
        self.hold = Some(Hold::new(self.connected.clone(), now));
    }

    /// Records an input before it is applied.
    pub(super) fn observe(&mut self, input: &Input, now: Timestamp) {
        if let Some(hold) = &mut self.hold {
            hold.last_input = now;
        }
        let Input::Pod(scope, event) = input else { return };
        match event {
            WatchEvent::Complete | WatchEvent::Resumed => {
                self.connected.insert(scope.clone());
            }
            WatchEvent::Restarted { .. } | WatchEvent::Disconnected { .. } => {
                self.connected.remove(scope);
                // The watch stays held. It ends its hold itself when it is in sync again.
                if let Some(hold) = &mut self.hold {
                    hold.scopes.remove(scope);
                }
            }
            WatchEvent::Listed(_) | WatchEvent::Applied(_) | WatchEvent::Deleted(_) => {}
        }
    }

    /// Ends the hold if it is over. Violations whose deadlines passed change now, if their faults still exist.
    pub(super) fn finish(&mut self, index: &mut Index, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        if let Some(hold) = self.hold.take_if(|hold| hold.end() <= now) {
            for scope in &hold.scopes {
                effects.append(index.resume(scope, now));
            }
        }
        effects
    }
}

/// Converts one of the constants of this module.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
