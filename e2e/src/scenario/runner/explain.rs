//! Compares `sidewatch explain` with the operator, for each Pod of a scenario.
//!
//! The operator has watched the Pods; explain sees one list and the statuses of the policies. Both must report the same.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::ScenarioRun;
use super::cluster::ScenarioCluster;
use crate::metrics::samples;
use crate::operator::binary;

/// Policy, check and container.
type Firing = BTreeSet<(String, String, String)>;

/// Differences between explain and the operator. `before` are the metrics at a time before.
pub(super) async fn differences(
    cluster: &ScenarioCluster,
    run: &ScenarioRun,
    before: &str,
) -> Result<Vec<String>> {
    let namespace = run.scenario.name.as_str();
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, namespace);
    let kubeconfig = cluster.kubeconfig_of(&run.scenario);
    let mut explained = Vec::new();
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.name_any();
        match explain(&kubeconfig, &name).await {
            Ok(found) => explained.push((name, deployment_of(&pod), found)),
            // It was deleted in the meantime.
            Err(_) if pods.get_opt(&name).await?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    let after = cluster.installed.metrics().await?;
    let mut errors = Vec::new();
    for (pod, deployment, found) in explained {
        let reported = |metrics| firing(metrics, namespace, &pod, &deployment);
        errors.extend(compare(&pod, &found, &reported(before)?, &reported(&after)?));
    }
    Ok(errors)
}

/// What fires at both times must be explained, and nothing else than what fires at one of them.
fn compare(pod: &str, explained: &Firing, before: &Firing, after: &Firing) -> Vec<String> {
    let text = |(policy, check, container): &(String, String, String)| {
        format!("{check} of {container} under {policy}")
    };
    let missing = before
        .intersection(after)
        .filter(|firing| !explained.contains(*firing));
    let missing = missing.map(|firing| format!("explain of {pod} does not have {}", text(firing)));
    let unexpected = explained.iter();
    let unexpected = unexpected.filter(|firing| !before.contains(*firing) && !after.contains(*firing));
    let unexpected = unexpected.map(|firing| format!("only explain of {pod} has {}", text(firing)));
    missing.chain(unexpected).collect()
}

/// Runs `sidewatch explain`, and returns what fires.
async fn explain(kubeconfig: &Path, pod: &str) -> Result<Firing> {
    let output = tokio::process::Command::new(binary().await?)
        .args(["explain", pod, "--output=json", "--kubeconfig"])
        .arg(kubeconfig)
        .kill_on_drop(true)
        .output()
        .await
        .context("run sidewatch explain")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "explain {pod}: {stderr}"
    );
    let reports: Value = serde_json::from_slice(&output.stdout).context("read the explanation")?;
    let rows = reports.pointer("/0/checks").and_then(Value::as_array);
    let rows = rows.with_context(|| format!("an explanation without checks: {reports}"))?;
    let field = |row: &Value, name: &str| {
        row.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let firing = rows.iter().filter(|row| field(row, "state") == "firing");
    let firing: Firing = firing
        .map(|row| (field(row, "policy"), field(row, "check"), field(row, "container")))
        .collect();
    let has_findings = output.status.code() == Some(1);
    ensure!(
        has_findings != firing.is_empty(),
        "explain {pod} ends with {}: {firing:?}",
        output.status
    );
    Ok(firing)
}

/// The name of the Deployment that a Pod belongs to; empty for other Pods.
fn deployment_of(pod: &Pod) -> String {
    let mut owners = pod.owner_references().iter();
    let replica_set = owners.find(|owner| owner.kind == "ReplicaSet");
    let hash = pod.labels().get("pod-template-hash");
    let name = replica_set.zip(hash).and_then(|(owner, hash)| {
        let name = owner.name.strip_suffix(hash.as_str())?;
        name.strip_suffix('-')
    });
    name.unwrap_or_default().to_owned()
}

/// The violations of a Pod and of its Deployment that fire, in the metrics of the operator. A violation of a Deployment has no
/// Pod; in the scenarios it holds for each Pod of the Deployment.
fn firing(metrics: &str, namespace: &str, pod: &str, deployment: &str) -> Result<Firing> {
    let labels = [("state", "firing"), ("namespace", namespace)];
    let samples = samples(metrics)?.into_iter();
    let samples = samples.filter(|sample| {
        let of_deployment = sample.label("pod").is_empty()
            && sample.label("workload_kind") == "Deployment"
            && sample.label("workload") == deployment;
        sample.matches("sidewatch_violation", &labels) && (sample.label("pod") == pod || of_deployment)
    });
    Ok(samples
        .map(|sample| {
            let policy = match sample.label("policy_namespace") {
                "" => sample.label("policy").to_owned(),
                namespace => format!("{namespace}/{}", sample.label("policy")),
            };
            let policy = format!("{} {policy}", sample.label("policy_kind"));
            (
                policy,
                sample.label("check").to_owned(),
                sample.label("container").to_owned(),
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(checks: &[&str]) -> Firing {
        let one = |check: &&str| {
            (
                "SidecarPolicy shop/mesh".to_owned(),
                (*check).to_owned(),
                "proxy".to_owned(),
            )
        };
        checks.iter().map(one).collect()
    }

    #[test]
    fn what_fires_at_both_times_must_be_explained() {
        type Texts = &'static [&'static str];
        let table: [(Texts, Texts, Texts, Texts); 5] = [
            (&["NotReady"], &["NotReady"], &["NotReady"], &[]),
            (
                &[],
                &["NotReady"],
                &["NotReady"],
                &["explain of web-1 does not have NotReady of proxy"],
            ),
            (&[], &["NotReady"], &[], &[]),
            (&["NotReady"], &[], &["NotReady"], &[]),
            (
                &["NotReady"],
                &["Flapping"],
                &[],
                &["only explain of web-1 has NotReady of proxy"],
            ),
        ];
        for (explained, before, after, expected) in table {
            let found = compare("web-1", &set(explained), &set(before), &set(after));
            let about = format!("{explained:?} {before:?} {after:?}: {found:?}");
            assert_eq!(found.len(), expected.len(), "{about}");
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(found, expected)| found.starts_with(expected)),
                "{about}"
            );
        }
    }

    #[test]
    fn policies_have_the_names_that_explain_prints() {
        let series = |more: &str| {
            let labels = r#"check="NotReady",container="proxy",namespace="shop",pod="web-1",state="firing""#;
            format!("sidewatch_violation{{{labels},{more}}} 1\n")
        };
        let metrics = series(r#"policy="mesh",policy_kind="SidecarPolicy",policy_namespace="shop""#)
            + &series(r#"policy="all",policy_kind="ClusterSidecarPolicy",policy_namespace="""#);
        let found = firing(&metrics, "shop", "web-1", "").unwrap();
        let policies: Vec<_> = found.into_iter().map(|(policy, ..)| policy).collect();
        assert_eq!(policies, ["ClusterSidecarPolicy all", "SidecarPolicy shop/mesh"]);
        assert!(firing(&metrics, "shop", "web-2", "").unwrap().is_empty());
    }

    #[test]
    fn a_violation_of_a_deployment_is_one_of_its_pods() {
        let metrics = "sidewatch_violation{check=\"SidecarMissing\",container=\"proxy\",namespace=\"shop\",pod=\"\",\
                       state=\"firing\",workload=\"web\",workload_kind=\"Deployment\"} 1\n";
        for (deployment, count) in [("web", 1), ("", 0), ("api", 0)] {
            assert_eq!(firing(metrics, "shop", "web-1", deployment).unwrap().len(), count);
        }
    }
}
