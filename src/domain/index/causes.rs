//! CommonCause: images that fail the same check in several workloads since about the same time.
//!
//! [`FailingImages`] keeps, for a policy with the check, when each workload began to fail which check with which image. It changes
//! with the firing violations of the Pods, including those that a later process adopted. [`ImageCounts`] has the number of
//! workloads that use an image.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    image_states::ImageKey,
    images::{ImageCounts, WorkloadOf, repository_of, workload_of},
    matches::Match,
    subjects::SubjectFacts,
};
use crate::domain::{
    checks::common_cause::{
        self, COUNTED_PER_NAMESPACE, CauseFacts, LISTED_WORKLOADS, Limits, ONE_OF, WINDOW,
    },
    observation::Observation,
    policy::{Check, Mode, Policy, PolicyKey, PolicyKind},
    roles::Role,
    time::later,
    tracker::Tracked,
    violation::Subject,
};

/// The minimum time between two evaluations of an image, because an evaluation visits all its workloads.
const EVALUATED_EVERY: SignedDuration = SignedDuration::from_secs(1);
/// The weight of a workload in the share of the workloads that fail.
const FULL_WEIGHT: u64 = 1_000_000;

/// Whether a policy has the check.
pub(super) fn is_on(spec: &Policy) -> bool {
    spec.mode_of(Check::CommonCause) != Mode::Off
}

/// The images that fail under a policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FailingImages {
    by_repository: BTreeMap<Arc<str>, FailingImage>,
    /// Those that have changed since the last [`Self::take_changed`].
    changed: BTreeSet<Arc<str>>,
}

/// An image that fails.
#[derive(Debug, Default)]
struct FailingImage {
    by_check: BTreeMap<Check, BTreeMap<WorkloadOf, Onsets>>,
    /// The time of the latest evaluation, and the generation of the policy then.
    evaluated: Option<(Timestamp, i64)>,
}

/// What fails is compared, not when it was evaluated.
impl PartialEq for FailingImage {
    fn eq(&self, other: &Self) -> bool {
        self.by_check == other.by_check
    }
}

impl Eq for FailingImage {}

/// The number of Pods by the time at which they began to fail.
type Onsets = BTreeMap<Timestamp, u32>;

/// The images and checks that a Pod fails, with the time at which it began to. Exempt violations do not count.
fn failing(
    pod: &Observation,
    matched: &Match,
    tracked: &[Tracked],
) -> BTreeMap<(Arc<str>, Check), Timestamp> {
    let mut failing = BTreeMap::new();
    if !is_on(&matched.version.spec) {
        return failing;
    }
    let firing = tracked
        .iter()
        .filter(|tracked| tracked.is_firing() && tracked.exempt.is_none());
    for tracked in firing {
        let container_idx = usize::from(tracked.container);
        let container = pod.shape.containers.get(container_idx);
        let sidecar = container.filter(|_| matched.roles.of(container_idx) == Role::Sidecar);
        let Some(repository) = sidecar.and_then(|container| repository_of(&container.image)) else {
            continue;
        };
        let onset = failing
            .entry((repository, tracked.check))
            .or_insert(tracked.onset);
        *onset = tracked.onset.min(*onset);
    }
    failing
}

impl FailingImages {
    /// Adds the firing violations of a Pod.
    pub(super) fn add(&mut self, pod: &Observation, matched: &Match, tracked: &[Tracked]) {
        for ((repository, check), onset) in failing(pod, matched, tracked) {
            let image = self.by_repository.entry(Arc::clone(&repository)).or_default();
            let workloads = image.by_check.entry(check).or_default();
            let onsets = workloads.entry(workload_of(pod)).or_default();
            *onsets.entry(onset).or_default() += 1;
            self.changed.insert(repository);
        }
    }

    /// Undoes [`Self::add`].
    pub(super) fn remove(&mut self, pod: &Observation, matched: &Match, tracked: &[Tracked]) {
        for ((repository, check), onset) in failing(pod, matched, tracked) {
            self.subtract(&repository, check, &workload_of(pod), onset);
            self.changed.insert(repository);
        }
    }

    fn subtract(
        &mut self,
        repository: &Arc<str>,
        check: Check,
        workload: &WorkloadOf,
        onset: Timestamp,
    ) -> Option<()> {
        let image = self.by_repository.get_mut(repository)?;
        let workloads = image.by_check.get_mut(&check)?;
        let onsets = workloads.get_mut(workload)?;
        let pods = onsets.get_mut(&onset)?;
        *pods -= 1;
        if *pods == 0 {
            onsets.remove(&onset);
        }
        if onsets.is_empty() {
            workloads.remove(workload);
        }
        if workloads.is_empty() {
            image.by_check.remove(&check);
        }
        if image.by_check.is_empty() {
            self.by_repository.remove(repository);
        }
        Some(())
    }

    /// The images that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed)
    }

    /// The images that fail.
    #[cfg(test)]
    pub(super) fn repositories(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_repository.keys()
    }

    /// Whether an image fails a check.
    pub(super) fn contains(&self, repository: &Arc<str>) -> bool {
        self.by_repository.contains_key(repository)
    }

    /// The time before which the image is not evaluated again under this generation of the policy, if that is after `now`.
    pub(super) fn evaluated_again(
        &self,
        repository: &Arc<str>,
        generation: i64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (evaluated, under) = self.by_repository.get(repository)?.evaluated?;
        let at = later(evaluated, EVALUATED_EVERY);
        (under == generation && at > now).then_some(at)
    }

    /// The first time at which the image is evaluated again, if nothing but its facts changes.
    #[cfg(test)]
    pub(super) fn next_evaluation(&self, repository: &Arc<str>) -> Option<Timestamp> {
        let (evaluated, _) = self.by_repository.get(repository)?.evaluated?;
        Some(later(evaluated, EVALUATED_EVERY))
    }

    /// Records an evaluation.
    pub(super) fn set_evaluated(&mut self, repository: &Arc<str>, generation: i64, now: Timestamp) {
        if let Some(image) = self.by_repository.get_mut(repository) {
            image.evaluated = Some((now, generation));
        }
    }

    /// The check that the image fails in the most workloads, if these are enough.
    pub(super) fn cause<'a>(
        &'a self,
        (kind, limits): (PolicyKind, &Limits),
        repository: &Arc<str>,
        images: &'a ImageCounts,
    ) -> Option<CauseFacts<'a>> {
        let image = self.by_repository.get(repository)?;
        let enough = usize::try_from(limits.workloads).unwrap_or(usize::MAX);
        let mut by_check = image
            .by_check
            .iter()
            .filter(|(_, workloads)| workloads.len() >= enough)
            .peekable();
        by_check.peek()?;
        let users = Users::of(kind, images, repository, image);
        let causes = by_check.filter_map(|(check, workloads)| users.cause(*check, workloads, enough));
        // The first of equal ones.
        causes.reduce(|best, cause| {
            if cause.workloads > best.workloads {
                cause
            } else {
                best
            }
        })
    }
}

/// The workloads that use an image.
struct Users<'a> {
    number: usize,
    by_namespace: HashMap<&'a str, usize>,
    kind: PolicyKind,
}

impl<'a> Users<'a> {
    fn of(kind: PolicyKind, images: &'a ImageCounts, repository: &Arc<str>, image: &'a FailingImage) -> Self {
        let mut users: BTreeSet<&WorkloadOf> = images.workloads_of(repository).collect();
        // Those beyond the limit on the number of versions.
        users.extend(image.by_check.values().flat_map(BTreeMap::keys));
        let mut by_namespace: HashMap<&str, usize> = HashMap::new();
        for (namespace, _) in &users {
            *by_namespace.entry(namespace).or_default() += 1;
        }
        Self {
            number: users.len(),
            by_namespace,
            kind,
        }
    }

    /// The weight of a workload of a namespace.
    fn weight(&self, namespace: &str) -> u64 {
        let users = self.by_namespace.get(namespace).copied().unwrap_or(1);
        match self.kind {
            PolicyKind::ClusterSidecarPolicy if users > COUNTED_PER_NAMESPACE => {
                FULL_WEIGHT * COUNTED_PER_NAMESPACE as u64 / users as u64
            }
            _ => FULL_WEIGHT,
        }
    }

    /// The most workloads that began to fail within [`WINDOW`], if they are enough.
    fn cause(
        &self,
        check: Check,
        workloads: &'a BTreeMap<WorkloadOf, Onsets>,
        enough: usize,
    ) -> Option<CauseFacts<'a>> {
        let mut failing: Vec<(Timestamp, &WorkloadOf, &Onsets)> = workloads
            .iter()
            .filter_map(|(workload, onsets)| Some((*onsets.keys().next()?, workload, onsets)))
            .collect();
        failing.sort_by_key(|(onset, ..)| *onset);
        let total: u64 = self
            .by_namespace
            .iter()
            .map(|(namespace, users)| self.weight(namespace) * *users as u64)
            .sum();
        let mut best = 0..0;
        let (mut begin, mut weight) = (0, 0);
        for (end, (onset, (namespace, _), _)) in failing.iter().enumerate() {
            weight += self.weight(namespace);
            while let Some((first, (namespace, _), _)) = failing.get(begin)
                && onset.duration_since(*first) > WINDOW
            {
                weight -= self.weight(namespace);
                begin += 1;
            }
            let number = end + 1 - begin;
            // Each weight is rounded down by less than 1.
            let share = weight * ONE_OF + self.number as u64;
            if number >= enough && share >= total && number > best.len() {
                best = begin..end + 1;
            }
        }
        let failing = failing.get(best).filter(|failing| !failing.is_empty())?;
        let namespaces: BTreeSet<&str> = failing
            .iter()
            .map(|(_, (namespace, _), _)| &**namespace)
            .collect();
        let listed = failing.iter().take(LISTED_WORKLOADS);
        Some(CauseFacts {
            failed: check,
            workloads: failing.len(),
            users: self.number,
            pods: failing.iter().flat_map(|(.., onsets)| onsets.values()).sum(),
            namespaces: namespaces.len(),
            first: failing.first()?.0,
            latest: failing.last()?.0,
            listed: listed
                .map(|(_, (namespace, workload), _)| (&**namespace, &**workload))
                .collect(),
        })
    }
}

/// An image with Pods.
pub(super) struct Cause<'a> {
    key: &'a ImageKey,
    facts: Option<CauseFacts<'a>>,
}

impl<'a> Cause<'a> {
    pub(super) fn of(
        key: &'a ImageKey,
        (kind, spec): (PolicyKind, &Policy),
        failing: &'a FailingImages,
        images: &'a ImageCounts,
    ) -> Self {
        let limits = (kind, &spec.checks.common_cause.limits);
        let facts = failing.cause(limits, &key.subject.repository, images);
        Self { key, facts }
    }
}

impl SubjectFacts for Cause<'_> {
    fn check(&self) -> Check {
        Check::CommonCause
    }

    fn subject(&self) -> Subject {
        Subject::Image(self.key.subject.clone())
    }

    /// The single violations have lasted for long enough.
    fn hold_for(&self) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn failing(&self) -> u32 {
        self.facts.as_ref().map_or(0, |facts| facts.pods)
    }

    fn since(&self) -> Option<Timestamp> {
        self.facts.as_ref().map(|facts| facts.first)
    }

    /// Two episodes of an image have one Event, whose count rises.
    fn episode(&self) -> &'static str {
        ""
    }

    fn note(&self, policy: &PolicyKey) -> String {
        let facts = self.facts.as_ref();
        facts.map_or_else(String::new, |facts| {
            facts.note(&self.key.subject.repository, policy)
        })
    }

    fn recovered(&self, policy: &PolicyKey, duration: SignedDuration) -> String {
        common_cause::recovered(&self.key.subject.repository, policy, duration)
    }
}
