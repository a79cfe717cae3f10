//! Text of tenants that controls the terminal of a user.

use std::process::Stdio;

use e2e::operator::binary;
use e2e::simulated_kubelet::Step;
use serde_json::json;
use tokio::process::Command;

use super::pods::ESCAPES;
use super::{AT_ONCE, Tenant, object, policy, threatened};
use crate::support::web;

#[tokio::test]
async fn terminal_text() {
    let cluster = threatened().await;
    let tenant = Tenant::new("terminal").await;
    let place = &tenant.place;
    let owner = |name: &str| {
        json!([{
            "apiVersion": "a.test/v1", "kind": format!("Kind{ESCAPES}"), "name": format!("{name}{ESCAPES}"), "uid": "u",
            "controller": true,
        }])
    };
    let labels = json!({"app": "web"});
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "a.test/app"}]}}},
    });
    deployment["metadata"]["ownerReferences"] = owner("a");
    tenant.create("deployments", &deployment).await.unwrap();
    let mut pod = web().pod();
    pod["metadata"]["ownerReferences"] = owner("b");
    pod["spec"]["containers"][0]["image"] = json!(format!("a.test/{ESCAPES}"));
    pod["spec"]["initContainers"][0]["image"] = json!(format!("a.test/{ESCAPES}:1"));
    tenant.create("pods", &pod).await.unwrap();
    let spec = json!({"expected": [{"name": ESCAPES, "sidecar": {"name": "linkerd-proxy"}}]});
    let _may_be_rejected = tenant.create("sidecarpolicies", &policy("q", &spec)).await;
    let spec = json!({"selector": {}, "reason": ESCAPES, "until": "2100-01-01T00:00:00Z"});
    tenant
        .create("sidecarexemptions", &object("SidecarExemption", "e", &spec))
        .await
        .unwrap();
    place.policy("p", AT_ONCE).await;
    let mut running = place.kubelet.adopt(&place.namespace, web()).await.unwrap();
    running.schedule().await.unwrap();
    let spec = web();
    let mut steps = spec.healthy_start();
    steps.push(Step::Unready("istio-proxy"));
    running.together(&steps).await.unwrap();

    let raw = |text: &[u8]| String::from_utf8_lossy(text).contains(['\u{1b}', '\u{7}', '\u{202e}']);
    for line in [
        "explain web-1-x",
        "explain deployment/web",
        "top",
        "top --by image",
        "versions",
        "lint --live",
        "snooze deployment/web --for 1h --reason x",
        "snooze pod/web-1-x --for 1h --reason x",
        "snooze pod/web-1-x --for 1h --reason x --dry-run -o yaml",
        "doctor",
    ] {
        let output = Command::new(binary().await.unwrap())
            .args(line.split(' '))
            .args(["-n", &place.namespace, "--kubeconfig"])
            .arg(cluster.plane.kubeconfig_path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("Usage:"), "{line}: {stderr}");
        assert!(!raw(&output.stdout) && !raw(&output.stderr), "{line}: {output:?}");
    }
    cluster.others_are_served().await;
}
