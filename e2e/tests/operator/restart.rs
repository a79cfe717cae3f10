//! A restart of the operator keeps the violations in the statuses and repeats no Event.

use anyhow::ensure;
use e2e::ControlPlane;
use e2e::operator::Operator;
use e2e::simulated_kubelet::{SimulatedKubelet, Step};
use kube::ResourceExt;

use super::support::{eventually, status, time, web};

#[tokio::test]
async fn a_restart_keeps_onsets_and_sends_no_second_event() {
    let plane = ControlPlane::start().await.unwrap();
    let (operator, kubeconfig) = Operator::install(&plane).await.unwrap();
    let namespace = plane.namespace("restart").await.unwrap();
    let policy = "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarPolicy\nmetadata: {name: p}\n\
                  spec: {checks: {notReady: {for: 2m}, mainReadySidecarNotReady: {for: 0s}}}\n";
    plane.apply_in(&namespace, policy).await.unwrap();
    let mut pod = SimulatedKubelet::new(plane.client().await.unwrap())
        .run(&namespace, web())
        .await
        .unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let before = eventually("one firing and one pending", || async {
        let status = status(&plane, Some(&namespace), "p").await;
        let counts = [&status["summary"]["firing"], &status["summary"]["pending"]];
        ensure!(counts == [1, 1], "{status}");
        Ok(status)
    })
    .await;
    let events: kube::Api<k8s_openapi::api::events::v1::Event> =
        kube::Api::namespaced(plane.client().await.unwrap(), &namespace);
    let sent = eventually("the Event", || async {
        let list = events.list(&kube::api::ListParams::default()).await?;
        ensure!(!list.items.is_empty(), "no Event");
        Ok(list.items)
    })
    .await;
    assert_eq!(sent.len(), 1);
    assert!(operator.stop().await.unwrap().success());

    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    eventually("the violation in the metrics again", || async {
        let metrics = operator.metrics().await?;
        ensure!(
            metrics.contains("check=\"MainReadySidecarNotReady\""),
            "{metrics}"
        );
        Ok(())
    })
    .await;
    // After the first status of another policy, the operator would also have written other changes.
    let second = policy
        .replace("name: p", "name: second")
        .replace("for: 0s", "mode: \"Off\"");
    plane.apply_in(&namespace, &second).await.unwrap();
    eventually("the second policy's status", || async {
        let status = status(&plane, Some(&namespace), "second").await;
        ensure!(status["summary"]["pending"] == 1, "{status}");
        Ok(())
    })
    .await;
    let after = status(&plane, Some(&namespace), "p").await;
    assert_eq!(after, before, "the status is unchanged");
    let since = time(&after["violations"][0]["since"]).unwrap();
    assert!(since <= jiff::Timestamp::now());
    let list = events
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(list.len(), 1, "no second Event");
    assert_eq!(
        list[0].resource_version(),
        sent[0].resource_version(),
        "the Event is unchanged"
    );
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}
