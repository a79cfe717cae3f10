//! What the operator waits for: rights, CRDs. Each test has a cluster of its own, which lacks them at first.

use std::time::Duration;

use e2e::ControlPlane;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};

use super::support::eventually;

#[tokio::test]
async fn without_its_role_it_is_not_ready_says_what_is_missing_and_recovers_when_the_role_arrives() {
    let plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await.unwrap();
    plane.kubectl(["create", "namespace", NAMESPACE]).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    let answer = eventually("what is missing", || async {
        let answer = operator.readyz().await.map_err(|error| error.to_string())?;
        let all = ["pods", "namespaces", "sidecarpolicies", "clustersidecarpolicies"];
        let names_all =
            all.iter().all(|resource| answer.body.contains(resource)) && answer.body.contains("forbidden");
        if names_all { Ok(answer) } else { Err(answer.body) }
    })
    .await;
    assert_eq!(answer.status, 503);
    assert_eq!(operator.livez().await.unwrap().status, 200, "it lives and waits");
    let metrics = operator.metrics().await.unwrap();
    assert!(
        metrics.contains("sidewatch_watch_synced{resource=\"pods\"} 0"),
        "{metrics}"
    );
    assert!(metrics.contains("reason=\"forbidden\""), "{metrics}");

    install_rbac(&plane).await.unwrap();
    eventually("readiness", || async {
        let answer = operator.readyz().await.map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body)
        }
    })
    .await;
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}

#[tokio::test]
async fn crds_that_come_later_are_waited_for() {
    let plane = ControlPlane::start().await.unwrap();
    install_rbac(&plane).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    let answer = eventually("what is missing", || async {
        let answer = operator.readyz().await.map_err(|error| error.to_string())?;
        if answer.body.contains("sidecarpolicies.sidewatch.dev") {
            Ok(answer)
        } else {
            Err(answer.body)
        }
    })
    .await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("kubectl apply"),
        "it says what to do: {}",
        answer.body
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    install_crds(&plane).await.unwrap();
    eventually("readiness", || async {
        let answer = operator.readyz().await.map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body)
        }
    })
    .await;
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}
