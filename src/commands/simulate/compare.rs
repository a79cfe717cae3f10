//! The difference between the candidates and the policies in force.
//!
//! Both are evaluated in one index. A candidate with the identity of a policy in force replaces it: the index has both, the
//! candidate under another name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    cli::{
        evaluation::{Evaluation, Reported},
        roles::role_name,
    },
    domain::{
        index::MatchedPod,
        observation::Workload,
        policy::{Check, PolicyKey, PolicyUpdate},
    },
};

/// Added to the name of a candidate that replaces a policy. No name of Kubernetes contains a space.
const REPLACEMENT: &str = " (new)";

/// The candidates and the policies in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    candidates: Vec<PolicyUpdate>,
    in_force: Vec<PolicyUpdate>,
    /// The names of the candidates in the index, with their own names.
    names: BTreeMap<PolicyKey, PolicyKey>,
    replaced: BTreeSet<PolicyKey>,
}

impl Policies {
    /// Combines the policies. All begin without the violations in their statuses, so that both sides know the same.
    pub(super) fn new(mut candidates: Vec<PolicyUpdate>, mut in_force: Vec<PolicyUpdate>) -> Self {
        let mut names = BTreeMap::new();
        let mut replaced = BTreeSet::new();
        for update in &mut candidates {
            let own = update.key.clone();
            if in_force.iter().any(|policy| policy.key == own) {
                update.key.name = format!("{}{REPLACEMENT}", own.name).into();
                replaced.insert(own.clone());
            }
            names.insert(update.key.clone(), own);
        }
        for update in candidates.iter_mut().chain(&mut in_force) {
            update.stored.clear();
        }
        Self {
            candidates,
            in_force,
            names,
            replaced,
        }
    }

    /// Returns all policies, for the index.
    pub(super) fn all(&self) -> Vec<PolicyUpdate> {
        self.in_force.iter().chain(&self.candidates).cloned().collect()
    }

    /// Returns the names of the candidates.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &PolicyKey> {
        self.names.values()
    }

    /// Reports whether there are policies to compare with.
    pub(super) fn has_others(&self) -> bool {
        !self.in_force.is_empty()
    }

    /// Returns the own name of a candidate in the index.
    pub(super) fn candidate(&self, key: &PolicyKey) -> Option<&PolicyKey> {
        self.names.get(key)
    }

    fn is_before(&self, key: &PolicyKey) -> bool {
        self.candidate(key).is_none()
    }

    fn is_after(&self, key: &PolicyKey) -> bool {
        !self.replaced.contains(key)
    }

    /// Reports whether violations under this policy are part of the result.
    fn is_compared(&self, key: &PolicyKey) -> bool {
        self.candidate(key).is_some() || self.replaced.contains(key)
    }
}

/// The difference of a violation between the policies in force and those with the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Difference {
    /// Only the candidates report it.
    New,
    /// Only the replaced policies report it.
    Gone,
    /// Both report it.
    Same,
}

impl Difference {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Same => "same",
        }
    }
}

/// The container of a workload that a check concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) namespace: Arc<str>,
    pub(super) workload: Arc<Workload>,
    pub(super) container: Arc<str>,
}

/// A container whose role changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RoleChange {
    pub(super) place: Place,
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// The difference.
#[derive(Debug, Default)]
pub(super) struct Comparison<'a> {
    /// The violations of each container and check.
    pub(super) findings: BTreeMap<(Difference, Place, Check), Vec<&'a Reported>>,
    /// The roles that change, with the number of Pods.
    pub(super) roles: BTreeMap<RoleChange, usize>,
}

impl<'a> Comparison<'a> {
    /// Compares what the policies have reported.
    pub(super) fn new(policies: &Policies, evaluation: &'a Evaluation) -> Self {
        let mut by_place: BTreeMap<(Place, Check), Vec<&Reported>> = BTreeMap::new();
        for reported in evaluation.reported() {
            let subject = &reported.violation.subject;
            let place = Place {
                namespace: Arc::clone(subject.namespace()),
                workload: Arc::clone(subject.workload()),
                container: Arc::clone(subject.container_or_image()),
            };
            let check = reported.violation.check;
            by_place.entry((place, check)).or_default().push(reported);
        }
        let mut findings = BTreeMap::new();
        for ((place, check), all) in by_place {
            let any =
                |of: &dyn Fn(&PolicyKey) -> bool| all.iter().any(|reported| of(&reported.violation.policy));
            let difference = match (
                any(&|key| policies.is_before(key)),
                any(&|key| policies.is_after(key)),
            ) {
                (false, _) => Difference::New,
                (true, false) => Difference::Gone,
                (true, true) => Difference::Same,
            };
            let is_candidate = |key: &PolicyKey| policies.candidate(key).is_some();
            let shows_candidates = any(&is_candidate);
            let shown: Vec<&Reported> = all
                .iter()
                .copied()
                .filter(|reported| {
                    let key = &reported.violation.policy;
                    policies.is_compared(key) && (is_candidate(key) || !shows_candidates)
                })
                .collect();
            if !shown.is_empty() {
                findings.insert((difference, place, check), shown);
            }
        }
        let mut roles = BTreeMap::new();
        for pod in evaluation.index().matched_pods() {
            for change in role_changes(policies, &pod) {
                *roles.entry(change).or_default() += 1;
            }
        }
        Self { findings, roles }
    }
}

/// Returns the containers of a Pod whose role under a candidate differs from their role under the policies in force that
/// select the Pod: under the replaced policy, if the candidate replaces one.
fn role_changes(policies: &Policies, pod: &MatchedPod<'_>) -> Vec<RoleChange> {
    let mut changes = Vec::new();
    for (key, _, after) in &pod.policies {
        let Some(own) = policies.candidate(key) else {
            continue;
        };
        let replaces = policies.replaced.contains(own);
        let before: Vec<_> = pod
            .policies
            .iter()
            .filter(|(other, _, _)| {
                if replaces {
                    *other == own
                } else {
                    policies.is_before(other)
                }
            })
            .map(|(_, _, roles)| roles)
            .collect();
        for (idx, container) in pod.pod.shape.containers.iter().enumerate() {
            let role = after.of(idx);
            let Some(first) = before
                .first()
                .filter(|_| before.iter().all(|roles| roles.of(idx) != role))
            else {
                continue;
            };
            changes.push(RoleChange {
                place: Place {
                    namespace: Arc::clone(&pod.pod.namespace),
                    workload: Arc::clone(&pod.pod.workload),
                    container: Arc::clone(&container.name),
                },
                before: role_name(first.of(idx)),
                after: role_name(role),
            });
        }
    }
    changes.sort();
    changes.dedup();
    changes
}
