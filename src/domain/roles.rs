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

/// The rule that assigned a role to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `sidecars.exclude` names the container.
    Excluded,
    /// It is a plain init container.
    PlainInit,
    /// It is a native sidecar, and `sidecars.native` is `Include`.
    Native,
    /// It is a native sidecar, and `sidecars.native` is `Exclude`.
    NativeExcluded,
    /// `mainContainers.names` names the container.
    MainName,
    /// `sidecars.names` names the container.
    SidecarName,
    /// The name of the container matches `sidecars.namePattern`.
    NamePattern,
    /// The image matches `sidecars.images`.
    Image,
    /// The built-in catalogue contains the container.
    Catalogue,
    /// It is a companion of another container in the catalogue.
    Companion,
    /// It is the program of a companion, and the Pod has no other main container.
    Program,
    /// `mainContainers.names` names other containers of the Pod.
    NotNamed,
    /// No rule makes it a sidecar.
    Other,
    /// The Pod would have no main container.
    OnlyContainer,
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
        Self(assign(policy, shape).into_iter().map(|(role, _)| role).collect())
    }

    /// The rule that assigns the role of each container of `shape`.
    pub fn rules(policy: &Policy, shape: &Shape) -> Vec<Rule> {
        assign(policy, shape).into_iter().map(|(_, rule)| rule).collect()
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

fn assign(policy: &Policy, shape: &Shape) -> Vec<(Role, Rule)> {
    let rules = &policy.sidecars;
    let is_main_name = |name: &str| policy.mains.contains(name);
    // If no container of the Pod has one of these names, the policy is used as if it listed no names.
    let has_named_main = shape
        .containers
        .iter()
        .any(|c| c.kind == ContainerKind::Regular && is_main_name(&c.name));
    let mut assigned: Vec<(Role, Rule)> = shape
        .containers
        .iter()
        .map(|container| {
            let excluded = is_excluded(rules, &container.name);
            match container.kind {
                ContainerKind::Init | ContainerKind::Native if excluded => (Role::Ignored, Rule::Excluded),
                ContainerKind::Init => (Role::Init, Rule::PlainInit),
                ContainerKind::Native if !rules.native => (Role::Ignored, Rule::NativeExcluded),
                ContainerKind::Native => (Role::Sidecar, Rule::Native),
                ContainerKind::Regular if excluded => (Role::Main, Rule::Excluded),
                ContainerKind::Regular if is_main_name(&container.name) => (Role::Main, Rule::MainName),
                ContainerKind::Regular => match sidecar_rule(rules, &container.name, &container.image) {
                    Some(rule) => (Role::Sidecar, rule),
                    None if has_named_main => (Role::Ignored, Rule::NotNamed),
                    None => (Role::Main, Rule::Other),
                },
            }
        })
        .collect();
    if rules.well_known && !has_named_main {
        assign_companions(rules, shape, &mut assigned);
    }
    if !has_main(&assigned) {
        for (assigned, container) in assigned.iter_mut().zip(&shape.containers) {
            if container.kind == ContainerKind::Regular {
                *assigned = (Role::Main, Rule::OnlyContainer);
            }
        }
    }
    assigned
}

fn has_main(assigned: &[(Role, Rule)]) -> bool {
    assigned.iter().any(|(role, _)| *role == Role::Main)
}

fn is_excluded(rules: &SidecarRules, name: &str) -> bool {
    rules.exclude_names.contains(name) || rules.exclude_pattern.as_ref().is_some_and(|p| p.matches(name))
}

/// Makes the companions of a program in the catalogue sidecars. If the Pod has no other main container, the program is
/// its main container. A rule of the policy that selects the program as a sidecar has precedence.
fn assign_companions(rules: &SidecarRules, shape: &Shape, assigned: &mut [(Role, Rule)]) {
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
        if rule_of_policy(rules, program, program_image).is_some() {
            continue;
        }
        for (idx, name, image) in &containers {
            if idx != program_idx && catalogue::is_companion((program, program_image), (name, image)) {
                if let Some(assigned) = assigned.get_mut(*idx) {
                    *assigned = (Role::Sidecar, Rule::Companion);
                }
                programs.push(*program_idx);
            }
        }
    }
    if !has_main(assigned) {
        for program_idx in programs {
            if let Some(assigned) = assigned.get_mut(program_idx) {
                *assigned = (Role::Main, Rule::Program);
            }
        }
    }
}

/// The rule that makes a regular container a sidecar.
fn sidecar_rule(rules: &SidecarRules, name: &str, image: &str) -> Option<Rule> {
    let image = Repository::of(image);
    let is_well_known = || rules.well_known && catalogue::contains(name, &image);
    rule_of_policy(rules, name, &image).or_else(|| is_well_known().then_some(Rule::Catalogue))
}

/// The rule of the policy itself, without the catalogue, that makes a regular container a sidecar.
fn rule_of_policy(rules: &SidecarRules, name: &str, image: &Repository<'_>) -> Option<Rule> {
    let matches_pattern = || {
        rules
            .name_pattern
            .as_ref()
            .is_some_and(|p: &Pattern| p.matches(name))
    };
    if rules.names.contains(name) {
        Some(Rule::SidecarName)
    } else if matches_pattern() {
        Some(Rule::NamePattern)
    } else if rules.images.iter().any(|glob| glob.matches(image)) {
        Some(Rule::Image)
    } else {
        None
    }
}
