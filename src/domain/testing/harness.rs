//! An index with a virtual clock, and a record of its effects. The harness verifies the counts of the index after
//! every step.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Pod, at, key};
use crate::checkpoint::{MAX_SIZE, decode, encode};
use crate::domain::{
    checkpoint::Checkpoint,
    effects::{Effects, Event, Transition},
    exemption::{ExemptionKey, ExemptionUpdate},
    index::{Index, Scope},
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
    /// Creates a harness before the first lists. The namespaces `pay` and `shop` have the label `team: <name>`.
    pub(crate) fn starting() -> Self {
        let mut harness = Self {
            index: Index::new([None], true),
            now: at(0),
            generation: 0,
            effects: Effects::default(),
            recounts: true,
        };
        harness.index.begin_namespace_resync();
        harness.namespace("pay", "pay").namespace("shop", "shop");
        let effects = harness.index.finish_namespace_resync(at(0));
        harness.take(effects);
        harness
    }

    /// Creates a harness after the first lists, with `policy` as `SidecarPolicy pay/mesh` and without Pods.
    pub(crate) fn with(policy: Policy) -> Self {
        let mut harness = Self::starting();
        harness.resync([]).policy(policy);
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
        loop {
            match self.index.export(export, 2) {
                Ok(checkpoint) => {
                    let encoded = encode(checkpoint, MAX_SIZE);
                    return decode(&encoded.bytes).unwrap();
                }
                Err(unfinished) => export = unfinished,
            }
        }
    }

    pub(crate) fn import(&mut self, checkpoint: Checkpoint) -> &mut Self {
        self.index.import(checkpoint, self.now);
        self.finish_work()
    }

    /// Applies a policy as a list delivers it to a new process.
    pub(crate) fn listed_policy(&mut self, update: PolicyUpdate) -> &mut Self {
        let effects = self.index.apply_policy(update, self.now);
        self.take(effects)
    }

    pub(crate) fn exempt(&mut self, exemption: ExemptionUpdate) -> &mut Self {
        let effects = self.index.apply_exemption(exemption, self.now);
        self.take(effects)
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
        let effects = self.index.finish_exemption_resync(scope, self.now);
        self.take(effects)
    }

    pub(crate) fn end_exemption(&mut self, name: &str) -> &mut Self {
        let key = ExemptionKey {
            namespace: "pay".into(),
            name: name.into(),
        };
        let effects = self.index.delete_exemption(&key, self.now);
        self.take(effects)
    }

    fn take(&mut self, effects: Effects) -> &mut Self {
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
            let effects = self.index.tick(due);
            self.take(effects);
        }
        self.late(moment)
    }

    /// Advances the clock with one tick at the end, as a late timer does.
    pub(crate) fn late(&mut self, moment: Timestamp) -> &mut Self {
        self.now = moment;
        let effects = self.index.tick(moment);
        self.take(effects)
    }

    /// Advances the clock in tenths of a second, and evaluates every Pod at each step.
    pub(crate) fn polling(&mut self, moment: Timestamp) -> &mut Self {
        while self.now < moment {
            self.now += SignedDuration::from_millis(100);
            let effects = self.index.reevaluate_all(self.now);
            self.effects.append(effects);
        }
        self.take(Effects::default())
    }

    /// Advances the clock without a tick.
    pub(crate) fn without_tick(&mut self, second: i64) -> &mut Self {
        self.now = at(second);
        self
    }

    pub(crate) fn pod(&mut self, pod: &Pod) -> &mut Self {
        let effects = self.index.apply(pod.0.clone(), self.now);
        self.take(effects)
    }

    pub(crate) fn delete(&mut self, pod: &Pod) -> &mut Self {
        let effects = self.index.delete(&pod.0.namespace, &pod.0.uid, self.now);
        self.take(effects)
    }

    /// Applies a new version of `SidecarPolicy pay/mesh`.
    pub(crate) fn policy(&mut self, policy: Policy) -> &mut Self {
        self.policy_as(key("mesh"), Ok(policy), Vec::new())
    }

    pub(crate) fn policy_as(
        &mut self,
        key: PolicyKey,
        spec: Result<Policy, InvalidSpec>,
        stored: Vec<StoredViolation>,
    ) -> &mut Self {
        self.generation += 1;
        let update = PolicyUpdate {
            uid: format!("uid-of-{key}").into(),
            key,
            created: at(0),
            generation: self.generation,
            spec,
            stored,
        };
        let effects = self.index.apply_policy(update, self.now);
        self.take(effects)
    }

    pub(crate) fn delete_policy(&mut self, key: &PolicyKey) -> &mut Self {
        let effects = self.index.delete_policy(key, self.now);
        self.take(effects)
    }

    /// Limits the steps of long work from now on. [`Self::finish_work`] does the steps that remain.
    pub(crate) fn units_per_step(&mut self, units: usize) -> &mut Self {
        self.index.set_units_per_step(units);
        self
    }

    /// Does one step of long work.
    pub(crate) fn work(&mut self) -> &mut Self {
        let effects = self.index.work(self.now);
        self.take(effects)
    }

    pub(crate) fn finish_work(&mut self) -> &mut Self {
        while self.index.has_work() {
            self.work();
        }
        self
    }

    pub(crate) fn namespace(&mut self, name: &str, team: &str) -> &mut Self {
        let labels = Arc::new([("team", team)].into_iter().collect());
        let effects = self.index.apply_namespace(&name.into(), labels, self.now);
        self.take(effects)
    }

    /// Breaks the Pod watch, which was in sync until now.
    pub(crate) fn hold(&mut self) -> &mut Self {
        self.index.hold(&None, self.now);
        self.take(Effects::default())
    }

    /// Resumes the Pod watch without a list.
    pub(crate) fn resume(&mut self) -> &mut Self {
        let effects = self.index.resume(&None, self.now);
        self.take(effects)
    }

    /// Starts a list of Pods. The watch was in sync until now.
    pub(crate) fn begin_resync(&mut self) -> &mut Self {
        self.index.begin_resync(&None, self.now);
        self.take(Effects::default())
    }

    pub(crate) fn finish_resync(&mut self) -> &mut Self {
        let effects = self.index.finish_resync(&None, self.now);
        self.take(effects)
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

    /// Returns the policies whose status may have changed since the last call.
    pub(crate) fn withdrawn(&mut self) -> Vec<String> {
        std::mem::take(&mut self.effects.withdrawn)
    }

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
