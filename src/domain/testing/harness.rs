//! An index with a virtual clock, and a record of its effects. The harness verifies the counts of the index after
//! every step.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Pod, at, exemption_key, key, policy_update};
use crate::checkpoint::{MAX_SIZE, Writer, decode};
use crate::domain::{
    checkpoint::Checkpoint,
    effects::{Effects, Event, Transition},
    exemption::{ExemptionKey, ExemptionUpdate},
    index::{
        Index, Scope,
        series::{Series, SeriesLimits},
    },
    policy::{Check, InvalidSpec, Policy, PolicyKey, PolicyUpdate},
    summary::Report,
    violation::{StoredViolation, Violation},
};

/// An index with a virtual clock.
pub(crate) struct Harness {
    pub(crate) index: Index,
    pub(crate) now: Timestamp,
    generation: i64,
    effects: Effects,
    /// Whether the harness verifies the counts after every step.
    pub(crate) recounts: bool,
}

impl Harness {
    /// Creates a harness before the first lists, also that of namespaces.
    pub(crate) fn without_namespaces() -> Self {
        Self {
            index: Index::new([None], true),
            now: at(0),
            generation: 0,
            effects: Effects::default(),
            recounts: true,
        }
    }

    /// Creates a harness before the first list of Pods. The namespaces `pay` and `shop` have the label `team: <name>`.
    pub(crate) fn starting() -> Self {
        let mut harness = Self::without_namespaces();
        harness.list_namespaces(&["pay", "shop"]);
        harness
    }

    /// Creates a harness after the first lists, with `policy` as `SidecarPolicy pay/mesh` and without Pods.
    pub(crate) fn with(policy: Policy) -> Self {
        let mut harness = Self::starting();
        harness.resync([]).policy(policy);
        harness
    }

    /// Creates a harness for a process that starts at this second and lists these Pods. It has the violations in the status of
    /// `SidecarPolicy pay/mesh`, or a checkpoint.
    pub(crate) fn restarted<'a>(
        second: i64,
        policy: Policy,
        (status, checkpoint): (Vec<StoredViolation>, Option<Checkpoint>),
        pods: impl IntoIterator<Item = &'a Pod>,
    ) -> Self {
        let mut harness = Self::starting();
        harness.at(second);
        if let Some(checkpoint) = checkpoint {
            harness.import(checkpoint);
        }
        harness.policy_as(key("mesh"), Ok(policy), status);
        harness.resync(pods).finish_work();
        harness
    }

    /// Creates a harness for another process that starts now, before the first lists.
    pub(crate) fn successor(&self) -> Self {
        let mut harness = Self::starting();
        harness.now = self.now;
        harness.generation = self.generation;
        harness.recounts = self.recounts;
        harness
    }

    /// Returns the checkpoint of this process, through its encoded form.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let mut export = self.index.begin_export(self.now).unwrap();
        let mut writer = Writer::new(export.as_of, MAX_SIZE, 0);
        while let Some(entries) = self.index.export(&mut export, 2) {
            for entry in entries {
                writer.write(entry);
            }
        }
        decode(&writer.finish().bytes).unwrap()
    }

    pub(crate) fn import(&mut self, checkpoint: Checkpoint) -> &mut Self {
        self.index.import(checkpoint, self.now);
        self.finish_work()
    }

    pub(crate) fn exempt(&mut self, exemption: ExemptionUpdate) -> &mut Self {
        self.change(|index, now| index.apply_exemption(exemption, now))
    }

    /// Returns the exemptions whose status may have changed since the last call.
    pub(crate) fn changed_exemptions(&mut self) -> Vec<ExemptionKey> {
        std::mem::take(&mut self.effects.exemptions).into_iter().collect()
    }

    /// Returns whether a list of exemptions was requested since the last call.
    pub(crate) fn relists(&mut self) -> bool {
        std::mem::take(&mut self.effects.relist_exemptions)
    }

    /// Completes a list of exemptions.
    pub(crate) fn finish_exemptions(&mut self, scope: &Scope) -> &mut Self {
        self.change(|index, now| index.finish_exemption_resync(scope, now))
    }

    pub(crate) fn end_exemption(&mut self, name: &str) -> &mut Self {
        self.change(|index, now| index.delete_exemption(&exemption_key(name), now))
    }

    /// Applies a change to the index now, and keeps its effects.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Index, Timestamp) -> Effects) -> &mut Self {
        let effects = change(&mut self.index, self.now);
        self.effects.append(effects);
        if self.recounts {
            self.index.assert_counts();
        }
        self
    }

    /// Advances the clock to this second. Every deadline is handled when it is due.
    pub(crate) fn at(&mut self, second: i64) -> &mut Self {
        self.until(at(second))
    }

    pub(crate) fn until(&mut self, moment: Timestamp) -> &mut Self {
        while let Some(due) = self.index.next_deadline().filter(|due| *due <= moment) {
            self.change(|index, _| index.tick(due));
        }
        self.late(moment)
    }

    /// Advances the clock with one tick at the end, as a late timer does.
    pub(crate) fn late(&mut self, moment: Timestamp) -> &mut Self {
        self.now = moment;
        self.change(Index::tick)
    }

    /// Advances the clock in tenths of a second, and evaluates every Pod at each step.
    pub(crate) fn polling(&mut self, moment: Timestamp) -> &mut Self {
        while self.now < moment {
            self.now += SignedDuration::from_millis(100);
            let effects = self.index.reevaluate_all(self.now);
            self.effects.append(effects);
        }
        self.change(|_, _| Effects::default())
    }

    /// Advances the clock without a tick.
    pub(crate) fn without_tick(&mut self, second: i64) -> &mut Self {
        self.now = at(second);
        self
    }

    pub(crate) fn pod(&mut self, pod: &Pod) -> &mut Self {
        self.change(|index, now| index.apply(pod.0.clone(), now))
    }

    pub(crate) fn delete(&mut self, pod: &Pod) -> &mut Self {
        self.change(|index, now| index.delete(&pod.0.namespace, &pod.0.uid, now))
    }

    /// Advances the clock to this second, and applies a Pod.
    pub(crate) fn pod_at(&mut self, second: i64, pod: &Pod) -> &mut Self {
        self.at(second).pod(pod)
    }

    /// Restarts a container of a Pod at each of these seconds. Returns the Pod after them.
    pub(crate) fn restarts(
        &mut self,
        pod: Pod,
        container: &str,
        seconds: impl IntoIterator<Item = i64>,
    ) -> Pod {
        seconds.into_iter().fold(pod, |pod, second| {
            let pod = pod.restarted(container, second);
            self.pod_at(second, &pod);
            pod
        })
    }

    /// Applies a new version of `SidecarPolicy pay/mesh`.
    pub(crate) fn policy(&mut self, policy: Policy) -> &mut Self {
        self.add(key("mesh"), policy)
    }

    /// Applies a new version of another policy.
    pub(crate) fn add(&mut self, key: PolicyKey, policy: Policy) -> &mut Self {
        self.policy_as(key, Ok(policy), Vec::new())
    }

    pub(crate) fn policy_as(
        &mut self,
        key: PolicyKey,
        spec: Result<Policy, InvalidSpec>,
        stored: Vec<StoredViolation>,
    ) -> &mut Self {
        self.generation += 1;
        let update = PolicyUpdate {
            generation: self.generation,
            stored,
            ..policy_update(key, spec)
        };
        self.change(|index, now| index.apply_policy(update, now))
    }

    pub(crate) fn delete_policy(&mut self, key: &PolicyKey) -> &mut Self {
        self.change(|index, now| index.delete_policy(key, now))
    }

    /// Limits the steps of long work from now on. [`Self::finish_work`] does the steps that remain.
    pub(crate) fn units_per_step(&mut self, units: usize) -> &mut Self {
        self.index.set_units_per_step(units);
        self
    }

    /// Does one step of long work.
    pub(crate) fn work(&mut self) -> &mut Self {
        self.change(Index::work)
    }

    pub(crate) fn finish_work(&mut self) -> &mut Self {
        while self.index.has_work() {
            self.work();
        }
        self
    }

    pub(crate) fn namespace(&mut self, name: &str, team: &str) -> &mut Self {
        let labels = Arc::new([("team", team)].into_iter().collect());
        self.change(|index, now| index.apply_namespace(&name.into(), labels, now))
    }

    /// Delivers a complete list of namespaces. Each has the label `team: <name>`.
    pub(crate) fn list_namespaces(&mut self, names: &[&str]) -> &mut Self {
        self.index.begin_namespace_resync();
        for name in names {
            self.namespace(name, name);
        }
        self.change(Index::finish_namespace_resync)
    }

    /// Breaks the Pod watch, which was in sync until now.
    pub(crate) fn hold(&mut self) -> &mut Self {
        self.change(|index, now| {
            index.hold(&None, now);
            Effects::default()
        })
    }

    /// Resumes the Pod watch without a list.
    pub(crate) fn resume(&mut self) -> &mut Self {
        self.change(|index, now| index.resume(&None, now))
    }

    /// Starts a list of Pods. The watch was in sync until now.
    pub(crate) fn begin_resync(&mut self) -> &mut Self {
        self.change(|index, now| {
            index.begin_resync(&None, now);
            Effects::default()
        })
    }

    pub(crate) fn finish_resync(&mut self) -> &mut Self {
        self.change(|index, now| index.finish_resync(&None, now))
    }

    /// Delivers a complete list of Pods.
    pub(crate) fn resync<'a>(&mut self, pods: impl IntoIterator<Item = &'a Pod>) -> &mut Self {
        self.begin_resync();
        for pod in pods {
            self.pod(pod);
        }
        self.finish_resync()
    }

    /// Returns the transitions since the last call, as [`lines`].
    pub(crate) fn log(&mut self) -> Vec<String> {
        lines(&self.transitions())
    }

    pub(crate) fn transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.effects.transitions)
    }

    /// Returns the Events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.effects.events)
    }

    /// Returns the names of the Events that were withdrawn since the last call.
    pub(crate) fn withdrawn(&mut self) -> Vec<String> {
        std::mem::take(&mut self.effects.withdrawn)
    }

    /// Returns the policies whose status may have changed since the last call.
    pub(crate) fn changed(&mut self) -> Vec<PolicyKey> {
        std::mem::take(&mut self.effects.changed).into_iter().collect()
    }

    /// Returns the firing violations, such as `envoy NotReady`.
    pub(crate) fn firing(&self) -> Vec<String> {
        self.violations(true)
    }

    /// Returns the pending violations.
    pub(crate) fn pending(&self) -> Vec<String> {
        self.violations(false)
    }

    fn violations(&self, firing: bool) -> Vec<String> {
        let violations = self.index.violations().filter(|v| v.firing == firing);
        violations
            .map(|v| format!("{} {}", v.subject.container(), v.check.as_str()))
            .collect()
    }

    /// Returns the container of each violation, pending or firing.
    pub(crate) fn failing_containers(&self) -> Vec<String> {
        let containers = self
            .index
            .violations()
            .map(|v| v.container().container.to_string());
        containers.collect()
    }

    /// Returns the number of violations that have fired.
    pub(crate) fn fired(&self) -> u64 {
        self.index
            .policies()
            .flat_map(|policy| policy.fired)
            .map(|(_, n)| n)
            .sum()
    }

    /// Returns the number of firing violations that are exempt.
    pub(crate) fn exempted(&self) -> u32 {
        self.index
            .policies()
            .flat_map(|policy| policy.exempted)
            .map(|(_, n)| n)
            .sum()
    }

    /// Returns the onset of a violation, in seconds.
    pub(crate) fn onset(&self, container: &str, check: Check) -> Option<f64> {
        let is_it = |v: &&Violation| **v.subject.container() == *container && v.check == check;
        let violation = self.index.violations().find(is_it)?;
        Some(second(violation.onset))
    }

    /// Returns the status of `SidecarPolicy pay/mesh`.
    pub(crate) fn report(&self) -> Report {
        self.index.report(&key("mesh")).unwrap()
    }

    /// Returns the series of the metrics now.
    pub(crate) fn series(&mut self) -> Series {
        self.index.series(&SeriesLimits::default(), self.now)
    }

    /// Returns the detail of the first violation in this status.
    pub(crate) fn detail(&self) -> String {
        self.report().violations.remove(0).detail
    }
}

/// Formats transitions as lines such as `300 firing envoy NotReady`.
pub(crate) fn lines(transitions: &[Transition]) -> Vec<String> {
    let line = |t: &Transition| {
        let (what, check) = (t.to.as_str(), t.violation.check.as_str());
        let container = t.violation.subject.container();
        format!("{} {what} {container} {check}", second(t.at))
    };
    transitions.iter().map(line).collect()
}

fn second(moment: Timestamp) -> f64 {
    let since: SignedDuration = moment.duration_since(at(0));
    since.as_secs_f64()
}
