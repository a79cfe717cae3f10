//! The exemptions of each namespace, and which violations they cover.
//!
//! A violation that is covered has [`Tracked::exempt`]. The Pod is evaluated again when an exemption changes, and at the end
//! of the exemption: that time is one of the Pod's deadlines, so an exemption needs no deadline of its own. A violation of
//! a held Pod does not change until the end of the hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    pods::{PodId, Selected},
    watches::{Scope, covers},
    work::Work,
};
use crate::domain::{
    effects::{Change, Effects},
    exemption::{Exemption, MAX_EXEMPTIONS_PER_NAMESPACE},
    observation::Observation,
    policy::{Check, PolicyKind},
    tracker::{Changed, Tracked, keep_earliest},
};

/// The exemptions by namespace, the oldest first. Those that have ended count for the limit until they are deleted, so that
/// the passing of time only ends exemptions and never begins one.
#[derive(Debug, Default)]
pub(super) struct Exemptions {
    by_namespace: HashMap<Arc<str>, BTreeMap<Rank, Exemption>>,
    /// The exemptions in the current lists, by namespace and name.
    seen: BTreeMap<Scope, HashSet<Name>>,
}

/// The namespace and the name of an exemption.
type Name = (Arc<str>, Arc<str>);

/// The time of the creation, and the name.
type Rank = (Timestamp, Arc<str>);

/// What [`Exemptions::mark`] has found.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// A violation is exempt now and was not before, or the reverse.
    pub(super) is_changed: bool,
    /// The checks whose violations fire, are no longer exempt, and were never counted.
    pub(super) spoke: Vec<Check>,
    /// The next time at which an exemption of these violations ends.
    pub(super) next: Option<Timestamp>,
}

impl Exemptions {
    /// The exemptions of a Pod's namespace that have an effect at `now` and select the Pod.
    fn of<'a>(&'a self, pod: &'a Observation, now: Timestamp) -> impl Iterator<Item = &'a Exemption> {
        let of_namespace = self.by_namespace.get(&pod.namespace).into_iter();
        let honoured = of_namespace.flat_map(|of| of.values().take(MAX_EXEMPTIONS_PER_NAMESPACE));
        honoured.filter(move |exemption| now < exemption.until && exemption.selects(pod))
    }

    /// Whether an exemption has an effect on a Pod at `now`.
    fn select(&self, pod: &Observation, now: Timestamp) -> bool {
        self.of(pod, now).next().is_some()
    }

    /// Sets [`Tracked::exempt`] of the violations of a Pod under a policy, also in the copies in `changed`. A violation that is
    /// no longer exempt forgets its Event, so that it is announced again.
    pub(super) fn mark(
        &self,
        kind: PolicyKind,
        pod: &Observation,
        (tracked, changed): (&mut [Tracked], &mut [Changed]),
        now: Timestamp,
    ) -> Marked {
        let mut marked = Marked::default();
        if tracked.is_empty() {
            return marked;
        }
        let exemptions: Vec<&Exemption> = self.of(pod, now).collect();
        for violation in tracked.iter_mut() {
            let container = pod.shape.containers.get(usize::from(violation.container));
            let container = container.map_or("", |container| &*container.name);
            let covering = exemptions
                .iter()
                .filter(|exemption| exemption.covers(kind, container, violation.check));
            let until = covering.map(|exemption| exemption.until).max();
            if let Some(until) = until {
                keep_earliest(&mut marked.next, until, now);
            }
            let was_exempt = std::mem::replace(&mut violation.exempt, until.is_some());
            marked.is_changed |= was_exempt != violation.exempt;
            let copy = changed.iter_mut().find(|(copy, change)| {
                matches!(change, Change::Pending | Change::Firing)
                    && (copy.container, copy.check) == (violation.container, violation.check)
            });
            if let Some((copy, _)) = copy {
                copy.exempt = violation.exempt;
                if violation.exempt {
                    violation.counted = copy.counted;
                }
            }
            if was_exempt && !violation.exempt {
                violation.event = None;
                if violation.is_firing() && !std::mem::replace(&mut violation.counted, true) {
                    marked.spoke.push(violation.check);
                }
            }
        }
        marked
    }
}

impl Index {
    /// Applies a version of an exemption. Returns early if nothing has changed, for example after a write of the status.
    pub fn apply_exemption(&mut self, exemption: Exemption, now: Timestamp) -> Effects {
        let namespace = Arc::clone(&exemption.namespace);
        for (scope, seen) in &mut self.exemptions.seen {
            if covers(scope, &namespace) {
                seen.insert((Arc::clone(&namespace), Arc::clone(&exemption.name)));
            }
        }
        let of_namespace = self
            .exemptions
            .by_namespace
            .entry(Arc::clone(&namespace))
            .or_default();
        if of_namespace.values().any(|known| *known == exemption) {
            return Effects::default();
        }
        of_namespace.retain(|(_, name), _| *name != exemption.name);
        of_namespace.insert((exemption.created, Arc::clone(&exemption.name)), exemption);
        self.examine_exemptions(namespace, now)
    }

    /// Removes an exemption. The violations that it covered and that still fire are announced.
    pub fn delete_exemption(&mut self, namespace: &str, name: &str, now: Timestamp) -> Effects {
        let Some((namespace, mut of_namespace)) = self.exemptions.by_namespace.remove_entry(namespace) else {
            return Effects::default();
        };
        of_namespace.retain(|(_, known), _| **known != *name);
        if !of_namespace.is_empty() {
            self.exemptions
                .by_namespace
                .insert(Arc::clone(&namespace), of_namespace);
        }
        self.examine_exemptions(namespace, now)
    }

    /// Starts a list of exemptions.
    pub fn begin_exemption_resync(&mut self, scope: &Scope) {
        self.exemptions.seen.insert(scope.clone(), HashSet::new());
    }

    /// Completes a list of exemptions. Those that it does not contain have been deleted.
    pub fn finish_exemption_resync(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let Some(seen) = self.exemptions.seen.remove(scope) else {
            return effects;
        };
        let known = self.exemptions.by_namespace.iter();
        let known = known.filter(|(namespace, _)| covers(scope, namespace));
        let gone: BTreeSet<Name> = known
            .flat_map(|(namespace, of)| of.keys().map(|(_, name)| (namespace.clone(), name.clone())))
            .filter(|exemption| !seen.contains(exemption))
            .collect();
        for (namespace, name) in &gone {
            effects.append(self.delete_exemption(namespace, name, now));
        }
        effects
    }

    fn examine_exemptions(&mut self, namespace: Arc<str>, now: Timestamp) -> Effects {
        let now = self.advance_time(now);
        self.work.push(Work::Exemptions(namespace));
        self.work(now)
    }

    /// Evaluates a Pod again if its violations are exempt, or can be. Returns the number of units of work.
    pub(super) fn examine_exempt(&mut self, id: PodId, now: Timestamp, effects: &mut Effects) -> usize {
        let Some(pod) = self.pods.get(&id).filter(|pod| pod.findings.is_some()) else {
            return 1;
        };
        let is_selected = self.exemptions.select(&pod.observation, now);
        let concerned = pod
            .all_tracked()
            .filter(|(_, tracked)| is_selected || tracked.iter().any(|violation| violation.exempt));
        let policies: Vec<_> = concerned.map(|(policy, _)| policy).collect();
        for policy in &policies {
            self.reevaluate_live(id, Selected::Only(*policy), now, effects);
        }
        1 + policies.len()
    }
}
