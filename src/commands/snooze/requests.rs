//! The requests of `sidewatch snooze` other than the write, and the messages of its errors.

use jiff::Timestamp;

use crate::{
    cli::{cluster::Cluster, exit::Failure, output::note},
    domain::index::Scope,
    kubernetes::{failure, list, written_exemption},
};

/// Deletes the exemption with this name if its time is over: a `ClusterSidecarPolicy` allows exemptions for a time after their
/// creation. Without the rights to do so, the exemption is extended.
pub(super) async fn delete_ended(
    cluster: &Cluster,
    scope: &Scope,
    name: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    let client = cluster.client();
    let found = cluster
        .answer(written_exemption::get(client, scope, name))
        .await?;
    let Ok(Some(known)) = found else {
        return Ok(());
    };
    if known
        .spec
        .until
        .parse::<Timestamp>()
        .is_ok_and(|until| until <= now)
    {
        let deleted = cluster
            .answer(written_exemption::delete(client, scope, name, known.metadata.uid))
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
    let listed = list::has_no_policy(cluster.client(), cluster.namespace());
    Ok(cluster.answer(listed).await?.unwrap_or_default())
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
