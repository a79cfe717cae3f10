//! The sidecars that a policy expects in the Pods that it selects (`spec.expected`): which sidecar, and which Pods must
//! have it. The answer depends on the spec and the metadata of a Pod and on the metadata of its namespace only.

mod presets;

use std::sync::Arc;

use jiff::SignedDuration;

pub use self::presets::{ANNOTATIONS, Preset};
use super::{
    observation::{ContainerKind, Labels, NamespaceMetadata, Observation, Shape},
    pattern::{Glob, Pattern, Repository},
};

/// The largest number of entries of one policy.
pub const MAX_EXPECTED: usize = 16;

/// A sidecar that some Pods must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The name of the entry, unique in its policy.
    pub name: Arc<str>,
    /// Which Pods must have which sidecar.
    pub rule: Rule,
    /// How long Pods of a workload may lack it.
    pub hold_for: SignedDuration,
}

/// Which Pods must have which sidecar.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The rules of a project.
    Preset(Preset),
    /// The rules that the policy itself has.
    Custom {
        /// The sidecar.
        sidecar: Sidecar,
        /// A Pod must have the sidecar if one of these holds; empty means every Pod.
        when: Vec<Condition>,
        /// A Pod need not have the sidecar if one of these holds.
        unless: Vec<Condition>,
    },
}

/// Which container is the sidecar. It can be native or regular.
#[derive(Clone, Debug, PartialEq)]
pub enum Sidecar {
    /// The container with this name.
    Name(Box<str>),
    /// A container whose whole name matches.
    NamePattern(Pattern),
    /// A container whose image repository matches.
    Image(Glob),
}

/// A condition on a Pod or its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A label or an annotation has one of these values, or any value if there are none.
    Metadata {
        /// Where it is.
        from: Source,
        /// Its key.
        key: Box<str>,
        /// Its values.
        values: Vec<Box<str>>,
    },
    /// `spec.hostNetwork` is true.
    HostNetwork,
}

/// Where a label or an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A label of the Pod.
    PodLabel,
    /// An annotation of the Pod.
    PodAnnotation,
    /// A label of the namespace.
    NamespaceLabel,
    /// An annotation of the namespace.
    NamespaceAnnotation,
}

/// The entries of a policy that apply to a Pod, as bits in the order of the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// The Pod must have the sidecar.
    pub required: u16,
    /// The Pod must have the sidecar and lacks it.
    pub lacking: u16,
}

impl Expectation {
    /// Evaluates the entries of a policy for a Pod. Without the metadata of the namespace, no condition on it holds.
    pub fn of(expected: &[Expected], pod: &Observation, namespace: Option<&NamespaceMetadata>) -> Self {
        let mut found = Self::default();
        for (entry, bit) in expected.iter().zip((0..u16::BITS).map(|shift| 1 << shift)) {
            if entry.is_required(pod, namespace) {
                found.required |= bit;
                if !entry.is_in(&pod.shape) {
                    found.lacking |= bit;
                }
            }
        }
        found
    }

    /// The required entries, and whether the Pod lacks each.
    pub fn entries(self, expected: &[Expected]) -> impl Iterator<Item = (&Expected, bool)> {
        let bits = (0..u16::BITS).map(|shift| 1 << shift);
        let required = expected
            .iter()
            .zip(bits)
            .filter(move |(_, bit)| self.required & bit != 0);
        required.map(move |(entry, bit)| (entry, self.lacking & bit != 0))
    }
}

impl Expected {
    /// The pattern of the name of the sidecar.
    pub(super) fn pattern_mut(&mut self) -> Option<&mut Pattern> {
        match &mut self.rule {
            Rule::Custom {
                sidecar: Sidecar::NamePattern(pattern),
                ..
            } => Some(pattern),
            Rule::Custom { .. } | Rule::Preset(_) => None,
        }
    }

    /// Whether the answer depends on the namespace of the Pod.
    pub fn reads_namespace(&self) -> bool {
        match &self.rule {
            Rule::Preset(preset) => preset.reads_namespace(),
            Rule::Custom { when, unless, .. } => when.iter().chain(unless).any(|condition| {
                let Condition::Metadata { from, .. } = condition else {
                    return false;
                };
                matches!(from, Source::NamespaceLabel | Source::NamespaceAnnotation)
            }),
        }
    }

    /// Whether a Pod must have the sidecar.
    fn is_required(&self, pod: &Observation, namespace: Option<&NamespaceMetadata>) -> bool {
        match &self.rule {
            Rule::Preset(preset) => preset.is_required(pod, namespace),
            Rule::Custom { when, unless, .. } => {
                let any = |conditions: &[Condition]| {
                    let mut conditions = conditions.iter();
                    conditions.any(|condition| condition.holds(pod, namespace))
                };
                (when.is_empty() || any(when)) && !any(unless)
            }
        }
    }

    /// Whether a Pod of this shape has the sidecar. A plain init container is not a sidecar.
    fn is_in(&self, shape: &Shape) -> bool {
        let mut containers = shape
            .containers
            .iter()
            .filter(|container| container.kind != ContainerKind::Init);
        match &self.rule {
            Rule::Preset(preset) => containers.any(|container| &*container.name == preset.container()),
            Rule::Custom { sidecar, .. } => containers.any(|container| match sidecar {
                Sidecar::Name(name) => *container.name == **name,
                Sidecar::NamePattern(pattern) => pattern.matches(&container.name),
                Sidecar::Image(glob) => glob.matches(&Repository::of(&container.image)),
            }),
        }
    }
}

impl Condition {
    fn holds(&self, pod: &Observation, namespace: Option<&NamespaceMetadata>) -> bool {
        let Self::Metadata { from, key, values } = self else {
            return pod.host_network;
        };
        let metadata: Option<&Labels> = match from {
            Source::PodLabel => Some(&pod.labels),
            Source::PodAnnotation => Some(&pod.annotations),
            Source::NamespaceLabel => namespace.map(|namespace| &namespace.labels),
            Source::NamespaceAnnotation => namespace.map(|namespace| &namespace.annotations),
        };
        let value = metadata.and_then(|metadata| metadata.get(key));
        value.is_some_and(|value| values.is_empty() || values.iter().any(|wanted| **wanted == *value))
    }
}
