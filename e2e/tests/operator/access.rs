//! Permissions and CRDs that the operator needs. Tests in which they are missing have their own cluster.

use std::time::Duration;

use anyhow::ensure;
use e2e::ControlPlane;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};
use e2e::simulated_kubelet::Step;

use super::support::{TestNamespace, eventually, series, web, world};

#[tokio::test]
async fn without_its_role_it_names_the_missing_permissions_and_recovers() {
    let plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await.unwrap();
    plane.kubectl(["create", "namespace", NAMESPACE]).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    let answer = eventually("the missing resources", || async {
        let answer = operator.readyz().await?;
        let all = ["pods", "namespaces", "sidecarpolicies", "clustersidecarpolicies"];
        let names_all =
            all.iter().all(|resource| answer.body.contains(resource)) && answer.body.contains("forbidden");
        ensure!(names_all, "{}", answer.body);
        Ok(answer)
    })
    .await;
    assert_eq!(answer.status, 503);
    assert_eq!(operator.livez().await.unwrap().status, 200, "/livez succeeds");
    let metrics = operator.metrics().await.unwrap();
    assert!(
        metrics.contains("sidewatch_watch_synced{resource=\"pods\"} 0"),
        "{metrics}"
    );
    assert!(metrics.contains("reason=\"forbidden\""), "{metrics}");

    install_rbac(&plane).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}

#[tokio::test]
async fn it_waits_for_missing_crds() {
    let plane = ControlPlane::start().await.unwrap();
    install_rbac(&plane).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    let answer = eventually("the missing resources", || async {
        let answer = operator.readyz().await?;
        let is_named = answer.body.contains("sidecarpolicies.sidewatch.dev");
        ensure!(is_named, "{}", answer.body);
        Ok(answer)
    })
    .await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("kubectl apply"),
        "/readyz names the solution: {}",
        answer.body
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    install_crds(&plane).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}

#[tokio::test]
async fn a_namespaced_installation_needs_no_permission_outside_its_namespaces() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "own").await;
    let neighbour = TestNamespace::new(world.plane, "neighbour").await;
    let role = format!(
        r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: sidewatch}}
rules:
  - {{apiGroups: [''], resources: [pods], verbs: [list, watch]}}
  - {{apiGroups: [sidewatch.dev], resources: [sidecarpolicies], verbs: [list, watch]}}
  - {{apiGroups: [sidewatch.dev], resources: [sidecarpolicies/status], verbs: [patch]}}
  - {{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: sidewatch}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: sidewatch}}
subjects: [{{kind: ServiceAccount, name: narrow, namespace: {}}}]
",
        place.namespace
    );
    world.plane.apply_in(&place.namespace, &role).await.unwrap();
    let kubeconfig = world
        .plane
        .kubeconfig_for(&place.namespace, "narrow")
        .await
        .unwrap();
    let mut operator = Operator::start(world.plane, kubeconfig.path(), &["--namespace", &place.namespace])
        .await
        .unwrap();
    operator.wait_until_ready().await.unwrap();
    for place in [&place, &neighbour] {
        place.policy("p", "{checks: {notReady: {for: 0s}}}").await;
        let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
    }
    let own = [("namespace", &*place.namespace), ("check", "NotReady")];
    eventually("a finding in its own namespace", || async {
        let found = series(&operator, "sidewatch_violation", &own).await;
        ensure!(!found.is_empty(), "no series");
        Ok(())
    })
    .await;
    let metrics = operator.metrics().await.unwrap();
    assert!(
        !metrics.contains(&neighbour.namespace),
        "no data of the other namespace"
    );
    assert!(
        metrics.lines().any(|line| line == "sidewatch_tracked_pods 1"),
        "one tracked Pod"
    );
    let log = operator.log().unwrap();
    assert!(!log.contains("ERROR"), "{log}");
    assert!(
        operator.stop().await.unwrap().success(),
        "SIGTERM ends it with success"
    );
}
