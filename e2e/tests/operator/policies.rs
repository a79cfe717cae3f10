//! Policies: invalid, without Pods, overlapping, edited, suspended, deleted, and their namespaces.

use anyhow::ensure;
use e2e::simulated_kubelet::Step;

use super::support::{TestNamespace, condition, eventually, series, status, time, web, world};

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

#[tokio::test]
async fn a_policy_without_pods_has_a_condition() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "nothing").await;
    place.kubelet.run(&place.namespace, web()).await.unwrap();
    place
        .policy("p", "{podSelector: {matchLabels: {app: nobody}}}")
        .await;
    let status = place
        .status_when("p", "a status", |status| !status.is_null())
        .await;
    assert_eq!(
        condition(&status, "TargetsFound"),
        Some(("False", "NoPodsMatched"))
    );
    assert_eq!(
        condition(&status, "Ready"),
        Some(("True", "Evaluating")),
        "a policy without Pods is a valid policy"
    );

    place
        .policy("p", "{podSelector: {matchLabels: {app: web}}}")
        .await;
    let status = place
        .status_when("p", "the Pod", |status| status["summary"]["pods"] == 1)
        .await;
    assert_eq!(condition(&status, "TargetsFound"), Some(("True", "PodsMatched")));
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

#[tokio::test]
async fn an_edit_while_a_violation_is_pending_keeps_its_onset() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "edit").await;
    place
        .policy(
            "p",
            "{checks: {notReady: {for: 1m}, mainReadySidecarNotReady: {mode: \"Off\"}}}",
        )
        .await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let pending = place
        .status_when("p", "it pending", |status| status["summary"]["pending"] == 1)
        .await;
    let since = time(&pending["violations"][0]["since"]).unwrap();
    assert_eq!(pending["violations"][0]["state"], "Pending");
    assert_eq!(
        place.reasons().await,
        [""; 0],
        "a pending violation sends no Event"
    );

    place
        .policy(
            "p",
            "{checks: {notReady: {for: 1s}, mainReadySidecarNotReady: {mode: \"Off\"}}}",
        )
        .await;
    let firing = place
        .status_when("p", "it firing", |status| status["summary"]["firing"] == 1)
        .await;
    assert_eq!(
        time(&firing["violations"][0]["since"]).unwrap(),
        since,
        "the onset is unchanged"
    );
    place.event("SidecarContainerNotReady").await;

    place.policy("p", "{mode: \"Off\"}").await;
    let off = place
        .status_when("p", "it off", |s| {
            condition(s, "Ready") == Some(("True", "Suspended"))
        })
        .await;
    assert_eq!(condition(&off, "SidecarsHealthy"), Some(("Unknown", "Suspended")));
    assert_eq!(condition(&off, "TargetsFound"), Some(("Unknown", "Suspended")));
    assert_eq!(off["summary"]["firing"], 0);
    assert_eq!(
        place.reasons().await,
        ["SidecarContainerNotReady"],
        "a suspended policy sends no recovery"
    );
}

#[tokio::test]
async fn a_deleted_policy_removes_its_series_without_an_event() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "deleted").await;
    place.policy("p", "{checks: {notReady: {for: 0s}}}").await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    place.event("SidecarContainerNotReady").await;
    world
        .plane
        .kubectl(["delete", "scpol", "p", "-n", &place.namespace])
        .await
        .unwrap();
    eventually("its series to be removed", || async {
        let metrics = world.operator.metrics().await?;
        let left: Vec<&str> = metrics
            .lines()
            .filter(|line| line.contains(&place.namespace))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
    assert!(
        !place.reasons().await.contains(&"SidecarRecovered".to_owned()),
        "no recovery"
    );
}

#[tokio::test]
async fn a_namespaced_policy_ignores_other_namespaces() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "mine").await;
    let neighbour = TestNamespace::new(world.plane, "theirs").await;
    place.policy("p", "{checks: {notReady: {for: 0s}}}").await;
    let mut pod = neighbour.kubelet.run(&neighbour.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    // A later change in its own namespace is processed after the change in the other one.
    place.kubelet.run(&place.namespace, web()).await.unwrap();
    let status = place
        .status_when("p", "its own Pod", |status| status["summary"]["pods"] == 1)
        .await;
    assert!(!status.to_string().contains(&neighbour.namespace));
    assert_eq!(condition(&status, "TargetsFound"), Some(("True", "PodsMatched")));
    assert!(neighbour.events().await.is_empty());
    assert!(
        series(
            &world.operator,
            "sidewatch_violation",
            &[("namespace", &neighbour.namespace)]
        )
        .await
        .is_empty()
    );
}
