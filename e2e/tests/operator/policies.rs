//! Policies of both kinds: invalid, overlapping, and their namespaces.

use anyhow::ensure;
use e2e::operator::Operator;
use e2e::simulated_kubelet::Step;

use super::support::{TestNamespace, condition, eventually, series, status, web, world};

/// RE2 accepts `\pN`, so the API server does; the operator does not.
const INVALID_FOR_US: &str = r"{sidecars: {namePattern: 'a\pNb'}, checks: {notReady: {for: 0s}}}";

#[tokio::test]
async fn an_invalid_policy_keeps_its_last_valid_version_and_affects_no_other() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "invalid").await;
    for policy in ["edited", "other"] {
        place.policy(policy, "{checks: {notReady: {for: 0s}}}").await;
    }
    place.policy("never-valid", INVALID_FOR_US).await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    for policy in ["edited", "other"] {
        place
            .status_when(policy, "a violation", |status| status["summary"]["firing"] == 1)
            .await;
    }
    let never = place
        .status_when("never-valid", "Ready=False", |s| condition(s, "Ready").is_some())
        .await;
    assert_eq!(condition(&never, "Ready"), Some(("False", "Invalid")));
    assert_eq!(condition(&never, "SidecarsHealthy"), Some(("Unknown", "Invalid")));

    place.policy("edited", INVALID_FOR_US).await;
    let invalid = place
        .status_when("edited", "Ready=False", |s| {
            condition(s, "Ready") == Some(("False", "Invalid"))
        })
        .await;
    let message = invalid["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Ready")
        .unwrap()["message"]
        .as_str();
    assert!(
        message.is_some_and(|message| message.contains("namePattern")),
        "the message names the field: {message:?}"
    );
    assert_eq!(
        invalid["summary"]["firing"], 1,
        "the last valid version is active"
    );
    assert_eq!(invalid["observedGeneration"], 2);
    let other = place.status("other").await;
    assert_eq!(condition(&other, "Ready"), Some(("True", "Evaluating")));
    let ready = |policy| [("policy_namespace", &*place.namespace), ("policy", policy)];
    assert!(series(&world.operator, "sidewatch_policy_ready", &ready("edited")).await[0].ends_with(" 0"));
    assert!(series(&world.operator, "sidewatch_policy_ready", &ready("other")).await[0].ends_with(" 1"));

    place.policy("edited", "{checks: {notReady: {for: 0s}}}").await;
    place
        .status_when("edited", "Ready=True", |s| {
            condition(s, "Ready") == Some(("True", "Evaluating"))
        })
        .await;
}

/// The operator of this test has no permission to write, so that it does not change the statuses of the shared operator.
#[tokio::test]
async fn the_flags_limit_the_number_and_severity_of_namespaced_policies() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "limited").await;
    let role = format!(
        r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader}}
rules:
  - {{apiGroups: [''], resources: [pods], verbs: [list, watch]}}
  - {{apiGroups: [sidewatch.dev], resources: [sidecarpolicies, sidecarexemptions], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {}}}]
",
        place.namespace
    );
    world.plane.apply_in(&place.namespace, &role).await.unwrap();
    // If both are created in the same second, the name decides.
    for policy in ["first", "second"] {
        place
            .policy(policy, "{checks: {notReady: {for: 0s, severity: Critical}}}")
            .await;
    }
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();

    let kubeconfig = world
        .plane
        .kubeconfig_for(&place.namespace, "reader")
        .await
        .unwrap();
    let flags = [
        "--namespace",
        &place.namespace,
        "--max-policies-per-namespace=1",
        "--max-tenant-severity=Warning",
    ];
    let mut operator = Operator::start(world.plane, kubeconfig.path(), &flags)
        .await
        .unwrap();
    operator.wait_until_ready().await.unwrap();
    let over_limit = async || series(&operator, "sidewatch_policies_over_limit", &[]).await;
    let severities = async |policy| {
        let labels = [("check", "NotReady"), ("policy", policy)];
        let series = series(&operator, "sidewatch_violation", &labels).await;
        ensure!(series.len() == 1, "{series:?}");
        Ok(series[0].contains("severity=\"warning\""))
    };
    assert!(
        eventually("a violation", || severities("first")).await,
        "Critical is lowered to Warning"
    );
    assert!(
        severities("second").await.is_err(),
        "only the oldest policy is evaluated"
    );
    assert_eq!(over_limit().await, ["sidewatch_policies_over_limit 1"]);

    let delete = [
        "delete",
        "sidecarpolicy",
        "first",
        "--namespace",
        &place.namespace,
    ];
    world.plane.kubectl(delete).await.unwrap();
    assert!(
        eventually("a violation", || severities("second")).await,
        "the oldest of the others is active"
    );
    assert_eq!(over_limit().await, ["sidewatch_policies_over_limit 0"]);
    assert!(operator.stop().await.unwrap().success());
}

#[tokio::test]
async fn overlapping_policies_have_separate_statuses_events_and_series() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "overlap").await;
    let elsewhere = TestNamespace::new(world.plane, "elsewhere").await;
    place
        .policy("own", "{checks: {notReady: {for: 0s, severity: Info}}}")
        .await;
    let cluster = format!(
        "apiVersion: sidewatch.dev/v1alpha1\nkind: ClusterSidecarPolicy\nmetadata: {{name: {0}}}\n\
         spec: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {0}}}}}, \
         checks: {{notReady: {{for: 0s, severity: Critical}}}}}}\n",
        place.namespace
    );
    world.plane.apply(&cluster).await.unwrap();
    for place in [&place, &elsewhere] {
        let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
    }
    place
        .status_when("own", "its violation", |status| status["summary"]["firing"] == 1)
        .await;
    let of_cluster = eventually("the violation of the cluster kind", || async {
        let status = status(world.plane, None, &place.namespace).await;
        ensure!(status["summary"]["firing"] == 1, "{status}");
        Ok(status)
    })
    .await;
    assert_eq!(
        of_cluster["summary"]["pods"], 1,
        "its selector leaves the other namespace out"
    );
    assert_eq!(of_cluster["violations"][0]["severity"], "Critical");
    let related = eventually("an Event of each", || async {
        let of = |e: k8s_openapi::api::events::v1::Event| e.related.and_then(|related| related.kind);
        let mut kinds: Vec<String> = place.events().await.into_iter().filter_map(of).collect();
        kinds.sort();
        ensure!(kinds.len() == 2, "{kinds:?}");
        Ok(kinds)
    })
    .await;
    assert_eq!(related, ["ClusterSidecarPolicy", "SidecarPolicy"]);
    let found = series(
        &world.operator,
        "sidewatch_violation",
        &[("namespace", &place.namespace)],
    )
    .await;
    assert_eq!(
        found
            .iter()
            .filter(|line| line.contains("check=\"NotReady\""))
            .count(),
        2,
        "{found:?}"
    );
    assert!(
        elsewhere.events().await.is_empty(),
        "no policy selects the other namespace"
    );
}
