//! The faults of a run. The plan is drawn before the changes of the Pods, which depend on it.

use testkit::rng::Rng;

/// The second at which the faults end.
pub(crate) const FAULTS_END: i64 = 1500;
/// A change of the last so many seconds may not be in a status yet, even if no write fails: the operator writes a status
/// once in ten seconds, and a violation ends after its `keepFiringFor`.
const STATUS_DELAY: i64 = 70;
/// The number of seconds for which deadlines wait for the events of the watch after a stall.
const LATE_WAKE: i64 = 3;
/// A period without faults, so that policies are edited while both runs know the same.
const EDIT_PERIOD: i64 = 400;

/// A period in which the operator does not see the Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) begin: i64,
    /// The second at which the API server is reachable again.
    pub(crate) reachable: i64,
    /// The second at which the operator has certainly caught up.
    pub(crate) end: i64,
    pub(crate) kind: GapKind,
}

/// The way in which a gap begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapKind {
    /// The watch breaks and resumes: no event is missed.
    Resumed,
    /// The watch breaks, and a list replaces it.
    Relisted {
        /// The first list fails.
        twice: bool,
    },
    /// The operator ends, and another one starts.
    Restarted {
        /// SIGTERM, not SIGKILL.
        graceful: bool,
    },
}

impl GapKind {
    /// Whether only the last version of each object is seen.
    pub(crate) fn skips_versions(self) -> bool {
        self != Self::Resumed
    }
}

/// All faults of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) gaps: Vec<Gap>,
    /// The process stalls, with its timers.
    pub(crate) stalls: Vec<(i64, i64)>,
    /// Periods of failing writes.
    pub(crate) failing_writes: Vec<(i64, i64)>,
    /// The seconds at which policies are edited.
    pub(crate) edits: Vec<i64>,
    /// Whether the operator restarts in this run.
    pub(crate) restarts: bool,
}

impl Plan {
    /// Draws a plan in which a gap lasts up to `reconnect_limit` seconds longer than the outage.
    pub(crate) fn new(rng: &mut Rng, reconnect_limit: i64) -> Self {
        let restarts = rng.chance(50);
        let (mut gaps, mut stalls, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        let lull_after = rng.between(1, 4);
        let mut at = 20 + rng.between(0, 100);
        for n in 0.. {
            if n == lull_after {
                at += EDIT_PERIOD;
                edits = vec![at - 120, at - 80, at - 45];
            }
            let mut length = rng.between(10, 80);
            if at + length + reconnect_limit > FAULTS_END {
                break;
            }
            if rng.chance(20) {
                stalls.push((at, at + length));
            } else {
                let kind = match rng.below(if restarts { 6 } else { 3 }) {
                    0 => GapKind::Resumed,
                    1 => GapKind::Relisted { twice: false },
                    2 => GapKind::Relisted { twice: true },
                    n => GapKind::Restarted { graceful: n == 3 },
                };
                let reachable = at + length;
                if !matches!(kind, GapKind::Restarted { .. }) {
                    length += reconnect_limit;
                }
                gaps.push(Gap {
                    begin: at,
                    reachable,
                    end: at + length,
                    kind,
                });
            }
            at += length + rng.between(60, 200);
        }
        edits.retain(|at| *at < FAULTS_END - 20);
        let mut failing_writes = Vec::new();
        let mut at = rng.between(0, 200);
        while at < FAULTS_END - 10 {
            let end = (at + rng.between(5, 200)).min(FAULTS_END);
            failing_writes.push((at, end));
            at = end + rng.between(50, 400);
        }
        let mut plan = Self {
            gaps,
            stalls,
            failing_writes,
            edits,
            restarts,
        };
        if rng.chance(70) {
            plan.repair_writes_before_restarts();
        }
        plan
    }

    /// Removes the failing writes before each restart, so that the operator loses nothing.
    fn repair_writes_before_restarts(&mut self) {
        let restarts = self
            .gaps
            .iter()
            .filter(|gap| matches!(gap.kind, GapKind::Restarted { .. }));
        let before: Vec<(i64, i64)> = restarts.map(|gap| (gap.begin - 90, gap.begin)).collect();
        self.failing_writes
            .retain(|(begin, end)| before.iter().all(|(from, to)| end < from || begin > to));
    }

    /// The gap that contains this moment.
    pub(crate) fn gap(&self, at: i64) -> Option<Gap> {
        self.gaps
            .iter()
            .copied()
            .find(|gap| (gap.begin..=gap.end).contains(&at))
    }

    /// The stalls, each with the time for which deadlines wait afterwards.
    pub(crate) fn late_wakes(&self) -> impl Iterator<Item = (i64, i64)> {
        self.stalls.iter().map(|(begin, end)| (*begin, end + LATE_WAKE))
    }

    /// The end of the late wake that contains this moment.
    pub(crate) fn late_wake(&self, at: i64) -> Option<i64> {
        let mut late_wakes = self.late_wakes();
        late_wakes
            .find(|(begin, end)| (*begin..=*end).contains(&at))
            .map(|(_, end)| end)
    }

    /// Whether writes fail at this moment.
    pub(crate) fn writes_fail(&self, at: i64) -> bool {
        self.failing_writes
            .iter()
            .any(|(begin, end)| (*begin..*end).contains(&at))
    }

    /// The moment since which the writes of an operator that ends at `end` may be missing.
    pub(crate) fn unwritten_since(&self, end: i64) -> i64 {
        let failing_writes = self
            .failing_writes
            .iter()
            .filter(|(begin, until)| *begin <= end && *until >= end - 90);
        failing_writes.map(|(begin, _)| *begin).min().unwrap_or(end) - STATUS_DELAY
    }
}
