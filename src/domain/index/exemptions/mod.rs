//! The exemptions of each namespace, and which violations they cover.
//!
//! A violation that is covered has [`Tracked::exempt`]. The Pod is evaluated again when an exemption changes, and at the end
//! of the exemption, which is one of the Pod's deadlines. The exemption has a deadline of its own for its status and its
//! Event. A violation of a held Pod does not change until the end of the hold.
//!
//! The oldest exemptions of each namespace have an effect, up to a limit. Those above it are kept without their spec. When one
//! of them takes a place, the list is read again.

mod apply;
mod first_list;
mod hidden;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use self::hidden::Hidden;
pub use self::views::HidingExemption;
use super::{
    Index,
    pods::{PodId, Selected},
    watches::Scope,
};
use crate::domain::{
    effects::{Change, Effects},
    exemption::{Exemption, ExemptionId, ExemptionKey, MAX_EXEMPTIONS_PER_NAMESPACE, Shown},
    observation::Observation,
    policy::{Check, InvalidSpec, PolicyKey},
    time::later,
    tracker::{Changed, Tracked, keep_earliest},
};

/// The exemptions. Those that have ended count for the limit until they are deleted, so that the passing of time only ends
/// exemptions and never begins one.
#[derive(Debug)]
pub(super) struct Exemptions {
    entries: BTreeMap<ExemptionId, Box<Entry>>,
    ids: HashMap<ExemptionKey, ExemptionId>,
    /// The exemptions of each namespace, the oldest first.
    by_namespace: HashMap<Arc<str>, BTreeMap<Rank, ExemptionId>>,
    /// The number of the next exemption.
    next_id: NonZeroU32,
    /// The ends of the exemptions that have an effect.
    ends: BTreeSet<(Timestamp, ExemptionId)>,
    /// The exemptions whose hidden violations may have changed in this step.
    touched: BTreeSet<ExemptionId>,
    /// The exemptions in the current lists.
    seen: BTreeMap<Scope, HashSet<ExemptionKey>>,
    /// The scopes whose first list is not complete, with the time at which their Pods do not wait for it any more. `None`
    /// before the first list of Pods is complete.
    awaited: BTreeMap<Scope, Option<Timestamp>>,
    /// The time at which the list has to be read again, if an exemption without its spec has taken a place.
    relist: Option<Timestamp>,
    last_relist: Timestamp,
}

impl Default for Exemptions {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            ids: HashMap::new(),
            by_namespace: HashMap::new(),
            next_id: NonZeroU32::MIN,
            ends: BTreeSet::new(),
            touched: BTreeSet::new(),
            seen: BTreeMap::new(),
            awaited: BTreeMap::new(),
            relist: None,
            last_relist: Timestamp::MIN,
        }
    }
}

/// An exemption.
#[derive(Debug)]
struct Entry {
    key: ExemptionKey,
    uid: Arc<str>,
    created: Timestamp,
    generation: i64,
    shown: Shown,
    /// The spec; `None` above the limit, and if it is invalid.
    spec: Option<Exemption>,
    /// The error in the spec.
    invalid: Option<InvalidSpec>,
    /// The time is over.
    ended: bool,
    /// The firing violations that it hides.
    hidden: BTreeSet<Hidden>,
    /// The policy of the first violation that it has hidden. Then its Event is written.
    began: Option<PolicyKey>,
}

impl Entry {
    fn rank(&self) -> Rank {
        (self.created, Arc::clone(&self.key.name))
    }

    /// The time until which the exemption hides violations of a policy that allows exemptions for `exempt_for`.
    fn end(&self, exemption: &Exemption, exempt_for: SignedDuration) -> Timestamp {
        later(self.created, exempt_for).min(exemption.until)
    }
}

/// The time of the creation, and the name.
type Rank = (Timestamp, Arc<str>);

/// What [`Exemptions::mark`] has found.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// A violation is exempt now and was not before, or the reverse.
    pub(super) is_changed: bool,
    /// The checks whose violations fire, are no longer exempt, and were never counted.
    pub(super) announced: Vec<Check>,
    /// The next time at which an exemption of these violations ends.
    pub(super) next: Option<Timestamp>,
}

impl Exemptions {
    /// The exemptions of a Pod's namespace that have an effect at `now` and select the Pod, the oldest first.
    fn of<'a>(
        &'a self,
        pod: &'a Observation,
        now: Timestamp,
    ) -> impl Iterator<Item = (ExemptionId, &'a Entry, &'a Exemption)> {
        let honoured = self.honoured(&pod.namespace);
        let entries = honoured.filter_map(|id| Some((id, self.entries.get(&id)?)));
        entries
            .filter_map(|(id, entry)| Some((id, &**entry, entry.spec.as_ref()?)))
            .filter(move |(_, _, exemption)| now < exemption.until && exemption.selects(pod))
    }

    /// The exemptions of a namespace within the limit.
    fn honoured(&self, namespace: &str) -> impl Iterator<Item = ExemptionId> {
        let of_namespace = self.by_namespace.get(namespace).into_iter();
        of_namespace.flat_map(|of| of.values().take(MAX_EXEMPTIONS_PER_NAMESPACE).copied())
    }

    /// Whether an exemption has an effect on a Pod at `now`.
    fn select(&self, pod: &Observation, now: Timestamp) -> bool {
        self.of(pod, now).next().is_some()
    }

    /// Sets [`Tracked::exempt`] of the violations of a Pod under a policy, also in the copies in `changed`.
    ///
    /// The policy allows exemptions for `exempt_for` after their creation, or not at all. If several exemptions cover a
    /// violation, the one that ends last hides it. A violation that is no longer exempt forgets its Event, so that it is
    /// announced again.
    pub(super) fn mark(
        &self,
        exempt_for: Option<SignedDuration>,
        pod: &Observation,
        (tracked, changed): (&mut [Tracked], &mut [Changed]),
        now: Timestamp,
    ) -> Marked {
        let mut marked = Marked::default();
        if tracked.is_empty() {
            return marked;
        }
        let allowed = exempt_for.into_iter().flat_map(|exempt_for| {
            let exemptions = self.of(pod, now);
            exemptions.map(move |(id, entry, exemption)| (id, entry.end(exemption, exempt_for), exemption))
        });
        let exemptions: Vec<(ExemptionId, Timestamp, &Exemption)> =
            allowed.filter(|(_, end, _)| now < *end).collect();
        for violation in tracked.iter_mut() {
            let container = pod.shape.containers.get(usize::from(violation.container));
            let container = container.map_or("", |container| &*container.name);
            let covering = exemptions
                .iter()
                .filter(|(_, _, exemption)| exemption.covers(container, violation.check));
            // If the ends are equal, the oldest exemption hides it.
            let last = covering.rev().max_by_key(|(_, end, _)| *end);
            if let Some((_, end, _)) = last {
                keep_earliest(&mut marked.next, *end, now);
            }
            let before = std::mem::replace(&mut violation.exempt, last.map(|(id, ..)| *id));
            let was_exempt = before.is_some();
            marked.is_changed |= was_exempt != violation.is_exempt();
            let copy = changed.iter_mut().find(|(copy, change)| {
                matches!(change, Change::Pending | Change::Firing)
                    && (copy.container, copy.check) == (violation.container, violation.check)
            });
            if let Some((copy, _)) = copy {
                copy.exempt = violation.exempt;
                if violation.is_exempt() {
                    violation.counted = copy.counted;
                }
            }
            if was_exempt && !violation.is_exempt() {
                violation.event = None;
                if violation.is_firing() && !std::mem::replace(&mut violation.counted, true) {
                    marked.announced.push(violation.check);
                }
            }
        }
        marked
    }

    /// The next time at which [`Index::tick_exemptions`] has work to do.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let end = self.ends.first().map(|(at, _)| *at);
        let waits = self.awaited.values().filter_map(|until| *until);
        end.into_iter().chain(waits).chain(self.relist).min()
    }
}

impl Index {
    /// Evaluates a Pod again if its violations are exempt, or can be. Returns the number of units of work.
    pub(super) fn examine_exempt(&mut self, id: PodId, now: Timestamp, effects: &mut Effects) -> usize {
        let Some(pod) = self.pods.get(&id).filter(|pod| pod.findings.is_some()) else {
            return 1;
        };
        let is_selected = self.exemptions.select(&pod.observation, now);
        let concerned = pod
            .all_tracked()
            .filter(|(_, tracked)| is_selected || tracked.iter().any(Tracked::is_exempt));
        let policies: Vec<_> = concerned.map(|(policy, _)| policy).collect();
        for policy in &policies {
            self.reevaluate_live(id, Selected::Only(*policy), now, effects);
        }
        1 + policies.len()
    }
}
