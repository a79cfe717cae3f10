//! The requests of `sidewatch snooze` other than the write, and the messages of its errors.

use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
};

use crate::{
    api::{SidecarExemption, SidecarPolicy},
    cli::{cluster::Cluster, exit::Failure, output::note},
    kubernetes::failure,
};

/// Deletes the exemption with this name if its time is over: a `ClusterSidecarPolicy` allows exemptions for a time after their
/// creation. Without the rights to do so, the exemption is extended.
pub(super) async fn delete_ended(
    cluster: &Cluster,
    api: &Api<SidecarExemption>,
    name: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let Ok(known) = cluster.answer(api.get(name)).await? else {
        return Ok(());
    };
    if known
        .spec
        .until
        .parse::<Timestamp>()
        .is_ok_and(|until| until <= now)
    {
        let same = Preconditions {
            uid: known.metadata.uid,
            resource_version: None,
        };
        let deleted = cluster
            .answer(api.delete(name, &DeleteParams::default().preconditions(same)))
            .await?;
        if let Err(error) = deleted {
            let error = failure::chain(&error);
            note(&format!(
                "the exemption of this name has ended and cannot be deleted, so it is extended: {error}"
            ));
        }
    }
    Ok(())
}

/// Whether the caller can read the policies of the namespace, and there are none.
pub(super) async fn has_no_policy(cluster: &Cluster) -> Result<bool, Failure> {
    let api: Api<SidecarPolicy> = Api::namespaced(cluster.client().clone(), cluster.namespace());
    let listed = cluster
        .answer(api.list_metadata(&ListParams::default().limit(1)))
        .await?;
    Ok(listed.is_ok_and(|list| list.items.is_empty()))
}

/// Returns the message of a failed write: the problem and the advice.
pub(super) fn problem(error: &kube::Error, cluster: &Cluster) -> String {
    let namespace = cluster.namespace();
    let kube::Error::Api(status) = error else {
        return format!("cannot write the exemption: {}", failure::chain(error));
    };
    let message = failure::describe_status(status);
    match status.code {
        403 => format!(
            "cannot write the exemption: {message}; the roles edit and admin of a namespace have the right to patch and \
             create sidecarexemptions"
        ),
        404 if message.contains("namespaces") => format!("there is no namespace {namespace}"),
        404 => "CRD sidecarexemptions.sidewatch.dev is not installed: sidewatch crds | kubectl apply -f -"
            .to_owned(),
        _ => format!("cannot write the exemption: {message}"),
    }
}
