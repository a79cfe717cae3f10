//! CRDs that lack what a newer version of the operator writes: the status has the rest, and says what to install.

use e2e::ControlPlane;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_rbac};
use e2e::simulated_kubelet::Step;
use serde_json::{Value, json};
use sidewatch::api::crds;

use super::support::{TestNamespace, condition, eventually, web};

/// Both checks fire for an unready sidecar.
const POLICY: &str = "{checks: {notReady: {for: 0s}, mainReadySidecarNotReady: {for: 0s}}}";
const INCOMPLETE: &str = "install the CRDs of this version";

/// Installs the CRDs after a change of the properties of the status of policies.
async fn install(plane: &ControlPlane, change: fn(&mut Value)) {
    let [_, _, exemption] = crds::definitions();
    let exemption = serde_json::to_value(exemption).unwrap();
    plane.apply(&exemption.to_string()).await.unwrap();
    for definition in crds::policies() {
        let mut definition = serde_json::to_value(definition).unwrap();
        let properties = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let status = &mut properties["status"]["properties"];
        let before = status.clone();
        change(status);
        assert_ne!(*status, before, "nothing is removed");
        plane.apply(&definition.to_string()).await.unwrap();
    }
}

/// The status of a policy with two firing violations, and the log of the operator.
async fn status_with(crds: fn(&mut Value)) -> (Value, String) {
    // Until the end of the process: the namespace of a test refers to it.
    let plane = Box::leak(Box::new(ControlPlane::start().await.unwrap()));
    install(plane, crds).await;
    install_rbac(plane).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let mut operator = Operator::start(plane, kubeconfig.path(), &[]).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    let test = TestNamespace::new(plane, "older").await;
    test.policy("mesh", POLICY).await;
    let mut pod = test.kubelet.run(&test.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let status = eventually("an unhealthy status", || async {
        let status = test.status("mesh").await;
        let health = condition(&status, "SidecarsHealthy");
        let log = operator.log()?;
        anyhow::ensure!(health.is_some_and(|(is, _)| is == "False"), "{status}\n{log}");
        Ok(status)
    });
    (status.await, operator.log().unwrap())
}

/// The checks of the violations in a status.
fn checks(status: &Value) -> Vec<&str> {
    let violations = status["violations"].as_array().into_iter().flatten();
    let mut checks: Vec<_> = violations
        .map(|violation| violation["check"].as_str().unwrap())
        .collect();
    checks.sort_unstable();
    checks
}

fn ready_message(status: &Value) -> &str {
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let ready = conditions.find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True");
    ready["message"].as_str().unwrap()
}

fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().unwrap().remove(field);
}

#[tokio::test]
async fn without_a_field_of_a_violation() {
    let (status, log) = status_with(|status| {
        let violation = &mut status["violations"]["items"];
        remove(&mut violation["properties"], "podUID");
    })
    .await;
    assert_eq!(
        checks(&status),
        ["MainReadySidecarNotReady", "NotReady"],
        "{status:#}"
    );
    assert_eq!(status["violations"][0].get("podUID"), None);
    assert_eq!(status["summary"]["firing"], 2);
    assert!(ready_message(&status).contains(INCOMPLETE), "{status:#}");
    assert!(log.contains("podUID: field not declared in schema"), "{log}");
}

#[tokio::test]
async fn without_a_field_of_the_status() {
    let (status, _) = status_with(|status| remove(status, "summary")).await;
    assert_eq!(
        checks(&status),
        ["MainReadySidecarNotReady", "NotReady"],
        "{status:#}"
    );
    assert_eq!(status.get("summary"), None);
    assert!(ready_message(&status).contains(INCOMPLETE), "{status:#}");
}

#[tokio::test]
async fn without_a_check() {
    let (status, log) = status_with(|status| {
        for list in ["checks", "violations"] {
            let names = &mut status[list]["items"]["properties"]["check"]["enum"];
            names.as_array_mut().unwrap().retain(|name| name != "NotReady");
        }
    })
    .await;
    assert_eq!(checks(&status), ["MainReadySidecarNotReady"], "{status:#}\n{log}");
    assert_eq!(status["violationsOmitted"], json!(1));
    assert_eq!(status["summary"]["firing"], 2, "the summary counts it");
    assert!(ready_message(&status).contains(INCOMPLETE), "{status:#}");
}

#[tokio::test]
async fn without_the_images() {
    let (status, log) = status_with(|status| {
        remove(status, "images");
        remove(status, "imagesOmitted");
    })
    .await;
    assert_eq!(
        checks(&status),
        ["MainReadySidecarNotReady", "NotReady"],
        "{status:#}"
    );
    assert_eq!(status.get("images"), None);
    assert_eq!(status["summary"]["sidecars"], 1);
    assert!(ready_message(&status).contains(INCOMPLETE), "{status:#}");
    assert!(log.contains("images: field not declared in schema"), "{log}");
}
