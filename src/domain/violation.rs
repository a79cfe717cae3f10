//! A violation: a check that fails on a subject under a policy.
//!
//! [`Violation`] has the facts that the status, the metrics and the log show. [`ViolationKey`] is the identity of a
//! violation; it can be written as one string and read back, so that a later process recognises the violation.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;

use super::{
    observation::Workload,
    policy::{Check, Mode, PolicyKey, PolicyKind, Severity},
};

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
}

impl Subject {
    /// The namespace of the Pod or of the workload.
    pub const fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Container(subject) => &subject.namespace,
            Self::Workload(subject) => &subject.namespace,
        }
    }

    /// The workload, or that of the Pod.
    pub const fn workload(&self) -> &Arc<Workload> {
        match self {
            Self::Container(subject) => &subject.workload,
            Self::Workload(subject) => &subject.workload,
        }
    }

    /// The name of the container, or of the sidecar that a workload lacks.
    pub const fn container(&self) -> &Arc<str> {
        match self {
            Self::Container(subject) => &subject.container,
            Self::Workload(subject) => &subject.sidecar,
        }
    }

    /// The name of the Pod; empty for a workload.
    pub fn pod(&self) -> &str {
        self.as_container().map_or("", |subject| &subject.pod)
    }

    /// The UID of the Pod; empty for a workload.
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
            Self::Workload(_) => None,
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

impl Violation {
    /// The identity of the violation.
    pub fn key(&self) -> ViolationKey {
        ViolationKey {
            policy: self.policy.clone(),
            check: self.check,
            subject: match &self.subject {
                Subject::Container(subject) => SubjectKey::Container {
                    namespace: subject.namespace.clone(),
                    pod: subject.pod.clone(),
                    uid: Some(subject.uid.clone()),
                    container: subject.container.clone(),
                },
                Subject::Workload(subject) => SubjectKey::Workload(subject.clone()),
            },
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

/// The identity of a violation across processes.
///
/// Its text has the parts policy kind, policy namespace, policy name, check, subject kind and the subject's own parts,
/// separated by `/`, such as `SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/<uid>/envoy`, or
/// `SidecarPolicy/pay/mesh/SidecarMissing/Workload/pay/Deployment/web/envoy`. No name of Kubernetes contains a `/`. A missing or unknown part is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViolationKey {
    /// The policy.
    pub policy: PolicyKey,
    /// The failing check.
    pub check: Check,
    /// The identity of the subject.
    pub subject: SubjectKey,
}

/// The identity of a [`Subject`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKey {
    /// A container of a Pod.
    Container {
        /// The namespace of the Pod.
        namespace: Arc<str>,
        /// The name of the Pod.
        pod: Arc<str>,
        /// The UID of the Pod. `None` where the source does not have it, such as the status of a policy.
        uid: Option<Arc<str>>,
        /// The name of the container.
        container: Arc<str>,
    },
    /// A workload.
    Workload(WorkloadSubject),
}

impl SubjectKey {
    const CONTAINER: &str = "Container";
    const WORKLOAD: &str = "Workload";

    /// The UID of the Pod, if the subject is a container and the UID is known.
    pub const fn uid(&self) -> Option<&Arc<str>> {
        match self {
            Self::Container { uid, .. } => uid.as_ref(),
            Self::Workload(_) => None,
        }
    }
}

impl fmt::Display for ViolationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy:
                PolicyKey {
                    kind,
                    namespace,
                    name,
                },
            check,
            subject,
        } = self;
        write!(f, "{}/{namespace}/{name}/{}/", kind.as_str(), check.as_str())?;
        match subject {
            SubjectKey::Container {
                namespace,
                pod,
                uid,
                container,
            } => {
                let uid = uid.as_deref().unwrap_or_default();
                write!(f, "{}/{namespace}/{pod}/{uid}/{container}", SubjectKey::CONTAINER)
            }
            SubjectKey::Workload(WorkloadSubject {
                namespace,
                workload,
                sidecar,
            }) => write!(f, "{}/{namespace}/{workload}/{sidecar}", SubjectKey::WORKLOAD),
        }
    }
}

/// The text is not a [`ViolationKey`] of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the key of a violation")]
pub struct InvalidKey(String);

impl FromStr for ViolationKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        parse(text).ok_or_else(|| InvalidKey(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ViolationKey> {
    let parts: Vec<&str> = text.split('/').collect();
    let [
        kind,
        policy_namespace,
        name,
        check,
        subject,
        namespace,
        first,
        second,
        container,
    ] = *parts.as_slice()
    else {
        return None;
    };
    let subject = match subject {
        SubjectKey::CONTAINER => SubjectKey::Container {
            namespace: namespace.into(),
            pod: first.into(),
            uid: (!second.is_empty()).then(|| second.into()),
            container: container.into(),
        },
        SubjectKey::WORKLOAD => SubjectKey::Workload(WorkloadSubject {
            namespace: namespace.into(),
            workload: Arc::new(Workload {
                kind: first.into(),
                name: second.into(),
            }),
            sidecar: container.into(),
        }),
        _ => return None,
    };
    Some(ViolationKey {
        policy: PolicyKey {
            kind: PolicyKind::parse(kind)?,
            namespace: policy_namespace.into(),
            name: name.into(),
        },
        check: Check::parse(check)?,
        subject,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{cluster_key, key};

    fn of(policy: PolicyKey, uid: Option<&str>) -> ViolationKey {
        ViolationKey {
            policy,
            check: Check::NotReady,
            subject: SubjectKey::Container {
                namespace: "pay".into(),
                pod: "web-1".into(),
                uid: uid.map(Arc::from),
                container: "envoy".into(),
            },
        }
    }

    #[test]
    fn a_key_is_read_back_from_its_text() {
        let workload = ViolationKey {
            subject: SubjectKey::Workload(WorkloadSubject {
                namespace: "pay".into(),
                workload: Arc::new(Workload {
                    kind: "Deployment".into(),
                    name: "web".into(),
                }),
                sidecar: "envoy".into(),
            }),
            ..of(key("mesh"), None)
        };
        let table = [
            (
                workload,
                "SidecarPolicy/pay/mesh/NotReady/Workload/pay/Deployment/web/envoy",
            ),
            (
                of(key("mesh"), Some("u-1")),
                "SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy",
            ),
            (
                of(cluster_key("all"), None),
                "ClusterSidecarPolicy//all/NotReady/Container/pay/web-1//envoy",
            ),
        ];
        for (key, text) in table {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_an_error() {
        for text in [
            "",
            "SidecarPolicy/pay/mesh/NotReady",
            "SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy/more",
            "OtherPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy",
            "SidecarPolicy/pay/mesh/OtherCheck/Container/pay/web-1/u-1/envoy",
            "SidecarPolicy/pay/mesh/NotReady/Node/pay/web-1/u-1/envoy",
        ] {
            let error = text.parse::<ViolationKey>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
