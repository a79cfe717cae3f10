//! A Pod in the index.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    edit,
    entry::{Policies, PolicyId},
    matches::{Match, MatchSet},
};
use crate::domain::{
    checkpoint::SmallMap,
    checks::View,
    history::{History, Restarts},
    observation::Observation,
    roles::Role,
    tracker::Tracked,
};

/// The number of Event names that are kept for one Pod.
pub(super) const WRITTEN_LIMIT: usize = 64;

/// The number of a Pod in the index. A number is never reused.
pub(super) type PodId = u64;

/// A Pod.
#[derive(Debug)]
pub(super) struct PodEntry {
    /// Its latest observation.
    pub(super) observation: Observation,
    /// The restarts, flaps and OOM kills of its containers.
    pub(super) history: Option<Box<History>>,
    /// The policies that select it.
    pub(super) matches: Arc<MatchSet>,
    /// `None` for a Pod that never had a violation.
    pub(super) findings: Option<Box<Findings>>,
}

/// The violations of a Pod and its Events.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The policies that the Pod violates, in the order of their numbers.
    by_policy: Vec<Finding>,
    /// Its Events. A new episode with an old name raises the count of that Event.
    pub(super) written: Box<[WrittenEvent]>,
    /// Its time in the deadlines of the index.
    pub(super) deadline: Option<Timestamp>,
}

/// An Event that this process or another one has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenEvent {
    /// The hash in its name.
    pub(super) hash: u64,
    /// The number of times that it was written.
    pub(super) times: u32,
    /// The last time was joined from a checkpoint. The watch may deliver the cause later, which then does not count again.
    pub(super) joined: bool,
}

/// The violations of a Pod under one policy.
#[derive(Debug)]
struct Finding {
    policy: PolicyId,
    /// The next time at which time alone changes one of them.
    deadline: Option<Timestamp>,
    /// Ordered by container and check, never empty.
    tracked: Vec<Tracked>,
}

impl Findings {
    fn position(&self, policy: PolicyId) -> Result<usize, usize> {
        self.by_policy
            .binary_search_by_key(&policy, |finding| finding.policy)
    }

    /// Removes and returns the violations under a policy.
    pub(super) fn take(&mut self, policy: PolicyId) -> Vec<Tracked> {
        self.position(policy)
            .map(|position| self.by_policy.remove(position).tracked)
            .unwrap_or_default()
    }

    /// Creates the findings of a Pod whose Events an earlier process has written.
    pub(super) fn with_written(written: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let written = written.into_iter().map(|(hash, times)| WrittenEvent {
            hash,
            times,
            joined: false,
        });
        Self {
            written: written.collect(),
            ..Self::default()
        }
    }

    /// Joins the Events that another process has written. The higher number of each counts.
    pub(super) fn merge_written(&mut self, others: &SmallMap<u64, u32>) {
        let mut others = others.clone();
        for event in &mut self.written {
            if let Some(times) = others.remove(&event.hash).filter(|times| *times > event.times) {
                (event.times, event.joined) = (times, true);
            }
        }
        if !others.is_empty() {
            // Those of other processes are the first that are dropped when there are too many.
            let others = others.into_iter().map(|(hash, times)| WrittenEvent {
                hash,
                times,
                joined: true,
            });
            let excess = (others.len() + self.written.len()).saturating_sub(WRITTEN_LIMIT);
            self.written = others.chain(self.written.iter().copied()).skip(excess).collect();
        }
    }

    /// Sets the number of times that an Event was written.
    pub(super) fn set_written(&mut self, hash: u64, times: u32) {
        edit(&mut self.written, |written| {
            written.retain_mut(|event| {
                if event.hash == hash {
                    event.times = times;
                }
                event.times > 0
            });
        });
    }

    /// Counts the Events of the present violations as those of this process: the watch does not deliver their causes again.
    pub(super) fn own_present_events(&mut self) {
        let tracked = self.by_policy.iter().flat_map(|finding| &finding.tracked);
        let present: Vec<u64> = tracked
            .filter_map(|violation| violation.event.map(|event| event.hash))
            .collect();
        for event in &mut self.written {
            event.joined &= !present.contains(&event.hash);
        }
    }

    /// Removes and returns the violations under a policy, with their deadline.
    pub(super) fn take_with_deadline(&mut self, policy: PolicyId) -> (Vec<Tracked>, Option<Timestamp>) {
        match self.position(policy) {
            Ok(position) => {
                let Finding {
                    deadline, tracked, ..
                } = self.by_policy.remove(position);
                (tracked, deadline)
            }
            Err(_) => (Vec::new(), None),
        }
    }

    /// Sets the violations under a policy.
    pub(super) fn put(&mut self, policy: PolicyId, mut tracked: Vec<Tracked>, deadline: Option<Timestamp>) {
        let position = match self.position(policy) {
            Ok(position) => {
                self.by_policy.remove(position);
                position
            }
            Err(position) => position,
        };
        if tracked.is_empty() {
            if self.by_policy.is_empty() {
                // Frees the memory of violations that have ended.
                self.by_policy = Vec::new();
            }
            return;
        }
        tracked.shrink_to_fit();
        let finding = Finding {
            policy,
            deadline,
            tracked,
        };
        self.by_policy.reserve_exact(1);
        self.by_policy.insert(position, finding);
    }

    /// Forgets the deadlines of the selected policies. Their violations do not change until the Pod is evaluated again.
    pub(super) fn clear_deadlines(&mut self, selected: Selected) {
        let selected = |finding: &&mut Finding| selected.includes(finding.policy);
        self.by_policy
            .iter_mut()
            .filter(selected)
            .for_each(|finding| finding.deadline = None);
    }

    /// The earliest deadline of a policy.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_policy.iter().filter_map(|finding| finding.deadline).min()
    }

    /// The policies whose deadline is not after `now`.
    pub(super) fn due(&self, now: Timestamp) -> Vec<PolicyId> {
        let due = self
            .by_policy
            .iter()
            .filter(|finding| finding.deadline.is_some_and(|at| at <= now));
        due.map(|finding| finding.policy).collect()
    }

    fn is_empty(&self) -> bool {
        self.by_policy.is_empty() && self.written.is_empty() && self.deadline.is_none()
    }
}

impl PodEntry {
    /// What a check of a matching policy sees of the Pod.
    pub(super) fn view<'a>(&'a self, matched: &'a Match, now: Timestamp) -> View<'a> {
        View {
            pod: &self.observation,
            roles: &matched.roles,
            policy: &matched.version.spec,
            history: self.history.as_deref(),
            now,
        }
    }

    /// The violations under a policy, ordered by container and check.
    pub(super) fn tracked(&self, policy: PolicyId) -> &[Tracked] {
        let finding = self.findings.as_ref().and_then(|findings| {
            let position = findings.position(policy).ok()?;
            findings.by_policy.get(position)
        });
        finding.map_or(&[], |finding| &finding.tracked)
    }

    /// All violations, with their policies.
    pub(super) fn all_tracked(&self) -> impl Iterator<Item = (PolicyId, &[Tracked])> {
        let findings = self.findings.iter().flat_map(|findings| &findings.by_policy);
        findings.map(|finding| (finding.policy, &*finding.tracked))
    }

    /// Changes the findings, and drops them if they are empty afterwards.
    pub(super) fn edit_findings<T>(&mut self, edit: impl FnOnce(&mut Findings) -> T) -> T {
        let findings = self.findings.get_or_insert_default();
        let result = edit(findings);
        if findings.is_empty() {
            self.findings = None;
        }
        result
    }
}

/// The policies of a Pod that a step evaluates.
#[derive(Clone, Copy, Debug)]
pub(super) enum Selected {
    All,
    Only(PolicyId),
}

impl Selected {
    pub(super) fn includes(self, policy: PolicyId) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == policy,
        }
    }
}

/// The policies that have not evaluated a Pod before. The onset of a fault that they find can be older than their first
/// evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unevaluated {
    /// The Pod is new.
    All,
    /// These policies.
    Only(Vec<PolicyId>),
}

impl Unevaluated {
    /// No policy.
    pub(super) const NONE: Self = Self::Only(Vec::new());

    pub(super) fn contains(&self, policy: PolicyId) -> bool {
        match self {
            Self::All => true,
            Self::Only(policies) => policies.contains(&policy),
        }
    }

    /// Adds the policies of `other`.
    pub(super) fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::All, _) => {}
            (this, Self::All) => *this = Self::All,
            (Self::Only(policies), Self::Only(others)) => {
                policies.extend(others);
                policies.sort_unstable();
                policies.dedup();
            }
        }
    }
}

/// Adds restarts to the series of each policy for which the container is a sidecar.
pub(super) fn count_restarts(policies: &mut Policies, pod: &PodEntry, restarts: &[Restarts]) {
    for restart in restarts {
        let Some(container) = pod.observation.shape.containers.get(restart.container) else {
            continue;
        };
        for matched in pod
            .matches
            .iter()
            .filter(|matched| matched.roles.of(restart.container) == Role::Sidecar)
        {
            let Some(policy) = policies.get_mut(&matched.version.policy) else {
                continue;
            };
            let (namespace, workload) = (
                pod.observation.namespace.clone(),
                pod.observation.workload.clone(),
            );
            let series = (namespace, restart.reason, (workload, container.name.clone()));
            policy.restarts.add(series, u64::from(restart.count));
        }
    }
}
