//! Derives the workload of a Pod from the Pod alone.
//!
//! No Deployment, Job or CronJob is fetched: their names are part of the names that their controllers generate.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{bounded::bounded, intern::Interner};
use crate::domain::observation::Workload;

/// Returns the workload of the Pod with this metadata. A Pod without a controller is its own workload, with the name
/// `pod`.
pub(super) fn workload_of(metadata: &ObjectMeta, pod: &Arc<str>, interner: &mut Interner) -> Arc<Workload> {
    match controller_of(metadata) {
        Some((kind, name)) => {
            let (kind, name) = (interner.string(&bounded(kind)), interner.string(&bounded(name)));
            interner.workload(Workload { kind, name })
        }
        // No other Pod has this name, so the workload is not shared.
        None => Arc::new(Workload {
            kind: interner.string("Pod"),
            name: Arc::clone(pod),
        }),
    }
}

/// Returns kind and name of the top-level controller.
fn controller_of(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    if owner.kind.is_empty() || owner.name.is_empty() {
        return None;
    }
    // Other API groups also have ReplicaSets and Jobs, with other naming rules.
    let named_by = |group: &str| owner.api_version.is_empty() || owner.api_version.starts_with(group);
    let above = match owner.kind.as_str() {
        "ReplicaSet" if named_by("apps/") => {
            let labels = metadata.labels.as_ref();
            let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
            let name = hash.and_then(|hash| deployment(&owner.name, hash));
            name.map(|name| ("Deployment", name))
        }
        "Job" if named_by("batch/") => cron_job(&owner.name).map(|name| ("CronJob", name)),
        _ => None,
    };
    above.or(Some((&owner.kind, &owner.name)))
}

/// Returns the name of the Deployment of a ReplicaSet. The Deployment controller appends the hash of the Pod template.
fn deployment<'a>(replica_set: &'a str, hash: &str) -> Option<&'a str> {
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (!name.is_empty() && !hash.is_empty()).then_some(name)
}

/// Returns the name of the CronJob of a Job. The CronJob controller appends the scheduled time in minutes since 1970,
/// which has 8 digits until 2160.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    let is_time = minutes.len() >= 8 && minutes.bytes().all(|digit| digit.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn owner(api_version: &str, kind: &str, name: &str, controller: Option<bool>) -> OwnerReference {
        OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
            controller,
            ..OwnerReference::default()
        }
    }

    fn named(owners: Vec<OwnerReference>, hash: Option<&str>) -> String {
        let metadata = ObjectMeta {
            owner_references: Some(owners),
            labels: hash.map(|hash| [("pod-template-hash".to_owned(), hash.to_owned())].into()),
            ..ObjectMeta::default()
        };
        workload_of(&metadata, &"web-0".into(), &mut Interner::default()).to_string()
    }

    #[test]
    fn a_workload_is_what_its_owner_would_call_it() {
        let hash = Some("7d9c");
        #[rustfmt::skip]
        let table = [
            ("apps/v1", "ReplicaSet", "web-7d9c", hash, "Deployment/web", "the Deployment of a ReplicaSet"),
            ("apps/v1", "ReplicaSet", "web", None, "ReplicaSet/web", "a ReplicaSet of its own, and no label"),
            ("apps/v1", "ReplicaSet", "web", hash, "ReplicaSet/web", "a label that is not in the name"),
            ("apps/v1", "ReplicaSet", "web7d9c", hash, "ReplicaSet/web7d9c", "no dash before the hash"),
            ("apps/v1", "ReplicaSet", "-7d9c", hash, "ReplicaSet/-7d9c", "nothing before the hash"),
            ("apps/v1", "ReplicaSet", "web-", Some(""), "ReplicaSet/web-", "an empty hash"),
            ("example.com/v1", "ReplicaSet", "web-7d9c", hash, "ReplicaSet/web-7d9c", "another group's kind"),
            ("", "ReplicaSet", "web-7d9c", hash, "Deployment/web", "no group said"),
            ("apps/v1", "StatefulSet", "db", None, "StatefulSet/db", "a StatefulSet"),
            ("apps/v1", "DaemonSet", "log-29384756", hash, "DaemonSet/log-29384756", "digits mean nothing here"),
            ("batch/v1", "Job", "report", None, "Job/report", "a Job of its own"),
            ("batch/v1", "Job", "report-29384756", None, "CronJob/report", "a Job of a CronJob"),
            ("batch/v1", "Job", "report-129384756", None, "CronJob/report", "more digits, after the year 2160"),
            ("batch/v1", "Job", "report-2938475", None, "Job/report-2938475", "too few digits"),
            ("batch/v1", "Job", "report-2938475x", None, "Job/report-2938475x", "not all digits"),
            ("batch/v1", "Job", "a-1-29384756", None, "CronJob/a-1", "only the last part is the time"),
            ("batch/v1", "Job", "-29384756", None, "Job/-29384756", "nothing before the time"),
            ("example.com/v1", "Job", "x-29384756", None, "Job/x-29384756", "another group's Job"),
            ("example.com/v1", "Rollout", "web", hash, "Rollout/web", "any other controller"),
            ("v1", "Node", "node1", None, "Node/node1", "a static Pod"),
            ("apps/v1", "", "web", None, "Pod/web-0", "an owner without a kind"),
            ("apps/v1", "DaemonSet", "", None, "Pod/web-0", "an owner without a name"),
        ];
        for (api_version, kind, name, hash, expected, why) in table {
            let owners = vec![owner(api_version, kind, name, Some(true))];
            assert_eq!(named(owners, hash), expected, "{why}");
        }
    }

    #[test]
    fn only_the_controller_is_the_owner() {
        let job = |controller| owner("batch/v1", "Job", "report", controller);
        let set = owner("apps/v1", "StatefulSet", "db", Some(true));
        let table = [
            (vec![], "Pod/web-0", "no owner"),
            (vec![job(None)], "Pod/web-0", "an owner that is no controller"),
            (
                vec![job(Some(false))],
                "Pod/web-0",
                "an owner that says it is none",
            ),
            (
                vec![job(None), set],
                "StatefulSet/db",
                "the controller among owners",
            ),
        ];
        for (owners, expected, why) in table {
            assert_eq!(named(owners, None), expected, "{why}");
        }
    }
}
