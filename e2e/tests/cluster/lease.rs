//! The rules of server-side apply on which the leader election depends, with permissions for one Lease.

use std::time::Duration;

use anyhow::{Result, bail};
use e2e::poll::eventually;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use sidewatch::kubernetes::lease::{LeaseClient, LeaseRecord, LeaseWrite, Term};
use sidewatch::kubernetes::named_object::Applied;

const NAME: &str = "sidewatch";
const ACCOUNT: &str = "replica";

/// Two replicas, and a client of the administrator.
struct Setup {
    one: LeaseClient,
    other: LeaseClient,
    leases: Api<Lease>,
    client: Client,
    namespace: String,
}

/// A role with these verbs for the Lease.
fn role(verbs: &str) -> String {
    format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {NAME}}}, rules: [{{apiGroups: \
         [coordination.k8s.io], resources: [leases], resourceNames: [{NAME}], verbs: [{verbs}]}}]}}"
    )
}

async fn setup() -> Setup {
    let plane = e2e::shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespace = plane.namespace("lease").await.unwrap();
    plane
        .apply_in(&namespace, &role("create, get, watch, patch"))
        .await
        .unwrap();
    let kubeconfig = plane.kubeconfig_for(&namespace, ACCOUNT).await.unwrap();
    let bind = format!(
        "create rolebinding {NAME} --role={NAME} --serviceaccount={namespace}:{ACCOUNT} -n {namespace}"
    );
    plane.kubectl_line(&bind).await.unwrap();
    let replica = kubeconfig.client().await.unwrap();
    let lease = || LeaseClient::new(replica.clone(), &namespace, NAME);
    // The authorizer of the API server follows by a watch.
    let one = lease();
    eventually(Duration::from_secs(10), async || Ok(one.get().await?))
        .await
        .unwrap();
    Setup {
        one,
        other: lease(),
        leases: Api::namespaced(client.clone(), &namespace),
        client,
        namespace,
    }
}

fn write(precondition: Option<&LeaseRecord>, holder: &str, renewed: &str) -> LeaseWrite {
    let precondition = precondition.map(|lease| lease.version.clone());
    let term = Term {
        holder: holder.to_owned(),
        seconds: 15,
        acquired: Some("2026-11-20T11:00:00Z".parse().unwrap()),
        renewed: Some(renewed.parse().unwrap()),
        transitions: 0,
    };
    LeaseWrite { precondition, term }
}

async fn written(client: &LeaseClient, write: &LeaseWrite) -> Result<LeaseRecord> {
    match client.apply(write).await? {
        Applied::Written(record) => Ok(record),
        Applied::Conflict => bail!("conflict: {write:?}"),
    }
}

const FIRST: &str = "2026-11-20T11:00:01.000001Z";
const SECOND: &str = "2026-11-20T11:00:03Z";

#[tokio::test]
async fn one_of_two_replicas_creates_the_lease() {
    let Setup { one, other, .. } = setup().await;
    assert_eq!(one.get().await.unwrap(), None);
    let created = written(&one, &write(None, "one", FIRST)).await.unwrap();
    assert_eq!(
        created.term,
        write(None, "one", FIRST).term,
        "it reads back as written"
    );
    assert_eq!(one.get().await.unwrap().as_ref(), Some(&created));
    let refused = other.apply(&write(None, "other", FIRST)).await.unwrap();
    assert_eq!(
        refused,
        Applied::Conflict,
        "the other replica has written content"
    );
    assert_eq!(other.get().await.unwrap(), Some(created));
}

/// Each crash of a leader leaves a Lease with a holder, which the next process takes over or creates again.
#[tokio::test]
async fn the_field_managers_do_not_grow_with_each_process() {
    let Setup { one, leases, .. } = setup().await;
    for process in 0..5 {
        let read = one.get().await.unwrap();
        let holder = format!("process-{process}");
        written(&one, &write(read.as_ref(), &holder, FIRST))
            .await
            .unwrap();
    }
    let lease = leases.get(NAME).await.unwrap();
    let entries = lease.metadata.managed_fields.unwrap_or_default();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[tokio::test]
async fn a_write_requires_the_version_that_was_read() {
    let Setup {
        one, other, leases, ..
    } = setup().await;
    let created = written(&one, &write(None, "one", FIRST)).await.unwrap();
    let renewed = written(&one, &write(Some(&created), "one", SECOND))
        .await
        .unwrap();
    assert_ne!(renewed.version, created.version);
    let stale = other.apply(&write(Some(&created), "other", FIRST)).await.unwrap();
    assert_eq!(stale, Applied::Conflict, "an earlier version");
    let taken = written(&other, &write(Some(&renewed), "other", FIRST))
        .await
        .unwrap();
    assert_eq!(taken.term.holder, "other");
    let late = one.apply(&write(Some(&renewed), "one", FIRST)).await.unwrap();
    assert_eq!(late, Applied::Conflict, "the former holder");

    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    leases.patch(NAME, &PatchParams::default(), &label).await.unwrap();
    let edited = other.apply(&write(Some(&taken), "other", SECOND)).await.unwrap();
    assert_eq!(edited, Applied::Conflict, "somebody added a label");
    let read = other.get().await.unwrap().unwrap();
    let mut release = write(Some(&read), "", SECOND);
    release.term.seconds = 1;
    let released = written(&other, &release).await.unwrap();
    assert_eq!(released.term, release.term, "the holder is removed");
}

#[tokio::test]
async fn a_write_does_not_create_a_deleted_lease() {
    let Setup { one, leases, .. } = setup().await;
    let created = written(&one, &write(None, "one", FIRST)).await.unwrap();
    leases.delete(NAME, &DeleteParams::default()).await.unwrap();
    let late = one.apply(&write(Some(&created), "one", SECOND)).await.unwrap();
    assert_eq!(late, Applied::Conflict);
    assert_eq!(one.get().await.unwrap(), None);
    let again = written(&one, &write(None, "one", SECOND)).await.unwrap();
    let of_another = one.apply(&write(Some(&created), "one", FIRST)).await.unwrap();
    assert_eq!(of_another, Applied::Conflict, "another Lease with the same name");
    assert_ne!(again.version.uid, created.version.uid);
}

#[tokio::test]
async fn a_standby_watches_the_lease_by_name() {
    let Setup {
        one,
        other,
        leases,
        client,
        namespace,
    } = setup().await;
    let created = written(&one, &write(None, "one", FIRST)).await.unwrap();
    let mut watch = other.watch(&created.version).await.unwrap();
    let unrelated = LeaseClient::new(client, &namespace, "another");
    written(&unrelated, &write(None, "one", FIRST)).await.unwrap();
    let renewed = written(&one, &write(Some(&created), "one", SECOND))
        .await
        .unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Some(renewed));
    leases.delete(NAME, &DeleteParams::default()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), None, "deleted");
}

/// The audit log of the operator contains no `create`, but its role needs it.
#[tokio::test]
async fn a_lease_is_created_by_apply_only_with_the_verb_create() {
    let Setup {
        one,
        leases,
        namespace,
        ..
    } = setup().await;
    let created = written(&one, &write(None, "one", FIRST)).await.unwrap();
    let plane = e2e::shared().await.unwrap();
    plane
        .apply_in(&namespace, &role("get, watch, patch"))
        .await
        .unwrap();
    written(&one, &write(Some(&created), "one", SECOND))
        .await
        .expect("a renewal needs only patch");
    // The authorizer of the API server follows by a watch.
    let refused = eventually(Duration::from_secs(10), async || {
        leases.delete(NAME, &DeleteParams::default()).await.ok();
        match one.apply(&write(None, "one", FIRST)).await {
            Err(kube::Error::Api(status)) => Ok(status),
            other => bail!("not refused: {other:?}"),
        }
    });
    let refused = refused.await.unwrap();
    assert_eq!(
        (refused.code, one.get().await.unwrap()),
        (403, None),
        "{refused:?}"
    );
}
