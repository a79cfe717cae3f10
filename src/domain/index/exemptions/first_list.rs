//! The wait for the first list of exemptions: without it, a new process would announce violations that are exempt.

use jiff::{SignedDuration, Timestamp};

use super::Exemptions;
use crate::domain::{
    effects::Effects,
    index::{
        Index,
        watches::{Scope, covers},
    },
    time::later,
};

/// The maximum time that the Pods of a complete list wait for the first list of exemptions. Violations are announced after it,
/// also those that are exempt: a list that never completes must not suppress all Events.
pub(crate) const MAX_WAIT: SignedDuration = SignedDuration::from_secs(30);

impl Exemptions {
    /// Whether the first list of exemptions is not complete, so that the Pods of a complete list have to wait. Their wait
    /// begins.
    pub(in crate::domain::index) fn delays(&mut self, scope: &Scope, now: Timestamp) -> bool {
        let awaited = self.awaited.get_mut(scope);
        awaited.is_some_and(|until| {
            until.get_or_insert_with(|| later(now, MAX_WAIT));
            true
        })
    }
}

impl Index {
    /// Lets the Pods of each watch wait for the first list of exemptions. The index must be empty.
    #[must_use]
    pub fn awaiting_exemptions(mut self) -> Self {
        self.exemptions.awaited = self.watches.scopes().map(|scope| (scope.clone(), None)).collect();
        self
    }

    /// Whether the first list of the exemptions of a namespace is complete, or not awaited any more.
    pub(super) fn has_listed_exemptions(&self, namespace: &str) -> bool {
        let mut awaited = self.exemptions.awaited.keys();
        !awaited.any(|scope| covers(scope, namespace))
    }

    /// Ends the wait of the Pods of a watch.
    pub(super) fn end_wait_for_exemptions(&mut self, scope: &Scope) {
        if self.exemptions.awaited.remove(scope).is_some() {
            self.release_listed(scope);
        }
    }

    /// Ends the exemptions whose time is over, and the waits that have lasted for too long. Requests a new list if one is due.
    pub(in crate::domain::index) fn tick_exemptions(&mut self, now: Timestamp, effects: &mut Effects) {
        self.end_exemptions(now, effects);
        self.end_long_waits(now, effects);
        effects.relist_exemptions |= self.exemptions.take_relist(now);
    }

    fn end_long_waits(&mut self, now: Timestamp, effects: &mut Effects) {
        let awaited = self.exemptions.awaited.iter();
        let due = awaited.filter(|(_, until)| until.is_some_and(|until| until <= now));
        let due: Vec<Scope> = due.map(|(scope, _)| scope.clone()).collect();
        for scope in &due {
            self.end_wait_for_exemptions(scope);
        }
        if !due.is_empty() {
            effects.append(self.work(now));
        }
    }
}
