//! Policies of both kinds: limited, overlapping, and their namespaces.

use anyhow::ensure;
use e2e::operator::Operator;
use e2e::simulated_kubelet::Step;

use super::support::{TestNamespace, eventually, series, shared_cluster, status, web};

/// The operator of this test has no permission to write, so that it does not change the statuses of the shared operator.
#[tokio::test]
async fn the_flags_limit_the_number_and_severity_of_namespaced_policies() {
    let cluster = shared_cluster().await;
    let place = TestNamespace::new(cluster.plane, "limited").await;
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader}, rules: [
        {apiGroups: [''], resources: [pods], verbs: [list, watch]},
        {apiGroups: [sidewatch.dev], resources: [sidecarpolicies, sidecarexemptions], verbs: [list, watch]}]}";
    let namespace = &place.namespace;
    cluster.plane.apply_in(namespace, role).await.unwrap();
    let bind =
        format!("create rolebinding reader --role=reader --serviceaccount={namespace}:reader -n {namespace}");
    cluster.plane.kubectl_line(&bind).await.unwrap();
    // If both are created in the same second, the name decides.
    for policy in ["first", "second"] {
        place
            .policy(policy, "{checks: {notReady: {for: 0s, severity: Critical}}}")
            .await;
    }
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();

    let kubeconfig = cluster.plane.kubeconfig_for(namespace, "reader").await.unwrap();
    let flags = [
        "--namespace",
        namespace,
        "--max-policies-per-namespace=1",
        "--max-tenant-severity=Warning",
    ];
    let mut operator = Operator::start(cluster.plane, kubeconfig.path(), &flags)
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

    let delete = format!("delete sidecarpolicy first --namespace {namespace}");
    cluster.plane.kubectl_line(&delete).await.unwrap();
    assert!(
        eventually("a violation", || severities("second")).await,
        "the oldest of the others is active"
    );
    assert_eq!(over_limit().await, ["sidewatch_policies_over_limit 0"]);
    assert!(operator.stop().await.unwrap().success());
}

#[tokio::test]
async fn overlapping_policies_have_separate_statuses_events_and_series() {
    let cluster = shared_cluster().await;
    let place = TestNamespace::new(cluster.plane, "overlap").await;
    let elsewhere = TestNamespace::new(cluster.plane, "elsewhere").await;
    place
        .policy("own", "{checks: {notReady: {for: 0s, severity: Info}}}")
        .await;
    let manifest = format!(
        "apiVersion: sidewatch.dev/v1alpha1\nkind: ClusterSidecarPolicy\nmetadata: {{name: {0}}}\n\
         spec: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {0}}}}}, \
         checks: {{notReady: {{for: 0s, severity: Critical}}}}}}\n",
        place.namespace
    );
    cluster.plane.apply(&manifest).await.unwrap();
    for place in [&place, &elsewhere] {
        let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
    }
    place
        .status_when("own", "its violation", |status| status["summary"]["firing"] == 1)
        .await;
    let of_cluster = eventually("the violation of the cluster kind", || async {
        let status = status(cluster.plane, None, &place.namespace).await;
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
    let labels = [("namespace", &*place.namespace), ("check", "NotReady")];
    let found = series(&cluster.operator, "sidewatch_violation", &labels).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        elsewhere.events().await.is_empty(),
        "no policy selects the other namespace"
    );
}
