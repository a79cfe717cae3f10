//! The series that count Pods by the version of a sidecar image.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::domain::{
    policy::PolicyKey,
    summary::{Images, RepositoryImages},
};

/// The series of all policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSeries {
    /// The series, by policy.
    pub rows: Vec<ImageRow>,
    /// The number of namespaces whose policies have one series each, because there are too many. All
    /// `ClusterSidecarPolicy` objects are in one namespace with an empty name.
    pub collapsed: usize,
}

/// The Pods with one version of a sidecar image, under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    /// The policy.
    pub policy: PolicyKey,
    /// The repository with its registry. Empty for the repositories without series of their own.
    pub repository: Arc<str>,
    /// The version. Empty for the versions without series of their own.
    pub version: Arc<str>,
    /// The number of Pods.
    pub pods: u32,
}

/// Returns the series of policies. Above `limit` the policies of the namespaces with the most series have one series each,
/// those of the `ClusterSidecarPolicy` objects last.
pub(super) fn image_series<'a>(
    policies: impl Iterator<Item = (&'a PolicyKey, Images)>,
    limit: usize,
) -> ImageSeries {
    let rows: Vec<(&PolicyKey, Vec<ImageRow>)> = policies
        .map(|(policy, images)| (policy, rows(policy, &images)))
        .collect();
    let mut total = 0;
    let mut sizes: BTreeMap<&Arc<str>, (usize, usize)> = BTreeMap::new();
    for (policy, rows) in &rows {
        total += rows.len();
        let (series, saved) = sizes.entry(&policy.namespace).or_default();
        *series += rows.len();
        *saved += rows.len().saturating_sub(1);
    }
    let mut largest: Vec<_> = sizes.into_iter().collect();
    largest.sort_by_key(|(namespace, (series, _))| (namespace.is_empty(), Reverse(*series)));
    let mut collapsed: BTreeSet<Arc<str>> = BTreeSet::new();
    for (namespace, (_, saved)) in largest {
        if total <= limit {
            break;
        }
        total -= saved;
        collapsed.insert(Arc::clone(namespace));
    }
    let rows = rows.into_iter().flat_map(|(policy, rows)| {
        if !collapsed.contains(&policy.namespace) {
            return rows;
        }
        let pods = rows.iter().map(|row| row.pods).sum();
        let sum = (pods > 0).then(|| row(policy, &Arc::default(), &Arc::default(), pods));
        sum.into_iter().collect()
    });
    ImageSeries {
        rows: rows.collect(),
        collapsed: collapsed.len(),
    }
}

fn rows(policy: &PolicyKey, images: &Images) -> Vec<ImageRow> {
    let (mut rows, others) = (Vec::new(), Arc::default());
    let Images {
        repositories,
        omitted: _,
        omitted_pods,
    } = images;
    for RepositoryImages {
        repository,
        versions,
        omitted: _,
        omitted_pods,
    } in repositories
    {
        for version in versions {
            rows.push(row(policy, repository, &version.version, version.pods));
        }
        if *omitted_pods > 0 {
            rows.push(row(policy, repository, &others, *omitted_pods));
        }
    }
    if *omitted_pods > 0 {
        rows.push(row(policy, &others, &others, *omitted_pods));
    }
    rows
}

fn row(policy: &PolicyKey, repository: &Arc<str>, version: &Arc<str>, pods: u32) -> ImageRow {
    ImageRow {
        policy: policy.clone(),
        repository: Arc::clone(repository),
        version: Arc::clone(version),
        pods,
    }
}
