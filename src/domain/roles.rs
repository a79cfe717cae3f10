//! The roles of the containers of a Pod under one policy. They depend only on the spec of the Pod and are computed once
//! for each shape.

use super::{
    catalogue,
    observation::{ContainerKind, Shape},
    pattern::{Pattern, Repository},
    policy::{Policy, SidecarRules},
};

/// The role of a container under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A sidecar, native or classic.
    Sidecar,
    /// A main container.
    Main,
    /// A plain init container.
    Init,
    /// A container that the policy does not evaluate.
    Ignored,
}

/// The role of each container of a shape, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Roles(Box<[Role]>);

impl Roles {
    /// Assigns a role to each container of `shape`. Precedence: `exclude`, `mainContainers.names`, the sidecar rules. Every
    /// Pod has a main container: if the rules find none (a stand-alone Envoy, a Fluentd Deployment), its regular
    /// containers are main containers. In a gateway Pod (Envoy and its shutdown manager) the gateway is the main
    /// container.
    pub fn assign(policy: &Policy, shape: &Shape) -> Self {
        let rules = &policy.sidecars;
        let is_main_name = |name: &str| policy.mains.contains(name);
        // If no container of the Pod has one of these names, the policy is used as if it listed no names.
        let has_named_main = shape
            .containers
            .iter()
            .any(|c| c.kind == ContainerKind::Regular && is_main_name(&c.name));
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
                    ContainerKind::Regular if excluded || is_main_name(&container.name) => Role::Main,
                    ContainerKind::Regular if is_sidecar(rules, &container.name, &container.image) => {
                        Role::Sidecar
                    }
                    ContainerKind::Regular if has_named_main => Role::Ignored,
                    ContainerKind::Regular => Role::Main,
                }
            })
            .collect();
        if rules.well_known && !has_named_main {
            assign_companions(rules, shape, &mut assigned);
        }
        if !assigned.contains(&Role::Main) {
            for (role, container) in assigned.iter_mut().zip(&shape.containers) {
                if container.kind == ContainerKind::Regular {
                    *role = Role::Main;
                }
            }
        }
        Self(assigned)
    }

    /// The role of a container.
    pub fn of(&self, container_idx: usize) -> Role {
        self.0.get(container_idx).copied().unwrap_or(Role::Ignored)
    }

    /// The indexes of the containers with this role.
    pub fn with(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter_map(move |(container_idx, r)| (*r == role).then_some(container_idx))
    }
}

fn is_excluded(rules: &SidecarRules, name: &str) -> bool {
    rules.exclude_names.contains(name) || rules.exclude_pattern.as_ref().is_some_and(|p| p.matches(name))
}

/// Makes the companions of a program in the catalogue sidecars. If the Pod has no other main container, the program is
/// its main container. A rule of the policy that selects the program as a sidecar has precedence.
fn assign_companions(rules: &SidecarRules, shape: &Shape, assigned: &mut [Role]) {
    let containers: Vec<_> = shape
        .containers
        .iter()
        .enumerate()
        .filter(|(_, container)| {
            container.kind == ContainerKind::Regular && !is_excluded(rules, &container.name)
        })
        .map(|(idx, container)| (idx, &*container.name, Repository::of(&container.image)))
        .collect();
    let mut programs = Vec::new();
    for (program_idx, program, program_image) in &containers {
        if is_sidecar_by_rule(rules, program, program_image) {
            continue;
        }
        for (idx, name, image) in &containers {
            if idx != program_idx && catalogue::is_companion((program, program_image), (name, image)) {
                if let Some(role) = assigned.get_mut(*idx) {
                    *role = Role::Sidecar;
                }
                programs.push(*program_idx);
            }
        }
    }
    if !assigned.contains(&Role::Main) {
        for program_idx in programs {
            if let Some(role) = assigned.get_mut(program_idx) {
                *role = Role::Main;
            }
        }
    }
}

fn is_sidecar(rules: &SidecarRules, name: &str, image: &str) -> bool {
    let image = Repository::of(image);
    rules.well_known && catalogue::contains(name, &image) || is_sidecar_by_rule(rules, name, &image)
}

/// Whether the policy selects the container by its own rules, without the catalogue.
fn is_sidecar_by_rule(rules: &SidecarRules, name: &str, image: &Repository<'_>) -> bool {
    rules.names.contains(name)
        || rules
            .name_pattern
            .as_ref()
            .is_some_and(|p: &Pattern| p.matches(name))
        || rules.images.iter().any(|glob| glob.matches(image))
}
