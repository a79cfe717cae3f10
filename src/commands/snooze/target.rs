//! The workload that the user names, as the operator knows it: the owner at the top, which Sidewatch derives from a Pod.

use std::{collections::BTreeSet, str::FromStr};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::{CronJob, Job},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
};

use crate::{
    api::ExemptedWorkload,
    cli::{args::workload_kind, cluster::Cluster, exit::Failure, output::first_names},
    kubernetes::{failure, list},
};

/// Kind and name as the user writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    kind: Kind,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A kind of Kubernetes.
    Known(&'static str),
    /// Another owner of Pods, such as `CloneSet`.
    Other(String),
}

const NO_WORKLOAD: &str = "name a workload as KIND/NAME, such as deployment/web";

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once('/').ok_or(NO_WORKLOAD)?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if kind.is_empty() || name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("{text:?} is not a workload: {NO_WORKLOAD}"));
        }
        let kind = match workload_kind(kind) {
            Some(kind) => Kind::Known(kind),
            None if kind.starts_with(|c: char| c.is_ascii_uppercase()) => Kind::Other(kind.to_owned()),
            None => {
                return Err(format!(
                    "kind {kind} is not known: write the kind of another owner of Pods as manifests do, such as CloneSet/{name}"
                ));
            }
        };
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

impl Target {
    /// Returns the workload. Fails if it does not exist, or if another workload owns it.
    pub(super) async fn find(&self, cluster: &Cluster) -> Result<ExemptedWorkload, Failure> {
        let kind = match &self.kind {
            Kind::Known(kind) => {
                self.examine(kind, cluster).await?;
                *kind
            }
            Kind::Other(kind) => {
                self.examine_owners(kind, cluster).await?;
                kind
            }
        };
        Ok(ExemptedWorkload {
            kind: kind.to_owned(),
            name: self.name.clone(),
        })
    }

    /// Gets the object. Without the right to do so, its existence is not examined.
    async fn examine(&self, kind: &str, cluster: &Cluster) -> Result<(), Failure> {
        let (name, namespace) = (&self.name, cluster.namespace());
        let path = DynamicObject::url_path(&resource(kind), Some(namespace));
        let metadata = match cluster
            .answer(list::metadata(cluster.client(), &path, name))
            .await?
        {
            Ok(Some(metadata)) => metadata,
            Ok(None) => {
                return Err(cluster.failed(&format!("there is no {kind} {name} in namespace {namespace}")));
            }
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
            Err(error) => {
                let problem = failure::chain(&error);
                return Err(cluster.failed(&format!("cannot get {kind} {name}: {problem}")));
            }
        };
        match controller(&metadata) {
            None => Ok(()),
            Some((owner, of)) => Err(format!(
                "{owner} {of} owns {kind} {name}: Sidewatch reports its violations for the owner at the top, so name that one, \
                 such as {}",
                top(&owner, &of, &metadata)
            )
            .into()),
        }
    }

    /// Looks for a Pod of a workload of another kind.
    async fn examine_owners(&self, kind: &str, cluster: &Cluster) -> Result<(), Failure> {
        let (name, namespace) = (&self.name, cluster.namespace());
        let found = cluster
            .answer(list::pod_owners(cluster.client(), namespace))
            .await?;
        let found = found
            .map_err(|error| cluster.failed(&failure::sentence(&error, "pods", &Some(namespace.into()))))?;
        let owners: BTreeSet<String> = found
            .into_iter()
            .map(|owner| format!("{}/{}", owner.kind, owner.name))
            .collect();
        let owners: Vec<String> = owners.into_iter().collect();
        if owners.contains(&format!("{kind}/{name}")) {
            return Ok(());
        }
        let known = match &*owners {
            [] => "no Pod there has an owner".to_owned(),
            owners => format!("the owners of Pods there are {}", first_names(owners)),
        };
        Err(cluster.failed(&format!(
            "no Pod in namespace {namespace} is of {kind} {name}; {known}"
        )))
    }
}

fn resource(kind: &str) -> ApiResource {
    match kind {
        "Deployment" => ApiResource::erase::<Deployment>(&()),
        "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
        "DaemonSet" => ApiResource::erase::<DaemonSet>(&()),
        "ReplicaSet" => ApiResource::erase::<ReplicaSet>(&()),
        "Job" => ApiResource::erase::<Job>(&()),
        "CronJob" => ApiResource::erase::<CronJob>(&()),
        _ => ApiResource::erase::<Pod>(&()),
    }
}

/// Kind and name of the owner that controls an object.
fn controller(metadata: &ObjectMeta) -> Option<(String, String)> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some((owner.kind.clone(), owner.name.clone()))
}

/// The owner at the top, as far as its name is known: the ReplicaSet of a Deployment has the name of the Deployment and a hash.
fn top(kind: &str, name: &str, metadata: &ObjectMeta) -> String {
    let labels = metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash.and_then(|hash| name.strip_suffix(&**hash)?.strip_suffix('-'));
    match (kind, deployment) {
        ("ReplicaSet", Some(deployment)) => format!("deployment/{deployment}"),
        _ => format!("{}/{name}", kind.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_written_as_for_kubectl() {
        let known = |kind: &'static str| Some(Kind::Known(kind));
        let table = [
            ("deployment/web", known("Deployment")),
            ("deploy/web", known("Deployment")),
            ("Deployment/web", known("Deployment")),
            ("sts/web", known("StatefulSet")),
            ("cj/web", known("CronJob")),
            ("pod/web", known("Pod")),
            ("CloneSet/web", Some(Kind::Other("CloneSet".to_owned()))),
            ("cloneset/web", None),
            ("web", None),
            ("deployment/", None),
            ("/web", None),
            ("deployment/Web", None),
            ("deployment/web/x", None),
        ];
        for (text, expected) in table {
            let kind = text.parse::<Target>().map(|target| target.kind);
            assert_eq!(kind.as_ref().ok(), expected.as_ref(), "{text}: {kind:?}");
        }
    }
}
