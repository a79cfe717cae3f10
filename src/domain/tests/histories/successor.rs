//! Another process that continues the work of a player, and the effects of both.

use std::collections::BTreeMap;

use super::script::{Player, policy_key, version};
use crate::domain::{
    checkpoint::Checkpoint,
    effects::{Event, Transition},
    policy::{PolicyKey, PolicyUpdate},
    testing::policy_update,
    violation::{StoredViolation, Violation},
};

/// The effects of steps: transitions, Events, and the violations at the end.
pub(super) type Outcome = (Vec<Transition>, Vec<Event>, Vec<String>);

impl Player {
    /// Another process that starts now. It has the checkpoint of this one, if there is one, and the statuses of the policies.
    pub(super) fn successor(&self, checkpoint: Option<Checkpoint>) -> Self {
        let old = &self.harness.index;
        let own = self.harness.checkpoint().policies.into_values();
        let generations: BTreeMap<PolicyKey, i64> =
            own.map(|policy| (policy.key, policy.generation)).collect();
        let mut harness = self.harness.successor();
        harness.namespace("pay", if self.team { "pay" } else { "none" });
        if let Some(checkpoint) = checkpoint {
            harness.import(checkpoint);
        }
        for (number, of) in self.policies.iter().enumerate() {
            let Some(of) = of else { continue };
            let key = policy_key(number);
            let listed = old.report(&key).unwrap().violations.into_iter();
            let update = PolicyUpdate {
                generation: generations.get(&key).copied().unwrap_or(0),
                stored: listed.map(|listed| in_status(&listed.violation)).collect(),
                ..policy_update(key, Ok(version(*of)))
            };
            harness.change(|index, now| index.apply_policy(update, now));
        }
        harness.resync(self.pods.iter().flatten());
        Self {
            harness,
            pods: self.pods.clone(),
            policies: self.policies,
            team: self.team,
            creations: self.creations,
            pace: self.pace,
            missed: None,
        }
    }

    /// Returns the effects since the last call. They are sorted because the order of evaluation is arbitrary.
    pub(super) fn outcome(&mut self) -> Outcome {
        let harness = &mut self.harness;
        let mut transitions = harness.transitions();
        transitions.sort_by_key(|t| (t.at, t.violation.key()));
        let mut events = harness.events();
        events.sort_by_key(|e| (e.at, e.regarding.clone(), e.policy.clone(), e.name.clone()));
        let mut left: Vec<_> = harness.index.violations().map(|v| format!("{v:?}")).collect();
        left.sort_unstable();
        (transitions, events, left)
    }
}

/// Converts a violation to its form in a status.
pub(super) fn in_status(violation: &Violation) -> StoredViolation {
    StoredViolation {
        key: violation.key(),
        firing: violation.firing,
        onset: violation.onset,
    }
}
