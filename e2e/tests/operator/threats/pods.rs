//! Threats by owners of Pods.

use std::collections::BTreeMap;

use anyhow::ensure;
use e2e::metrics::samples;
use e2e::simulated_kubelet::{Container, PodSpec, Step};
use http::header::CONTENT_TYPE;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use sidewatch::telemetry::log_limit::LINES;

use super::{AT_ONCE, Tenant, policy, threatened};
use crate::support::{eventually, series, web};

/// Clears the screen, sets the title of the window, and reverses text.
pub(super) const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}";
/// The Events of one Pod that are written at once.
const EVENTS_OF_A_POD: usize = 25;

/// Pods with a native sidecar.
fn pods(count: usize) -> Vec<PodSpec> {
    let numbers = 0..count;
    numbers
        .map(|n| {
            PodSpec::new(&format!("web-{n}"))
                .container(Container::native("istio-proxy").readiness_probe())
                .container(Container::regular("app"))
        })
        .collect()
}

/// Whether an Event is about a Pod.
fn is_about(event: &Event, pod: &str) -> bool {
    event
        .regarding
        .as_ref()
        .and_then(|regarding| regarding.name.as_deref())
        == Some(pod)
}

#[tokio::test]
async fn unexpected_status() {
    let cluster = threatened().await;
    let tenant = Tenant::new("unexpected").await;
    let place = &tenant.place;
    place.policy("p", AT_ONCE).await;
    let namespace = &place.namespace;
    let times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"];
    for (n, time) in times.into_iter().enumerate() {
        let mut spec = web();
        spec.name = format!("odd-{n}");
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}/status", spec.name);
        place.kubelet.run(namespace, spec).await.unwrap();
        let state = json!({"terminated": {
            "exitCode": -1, "signal": 99, "reason": ESCAPES, "message": ESCAPES.repeat(1000), "startedAt": time,
            "finishedAt": time, "containerID": ESCAPES,
        }});
        let container = |name: &str| {
            json!({
                "name": name, "ready": false, "started": true, "restartCount": 2_147_483_647, "image": ESCAPES,
                "imageID": ESCAPES, "state": state, "lastState": state,
            })
        };
        let condition = |kind: &str| json!({"type": kind, "status": "Maybe", "reason": ESCAPES, "message": ESCAPES, "lastTransitionTime": time});
        let status = json!({"status": {
            "phase": "Unheard", "reason": ESCAPES, "message": ESCAPES, "startTime": time,
            "conditions": [condition("Ready"), condition("Initialized")],
            "containerStatuses": [container("app"), container("unknown")],
            "initContainerStatuses": [container("istio-proxy"), container("")],
        }});
        let client = cluster.plane.client().await.unwrap();
        let request = http::Request::patch(path)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(status.to_string().into_bytes());
        let written: Value = client.request(request.unwrap()).await.unwrap();
        assert_eq!(written["status"]["phase"], "Unheard", "the API server stores it");
    }
    tenant.run_unready(vec![web()]).await;
    cluster.is_served(place, "p").await;
    cluster.others_are_served().await;
    let log = cluster.operator.log().unwrap();
    let raw = log
        .lines()
        .find(|line| line.contains(['\u{1b}', '\u{7}', '\u{202e}']));
    assert_eq!(raw, None, "control characters in the log");
}

#[tokio::test]
async fn flapping_pod() {
    let cluster = threatened().await;
    let tenant = Tenant::new("flapping").await;
    let place = &tenant.place;
    place.policy("p", AT_ONCE).await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    let name = pod.name().to_owned();
    for _ in 0..EVENTS_OF_A_POD {
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
        pod.step(Step::Ready("istio-proxy")).await.unwrap();
    }
    eventually("dropped Events", || async {
        let dropped = series(&cluster.operator, "sidewatch_events_dropped_total", &[]).await;
        ensure!(dropped.iter().any(|line| !line.ends_with(" 0")), "{dropped:?}");
        Ok(())
    })
    .await;
    cluster.others_are_served().await;
    let about = place
        .events()
        .await
        .iter()
        .filter(|event| is_about(event, &name))
        .count();
    // One more in five minutes.
    assert!(about <= EVENTS_OF_A_POD + 2, "{about} Events");
}

#[tokio::test]
async fn many_failing_pods() {
    let cluster = threatened().await;
    let tenant = Tenant::new("failing").await;
    tenant.place.policy("p", AT_ONCE).await;
    // Two Events for each: more than the limit for all Pods permits at once.
    tenant.run_unready(pods(150)).await;
    cluster.others_are_served().await;
    tenant
        .place
        .status_when("p", "all violations in the status", |status| {
            status["summary"]["firing"].as_u64() >= Some(150)
        })
        .await;
}

#[tokio::test]
async fn log_flood() {
    let cluster = threatened().await;
    let tenant = Tenant::new("log").await;
    tenant.place.policy("p", AT_ONCE).await;
    tenant.run_unready(pods(60)).await;
    tenant
        .place
        .status_when("p", "all violations in the status", |status| {
            status["summary"]["firing"].as_u64() >= Some(60)
        })
        .await;
    cluster.others_are_served().await;
    let log = cluster.operator.log().unwrap();
    let mut lines = BTreeMap::<_, usize>::new();
    for line in log.lines() {
        let second = line.split('.').next().unwrap();
        assert!(second.contains('T'), "a line without a time: {line}");
        *lines.entry(second).or_default() += 1;
    }
    // The limit holds for any second by the monotonic clock, which may be a little later than the written time.
    let most = lines.iter().max_by_key(|(_, count)| **count).unwrap();
    assert!(*most.1 <= 2 * LINES, "{most:?}");
    assert!(
        log.contains("suppressed"),
        "the log names the number of suppressed lines"
    );
}

#[tokio::test]
async fn label_values() {
    const PODS: u8 = 60;
    let cluster = threatened().await;
    let tenant = Tenant::new("labels").await;
    tenant
        .create("sidecarpolicies", &policy("p", &json!({})))
        .await
        .unwrap();
    let specs = pods(PODS.into()).into_iter().enumerate().map(|(n, spec)| {
        let image = format!("registry.test/proxy-{}:{n}", n % 12);
        spec.label("secret", &format!("leak-{n}"))
            .container(Container::native("linkerd-proxy").image(&image))
    });
    tenant.run_unready(specs.collect()).await;
    let labels = [("policy_namespace", &*tenant.place.namespace)];
    let page = eventually("all Pods counted", || async {
        let page = cluster.operator.metrics().await?;
        let all = samples(&page)?;
        let mut of_policy = all
            .iter()
            .filter(|sample| sample.matches("sidewatch_policy_pods", &labels));
        ensure!(
            of_policy.any(|sample| sample.value >= f64::from(PODS)),
            "not all Pods"
        );
        Ok(page)
    })
    .await;
    let all = samples(&page).unwrap();
    let images = all
        .iter()
        .filter(|sample| sample.matches("sidewatch_sidecar_images", &labels));
    let images: Vec<_> = images.collect();
    // Ten repositories with five versions and the rest each, and the rest of the repositories.
    assert!((2..=61).contains(&images.len()), "{images:?}");
    assert!(!page.contains("leak-"), "labels of Pods");
    cluster.others_are_served().await;
}

#[tokio::test]
async fn refused_events() {
    let cluster = threatened().await;
    let tenant = Tenant::new("refused").await;
    let place = &tenant.place;
    let namespace = &place.namespace;
    // As a quota or a webhook refuses them.
    let admission = format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {namespace}}},
           spec: {{failurePolicy: Fail, matchConstraints: {{resourceRules: [{{apiGroups: [events.k8s.io], apiVersions: ['*'],
             operations: ['*'], resources: [events]}}]}}, validations: [{{expression: 'false'}}]}}}}
---
         {{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {namespace}}},
           spec: {{policyName: {namespace}, validationActions: [Deny], matchResources: {{namespaceSelector: {{matchLabels:
             {{kubernetes.io/metadata.name: {namespace}}}}}}}}}}}"
    );
    cluster.plane.apply(&admission).await.unwrap();
    let client = cluster.plane.client().await.unwrap();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "a", "reason": "r", "type": "Normal", "reportingController": "test/e2e", "reportingInstance": "a",
        "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
    });
    eventually("the refusal", || async {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?dryRun=All");
        let request = http::Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(event.to_string().into_bytes())?;
        let refused = client.request::<Value>(request).await;
        ensure!(matches!(refused, Err(kube::Error::Api(_))), "{refused:?}");
        Ok(())
    })
    .await;
    place.policy("p", AT_ONCE).await;
    tenant.run_unready(pods(60)).await;
    cluster.others_are_served().await;
    place
        .status_when("p", "the status, although the Events are refused", |status| {
            status["summary"]["firing"].as_u64() >= Some(60)
        })
        .await;
    assert!(place.events().await.is_empty());
}
