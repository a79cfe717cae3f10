//! The versions of the sidecar images under each policy, with the number of Pods that run them.
//!
//! The counts change with each Pod that comes, changes and goes. A Pod counts while it is evaluated, and once for each
//! version, however many of its sidecars have it.

#[cfg(test)]
mod recount;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    ops::Bound,
    sync::Arc,
};

use super::{
    entry::Policies,
    image_states::{ImageKey, ImageStates, is_watched},
    matches::{Match, MatchSet},
    pods::Selected,
};
use crate::domain::{
    checks::version_drift::{DriftFacts, LISTED_WORKLOADS, Laggards},
    image_version::{ImageVersion, MAX_REFERENCE},
    observation::{Observation, Workload},
    pattern::Repository,
    roles::{Role, Roles},
    summary::{Images, LISTED_IMAGES, LISTED_VERSIONS, RepositoryImages, VersionPods},
};

/// The maximum number of versions that are counted under one policy. The Pods of the others are counted together.
pub(crate) const MAX_VERSIONS: usize = 1_000;
/// The maximum number of them that are first seen in one namespace, so that no tenant can take all.
pub(crate) const MAX_VERSIONS_PER_NAMESPACE: usize = 100;

/// A version of a repository.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SidecarImage {
    /// The repository with its registry.
    repository: Arc<str>,
    version: Arc<str>,
}

impl SidecarImage {
    /// Parses an image as a Pod writes it. Returns `None` if no container runtime accepts it.
    fn parse(image: &str) -> Option<Self> {
        let version = ImageVersion::of_valid(image)?;
        Some(Self {
            repository: Repository::of(image).full().into(),
            version: version.to_string().into(),
        })
    }
}

/// The versions of the latest images. Most Pods have one of few images.
#[derive(Debug, Default)]
pub(super) struct ParsedImages(HashMap<Arc<str>, Option<Arc<SidecarImage>>>);

impl ParsedImages {
    const CAPACITY: usize = 1_024;

    fn get(&mut self, image: &Arc<str>) -> Option<Arc<SidecarImage>> {
        if image.len() > MAX_REFERENCE {
            return None;
        }
        if let Some(known) = self.0.get(image) {
            return known.clone();
        }
        if self.0.len() >= Self::CAPACITY {
            self.0.clear();
        }
        let parsed = SidecarImage::parse(image).map(Arc::new);
        self.0.insert(Arc::clone(image), parsed.clone());
        parsed
    }

    /// The versions of the sidecars of a Pod, each once.
    fn of_pod(&mut self, pod: &Observation, roles: &Roles) -> Vec<Arc<SidecarImage>> {
        let containers = pod.shape.containers.iter().enumerate();
        let sidecars = containers.filter(|(container_idx, _)| roles.of(*container_idx) == Role::Sidecar);
        let mut images: Vec<_> = sidecars
            .filter_map(|(_, container)| self.get(&container.image))
            .collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Counts the change of a Pod under the selected policies. The other policies must be the same in both sets.
    pub(super) fn count(
        &mut self,
        (policies, states): (&mut Policies, &mut ImageStates),
        selected: Selected,
        (before, old): (&Observation, &MatchSet),
        (after, new): (&Observation, &MatchSet),
    ) {
        let same_pod = before.is_evaluated() == after.is_evaluated()
            && before.shape == after.shape
            && before.namespace == after.namespace
            && before.workload == after.workload;
        if same_pod && (std::ptr::eq(old, new) || !after.is_evaluated()) {
            return;
        }
        let is_kept = |matched: &Match, other: &MatchSet| {
            let other = other.get(matched.version.policy);
            same_pod
                && other.is_some_and(|other| {
                    let (one, other_one) = (&matched.version.spec, &other.version.spec);
                    other.roles == matched.roles && is_watched(one) == is_watched(other_one)
                })
        };
        for (pod, matches, other, is_new) in [(before, old, new, false), (after, new, old, true)] {
            if !pod.is_evaluated() {
                continue;
            }
            // Policies with the same rules share the roles.
            let mut images: Option<(&Arc<Roles>, Vec<_>)> = None;
            for matched in selected.among(matches) {
                if is_kept(matched, other) {
                    continue;
                }
                let (_, images) = match &mut images {
                    Some(known) if Arc::ptr_eq(known.0, &matched.roles) => known,
                    known => known.insert((&matched.roles, self.of_pod(pod, &matched.roles))),
                };
                let id = matched.version.policy;
                let Some(policy) = policies.get_mut(&id) else {
                    continue;
                };
                let is_watched = is_watched(&matched.version.spec);
                for image in images.iter() {
                    if is_new {
                        policy.images.add(image, pod, is_watched);
                    } else {
                        policy.images.subtract(image, pod, is_watched);
                    }
                    if is_watched {
                        states.mark(ImageKey::new(id, &policy.key.namespace, &image.repository));
                    }
                }
            }
        }
    }
}

/// The number of Pods by version, under one policy.
#[derive(Debug, Default)]
pub(super) struct ImageCounts {
    versions: BTreeMap<Arc<SidecarImage>, VersionCount>,
    /// The number of `versions` that were first seen in a namespace.
    by_namespace: HashMap<Arc<str>, usize>,
    /// The number of Pods of other versions.
    others: u32,
}

/// The Pods with a version.
#[derive(Debug)]
struct VersionCount {
    pods: u32,
    /// The namespace in which the version was first seen.
    namespace: Arc<str>,
    /// The Pods by workload, if the policy has the check VersionDrift.
    workloads: BTreeMap<WorkloadOf, u32>,
}

/// A namespace and a workload.
pub(super) type WorkloadOf = (Arc<str>, Arc<Workload>);

/// The workload of a Pod.
pub(super) fn workload_of(pod: &Observation) -> WorkloadOf {
    (Arc::clone(&pod.namespace), Arc::clone(&pod.workload))
}

impl ImageCounts {
    fn add(&mut self, image: &Arc<SidecarImage>, pod: &Observation, is_watched: bool) {
        let namespace = &pod.namespace;
        let is_full = self.versions.len() >= MAX_VERSIONS;
        match self.versions.entry(Arc::clone(image)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.pods += 1;
                if is_watched {
                    *known.workloads.entry(workload_of(pod)).or_default() += 1;
                }
            }
            Entry::Vacant(unknown) => {
                let of_namespace = self.by_namespace.get(namespace).copied().unwrap_or(0);
                if is_full || of_namespace >= MAX_VERSIONS_PER_NAMESPACE {
                    self.others += 1;
                    return;
                }
                self.by_namespace.insert(Arc::clone(namespace), of_namespace + 1);
                unknown.insert(VersionCount {
                    pods: 1,
                    namespace: Arc::clone(namespace),
                    workloads: is_watched.then(|| (workload_of(pod), 1)).into_iter().collect(),
                });
            }
        }
    }

    /// Undoes [`Self::add`]. If the version has room since then, a Pod that was counted with the others can remain there in
    /// place of another Pod of the version, until that one ends as well.
    fn subtract(&mut self, image: &Arc<SidecarImage>, pod: &Observation, is_watched: bool) {
        let Entry::Occupied(mut known) = self.versions.entry(Arc::clone(image)) else {
            self.others = self.others.saturating_sub(1);
            return;
        };
        known.get_mut().pods -= 1;
        if is_watched && let Entry::Occupied(mut pods) = known.get_mut().workloads.entry(workload_of(pod)) {
            *pods.get_mut() -= 1;
            if *pods.get() == 0 {
                pods.remove();
            }
        }
        if known.get().pods > 0 {
            return;
        }
        let VersionCount { namespace, .. } = known.remove();
        if let Some(versions) = self.by_namespace.get_mut(&namespace) {
            *versions -= 1;
            if *versions == 0 {
                self.by_namespace.remove(&namespace);
            }
        }
    }

    /// The counted versions of a repository.
    fn versions_of(&self, repository: &Arc<str>) -> impl Iterator<Item = (&Arc<str>, &VersionCount)> {
        let first = SidecarImage {
            repository: Arc::clone(repository),
            version: Arc::default(),
        };
        let following = self
            .versions
            .range::<SidecarImage, _>((Bound::Included(&first), Bound::Unbounded));
        following
            .take_while(move |(image, _)| image.repository == first.repository)
            .map(|(image, count)| (&image.version, count))
    }

    /// Whether a Pod has a sidecar of the repository.
    pub(super) fn is_used(&self, repository: &Arc<str>) -> bool {
        self.versions_of(repository).next().is_some()
    }

    /// The versions of a repository, and whether they have an order: the newest first if they have, otherwise those with the
    /// most Pods.
    fn ranked(&self, repository: &Arc<str>) -> (Vec<(&Arc<str>, &VersionCount)>, bool) {
        let mut versions: Vec<_> = self
            .versions_of(repository)
            .map(|(text, count)| (ImageVersion::of(&format!("image:{text}")), text, count))
            .collect();
        let is_ordered = versions.iter().all(|(version, ..)| version.is_ordered());
        if is_ordered {
            versions.sort_by(|(one, ..), (other, ..)| other.cmp(one));
        } else {
            versions.sort_by_key(|(.., count)| Reverse(count.pods));
        }
        let versions = versions.into_iter().map(|(_, text, count)| (text, count));
        (versions.collect(), is_ordered)
    }

    /// The number of Pods that do not run the newest version of a repository, or without an order the one with the most Pods.
    pub(super) fn lagging_pods(&self, repository: &Arc<str>) -> u32 {
        let (versions, _) = self.ranked(repository);
        versions.iter().skip(1).map(|(_, count)| count.pods).sum()
    }

    /// The versions of a repository, for messages.
    pub(super) fn drift<'a>(&'a self, repository: &'a Arc<str>) -> DriftFacts<'a> {
        let (versions, is_ordered) = self.ranked(repository);
        let older = versions.iter().skip(1);
        let behind: BTreeSet<_> = older.flat_map(|(_, count)| count.workloads.keys()).collect();
        let listed = behind.iter().take(LISTED_WORKLOADS);
        let laggards = Laggards {
            listed: listed
                .map(|(namespace, workload)| (&**namespace, &**workload))
                .collect(),
            others: behind.len().saturating_sub(LISTED_WORKLOADS),
        };
        DriftFacts {
            repository,
            versions: versions
                .iter()
                .map(|(text, count)| (&***text, count.pods))
                .collect(),
            laggards: is_ordered.then_some(laggards),
        }
    }

    /// The repositories and versions with the most Pods.
    pub(super) fn summary(&self) -> Images {
        let mut repositories: BTreeMap<&Arc<str>, Vec<VersionPods>> = BTreeMap::new();
        for (image, count) in &self.versions {
            repositories
                .entry(&image.repository)
                .or_default()
                .push(VersionPods {
                    version: Arc::clone(&image.version),
                    pods: count.pods,
                });
        }
        let mut repositories: Vec<_> = repositories
            .into_iter()
            .map(|(repository, versions)| repository_images(repository, versions))
            .collect();
        repositories.sort_by_key(|repository| Reverse(repository.pods()));
        let mut omitted = u32::from(self.others > 0);
        let mut omitted_pods = self.others;
        for repository in repositories.iter().skip(LISTED_IMAGES) {
            omitted += 1;
            omitted_pods += repository.pods();
        }
        repositories.truncate(LISTED_IMAGES);
        Images {
            repositories,
            omitted,
            omitted_pods,
        }
    }
}

/// The versions of a repository with the most Pods.
fn repository_images(repository: &Arc<str>, mut versions: Vec<VersionPods>) -> RepositoryImages {
    versions.sort_by_key(|version| Reverse(version.pods));
    let others = versions.get(LISTED_VERSIONS..).unwrap_or_default();
    let (omitted, omitted_pods) = (others.len(), others.iter().map(|version| version.pods).sum());
    versions.truncate(LISTED_VERSIONS);
    RepositoryImages {
        repository: Arc::clone(repository),
        versions,
        omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        omitted_pods,
    }
}
