//! The rights of the operator's ServiceAccount: each verb of the roles in `config/rbac`.

use k8s_openapi::api::{
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec},
    rbac::v1::PolicyRule,
};

use serde::Deserialize;

use super::{
    access::{Access, Review},
    diagnosis::{Code, Diagnosis},
    installation::Installation,
};
use crate::cli::{exit::Failure, output::first_names};

/// The roles that the operator needs. The chart grants the same rights, which a test compares.
const OPERATOR: &str = include_str!("../../../config/rbac/role.yaml");
const LEADER: &str = include_str!("../../../config/rbac/leader_role.yaml");
const METRICS_AUTH: &str = include_str!("../../../config/protected-metrics/auth_role.yaml");
/// The name of the Lease in these files, which begins the names of all objects that the operator writes.
const LEASE: &str = "sidewatch";
/// Resources outside of namespaces, which an operator of single namespaces does not read.
const CLUSTER_SCOPED: [&str; 3] = [
    "namespaces",
    "clustersidecarpolicies",
    "clustersidecarpolicies/status",
];

/// A Role or a ClusterRole.
#[derive(Deserialize)]
struct RoleFile {
    rules: Vec<PolicyRule>,
}

pub(super) async fn examine(
    access: &Access<'_>,
    installation: &Installation,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let user = installation.user();
    let (mut allowed, mut missing, mut unknown) = (0, Vec::new(), None);
    for right in needed(installation)? {
        let namespace = right.namespace.clone();
        let shown = describe(&right);
        match access.review(&review(&user, right), namespace.as_deref()).await? {
            Review::Allowed => allowed += 1,
            Review::Denied => missing.push(shown),
            Review::Unknown(reason) => {
                unknown.get_or_insert(reason);
            }
        }
    }
    let account = format!("{}/{}", installation.namespace, installation.service_account);
    if !missing.is_empty() {
        let names = first_names(&missing);
        diagnosis.fail(
            Code::SD030,
            format!("ServiceAccount {account} may not {names}"),
            "apply the roles and bindings of this version, with the chart (rbac.create) or config/rbac",
        );
    } else if let Some(reason) = unknown {
        diagnosis.skip(Code::SD030, format!("{reason}; {allowed} rights are granted"));
    } else {
        diagnosis.ok(Code::SD030, format!("ServiceAccount {account} has all {allowed}"));
    }
    Ok(())
}

/// Returns a review of one right of a user.
pub(super) fn review(user: &str, right: ResourceAttributes) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        resource_attributes: Some(right),
        ..subject(user)
    }
}

/// Returns a review of the right to read a path, such as `/metrics`.
pub(super) fn path_review(user: &str, path: &str) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(path.to_owned()),
            verb: Some("get".to_owned()),
        }),
        ..subject(user)
    }
}

/// Returns the user with the groups that every ServiceAccount has.
fn subject(user: &str) -> SubjectAccessReviewSpec {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        groups: Some(groups.into()),
        ..SubjectAccessReviewSpec::default()
    }
}

/// Returns the rights that the flags of the installation require.
fn needed(installation: &Installation) -> Result<Vec<ResourceAttributes>, Failure> {
    let mut rights = Vec::new();
    if installation.watched.is_empty() {
        rights.extend(rights_of(OPERATOR, None)?);
    } else {
        for namespace in &installation.watched {
            let all = rights_of(OPERATOR, Some(namespace))?;
            rights.extend(all.into_iter().filter(|right| !is_cluster_scoped(right)));
        }
    }
    for mut right in rights_of(LEADER, Some(&installation.namespace))? {
        if !installation.elects_leader && right.resource.as_deref() == Some("leases") {
            continue;
        }
        let name = right.name.take().unwrap_or_default();
        right.name = Some(name.replacen(LEASE, &installation.lease, 1));
        rights.push(right);
    }
    if installation.protects_metrics {
        rights.extend(rights_of(METRICS_AUTH, None)?);
    }
    Ok(rights)
}

fn is_cluster_scoped(right: &ResourceAttributes) -> bool {
    let name = describe_resource(right);
    CLUSTER_SCOPED.iter().any(|resource| name.starts_with(resource))
}

/// Returns each right of a role, in a namespace or in the cluster.
fn rights_of(role: &str, namespace: Option<&str>) -> Result<Vec<ResourceAttributes>, Failure> {
    let role: RoleFile = serde_saphyr::from_str(role)?;
    let mut rights = Vec::new();
    for rule in role.rules {
        let PolicyRule {
            api_groups,
            resources,
            resource_names,
            verbs,
            ..
        } = rule;
        let names = resource_names.unwrap_or_default();
        let names: Vec<Option<String>> = if names.is_empty() {
            vec![None]
        } else {
            names.into_iter().map(Some).collect()
        };
        for group in api_groups.unwrap_or_default() {
            for resource in resources.iter().flatten() {
                for verb in &verbs {
                    for name in &names {
                        rights.push(right(&group, resource, verb, name.clone(), namespace));
                    }
                }
            }
        }
    }
    Ok(rights)
}

/// Returns one right. `resource` can have a subresource, as in `pods/status`.
pub(super) fn right(
    group: &str,
    resource: &str,
    verb: &str,
    name: Option<String>,
    namespace: Option<&str>,
) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        name,
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// Names a right, as in `patch sidecarpolicies/status.sidewatch.dev in namespace pay`.
pub(super) fn describe(right: &ResourceAttributes) -> String {
    let verb = right.verb.as_deref().unwrap_or_default();
    let name = right
        .name
        .as_ref()
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    let namespace = right.namespace.as_ref();
    let namespace = namespace
        .map(|namespace| format!(" in namespace {namespace}"))
        .unwrap_or_default();
    format!("{verb} {}{name}{namespace}", describe_resource(right))
}

fn describe_resource(right: &ResourceAttributes) -> String {
    let resource = right.resource.as_deref().unwrap_or_default();
    let subresource = right
        .subresource
        .as_ref()
        .map(|name| format!("/{name}"))
        .unwrap_or_default();
    let group = right.group.as_deref().filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    format!("{resource}{subresource}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation {
            namespace: "tools".into(),
            name: "sidewatch".into(),
            service_account: "operator".into(),
            lease: "team-pay".into(),
            elects_leader: true,
            protects_metrics: false,
            watched: Vec::new(),
            labels: serde_json::json!({}),
        }
    }

    fn shown(installation: &Installation) -> Vec<String> {
        needed(installation).unwrap().iter().map(describe).collect()
    }

    #[test]
    fn each_verb_of_the_roles_is_a_right() {
        let rights = shown(&installation());
        for expected in [
            "list pods",
            "watch namespaces",
            "patch sidecarpolicies/status.sidewatch.dev",
            "create events.events.k8s.io",
            "create leases.coordination.k8s.io team-pay in namespace tools",
            "patch configmaps team-pay-checkpoint in namespace tools",
        ] {
            assert!(
                rights.iter().any(|right| right == expected),
                "{expected}: {rights:?}"
            );
        }
        assert_eq!(rights.len(), 23, "{rights:?}");
    }

    #[test]
    fn the_flags_decide_which_rights_are_needed() {
        let limited = Installation {
            watched: vec!["pay".into(), "shop".into()],
            elects_leader: false,
            protects_metrics: true,
            ..installation()
        };
        let rights = shown(&limited);
        assert!(
            rights.contains(&"list pods in namespace pay".to_owned()),
            "{rights:?}"
        );
        assert!(
            rights.contains(&"list pods in namespace shop".to_owned()),
            "{rights:?}"
        );
        assert!(
            rights.contains(&"create tokenreviews.authentication.k8s.io".to_owned()),
            "{rights:?}"
        );
        let others = ["namespaces", "cluster", "leases"];
        let found = rights.iter().find(|right| {
            others.iter().any(|name| {
                right
                    .split(' ')
                    .nth(1)
                    .is_some_and(|resource| resource.starts_with(name))
            })
        });
        assert_eq!(found, None);
    }

    #[test]
    fn a_service_account_has_its_groups() {
        let review = path_review("system:serviceaccount:tools:operator", "/metrics");
        let groups = review.groups.unwrap();
        assert!(
            groups.contains(&"system:serviceaccounts:tools".to_owned()),
            "{groups:?}"
        );
    }
}
