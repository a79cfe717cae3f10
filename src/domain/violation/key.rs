//! The identity of a violation, and its text.

use std::{fmt, str::FromStr, sync::Arc};

use super::{ImageSubject, WorkloadSubject};
use crate::domain::{
    observation::Workload,
    policy::{Check, PolicyKey, PolicyKind},
};

/// The identity of a violation across processes.
///
/// Its text has the parts policy kind, policy namespace, policy name, check, subject kind and the subject's own parts,
/// separated by `/`, such as `SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/<uid>/envoy`, or
/// `SidecarPolicy/pay/mesh/SidecarMissing/Workload/pay/Deployment/web/envoy`. No name of Kubernetes contains a `/`;
/// in the repository of an image it is escaped, such as `SidecarPolicy/pay/mesh/VersionDrift/Image/pay///docker.io%2Fenvoy`. A missing or
/// unknown part is empty.
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
    /// An image.
    Image(ImageSubject),
}

impl SubjectKey {
    const CONTAINER: &str = "Container";
    const WORKLOAD: &str = "Workload";
    const IMAGE: &str = "Image";

    /// The UID of the Pod, if the subject is a container and the UID is known.
    pub const fn uid(&self) -> Option<&Arc<str>> {
        match self {
            Self::Container { uid, .. } => uid.as_ref(),
            Self::Workload(_) | Self::Image(_) => None,
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
            SubjectKey::Image(ImageSubject {
                namespace,
                repository,
            }) => write!(f, "{}/{namespace}///{}", SubjectKey::IMAGE, escaped(repository)),
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

/// Escapes the separator in the repository of an image.
fn escaped(repository: &str) -> String {
    repository.replace('%', "%25").replace('/', "%2F")
}

fn unescaped(text: &str) -> String {
    text.replace("%2F", "/").replace("%25", "%")
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
        SubjectKey::IMAGE if first.is_empty() && second.is_empty() => SubjectKey::Image(ImageSubject {
            namespace: namespace.into(),
            repository: unescaped(container).into(),
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
        let image = |namespace: &str, repository: &str, policy| ViolationKey {
            subject: SubjectKey::Image(ImageSubject {
                namespace: namespace.into(),
                repository: repository.into(),
            }),
            ..of(policy, None)
        };
        #[rustfmt::skip]
        let table = [
            (image("pay", "reg.io:5000/mesh/proxy", key("mesh")),
                "SidecarPolicy/pay/mesh/NotReady/Image/pay///reg.io:5000%2Fmesh%2Fproxy"),
            (image("", "a%2Fb/%25c", cluster_key("all")),
                "ClusterSidecarPolicy//all/NotReady/Image////a%252Fb%2F%2525c"),
            (workload, "SidecarPolicy/pay/mesh/NotReady/Workload/pay/Deployment/web/envoy"),
            (of(key("mesh"), Some("u-1")), "SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy"),
            (of(cluster_key("all"), None), "ClusterSidecarPolicy//all/NotReady/Container/pay/web-1//envoy"),
        ];
        for (key, text) in table {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
    }

    #[test]
    fn a_text_that_is_not_a_key_is_an_error() {
        for text in [
            "",
            "SidecarPolicy/pay/mesh/NotReady",
            "SidecarPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy/more",
            "OtherPolicy/pay/mesh/NotReady/Container/pay/web-1/u-1/envoy",
            "SidecarPolicy/pay/mesh/OtherCheck/Container/pay/web-1/u-1/envoy",
            "SidecarPolicy/pay/mesh/NotReady/Image/pay/web-1//envoy",
            "SidecarPolicy/pay/mesh/NotReady/Image/pay///docker.io/envoy",
            "SidecarPolicy/pay/mesh/NotReady/Node/pay/web-1/u-1/envoy",
        ] {
            let error = text.parse::<ViolationKey>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
