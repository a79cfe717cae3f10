//! Derives the workload of a Pod from the Pod alone.
//!
//! No Deployment, Job or CronJob is fetched: their names are part of the names that their controllers generate.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{bounded::bounded_owner, intern::Interner};
use crate::domain::observation::Workload;

/// The maximum time from the schedule of a Job to the creation of one of its Pods: a Job can start late, be suspended, or
/// replace failed Pods.
const MAX_JOB_AGE_MINUTES: i64 = 7 * 24 * 60;
/// The clock of the CronJob controller can be ahead of that of the API server.
const CLOCK_SKEW_MINUTES: i64 = 1;

/// Returns the workload of the Pod with this metadata and the name `pod`. A Pod without a controller is its own workload.
pub(super) fn workload_of(metadata: &ObjectMeta, pod: &Arc<str>, interner: &mut Interner) -> Arc<Workload> {
    match controller_of(metadata) {
        Some((kind, name)) => {
            let (kind, name) = (
                interner.string(&bounded_owner(kind)),
                interner.string(&bounded_owner(name)),
            );
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
            // Both controllers append the hash of the Pod template to the name of the ReplicaSet.
            let above = [
                ("pod-template-hash", "Deployment"),
                ("rollouts-pod-template-hash", "Rollout"),
            ];
            above.into_iter().find_map(|(label, kind)| {
                let hash = labels?.get(label)?;
                Some((kind, deployment(&owner.name, hash)?))
            })
        }
        "Job" if named_by("batch/") => {
            let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
            let name = created.and_then(|created| cron_job(&owner.name, created));
            name.map(|name| ("CronJob", name))
        }
        _ => None,
    };
    above.or(Some((&owner.kind, &owner.name)))
}

/// Returns the name of the Deployment or the Rollout of a ReplicaSet, whose name ends with the hash of the Pod template.
fn deployment<'a>(replica_set: &'a str, hash: &str) -> Option<&'a str> {
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (!name.is_empty() && !hash.is_empty()).then_some(name)
}

/// Returns the name of the CronJob of a Job that has a Pod with this creation time. The CronJob controller appends the
/// scheduled time in minutes since 1970. A Pod does not show the owner of its Job, and people append digits too, such as
/// a date or a build number, so only a time shortly before the creation of the Pod counts.
fn cron_job(job: &str, pod_created: Timestamp) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    if name.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let scheduled: i64 = digits.parse().ok()?;
    let created = pod_created.as_second().div_euclid(60);
    (created - MAX_JOB_AGE_MINUTES..=created + CLOCK_SKEW_MINUTES)
        .contains(&scheduled)
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

    /// The creation time of the Pods: 29384756 minutes and 7 seconds since 1970.
    const CREATED: &str = "2025-11-14T01:56:07Z";

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
            creation_timestamp: Some(Time(CREATED.parse().unwrap())),
            ..ObjectMeta::default()
        };
        workload_of(&metadata, &"web-0".into(), &mut Interner::default()).to_string()
    }

    #[test]
    fn the_workload_is_derived_from_the_controller() {
        let hash = Some("7d9c");
        #[rustfmt::skip]
        let table = [
            ("apps/v1", "ReplicaSet", "web-7d9c", hash, "Deployment/web", "the Deployment of a ReplicaSet"),
            ("apps/v1", "ReplicaSet", "web", None, "ReplicaSet/web", "a ReplicaSet without a Deployment"),
            ("apps/v1", "ReplicaSet", "web", hash, "ReplicaSet/web", "a label that is not in the name"),
            ("apps/v1", "ReplicaSet", "web7d9c", hash, "ReplicaSet/web7d9c", "no dash before the hash"),
            ("apps/v1", "ReplicaSet", "-7d9c", hash, "ReplicaSet/-7d9c", "nothing before the hash"),
            ("apps/v1", "ReplicaSet", "web-", Some(""), "ReplicaSet/web-", "an empty hash"),
            ("example.com/v1", "ReplicaSet", "web-7d9c", hash, "ReplicaSet/web-7d9c", "a ReplicaSet of another API group"),
            ("", "ReplicaSet", "web-7d9c", hash, "Deployment/web", "no API group"),
            ("apps/v1", "StatefulSet", "db", None, "StatefulSet/db", "a StatefulSet"),
            ("apps/v1", "DaemonSet", "log-29384756", hash, "DaemonSet/log-29384756", "digits in the name of a DaemonSet"),
            ("batch/v1", "Job", "report", None, "Job/report", "a Job without a CronJob"),
            ("batch/v1", "Job", "report-29384756", None, "CronJob/report", "a Job of a CronJob"),
            ("batch/v1", "Job", "report-29374676", None, "CronJob/report", "scheduled 7 days before the Pod"),
            ("batch/v1", "Job", "report-29374675", None, "Job/report-29374675", "scheduled more than 7 days before"),
            ("batch/v1", "Job", "report-29384757", None, "CronJob/report", "the clock of the controller is ahead"),
            ("batch/v1", "Job", "report-29384758", None, "Job/report-29384758", "scheduled after the Pod"),
            ("batch/v1", "Job", "backup-20251114", None, "Job/backup-20251114", "a date"),
            ("batch/v1", "Job", "report-129384756", None, "Job/report-129384756", "a time in the year 2215"),
            ("batch/v1", "Job", "report-99999999999999999999", None, "Job/report-99999999999999999999", "a large number"),
            ("batch/v1", "Job", "report-+29384756", None, "Job/report-_29384756", "a sign"),
            ("batch/v1", "Job", "report-2938475x", None, "Job/report-2938475x", "not all digits"),
            ("batch/v1", "Job", "report-", None, "Job/report-", "no digits"),
            ("batch/v1", "Job", "a-1-29384756", None, "CronJob/a-1", "only the last part is the time"),
            ("batch/v1", "Job", "-29384756", None, "Job/-29384756", "nothing before the time"),
            ("example.com/v1", "Job", "x-29384756", None, "Job/x-29384756", "a Job of another API group"),
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
    fn a_job_is_the_workload_of_a_pod_without_a_creation_time() {
        let metadata = ObjectMeta {
            owner_references: Some(vec![owner("batch/v1", "Job", "report-29384756", Some(true))]),
            ..ObjectMeta::default()
        };
        let workload = workload_of(&metadata, &"web-0".into(), &mut Interner::default());
        assert_eq!(workload.to_string(), "Job/report-29384756");
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
                "an owner with the value false",
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
