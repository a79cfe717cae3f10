//! What goes wrong when. Drawn before the Pods' history, which has to know when nobody looks.

use testkit::rng::Rng;

/// The faults end here.
pub(crate) const CALM: i64 = 1500;
/// What happened so long before may not be in a status yet, though writes get through: a policy is written once in ten
/// seconds, and what ends is over only after its `keepFiringFor`.
pub(crate) const UNWRITTEN: i64 = 70;
/// How long no fault comes, so that a policy can be edited while both runs know the same.
const LULL: i64 = 400;

/// A time in which the operator does not see the Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blind {
    pub(crate) begin: i64,
    /// When the API server can be reached again.
    pub(crate) heal: i64,
    /// When the operator surely sees again.
    pub(crate) end: i64,
    pub(crate) kind: Kind,
}

/// How it comes and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The watch breaks and goes on where it was: nothing that happened meanwhile is missed.
    Resumed,
    /// The watch breaks and a list takes its place; `twice` when that is begun twice.
    Relisted {
        /// A first list breaks off.
        twice: bool,
    },
    /// The operator ends and another starts.
    Restarted {
        /// It was told to, and wrote what was left.
        graceful: bool,
    },
}

impl Kind {
    /// Only the last version of what happened meanwhile is ever seen.
    pub(crate) fn skips_versions(self) -> bool {
        self != Self::Resumed
    }
}

/// Everything that goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) blinds: Vec<Blind>,
    /// The process stands still, timers and all: it wakes too late.
    pub(crate) stalls: Vec<(i64, i64)>,
    /// The API server does not take writes as it should.
    pub(crate) ill: Vec<(i64, i64)>,
    /// When policies are edited.
    pub(crate) edits: Vec<i64>,
    /// The operator restarts in this story.
    pub(crate) restarts: bool,
}

impl Plan {
    /// Draws a plan in which the operator sees again at most `slack` seconds after it could.
    pub(crate) fn new(rng: &mut Rng, slack: i64) -> Self {
        let restarts = rng.chance(50);
        let (mut blinds, mut stalls, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        let lull_after = rng.between(1, 4);
        let mut at = 20 + rng.between(0, 100);
        for n in 0.. {
            if n == lull_after {
                at += LULL;
                edits = vec![at - 120, at - 80, at - 45];
            }
            let mut length = rng.between(10, 80);
            if at + length + slack > CALM {
                break;
            }
            if rng.chance(20) {
                stalls.push((at, at + length));
            } else {
                let kind = match rng.below(if restarts { 6 } else { 3 }) {
                    0 => Kind::Resumed,
                    1 => Kind::Relisted { twice: false },
                    2 => Kind::Relisted { twice: true },
                    n => Kind::Restarted { graceful: n == 3 },
                };
                let heal = at + length;
                if !matches!(kind, Kind::Restarted { .. }) {
                    length += slack;
                }
                blinds.push(Blind {
                    begin: at,
                    heal,
                    end: at + length,
                    kind,
                });
            }
            at += length + rng.between(60, 200);
        }
        edits.retain(|at| *at < CALM - 20);
        let mut ill = Vec::new();
        let mut at = rng.between(0, 200);
        while at < CALM - 10 {
            let end = (at + rng.between(5, 200)).min(CALM);
            ill.push((at, end));
            at = end + rng.between(50, 400);
        }
        let mut plan = Self {
            blinds,
            stalls,
            ill,
            edits,
            restarts,
        };
        if rng.chance(70) {
            plan.heal_before_restarts();
        }
        plan
    }

    /// Lets the API server take writes for a while before each restart, so that nothing is lost on the way.
    fn heal_before_restarts(&mut self) {
        let restarts = self
            .blinds
            .iter()
            .filter(|blind| matches!(blind.kind, Kind::Restarted { .. }));
        let before: Vec<(i64, i64)> = restarts.map(|blind| (blind.begin - 90, blind.begin)).collect();
        self.ill
            .retain(|(begin, end)| before.iter().all(|(from, to)| end < from || begin > to));
    }

    /// The time of blindness that holds this moment.
    pub(crate) fn blind(&self, at: i64) -> Option<Blind> {
        self.blinds
            .iter()
            .copied()
            .find(|blind| (blind.begin..=blind.end).contains(&at))
    }

    /// Whether writes fail at this moment.
    pub(crate) fn is_ill(&self, at: i64) -> bool {
        self.ill.iter().any(|(begin, end)| (*begin..*end).contains(&at))
    }

    /// Since when writes may not have reached the API server when the operator ended at `end`: not all that happened
    /// shortly before is known to its successor.
    pub(crate) fn unwritten_since(&self, end: i64) -> i64 {
        let ill = self
            .ill
            .iter()
            .filter(|(begin, until)| *begin <= end && *until >= end - 90);
        ill.map(|(begin, _)| *begin).min().unwrap_or(end) - UNWRITTEN
    }
}
