//! By the audit log of the API server, two replicas of the operator use exactly the permissions of their roles.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::AuditLog;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};
use e2e::process::Scratch;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, SimulatedPod, Step};
use serde_json::Value;

use crate::helm::objects;
use crate::rights::{Right, rights};

const SOON: Duration = Duration::from_mins(1);

/// Fires and resolves immediately. The exemption covers another Pod.
const POLICIES: &str = "
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarPolicy
metadata: {name: mesh, namespace: default}
spec: {checks: {notReady: {for: 0s, keepFiringFor: 0s}}}
---
apiVersion: sidewatch.dev/v1alpha1
kind: ClusterSidecarPolicy
metadata: {name: mesh}
spec: {}
---
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarExemption
metadata: {name: others, namespace: default}
spec: {selector: {matchLabels: {app: none}}, reason: hides nothing, until: '2126-11-20T10:00:00Z'}
";

/// Permissions that server-side apply needs to create an object (`cluster::lease`). The audit log has the verb `patch` for such
/// a request.
const CREATED_BY_APPLY: [(&str, &str, &str); 2] = [
    ("coordination.k8s.io", "leases", "create"),
    ("", "configmaps", "create"),
];

/// The flags of a replica.
const ELECTED: [&str; 3] = ["--leader-elect", "--operator-namespace", NAMESPACE];

/// Permissions that a user has used so far.
fn seen(log: &AuditLog, user: &str) -> BTreeSet<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let requests = log.requests(user).unwrap().into_iter();
    requests
        .map(|event| {
            let object = &event["objectRef"];
            assert!(!object.is_null(), "not about an object: {}", event["requestURI"]);
            let resource = match object["subresource"].as_str() {
                Some(part) => format!("{}/{part}", text(&object["resource"])),
                None => text(&object["resource"]),
            };
            (text(&object["apiGroup"]), resource, text(&event["verb"]))
        })
        .collect()
}

/// Repeats a violation within a second, which patches its Event: the name of an Event contains the time in seconds.
async fn flip(pod: &mut SimulatedPod) {
    for _ in 0..4 {
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        pod.step(Step::Ready("istio-proxy")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_operator_uses_exactly_the_permissions_of_its_role() {
    let files = Scratch::new().unwrap();
    let (mut plane, log) = AuditLog::start(&files).await.unwrap();
    install_crds(&plane).await.unwrap();
    install_rbac(&plane).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut operator = Operator::start(&plane, kubeconfig.path(), &ELECTED)
            .await
            .unwrap();
        operator.wait_until_ready().await.unwrap();
        replicas.push(operator);
    }
    plane.apply(POLICIES).await.unwrap();
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    let web = PodSpec::new("web")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app"));
    let mut pod = kubelet.run("default", web).await.unwrap();

    let user = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
    let chart = objects(&[]).await;
    let mut granted = rights(&chart, "ClusterRole", "sidewatch");
    granted.extend(rights(&chart, "Role", "sidewatch-leader"));
    for (group, resource, verb) in CREATED_BY_APPLY {
        let right = (group.to_owned(), resource.to_owned(), verb.to_owned());
        assert!(granted.remove(&right), "{right:?} is granted");
    }
    // A Pod watch that broke off first reads the current version, with a list of one Pod.
    plane.restart_api_server().await.unwrap();
    let deadline = Instant::now() + SOON;
    while seen(&log, &user) != granted && Instant::now() < deadline {
        flip(&mut pod).await;
    }
    for operator in replicas {
        assert!(operator.stop().await.unwrap().success());
    }
    assert_eq!(seen(&log, &user), granted, "seen, and granted");
}
