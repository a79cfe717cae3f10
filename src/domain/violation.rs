//! A violation: a check that fails on a subject under a policy.
//!
//! [`Violation`] has the facts that the status, the metrics and the log show. [`ViolationKey`] is the identity of a
//! violation; it can be written as one string and read back, so that a later process recognises the violation.

mod key;

use std::{
    cmp::Ordering,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;

pub use self::key::{InvalidKey, SubjectKey, ViolationKey};
use super::{
    observation::Workload,
    policy::{Check, Mode, PolicyKey, Severity},
};

/// The workload and the container of an image, which has none.
static NO_WORKLOAD: LazyLock<Arc<Workload>> = LazyLock::new(Arc::default);
static NO_CONTAINER: LazyLock<Arc<str>> = LazyLock::new(Arc::default);

/// One violation, pending or firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The policy that the check belongs to.
    pub policy: PolicyKey,
    /// The failing check.
    pub check: Check,
    /// The severity of the check in the policy.
    pub severity: Severity,
    /// The stricter of the policy's mode and the check's mode.
    pub mode: Mode,
    /// The object that fails the check.
    pub subject: Subject,
    /// `true` when the violation fires, `false` while it is pending.
    pub firing: bool,
    /// Whether status, metrics and counts show the violation: it fires, or it has been pending for some time.
    pub visible: bool,
    /// The time at which the fault began.
    pub onset: Timestamp,
}

/// The object that fails a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A container of a Pod.
    Container(ContainerSubject),
    /// A workload.
    Workload(WorkloadSubject),
    /// An image in the Pods of the policy.
    Image(ImageSubject),
}

impl Subject {
    /// The namespace of the Pod, of the workload, or of the policy of an image, which is empty for a
    /// `ClusterSidecarPolicy`.
    pub const fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Container(subject) => &subject.namespace,
            Self::Workload(subject) => &subject.namespace,
            Self::Image(subject) => &subject.namespace,
        }
    }

    /// The workload, or that of the Pod. Empty for an image.
    pub fn workload(&self) -> &Arc<Workload> {
        match self {
            Self::Container(subject) => &subject.workload,
            Self::Workload(subject) => &subject.workload,
            Self::Image(_) => &NO_WORKLOAD,
        }
    }

    /// The name of the container, or of the sidecar that a workload lacks. Empty for an image.
    pub fn container(&self) -> &Arc<str> {
        match self {
            Self::Container(subject) => &subject.container,
            Self::Workload(subject) => &subject.sidecar,
            Self::Image(_) => &NO_CONTAINER,
        }
    }

    /// The name of the container or sidecar, or the repository of an image.
    pub fn container_or_image(&self) -> &Arc<str> {
        match self {
            Self::Container(_) | Self::Workload(_) => self.container(),
            Self::Image(subject) => &subject.repository,
        }
    }

    /// The repository of an image; empty for other subjects.
    pub fn image(&self) -> &str {
        match self {
            Self::Container(_) | Self::Workload(_) => "",
            Self::Image(subject) => &subject.repository,
        }
    }

    /// The name of the Pod; empty for other subjects.
    pub fn pod(&self) -> &str {
        self.as_container().map_or("", |subject| &subject.pod)
    }

    /// The UID of the Pod; empty for other subjects.
    pub fn uid(&self) -> &str {
        self.as_container().map_or("", |subject| &subject.uid)
    }

    /// Whether it is a native sidecar.
    pub fn is_native(&self) -> bool {
        self.as_container().is_some_and(|subject| subject.native)
    }

    /// The container of a Pod, if it is one.
    pub const fn as_container(&self) -> Option<&ContainerSubject> {
        match self {
            Self::Container(subject) => Some(subject),
            Self::Workload(_) | Self::Image(_) => None,
        }
    }

    /// The identity of the subject.
    pub fn key(&self) -> SubjectKey {
        match self {
            Self::Container(subject) => SubjectKey::Container {
                namespace: subject.namespace.clone(),
                pod: subject.pod.clone(),
                uid: Some(subject.uid.clone()),
                container: subject.container.clone(),
            },
            Self::Workload(subject) => SubjectKey::Workload(subject.clone()),
            Self::Image(subject) => SubjectKey::Image(subject.clone()),
        }
    }
}

/// A container of a Pod. The order of the fields is the order of violations in a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerSubject {
    /// The namespace of the Pod.
    pub namespace: Arc<str>,
    /// The workload of the Pod.
    pub workload: Arc<Workload>,
    /// The name of the Pod.
    pub pod: Arc<str>,
    /// The name of the container.
    pub container: Arc<str>,
    /// The UID of the Pod.
    pub uid: Arc<str>,
    /// The container is a native sidecar.
    pub native: bool,
}

/// A workload whose Pods lack a sidecar. The order of the fields is the order of violations in a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadSubject {
    /// The namespace of the workload.
    pub namespace: Arc<str>,
    /// The workload.
    pub workload: Arc<Workload>,
    /// The name that the policy gives the sidecar.
    pub sidecar: Arc<str>,
}

/// An image in the Pods that a policy selects. The order of the fields is the order of violations in a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageSubject {
    /// The namespace of the policy; empty for a `ClusterSidecarPolicy`.
    pub namespace: Arc<str>,
    /// The repository with its registry, without tag and digest.
    pub repository: Arc<str>,
}

impl Violation {
    /// The identity of the violation.
    pub fn key(&self) -> ViolationKey {
        ViolationKey {
            policy: self.policy.clone(),
            check: self.check,
            subject: self.subject.key(),
        }
    }
}

/// The order of violations in a status: firing ones first, by severity and then by onset, then pending ones by onset.
/// Equal ones follow by subject and check.
impl Ord for Violation {
    fn cmp(&self, other: &Self) -> Ordering {
        let Self {
            policy,
            check,
            severity,
            mode,
            subject,
            firing,
            visible,
            onset,
        } = self;
        let by_severity = other.severity.cmp(severity);
        other
            .firing
            .cmp(firing)
            .then(if *firing { by_severity } else { Ordering::Equal })
            .then_with(|| onset.cmp(&other.onset))
            .then(by_severity)
            .then_with(|| subject.cmp(&other.subject))
            .then_with(|| check.cmp(&other.check))
            .then_with(|| policy.cmp(&other.policy))
            .then_with(|| (mode, visible).cmp(&(&other.mode, &other.visible)))
    }
}

impl PartialOrd for Violation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A violation that an earlier operator process stored in the status of its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredViolation {
    /// The identity.
    pub key: ViolationKey,
    /// `true` when the violation fired, `false` while it was pending.
    pub firing: bool,
    /// The time at which the fault began.
    pub onset: Timestamp,
}
