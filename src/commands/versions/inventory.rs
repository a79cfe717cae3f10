//! Counts the images of the sidecars.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    cli::evaluation::Evaluation,
    domain::{
        image_version::ImageVersion,
        index::MatchedPod,
        observation::{Phase, Shape, Workload},
        pattern::Repository,
        policy::Policy,
        roles::{Role, Roles},
    },
};

/// The sidecars of all Pods.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// The number of Pods that run or are about to run.
    pub(super) pods: usize,
    /// The repositories, by their names with the registry.
    pub(super) repositories: BTreeMap<String, Versions>,
}

/// The versions of one repository.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The repository as a Pod writes it.
    pub(super) written: String,
    pub(super) versions: BTreeMap<ImageVersion, Uses>,
}

/// The Pods with one version.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub(super) images: BTreeSet<Arc<str>>,
    pub(super) pods: usize,
    pub(super) workloads: BTreeSet<(Arc<str>, Arc<Workload>)>,
    /// The number of the Pod that was counted last. A Pod can have two containers with one image.
    counted: usize,
}

impl Inventory {
    /// Counts the Pods of an evaluation, without those that have ended or are being deleted. A container is a sidecar if it is
    /// one under a policy that selects the Pod; `defaults` has the rules for Pods that no policy selects.
    pub(super) fn of(evaluation: &Evaluation, defaults: &Policy) -> Self {
        let mut inventory = Self::default();
        let mut images: HashMap<Arc<str>, (String, ImageVersion)> = HashMap::new();
        let mut default_roles: HashMap<Arc<Shape>, Roles> = HashMap::new();
        for matched in evaluation.index().matched_pods() {
            let pod = matched.pod;
            if pod.terminating || matches!(pod.phase, Phase::Succeeded | Phase::Failed) {
                continue;
            }
            inventory.pods += 1;
            for (idx, container) in pod.shape.containers.iter().enumerate() {
                if !is_sidecar(&matched, idx, defaults, &mut default_roles) {
                    continue;
                }
                let (repository, version) =
                    images
                        .entry(Arc::clone(&container.image))
                        .or_insert_with_key(|image| {
                            let full = Repository::of(image).full().to_owned();
                            (full, ImageVersion::of(image))
                        });
                let versions = inventory.repositories.entry(repository.clone()).or_default();
                if versions.written.is_empty() {
                    Repository::without_tag(&container.image).clone_into(&mut versions.written);
                }
                let uses = versions.versions.entry(version.clone()).or_default();
                uses.images.insert(Arc::clone(&container.image));
                if uses.counted != inventory.pods {
                    uses.counted = inventory.pods;
                    uses.pods += 1;
                    uses.workloads
                        .insert((Arc::clone(&pod.namespace), Arc::clone(&pod.workload)));
                }
            }
        }
        inventory
    }
}

fn is_sidecar(
    matched: &MatchedPod<'_>,
    container_idx: usize,
    defaults: &Policy,
    default_roles: &mut HashMap<Arc<Shape>, Roles>,
) -> bool {
    if matched.policies.is_empty() {
        let shape = &matched.pod.shape;
        let roles = default_roles
            .entry(Arc::clone(shape))
            .or_insert_with(|| Roles::assign(defaults, shape));
        return roles.of(container_idx) == Role::Sidecar;
    }
    let mut policies = matched.policies.iter();
    policies.any(|(_, _, roles)| roles.of(container_idx) == Role::Sidecar)
}
