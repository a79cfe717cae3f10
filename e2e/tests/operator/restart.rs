//! A restart of the operator loses nothing that the policies' statuses list, and repeats nothing.

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
                  spec: {checks: {notReady: {for: 1h}, mainReadySidecarNotReady: {for: 0s}}}\n";
    plane.apply_in(&namespace, policy).await.unwrap();
    let mut pod = SimulatedKubelet::new(plane.client().await.unwrap())
        .run(&namespace, web())
        .await
        .unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let before = eventually("one firing and one pending", || async {
        let status = status(&plane, Some(&namespace), "p").await;
        let is = status["summary"]["firing"] == 1 && status["summary"]["pending"] == 1;
        if is { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    let events: kube::Api<k8s_openapi::api::events::v1::Event> =
        kube::Api::namespaced(plane.client().await.unwrap(), &namespace);
    let told = eventually("the Event", || async {
        let list = events
            .list(&kube::api::ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        if list.items.is_empty() {
            Err(String::new())
        } else {
            Ok(list.items)
        }
    })
    .await;
    assert_eq!(told.len(), 1);
    assert!(operator.stop().await.unwrap().success());

    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    eventually("the violation in the metrics again", || async {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        if metrics.contains("check=\"MainReadySidecarNotReady\"") {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
    // Another policy's first status shows that the operator writes what it has to write.
    let second = policy
        .replace("name: p", "name: second")
        .replace("for: 0s", "mode: \"Off\"");
    plane.apply_in(&namespace, &second).await.unwrap();
    eventually("the second policy's status", || async {
        let status = status(&plane, Some(&namespace), "second").await;
        if status["summary"]["pending"] == 1 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    let after = status(&plane, Some(&namespace), "p").await;
    assert_eq!(
        after, before,
        "onsets, states and conditions stand, and nothing was written"
    );
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
        told[0].resource_version(),
        "nor a change of the first"
    );
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}
