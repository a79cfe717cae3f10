//! For tests: the counts of versions, recomputed from all Pods.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    ImageCounts, MAX_VERSIONS, MAX_VERSIONS_PER_NAMESPACE, ParsedImages, SidecarImage, is_watched,
    workload_of,
};
use crate::domain::{
    index::matches::Match,
    observation::{Observation, Workload},
    roles::Roles,
};

/// The number of Pods by repository and version.
type PodsByVersion = BTreeMap<(Arc<str>, Arc<str>), u32>;
/// The number of Pods by repository, version, namespace and workload.
type PodsByWorkload = BTreeMap<(Arc<str>, Arc<str>, Arc<str>, Arc<Workload>), u32>;

impl ImageCounts {
    /// The number of Pods by repository and version, and of those of other versions.
    pub(in crate::domain::index) fn pods(&self) -> (PodsByVersion, u32) {
        let pods = self.versions.iter().map(|(image, count)| {
            let image = (Arc::clone(&image.repository), Arc::clone(&image.version));
            (image, count.pods)
        });
        (pods.collect(), self.others)
    }

    /// The same from the Pods under the policy, with their roles.
    pub(in crate::domain::index) fn recount<'a>(
        pods: impl Iterator<Item = (&'a Observation, &'a Roles)>,
    ) -> PodsByVersion {
        let mut counts = BTreeMap::new();
        for (pod, roles) in pods.filter(|(pod, _)| pod.is_evaluated()) {
            for image in ParsedImages::default().of_pod(pod, roles) {
                let image = (Arc::clone(&image.repository), Arc::clone(&image.version));
                *counts.entry(image).or_default() += 1;
            }
        }
        counts
    }

    /// The number of Pods by workload, if the policy has a check on images.
    pub(in crate::domain::index) fn by_workload(&self) -> PodsByWorkload {
        let mut counts = BTreeMap::new();
        for (image, count) in &self.versions {
            for ((namespace, workload), pods) in &count.workloads {
                let SidecarImage { repository, version } = &**image;
                let key = (
                    repository.clone(),
                    version.clone(),
                    namespace.clone(),
                    workload.clone(),
                );
                counts.insert(key, *pods);
            }
        }
        counts
    }

    /// The same from the Pods under the policy, with their matches.
    pub(in crate::domain::index) fn recount_by_workload<'a>(
        pods: impl Iterator<Item = (&'a Observation, &'a Match)>,
    ) -> PodsByWorkload {
        let mut counts = BTreeMap::new();
        let watched = pods.filter(|(pod, matched)| pod.is_evaluated() && is_watched(&matched.version.spec));
        for (pod, matched) in watched {
            for image in ParsedImages::default().of_pod(pod, &matched.roles) {
                let (namespace, workload) = workload_of(pod);
                let key = (
                    image.repository.clone(),
                    image.version.clone(),
                    namespace,
                    workload,
                );
                *counts.entry(key).or_default() += 1;
            }
        }
        counts
    }

    /// Panics if the limits are exceeded, or the versions of a namespace differ from a recount.
    pub(in crate::domain::index) fn assert_limits(&self) {
        let mut by_namespace: HashMap<Arc<str>, usize> = HashMap::new();
        for count in self.versions.values() {
            *by_namespace.entry(Arc::clone(&count.namespace)).or_default() += 1;
        }
        assert_eq!(self.by_namespace, by_namespace);
        assert!(self.versions.len() <= MAX_VERSIONS);
        assert!(
            by_namespace
                .values()
                .all(|versions| *versions <= MAX_VERSIONS_PER_NAMESPACE)
        );
    }
}
