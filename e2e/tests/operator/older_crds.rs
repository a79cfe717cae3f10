//! CRDs that lack what a newer version of the operator writes: the status has the rest, and says what to install.

use e2e::ControlPlane;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_rbac};
use e2e::simulated_kubelet::Step;
use futures::future::join_all;
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

/// A change of the properties of the status, the checks that the status still lists, other fields of the status, and a
/// text in the log.
type Row = (
    &'static str,
    fn(&mut Value),
    &'static [&'static str],
    Value,
    &'static str,
);

#[tokio::test]
async fn the_status_has_what_older_crds_declare() {
    let both: &[&str] = &["MainReadySidecarNotReady", "NotReady"];
    let table: [Row; 4] = [
        (
            "a field of a violation",
            |status| remove(&mut status["violations"]["items"]["properties"], "podUID"),
            both,
            json!({"/violations/0/podUID": null, "/summary/firing": 2}),
            "podUID: field not declared in schema",
        ),
        (
            "a field of the status",
            |status| remove(status, "summary"),
            both,
            json!({"/summary": null}),
            "summary: field not declared in schema",
        ),
        (
            "a check, which the summary counts",
            |status| {
                for list in ["checks", "violations"] {
                    let names = &mut status[list]["items"]["properties"]["check"]["enum"];
                    names.as_array_mut().unwrap().retain(|name| name != "NotReady");
                }
            },
            &["MainReadySidecarNotReady"],
            json!({"/violationsOmitted": 1, "/summary/firing": 2}),
            "",
        ),
        (
            "the images",
            |status| {
                remove(status, "images");
                remove(status, "imagesOmitted");
            },
            both,
            json!({"/images": null, "/summary/sidecars": 1}),
            "images: field not declared in schema",
        ),
    ];
    let run = async |(what, change, listed, fields, logged): Row| {
        let (status, log) = status_with(change).await;
        let shown = format!("without {what}: {status:#}\n{log}");
        assert_eq!(checks(&status), listed, "{shown}");
        for (field, expected) in fields.as_object().unwrap() {
            assert_eq!(
                status.pointer(field).unwrap_or(&Value::Null),
                expected,
                "{field} {shown}"
            );
        }
        assert!(ready_message(&status).contains(INCOMPLETE), "{shown}");
        assert!(log.contains(logged), "{shown}");
    };
    join_all(table.map(run)).await;
}
