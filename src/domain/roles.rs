//! Who is who in a Pod, to one policy: decided on the spec alone, once per distinct shape.

use super::{
    catalogue,
    observation::{ContainerKind, Shape},
    pattern::{Pattern, Repository},
    policy::{Policy, SidecarRules},
};

/// What a container is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A sidecar, native or classic.
    Sidecar,
    /// A container that the Pod exists for.
    Main,
    /// A plain init container.
    Init,
    /// A container that the policy does not look at.
    Ignored,
}

/// The role of each container of a shape, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Box<[Role]>);

impl Roles {
    /// Assigns a role to each container of `shape`, with this precedence: `exclude`, `mainContainers.names`, the
    /// sidecar rules. A Pod always keeps a main container: where the rules would leave none (a stand-alone Envoy, a
    /// Fluentd Deployment), its regular containers are mains.
    pub fn assign(policy: &Policy, shape: &Shape) -> Self {
        let rules = &policy.sidecars;
        let is_named = |name: &str| policy.mains.contains(name);
        // A Pod that has none of the names is judged as if there were none.
        let named = shape
            .containers
            .iter()
            .any(|c| c.kind == ContainerKind::Regular && is_named(&c.name));
        let mut assigned: Box<[Role]> = shape
            .containers
            .iter()
            .map(|container| {
                let excluded = is_excluded(rules, &container.name);
                match container.kind {
                    ContainerKind::Init if excluded => Role::Ignored,
                    ContainerKind::Init => Role::Init,
                    ContainerKind::Native if excluded || !rules.native => Role::Ignored,
                    ContainerKind::Native => Role::Sidecar,
                    ContainerKind::Regular if excluded || is_named(&container.name) => Role::Main,
                    ContainerKind::Regular if is_sidecar(rules, &container.name, &container.image) => {
                        Role::Sidecar
                    }
                    ContainerKind::Regular if named => Role::Ignored,
                    ContainerKind::Regular => Role::Main,
                }
            })
            .collect();
        if !assigned.contains(&Role::Main) {
            for (role, container) in assigned.iter_mut().zip(&shape.containers) {
                if container.kind == ContainerKind::Regular {
                    *role = Role::Main;
                }
            }
        }
        Self(assigned)
    }

    /// The role of the container at `at`.
    pub fn of(&self, at: usize) -> Role {
        self.0.get(at).copied().unwrap_or(Role::Ignored)
    }

    /// The places of the containers with this role.
    pub fn with(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter_map(move |(at, r)| (*r == role).then_some(at))
    }
}

fn is_excluded(rules: &SidecarRules, name: &str) -> bool {
    rules.exclude_names.contains(name) || rules.exclude_pattern.as_ref().is_some_and(|p| p.matches(name))
}

fn is_sidecar(rules: &SidecarRules, name: &str, image: &str) -> bool {
    let image = Repository::of(image);
    rules.well_known && catalogue::knows(name, &image)
        || rules.names.contains(name)
        || rules
            .name_pattern
            .as_ref()
            .is_some_and(|p: &Pattern| p.matches(name))
        || rules.images.iter().any(|glob| glob.matches(&image))
}
