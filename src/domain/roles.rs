//! The roles of the containers of a Pod under one policy. They depend only on the shape of the Pod and are computed once
//! for each shape.

use super::{
    catalogue::{self, Product},
    observation::{ContainerKind, NamedBy, Shape},
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
    /// The annotation `kubectl.kubernetes.io/default-container` names the container.
    DefaultContainer,
    /// The catalogue contains the container.
    Catalogue,
    /// It can be the app of a Pod, or only its name says that it is a sidecar, and the workload has its name.
    Workload,
    /// It can be the app of a Pod, and has the image of one that is.
    SameImage,
    /// It can be the app of a Pod, but another container is.
    BesideMain,
    /// It can be the app of a Pod, and no other container is.
    App,
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
    /// Assigns a role to each container of `shape`. The first rule that applies decides:
    ///
    /// 1. A container that the policy excludes is a main container; `mainContainers.names` names main containers.
    /// 2. A container that the policy names, by its name or its image, is a sidecar.
    /// 3. A native sidecar is a sidecar.
    /// 4. The container of the annotation `kubectl.kubernetes.io/default-container` is a main container.
    /// 5. A product of the catalogue that cannot be the app is a sidecar.
    /// 6. A product that can be the app is a main container if the workload has its name, if it has the image of such a
    ///    container, or if no other main container is left. Otherwise it is a sidecar. A container of which only the name says
    ///    that it is a sidecar is a main container if the workload has its name.
    /// 7. All other regular containers are main containers.
    ///
    /// Every Pod has a main container. If the rules find none, the containers of rule 5 that can best run alone are main
    /// containers (node-exporter beside kube-rbac-proxy); those that the policy names only if nothing else is left.
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
    let names = shape.containers.iter().map(|container| &*container.name);
    let mut assigned = Vec::with_capacity(shape.containers.len());
    // The products of the catalogue that rules 5 to 7 concern.
    let mut products: Vec<Option<&'static Product>> = Vec::with_capacity(shape.containers.len());
    for container in &shape.containers {
        let excluded = is_excluded(rules, &container.name);
        let image = Repository::of(&container.image);
        let mut known = None;
        assigned.push(match container.kind {
            ContainerKind::Init | ContainerKind::Native if excluded => (Role::Ignored, Rule::Excluded),
            ContainerKind::Init => (Role::Init, Rule::PlainInit),
            ContainerKind::Native if !rules.native => (Role::Ignored, Rule::NativeExcluded),
            ContainerKind::Native => (Role::Sidecar, Rule::Native),
            ContainerKind::Regular if excluded => (Role::Main, Rule::Excluded),
            ContainerKind::Regular if is_main_name(&container.name) => (Role::Main, Rule::MainName),
            ContainerKind::Regular => {
                let is_default = container.named_by == Some(NamedBy::Annotation) && !has_named_main;
                if let Some(rule) = rule_of_policy(rules, &container.name, &image) {
                    (Role::Sidecar, rule)
                } else if is_default {
                    (Role::Main, Rule::DefaultContainer)
                } else {
                    if rules.well_known {
                        known = catalogue::find(&container.name, &image, &names);
                    }
                    match known {
                        Some(_) => (Role::Sidecar, Rule::Catalogue),
                        None if has_named_main => (Role::Ignored, Rule::NotNamed),
                        None => (Role::Main, Rule::Other),
                    }
                }
            }
        });
        products.push(known);
    }
    if !has_named_main {
        assign_apps(shape, &products, &mut assigned);
        assign_last_resort(shape, &products, &mut assigned);
    }
    assigned
}

fn has_main(assigned: &[(Role, Rule)]) -> bool {
    assigned.iter().any(|(role, _)| *role == Role::Main)
}

fn is_excluded(rules: &SidecarRules, name: &str) -> bool {
    rules.exclude_names.contains(name) || rules.exclude_pattern.as_ref().is_some_and(|p| p.matches(name))
}

/// Rule 6: the products of the catalogue that can be the app.
fn assign_apps(shape: &Shape, products: &[Option<&Product>], assigned: &mut [(Role, Rule)]) {
    let is_app = |product: Option<&Product>| product.is_some_and(|product| product.app);
    let mut images = Vec::new();
    for ((assigned, container), product) in assigned.iter_mut().zip(&shape.containers).zip(products) {
        let can_be_named = product.is_some_and(|product| product.app || product.is_generic());
        if can_be_named && container.named_by == Some(NamedBy::Workload) {
            *assigned = (Role::Main, Rule::Workload);
        }
        if matches!(assigned.1, Rule::Workload | Rule::DefaultContainer) {
            images.push(Repository::without_tag(&container.image));
        }
    }
    let has_main = has_main(assigned);
    for ((assigned, container), product) in assigned.iter_mut().zip(&shape.containers).zip(products) {
        if assigned.1 == Rule::Catalogue && is_app(*product) {
            *assigned = if images.contains(&Repository::without_tag(&container.image)) {
                (Role::Main, Rule::SameImage)
            } else if has_main {
                (Role::Sidecar, Rule::BesideMain)
            } else {
                (Role::Main, Rule::App)
            };
        }
    }
}

/// The end of rule 7: in a Pod without a main container, the products that can best run alone. If there are only
/// containers that the policy names, these.
fn assign_last_resort(shape: &Shape, products: &[Option<&Product>], assigned: &mut [(Role, Rule)]) {
    if has_main(assigned) {
        return;
    }
    let rank = |product: Option<&Product>| product.map(|product| product.class.rank_as_main());
    let best = products.iter().copied().filter_map(rank).min();
    for ((assigned, container), product) in assigned.iter_mut().zip(&shape.containers).zip(products) {
        if container.kind == ContainerKind::Regular && rank(*product) == best {
            *assigned = (Role::Main, Rule::OnlyContainer);
        }
    }
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
