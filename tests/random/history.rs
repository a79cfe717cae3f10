//! The changes of Pods and policies, drawn step by step beside an undisturbed run of them.
//!
//! A change in a gap is one that the API still shows at the end of the gap, or that is lost by design:
//! * The operator observes only the last of several versions of a Pod. So a Pod changes at most once in a gap, and a flap
//!   within a gap is in neither run.
//! * A violation fires longer if the operator observes its end late. Its Pod does not change until that time is over.
//! * A deadline in a gap takes effect at the end of the gap, and only if the fault is still present. So a fault does not end
//!   in a gap that contains its deadline.
//! * The API shows no time of a flap. So no other flap is near one in a gap.
//! * An instantaneous fault (an OOM kill, a restart) happens so late in a gap that it still counts at its end.
//! * Of several restarts in one update, only the last has a time. The others count from the beginning of the gap, or without a
//!   gap from the run before them. So a container restarts once in a gap.
//! * An operator that restarts loses flaps, all restarts but the last, the last valid version of a policy that is now
//!   invalid, and what the process before it did not write.

use std::collections::{BTreeMap, BTreeSet};

use sidewatch::domain::policy::Check;

use testkit::{kubelet::Pod, rng::Rng};

use crate::{
    lifecycle::{Lifecycle, PodFault, Template},
    plan::{FAULTS_END, Gap, GapKind, Plan},
    policies::{EDITS, INVALID, LONG_MEMORY, StoredPolicy, policies},
    reference::Reference,
};

/// The limit of Events of one Pod in a run. The operator's own limit for a Pod is not under test here.
const EVENTS: usize = 14;
/// Longer than every `keepFiringFor` and every window of flaps.
const UNCHANGED: i64 = 150;

/// A change of the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A Pod is created or updated.
    Pod(Pod),
    /// A Pod is deleted.
    PodDeleted(Pod),
    /// The spec of a policy changes.
    Policy(StoredPolicy),
    /// A policy is deleted and created again.
    PolicyRecreated(StoredPolicy, StoredPolicy),
}

/// All changes in order.
pub(crate) struct History {
    pub(crate) changes: Vec<(i64, Change)>,
    /// The undisturbed run, up to the end of the faults.
    pub(crate) reference: Reference,
}

impl History {
    pub(crate) fn new(plan: &Plan, rng: &mut Rng) -> Self {
        let mut generator = Generator {
            plan,
            rng,
            reference: Reference::new(),
            changes: Vec::new(),
            lifecycles: BTreeMap::new(),
            policies: policies(),
            created: 0,
        };
        for policy in generator.policies.clone() {
            generator.record(0, Change::Policy(policy));
        }
        for _ in 0..5 {
            generator.create_pod(1);
        }
        let mut at = 2;
        while at < FAULTS_END {
            at += generator.rng.between(1, 25);
            generator.exclude_counted_pods(at);
            let is_due = plan.edits.iter().any(|edit| (at - 25..at).contains(edit));
            if is_due && plan.gap(at).is_none() {
                generator.edit(at);
            } else if at < FAULTS_END {
                generator.step(at);
            }
        }
        Self {
            changes: generator.changes,
            reference: generator.reference,
        }
    }
}

struct Generator<'a> {
    plan: &'a Plan,
    rng: &'a mut Rng,
    reference: Reference,
    changes: Vec<(i64, Change)>,
    lifecycles: BTreeMap<String, Lifecycle>,
    policies: Vec<StoredPolicy>,
    created: usize,
}

impl Generator<'_> {
    fn record(&mut self, at: i64, change: Change) {
        self.reference.change(at, &change);
        self.changes.push((at, change));
    }

    /// Excludes Pods from changes if their counts decrease in a gap, because the operator observes that late.
    fn exclude_counted_pods(&mut self, at: i64) {
        self.reference.pass(at);
        for gap in self
            .plan
            .gaps
            .iter()
            .filter(|gap| (gap.begin..=gap.end + 30).contains(&at))
        {
            let counted =
                self.reference
                    .pods_with(&[Check::FrequentRestarts, Check::Flapping, Check::OOMKilled]);
            let changed = self.reference.pods_that_changed(gap.begin - 1, at.min(gap.end));
            let counted: BTreeSet<String> = counted.chain(changed).collect();
            let until = gap.end + (gap.end - gap.begin) + LONG_MEMORY;
            for lifecycle in self
                .lifecycles
                .values_mut()
                .filter(|lifecycle| counted.contains(&lifecycle.pod.name))
            {
                lifecycle.unchanged_until = lifecycle.unchanged_until.max(until);
            }
        }
    }

    fn create_pod(&mut self, at: i64) {
        let template = self.rng.pick(&Template::ALL);
        let name = format!(
            "{}-{}",
            if template == Template::Web { "web" } else { "other" },
            self.created
        );
        self.created += 1;
        self.create_pod_as(at, template, &name, &format!("uid-{}", self.created));
    }

    fn create_pod_as(&mut self, at: i64, template: Template, name: &str, uid: &str) {
        let namespace = if self.rng.chance(70) { "pay" } else { "shop" };
        let lifecycle = Lifecycle::new(at, template, Pod::new(namespace, name, at).uid(uid));
        self.record(at, Change::Pod(lifecycle.pod.clone()));
        self.lifecycles.insert(uid.to_owned(), lifecycle);
    }

    /// Changes a Pod, if one may change.
    fn step(&mut self, at: i64) {
        if self
            .plan
            .stalls
            .iter()
            .any(|(begin, end)| (begin - 1..=end + 1).contains(&at))
        {
            return;
        }
        let gap = self.plan.gap(at);
        let at_edge = self.plan.gaps.iter().any(|gap| gap.begin == at || gap.end == at);
        if at_edge {
            return;
        }
        let ready: Vec<String> = self
            .lifecycles
            .iter()
            .filter(|(_, lifecycle)| self.may_change(lifecycle, at, gap))
            .map(|(uid, _)| uid.clone())
            .collect();
        if ready.is_empty() || self.lifecycles.len() < 4 {
            if gap.is_none_or(|gap| gap.kind.skips_versions()) && self.lifecycles.len() < 9 {
                self.create_pod(at);
            }
            return;
        }
        let uid = ready[self.rng.below(ready.len())].clone();
        let lifecycle = self.lifecycles[&uid].clone();
        let next = if lifecycle.fault == PodFault::None {
            self.fail(lifecycle.clone(), at, gap)
        } else {
            self.recover(lifecycle.clone(), at, gap)
        };
        let Some(mut next) = next else { return };
        next.last_change = at;
        if let Some(gap) = gap {
            next.unchanged_until = gap.end + UNCHANGED;
        }
        let gone = next.fault == PodFault::Terminating && lifecycle.fault == PodFault::Terminating;
        if gone {
            self.lifecycles.remove(&uid);
            let name = next.pod.name.clone();
            self.record(at, Change::PodDeleted(next.pod));
            // The restart series of a workload ends with its last Pod. An operator that observes both changes at once
            // keeps it.
            let keeps_series = gap.is_some() && lifecycle.last_restart >= 0;
            if self.rng.chance(50) && !keeps_series {
                // As a StatefulSet does: a new Pod with the same name.
                self.create_pod_as(at, lifecycle.template, &name, &format!("{uid}-again"));
            }
        } else {
            self.record(at, Change::Pod(next.pod.clone()));
            self.lifecycles.insert(uid, next);
        }
    }

    /// Whether this Pod may change now.
    fn may_change(&self, lifecycle: &Lifecycle, at: i64, gap: Option<Gap>) -> bool {
        if at <= lifecycle.unchanged_until || self.reference.events_of(&lifecycle.pod.uid) > EVENTS {
            return false;
        }
        let Some(gap) = gap else { return true };
        let mut since = gap.begin;
        if let GapKind::Restarted { .. } = gap.kind {
            since = self.plan.unwritten_since(gap.begin);
        }
        lifecycle.last_change < since.min(gap.begin - 10)
            && !self.reference.changed(&lifecycle.pod.name, since, at)
    }

    /// Whether the operator ends so soon that the next process may not observe a recovery at this moment.
    fn ends_soon(&self, at: i64) -> bool {
        self.plan.gaps.iter().any(|gap| {
            matches!(gap.kind, GapKind::Restarted { .. })
                && (self.plan.unwritten_since(gap.begin)..=gap.begin).contains(&at)
        })
    }

    /// A Pod gets a fault.
    fn fail(&mut self, mut lifecycle: Lifecycle, at: i64, gap: Option<Gap>) -> Option<Lifecycle> {
        let (sidecar, main) = (lifecycle.template.sidecar(), lifecycle.template.main());
        let pod = lifecycle.pod.clone();
        // An operator that restarts forgets the counts of flaps and restarts.
        let counts = |last: i64| !self.plan.restarts || at - last > LONG_MEMORY;
        let is_brief = gap.is_none_or(|gap| gap.end - at <= 7);
        let is_lone = |last: i64| gap.is_none_or(|gap| last < gap.begin - LONG_MEMORY);
        // A run shorter than the window would count after a restart of the operator.
        let was_calm = at - lifecycle.last_change > UNCHANGED;
        match self.rng.below(9) {
            0..=2 if counts(lifecycle.last_flap) && is_lone(lifecycle.last_flap) => {
                (lifecycle.pod, lifecycle.fault) =
                    (pod.ready(sidecar, false, at), PodFault::Unready(sidecar));
                lifecycle.last_flap = at;
            }
            3 => (lifecycle.pod, lifecycle.fault) = (pod.ready(main, false, at), PodFault::Unready(main)),
            4 if !self.plan.restarts
                && is_brief
                && is_lone(lifecycle.last_restart)
                && lifecycle.template != Template::Job =>
            {
                let most = if gap.is_some() { 1 } else { 3 };
                let times = u32::try_from(self.rng.between(1, most)).unwrap();
                let who = if self.rng.chance(30) { main } else { sidecar };
                lifecycle.pod = pod.restarted(who, times, at);
                lifecycle.last_restart = at;
            }
            5 if was_calm
                && is_brief
                && counts(lifecycle.last_restart)
                && is_lone(lifecycle.last_restart)
                && !self.ends_soon(at)
                && lifecycle.template != Template::Job =>
            {
                lifecycle.pod = pod.oom_killed(sidecar, at);
                lifecycle.last_restart = at;
            }
            6 if lifecycle.template == Template::Job => {
                (lifecycle.pod, lifecycle.fault) = (pod.exits(main, 0, at), PodFault::HeldOpen);
            }
            6 if was_calm && counts(lifecycle.last_restart) && is_lone(lifecycle.last_restart) => {
                (lifecycle.pod, lifecycle.fault) = (pod.backs_off(sidecar, at), PodFault::Down(sidecar));
                lifecycle.last_restart = at;
            }
            7 if was_calm => (lifecycle.pod, lifecycle.fault) = (pod.node_lost(at), PodFault::NodeLost),
            8 if self.rng.chance(50) => {
                (lifecycle.pod, lifecycle.fault) = (pod.terminating(at), PodFault::Terminating);
            }
            // A flap that is over before the end of the gap stays unknown.
            8 if gap.is_some_and(|gap| gap.kind.skips_versions()) && is_lone(lifecycle.last_flap) => {
                lifecycle.pod = pod.ready(sidecar, false, at - 1).ready(sidecar, true, at);
            }
            _ => return None,
        }
        Some(lifecycle)
    }

    /// A Pod recovers, or is deleted.
    fn recover(&mut self, mut lifecycle: Lifecycle, at: i64, gap: Option<Gap>) -> Option<Lifecycle> {
        let pod = lifecycle.pod.clone();
        if lifecycle.fault != PodFault::Terminating && self.ends_soon(at) {
            return None;
        }
        match lifecycle.fault {
            PodFault::Unready(name) => lifecycle.pod = pod.ready(name, true, at),
            PodFault::Down(_) if gap.is_some() => return None,
            PodFault::Down(name) => lifecycle.pod = pod.starts_again(name, at),
            PodFault::Starting(name) => lifecycle.pod = pod.started(name, at),
            PodFault::HeldOpen => lifecycle.pod = pod.exits("fluent-bit", 0, at),
            PodFault::NodeLost => lifecycle.pod = pod.node_found(at),
            PodFault::Terminating => return Some(lifecycle),
            PodFault::None => return None,
        }
        lifecycle.fault = if lifecycle.fault == PodFault::HeldOpen {
            PodFault::Terminating
        } else {
            PodFault::None
        };
        if lifecycle.fault == PodFault::Terminating {
            lifecycle.pod = lifecycle.pod.terminating(at);
        }
        Some(lifecycle)
    }

    /// Edits or recreates a policy.
    fn edit(&mut self, at: i64) {
        let (name, place, value) = if !self.plan.restarts && self.rng.chance(20) {
            INVALID
        } else {
            self.rng.pick(&EDITS)
        };
        let policy = self
            .policies
            .iter_mut()
            .find(|policy| policy.name == name)
            .unwrap();
        let before = policy.clone();
        if self.rng.chance(20) {
            policy.uid.push_str("-again");
            policy.generation = 1;
            let policy = policy.clone();
            self.record(at, Change::PolicyRecreated(before, policy));
            return;
        }
        let value = serde_json::from_str(value).unwrap();
        let (parent, field) = place.rsplit_once('/').unwrap();
        policy.spec.pointer_mut(parent).unwrap()[field] = value;
        policy.generation += 1;
        let policy = policy.clone();
        self.record(at, Change::Policy(policy));
    }
}
