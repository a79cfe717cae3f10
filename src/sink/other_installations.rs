//! Detects other installations that write the status of a policy. No I/O; time is an argument.
//!
//! Server-side apply keeps an entry for each field manager in `metadata.managedFields`, and the field manager names the
//! installation. The entry of an installation that has ended stays. So an entry alone is no conflict: its time must change
//! while this replica watches. Only changes are compared, on the clock of this replica, so the clocks of the nodes may differ.
//!
//! Two installations that agree have nothing to write. Three rules make sure that each sees the other:
//!
//! * An installation that finds the entry of another one and not its own applies the status, which adds its entry.
//! * In a conflict, the condition names the installation that wrote it last. Each writes its own name every [`HEARTBEAT`].
//! * An entry that has not changed for [`ENDED_AFTER`] is removed. If its owner still runs, the first rule applies to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::status_content::StatusContent;
use crate::kubernetes::{
    decode::policy::status::ObservedStatus,
    installation::{self, Installation},
};

/// Time between two writes of the condition by one installation, while there is a conflict.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(20);
/// An installation whose entry has not changed for this time has ended. Longer than a takeover and two heartbeats.
pub(super) const ENDED_AFTER: Duration = Duration::from_secs(75);
/// Maximum number of installations that are remembered for a policy. Editors of a status can invent field managers.
const MAX_INSTALLATIONS: usize = 16;

/// The other installations that have written the status of one policy.
#[derive(Debug, Default)]
pub(super) struct OtherInstallations(BTreeMap<Arc<str>, Seen>);

#[derive(Debug)]
struct Seen {
    /// The time in its entry.
    written: Option<Timestamp>,
    /// When this replica saw the entry, or its last change.
    changed: Instant,
    /// It has written while this replica watched, or an earlier process has reported it.
    is_known_to_write: bool,
}

/// What the next status must contain and change because of other installations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// The name of this installation.
    pub(super) own: String,
    /// The names of the other installations that write the status.
    pub(super) active: Vec<String>,
    /// The field managers whose entries have to be removed.
    pub(super) ended: Vec<Arc<str>>,
    /// There are entries of other installations, but none of this one.
    pub(super) own_is_missing: bool,
    /// It is time to write the condition again, if another installation has written it last.
    pub(super) is_heartbeat: bool,
}

impl Writers {
    /// Reports whether the status has to be applied, even if its content is current.
    pub(super) fn require_apply(&self) -> bool {
        self.own_is_missing || !self.ended.is_empty()
    }
}

impl OtherInstallations {
    /// Reports whether entries of other installations were seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records the entries of an observed object.
    ///
    /// At the first observation of a policy, the time of an entry says nothing. A condition that reports a conflict does: an
    /// earlier process, or the other installation, has written it.
    pub(super) fn observe<S: StatusContent>(
        &mut self,
        own: &Installation,
        observed: &ObservedStatus<S>,
        is_first: bool,
        now: Instant,
    ) {
        let is_known_to_write = !is_first || observed.status.as_ref().is_some_and(S::reports_conflict);
        let is_present =
            |manager: &Arc<str>| observed.writers.iter().any(|writer| writer.manager == *manager);
        self.0
            .retain(|manager, seen| is_present(manager) || now < seen.changed + ENDED_AFTER);
        for writer in &observed.writers {
            if *writer.manager == *own.field_manager() {
                continue;
            }
            let known = self.0.get(&writer.manager);
            let is_new = known.is_none() && self.0.len() < MAX_INSTALLATIONS;
            let is_changed = known.is_some_and(|seen| seen.written != writer.written);
            if is_new || is_changed {
                let seen = Seen {
                    written: writer.written,
                    changed: now,
                    is_known_to_write: is_changed || is_known_to_write,
                };
                self.0.insert(Arc::clone(&writer.manager), seen);
            }
        }
    }

    /// Returns what the next status must contain and change.
    pub(super) fn writers<S>(
        &self,
        own: &Installation,
        observed: &ObservedStatus<S>,
        now: Instant,
    ) -> Writers {
        let has_ended = |seen: &Seen| now >= seen.changed + ENDED_AFTER;
        let active = self.0.iter().filter_map(|(manager, seen)| {
            let name = installation::name(manager)?;
            (seen.is_known_to_write && !has_ended(seen)).then(|| name.to_owned())
        });
        let (owned, others): (Vec<_>, Vec<_>) = observed
            .writers
            .iter()
            .map(|writer| &writer.manager)
            .partition(|manager| ***manager == *own.field_manager());
        let ended = others.iter().filter(|manager| {
            // An operator without a name is replaced in an upgrade.
            installation::name(manager).is_none() || self.0.get(**manager).is_some_and(has_ended)
        });
        Writers {
            own: own.name().to_owned(),
            active: active.collect(),
            ended: ended.map(|manager| Arc::clone(manager)).collect(),
            own_is_missing: owned.is_empty() && !others.is_empty(),
            is_heartbeat: false,
        }
    }
}

#[cfg(test)]
mod tests;
