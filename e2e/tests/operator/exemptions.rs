//! Exemptions of tenants and the policy of the cluster, which decides what they hide.

use crate::support::{TestNamespace, eventually, shared_cluster, status, web};
use anyhow::ensure;
use testkit::kubelet::Step;

#[tokio::test]
async fn a_cluster_policy_decides_whose_exemptions_hide_its_violations() {
    let cluster = shared_cluster().await;
    let allowed = TestNamespace::new(cluster.plane, "allowed").await;
    let other = TestNamespace::new(cluster.plane, "other").await;
    let label = async |place: &TestNamespace, label: &str| {
        let line = format!("label namespace/{} {label} --overwrite", place.namespace);
        cluster.plane.kubectl_line(&line).await.unwrap();
    };
    let policy = allowed.namespace.as_str();
    label(&allowed, "stage=test").await;
    label(&other, "stage=production").await;
    let manifest = format!(
        "apiVersion: sidewatch.dev/v1alpha1\nkind: ClusterSidecarPolicy\nmetadata: {{name: {policy}}}\nspec:\n  \
         namespaceSelector: {{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: In, values: [{policy}, {}]}}]}}\n  \
         exemptions: {{namespaceSelector: {{matchLabels: {{stage: test}}}}, maxDuration: 1h}}\n  \
         checks: {{notReady: {{for: 0s}}}}\n",
        other.namespace
    );
    cluster.plane.apply(&manifest).await.unwrap();
    for place in [&allowed, &other] {
        let exemption = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarExemption, metadata: {name: all}, \
                         spec: {selector: {}, reason: the vendor fixes it, until: '2100-01-01T00:00:00Z'}}";
        cluster.plane.apply_in(&place.namespace, exemption).await.unwrap();
        let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
    }
    let hides = async |place: &TestNamespace, expected: &str| {
        eventually("the exemption's status", || async {
            let path = "{.status.hides},{.status.hidden[*].policyKind},{.status.hidden[*].policy}";
            let get = format!("get scex all -n {} -o jsonpath={path}", place.namespace);
            let found = cluster.plane.kubectl_line(&get).await?;
            ensure!(found == expected, "{found}");
            Ok(())
        })
        .await;
    };
    hides(&allowed, &format!("1,ClusterSidecarPolicy,{policy}")).await;
    let firing = async |expected: &[&str]| {
        eventually("the status of the policy", || async {
            let status = status(cluster.plane, None, policy).await;
            let listed = status["violations"].as_array().into_iter().flatten();
            let mut found: Vec<&str> = listed
                .filter_map(|violation| violation["namespace"].as_str())
                .collect();
            found.sort_unstable();
            ensure!(found == expected, "{status}");
            Ok(())
        })
        .await;
    };
    firing(&[&other.namespace]).await;
    hides(&other, "0,,").await;
    let announced = async |place: &TestNamespace, expected: &[&str]| {
        eventually("the Events", || async {
            let events = place.events().await.into_iter();
            let mut found: Vec<String> = events.filter_map(|event| event.reason).collect();
            found.sort();
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
        .await;
    };
    announced(&allowed, &["ExemptionActive"]).await;
    announced(&other, &["SidecarContainerNotReady"]).await;

    // The labels of the namespaces change places.
    label(&other, "stage=test").await;
    label(&allowed, "stage=production").await;
    firing(&[&allowed.namespace]).await;
    hides(&allowed, "0,,").await;
    hides(&other, &format!("1,ClusterSidecarPolicy,{policy}")).await;
    announced(&allowed, &["ExemptionActive", "SidecarContainerNotReady"]).await;
}
