//! The roles `view`, `edit` and `admin` include permissions on policies: kube-controller-manager aggregates them.

use std::time::Duration;

use anyhow::ensure;
use e2e::ControlPlane;
use e2e::cluster::is_permitted;
use e2e::poll::eventually;
use kube::Client;

use crate::helm::{CHART, Helm, NAMESPACE, RELEASE, VERSIONS};

const SOON: Duration = Duration::from_secs(30);
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const ROLES: [&str; 3] = ["view", "edit", "admin"];

/// The users of [`ROLES`] that have a permission. Each has the role with its name, in the namespace with its name.
async fn permitted(
    client: &Client,
    place: Place,
    resource: &'static str,
    verb: &'static str,
) -> Vec<&'static str> {
    let mut permitted = Vec::new();
    for role in ROLES {
        let namespace = match place {
            Place::Own => Some(role),
            Place::Other => Some("default"),
            Place::Cluster => None,
        };
        let permission = ("sidewatch.dev", resource, verb);
        if is_permitted(client, role, namespace, permission).await.unwrap() {
            permitted.push(role);
        }
    }
    permitted
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The namespace of the user.
    Own,
    /// Another namespace.
    Other,
    Cluster,
}

#[tokio::test]
async fn view_reads_policies_and_edit_and_admin_write_them() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let _controllers = plane
        .start_controllers(&["clusterrole-aggregation-controller"])
        .await
        .unwrap();
    for role in ROLES {
        plane
            .kubectl_line(&format!("create namespace {role}"))
            .await
            .unwrap();
        let bind = format!("create rolebinding {role} --clusterrole={role} --user={role} --namespace={role}");
        plane.kubectl_line(&bind).await.unwrap();
    }
    let helm = Helm::on(plane.cluster(), VERSIONS[1]).await.unwrap();
    let install = [
        "install",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ];
    helm.run(&install).await.unwrap();
    let aggregated = eventually(SOON, async || {
        let readers = permitted(&client, Place::Own, "sidecarpolicies", "list").await;
        let writers = permitted(&client, Place::Own, "sidecarpolicies", "create").await;
        ensure!(
            readers == ROLES && writers == ROLES[1..],
            "{readers:?} {writers:?}"
        );
        Ok(())
    });
    aggregated.await.unwrap();

    let (none, writers) = (&[][..], &ROLES[1..]);
    let table: [(Place, &str, &[&str], &[&str]); 9] = [
        (Place::Own, "sidecarpolicies", READ, &ROLES),
        (Place::Own, "sidecarexemptions", READ, &ROLES),
        (Place::Own, "sidecarpolicies", WRITE, writers),
        (Place::Own, "sidecarexemptions", WRITE, writers),
        // Only the operator writes it.
        (Place::Own, "sidecarpolicies/status", &["update", "patch"], none),
        (Place::Other, "sidecarpolicies", READ, none),
        (Place::Other, "sidecarexemptions", READ, none),
        // A role in a namespace contains no cluster-scoped objects.
        (Place::Cluster, "clustersidecarpolicies", READ, none),
        (Place::Cluster, "clustersidecarpolicies", WRITE, none),
    ];
    for (place, resource, verbs, expected) in table {
        for verb in verbs {
            let found = permitted(&client, place, resource, verb).await;
            assert_eq!(found, expected, "{verb} {resource} in {place:?}");
        }
    }
    plane
        .kubectl_line("create clusterrolebinding view --clusterrole=view --user=view")
        .await
        .unwrap();
    let bound = eventually(SOON, async || {
        let readers = permitted(&client, Place::Cluster, "clustersidecarpolicies", "list").await;
        ensure!(readers == ["view"], "{readers:?}");
        Ok(())
    });
    bound.await.unwrap();
}
