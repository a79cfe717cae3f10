//! The state machine of one Pod's violations under one policy: inactive, pending since its onset, firing once the
//! fault has lasted, and inactive again once the fault has been gone for long enough.
//!
//! In: the faults of one moment. Out: what changed, and when to look again. A violation that is not in the list is
//! inactive, so a healthy Pod keeps nothing here.

use jiff::{SignedDuration, Timestamp};

use super::{
    checks::{Fault, View, rule},
    effects::Change,
    history::Observed,
    policy::{Check, Mode},
    time::later,
};

/// One violation, pending or firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The container's place in the shape.
    pub container: u16,
    /// The failing check.
    pub check: Check,
    /// Since when the fault is there.
    pub onset: Timestamp,
    /// Since when it fires; `None` while pending.
    pub firing_since: Option<Timestamp>,
    /// Since when the fault is gone while the violation goes on firing.
    pub gone_since: Option<Timestamp>,
    /// The Event that told of it, if one did.
    pub announced: Option<Announced>,
    /// It fired before, and counts as one violation however often a policy's edit sends it back to pending.
    pub counted: bool,
}

/// The Event of a firing violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The hash in the Event's name.
    pub hash: u64,
    /// How often an Event of this name was written before this episode.
    pub before: u32,
    /// How often this episode has been repeated.
    pub repeats: u32,
}

impl Tracked {
    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        self.firing_since.is_some()
    }

    fn key(&self) -> (u16, Check) {
        (self.container, self.check)
    }
}

/// What changed, and with which violation.
pub type Changed = (Tracked, Change);

/// Drops every violation without a recovery.
pub fn end_all(tracked: &mut Vec<Tracked>) -> Vec<Changed> {
    std::mem::take(tracked)
        .into_iter()
        .map(|violation| (violation, Change::Ended))
        .collect()
}

/// Drops the violations that the policy no longer covers: the container has another role, or the check is off.
pub fn end_uncovered(tracked: &mut Vec<Tracked>, view: &View<'_>) -> Vec<Changed> {
    tracked
        .extract_if(.., |violation| {
            view.policy.mode_of(violation.check) == Mode::Off
                || !rule(violation.check).covers(view, usize::from(violation.container))
        })
        .map(|violation| (violation, Change::Ended))
        .collect()
}

/// Brings the violations of one Pod under one policy up to `view.now`, and says when to do so again.
pub fn advance(
    tracked: &mut Vec<Tracked>,
    view: &View<'_>,
    look: Observed,
) -> (Vec<Changed>, Option<Timestamp>) {
    let mut changed = Vec::new();
    let mut next = None;
    let mut faults = Vec::new();
    for check in Check::ALL {
        if view.policy.mode_of(check) == Mode::Off {
            continue;
        }
        faults.clear();
        rule(check).find(view, &mut faults);
        for fault in &faults {
            advance_failing(tracked, check, fault, (view, look), &mut changed, &mut next);
        }
        let keep = rule(check).keep_firing_for(view);
        let is_gone = |violation: &Tracked| {
            violation.check == check
                && !faults
                    .iter()
                    .any(|f| f.container == usize::from(violation.container))
        };
        for violation in tracked
            .iter_mut()
            .filter(|violation| violation.is_firing() && is_gone(violation))
        {
            let gone = *violation.gone_since.get_or_insert(view.now);
            sooner(&mut next, later(gone, keep), view.now);
        }
        let ends = |violation: &mut Tracked| {
            is_gone(violation)
                && (!violation.is_firing()
                    || violation
                        .gone_since
                        .is_some_and(|gone| later(gone, keep) <= view.now))
        };
        changed.extend(tracked.extract_if(.., ends).map(|violation| {
            let change = if violation.is_firing() {
                Change::Resolved
            } else {
                Change::Cleared
            };
            (violation, change)
        }));
    }
    (changed, next)
}

fn advance_failing(
    tracked: &mut Vec<Tracked>,
    check: Check,
    fault: &Fault,
    (view, look): (&View<'_>, Observed),
    changed: &mut Vec<Changed>,
    next: &mut Option<Timestamp>,
) {
    let Ok(container) = u16::try_from(fault.container) else {
        return;
    };
    let (at, is_new) = match tracked.binary_search_by_key(&(container, check), Tracked::key) {
        Ok(at) => (at, false),
        Err(at) => {
            let onset = onset(fault, view.now, look);
            let violation = Tracked {
                container,
                check,
                onset,
                firing_since: None,
                gone_since: None,
                announced: None,
                counted: false,
            };
            tracked.insert(at, violation);
            (at, true)
        }
    };
    let Some(violation) = tracked.get_mut(at) else {
        return;
    };
    violation.gone_since = None;
    let fires_at = later(violation.onset, hold_for(view, check, fault.container));
    if fires_at > view.now {
        // An edit of `for` may send a firing violation back: what it is follows from its onset alone.
        if violation.firing_since.take().is_some() || is_new {
            changed.push((violation.clone(), Change::Pending));
        }
        sooner(next, fires_at, view.now);
    } else if violation.firing_since.is_none() {
        violation.firing_since = Some(fires_at);
        changed.push((violation.clone(), Change::Firing));
        violation.counted = true;
    }
    if let Some(until) = fault.until {
        sooner(next, until, view.now);
    }
}

fn hold_for(view: &View<'_>, check: Check, container: usize) -> SignedDuration {
    rule(check).hold_for(view, container)
}

/// Since when a fault that we now see first is there.
fn onset(fault: &Fault, now: Timestamp, look: Observed) -> Timestamp {
    let known = fault.since.unwrap_or(now).min(now);
    match look {
        _ if fault.instant => known,
        Observed::Live => now,
        Observed::AfterGap(last_synced) => known.max(last_synced).min(now),
        Observed::Initial => known,
    }
}

/// Keeps the earlier of two deadlines. One that is not after `now` has been acted on already, and must not hide a later
/// one.
pub fn sooner(next: &mut Option<Timestamp>, at: Timestamp, now: Timestamp) {
    if at > now {
        *next = Some(next.map_or(at, |next| next.min(at)));
    }
}
