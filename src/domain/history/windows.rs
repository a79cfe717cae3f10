//! The restarts and flaps of one container within a window, and the time until which a limit on them is reached.

use jiff::{SignedDuration, Timestamp};

use super::{super::time::later, ContainerHistory, DOWN_WINDOWS, LONG_RUN, Restart};

impl ContainerHistory {
    /// The time until which at least `count` observed restarts are within `window`, if no restart follows. `None` if
    /// there are fewer than `count`.
    pub fn frequent_restarts_until(
        &self,
        count: u32,
        window: SignedDuration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        limit_reached_until(self.newest_restarts(), count, window, now)
    }

    /// Like [`Self::frequent_restarts_until`], but within [`DOWN_WINDOWS`] windows. In back-off, the restarts before the first
    /// observation count too, at the end of the last run, if that run was not long.
    pub fn frequent_restarts_while_down_until(
        &self,
        count: u32,
        window: SignedDuration,
        now: Timestamp,
        is_in_back_off: bool,
    ) -> Option<Timestamp> {
        let prior = self
            .prior
            .filter(|prior| is_in_back_off && prior.run < LONG_RUN)
            .map(|prior| (prior.at, prior.count));
        let windows = window.saturating_mul(DOWN_WINDOWS);
        limit_reached_until(self.newest_restarts().chain(prior), count, windows, now)
    }

    /// The time until which the container fails regularly: at least `count` observed restarts after long runs are within
    /// `window`. It ends when no such restart has followed for twice the longest time between them.
    pub fn slow_restarts_until(
        &self,
        count: u32,
        window: SignedDuration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let slow = self.slow_restarts();
        let newest = slow.iter().rev().map(|at| (*at, 1));
        let leaves = limit_reached_until(newest, count, window, now)?;
        let counted = slow
            .iter()
            .rev()
            .take(usize::try_from(count).unwrap_or(usize::MAX));
        let times: Vec<Timestamp> = counted.copied().collect();
        let gaps = times.windows(2).filter_map(|pair| match pair {
            [later, earlier] => Some(later.duration_since(*earlier)),
            _ => None,
        });
        let last = times.first().copied()?;
        let until = match gaps.max() {
            Some(longest) => leaves.min(later(last, longest.saturating_mul(2))),
            None => leaves,
        };
        (until > now).then_some(until)
    }

    /// The number of observed restarts after long runs within `window` before `now`.
    pub fn slow_restarts_within(&self, window: SignedDuration, now: Timestamp) -> usize {
        let slow = self.slow_restarts();
        slow.iter().filter(|at| later(**at, window) > now).count()
    }

    /// The restarts after long runs, oldest first: a run lasts at most from the restart before it to its own end.
    fn slow_restarts(&self) -> Vec<Timestamp> {
        let mut before: Option<&Restart> = None;
        let mut slow = Vec::new();
        for restart in &self.restarts {
            let is_long = before.is_none_or(|before| {
                let run = restart.at.duration_since(before.at);
                !before.after && run >= LONG_RUN
            });
            before = Some(restart);
            if is_long && !restart.after {
                slow.push(restart.at);
            }
        }
        slow
    }

    /// The number of observed restarts within `window` before `now`.
    pub fn restarts_within(&self, window: SignedDuration, now: Timestamp) -> u32 {
        self.restarts
            .iter()
            .filter(|restart| later(restart.at, window) > now)
            .map(|restart| restart.count)
            .sum()
    }

    fn newest_restarts(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        self.restarts
            .iter()
            .rev()
            .map(|restart| (restart.at, restart.count))
    }

    /// The time until which at least `count` flaps are within `window`, if no flap follows. `None` if there are fewer
    /// than `count`.
    pub fn frequent_flaps_until(
        &self,
        count: u32,
        window: SignedDuration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        limit_reached_until(
            self.flaps.iter().rev().map(|flap| (flap.at, 1)),
            count,
            window,
            now,
        )
    }

    /// The time since which a container that runs and is not ready was seen unready, if it was ready before in the same run.
    pub fn unready_since(&self) -> Option<Timestamp> {
        let restarted = self.restarts.back().map(|restart| restart.at);
        let flap = self.flaps.back()?;
        restarted.is_none_or(|at| at < flap.at).then_some(flap.at)
    }

    /// The number of flaps within `window` before `now`.
    pub fn flaps_within(&self, window: SignedDuration, now: Timestamp) -> usize {
        self.flaps
            .iter()
            .filter(|flap| later(flap.at, window) > now)
            .count()
    }
}

/// Adds up the entries, newest first, until their sum is `count`. Returns the time at which the last added entry leaves
/// the window. `None` if the sum within the window is less than `count`.
fn limit_reached_until(
    newest: impl Iterator<Item = (Timestamp, u32)>,
    count: u32,
    window: SignedDuration,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut sum = 0u32;
    for (at, n) in newest {
        let leaves = later(at, window);
        if leaves <= now {
            return None;
        }
        sum = sum.saturating_add(n);
        if sum >= count {
            return Some(leaves);
        }
    }
    None
}
