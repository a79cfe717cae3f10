//! The state machine of one Pod's violations under one policy: inactive, pending since the onset, firing once the fault has
//! lasted long enough, and inactive again once the fault has been gone for long enough.
//!
//! The input is the faults at one time. The output is the state changes, and the next time at which time alone changes
//! a state. Inactive violations are not stored, so a healthy Pod has an empty list.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    checkpoint::wire,
    checks::{Fault, View, rule},
    effects::Change,
    exemption::ExemptionId,
    history::Observed,
    observation::Observation,
    policy::{Check, Mode},
    rollout::Rollout,
    time::later,
};

/// The state of one violation, pending or firing. The status, the metrics and the log use
/// [`super::violation::Violation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The index of the container in the shape; 0 for a workload.
    pub container: u16,
    /// The failing check.
    pub check: Check,
    /// The time at which the fault began.
    pub onset: Timestamp,
    /// The operator observed the start of the fault. Otherwise the onset is the best estimate from the API.
    pub observed: bool,
    /// The time at which the violation began to fire; `None` while it is pending.
    pub firing_since: Option<Timestamp>,
    /// The time at which the fault ended, while the violation keeps firing.
    pub gone_since: Option<Timestamp>,
    /// The Event of the violation, if it has one.
    pub event: Option<FiringEvent>,
    /// The hash in the name of the Event of the other check about the same fault, if that check has stopped firing.
    pub other_event: Option<u64>,
    /// Whether status, metrics and counts show the violation: it fires, or it has been pending for [`visible_after`].
    pub visible: bool,
    /// The rollout after which the fault began. Boxed, because most violations have none.
    pub rollout: Option<Box<Rollout>>,
    /// Whether `rollout` has been determined.
    pub rollout_known: bool,
    /// The violation has fired before. It is counted once, even if an edit of the policy returns it to pending.
    pub counted: bool,
    /// The exemption that hides the violation: it is not announced.
    pub exempt: Option<ExemptionId>,
}

/// The Event of a firing violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FiringEvent {
    /// The hash in the Event's name.
    #[serde(with = "wire::hash")]
    pub hash: u64,
    /// The number of Events of this name that were written before this episode.
    pub before: u32,
    /// The number of repetitions in this episode.
    pub repeats: u32,
}

/// The shortest time for which a violation is pending before it becomes visible.
const SHORTEST_PENDING: SignedDuration = SignedDuration::from_secs(15);

/// How long a violation is pending before it becomes visible. The start of a healthy Pod takes less time, so that it
/// adds no series and changes no status.
pub fn visible_after(hold_for: SignedDuration) -> SignedDuration {
    (hold_for / 4).max(SHORTEST_PENDING)
}

/// The number of violations that status, metrics and counts show.
pub fn count_visible(tracked: &[Tracked]) -> usize {
    tracked.iter().filter(|violation| violation.is_shown()).count()
}

impl Tracked {
    /// Whether the violation fires.
    pub fn is_firing(&self) -> bool {
        self.firing_since.is_some()
    }

    /// Whether status, metrics and counts show the violation: it is visible and not exempt.
    pub fn is_shown(&self) -> bool {
        self.visible && !self.is_exempt()
    }

    /// Whether an exemption hides the violation.
    pub fn is_exempt(&self) -> bool {
        self.exempt.is_some()
    }

    /// The rollout after which the fault of a container of `pod` began, as [`Rollout::hint`] writes it.
    pub fn rollout_hint(&self, pod: &Observation) -> Option<String> {
        let container = pod.shape.containers.get(usize::from(self.container))?;
        self.rollout.as_ref()?.hint(self.onset, &container.name)
    }

    /// The state change when the fault has been gone for long enough.
    pub(super) fn end_of_fault(&self) -> Change {
        if self.is_firing() {
            Change::Resolved
        } else {
            Change::Cleared
        }
    }

    fn key(&self) -> (u16, Check) {
        (self.container, self.check)
    }

    /// The violation of a new fault. [`Self::fail`] must follow.
    pub(super) fn new(
        (container, check): (u16, Check),
        fault: &Fault,
        now: Timestamp,
        observed: Observed,
    ) -> Self {
        Self {
            container,
            observed: fault.instant || observed == Observed::Live,
            ..Self::since(check, onset(fault, now, observed))
        }
    }

    /// A violation of the first container, or of a workload, whose fault began at this time.
    pub(super) const fn since(check: Check, onset: Timestamp) -> Self {
        Self {
            container: 0,
            check,
            onset,
            observed: true,
            firing_since: None,
            gone_since: None,
            event: None,
            other_event: None,
            visible: false,
            rollout: None,
            rollout_known: false,
            counted: false,
            exempt: None,
        }
    }

    /// Updates a violation whose fault exists at `now`. Returns its state change, and lowers `next` to the next time at
    /// which time alone changes its state.
    pub(super) fn fail(
        &mut self,
        hold_for: SignedDuration,
        is_new: bool,
        now: Timestamp,
        next: &mut Option<Timestamp>,
    ) -> Option<Change> {
        self.gone_since = None;
        let fires_at = later(self.onset, hold_for);
        let visible_at = later(self.onset, visible_after(hold_for)).min(fires_at);
        self.visible = visible_at <= now;
        if fires_at > now {
            keep_earliest(next, fires_at, now);
            keep_earliest(next, visible_at, now);
            // The state follows from the onset alone, so an edit of `for` can return a firing violation to pending.
            (self.firing_since.take().is_some() || is_new).then_some(Change::Pending)
        } else if self.firing_since.is_none() {
            self.firing_since = Some(fires_at);
            Some(Change::Firing)
        } else {
            None
        }
    }
}

/// A violation and its state change.
pub type Changed = (Tracked, Change);

/// Ends all violations without a recovery.
pub fn end_all(tracked: &mut Vec<Tracked>) -> Vec<Changed> {
    std::mem::take(tracked)
        .into_iter()
        .map(|violation| (violation, Change::Ended))
        .collect()
}

/// Ends the violations that the policy no longer covers: the container has another role, or the check is off.
pub fn end_uncovered(tracked: &mut Vec<Tracked>, view: &View<'_>) -> Vec<Changed> {
    tracked
        .extract_if(.., |violation| {
            view.policy.mode_of(violation.check) == Mode::Off
                || !rule(violation.check).covers(view, usize::from(violation.container))
        })
        .map(|violation| (violation, Change::Ended))
        .collect()
}

/// Updates the violations of one Pod under one policy to `view.now`. Returns the state changes and the next time at
/// which time alone changes a state.
pub fn advance(
    tracked: &mut Vec<Tracked>,
    view: &View<'_>,
    observed: Observed,
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
            advance_failing(tracked, check, fault, (view, observed), &mut changed, &mut next);
        }
        let keep = rule(check).keep_firing_for(view);
        let is_gone = |violation: &Tracked| {
            violation.check == check
                && !faults
                    .iter()
                    .any(|fault| fault.container_idx == usize::from(violation.container))
        };
        for violation in tracked
            .iter_mut()
            .filter(|violation| violation.is_firing() && is_gone(violation))
        {
            let gone = *violation.gone_since.get_or_insert(view.now);
            keep_earliest(&mut next, later(gone, keep), view.now);
        }
        let ends = |violation: &mut Tracked| {
            is_gone(violation)
                && (!violation.is_firing()
                    || violation
                        .gone_since
                        .is_some_and(|gone| later(gone, keep) <= view.now))
        };
        let ended = tracked.extract_if(.., ends);
        changed.extend(ended.map(|violation| {
            let change = violation.end_of_fault();
            (violation, change)
        }));
    }
    (changed, next)
}

fn advance_failing(
    tracked: &mut Vec<Tracked>,
    check: Check,
    fault: &Fault,
    (view, observed): (&View<'_>, Observed),
    changed: &mut Vec<Changed>,
    next: &mut Option<Timestamp>,
) {
    let Ok(container) = u16::try_from(fault.container_idx) else {
        return;
    };
    let (position, is_new) = match tracked.binary_search_by_key(&(container, check), Tracked::key) {
        Ok(position) => (position, false),
        Err(position) => {
            tracked.insert(
                position,
                Tracked::new((container, check), fault, view.now, observed),
            );
            (position, true)
        }
    };
    let Some(violation) = tracked.get_mut(position) else {
        return;
    };
    let hold_for = rule(check).hold_for(view, fault.container_idx);
    if let Some(change) = violation.fail(hold_for, is_new, view.now, next) {
        changed.push((violation.clone(), change));
        violation.counted |= violation.is_firing();
    }
    if let Some(until) = fault.until {
        keep_earliest(next, until, view.now);
    }
}

/// The onset of a new fault.
fn onset(fault: &Fault, now: Timestamp, observed: Observed) -> Timestamp {
    let shown = fault.since.unwrap_or(now).min(now);
    let onset = match observed {
        _ if fault.instant => shown,
        Observed::Live => later(now, -fault.lasted),
        Observed::AfterGap(last_synced) => {
            // The fault was absent at the last sync, so the earliest onset after that is exact.
            let earliest = fault.earliest.filter(|earliest| *earliest > last_synced);
            earliest.unwrap_or(shown).max(last_synced).min(now)
        }
        Observed::Initial => shown,
    };
    fault.not_before.map_or(onset, |not_before| onset.max(not_before))
}

/// Sets `next` to the earlier of `next` and `at`. Ignores an `at` that is not after `now`: a passed deadline must not
/// replace a later one.
pub fn keep_earliest(next: &mut Option<Timestamp>, at: Timestamp, now: Timestamp) {
    if at > now {
        *next = Some(next.map_or(at, |next| next.min(at)));
    }
}
