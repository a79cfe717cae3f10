//! Requirements of the installation and of the whole run.

use std::time::Duration;

use anyhow::Result;
use e2e::harness::{Verdict, say};
use e2e::observers::{check_shipped, page};
use e2e::project::repository;
use e2e::scenario::runner::{self, ScenarioCluster, ScenarioRun};

/// 15 s of them are `minReadySeconds`.
const READY_WITHIN: Duration = Duration::from_secs(45);
/// Maximum memory in MiB.
const MEMORY_LIMIT: f64 = 32.0;

/// A Pod that restricted Pod Security rejects.
const PRIVILEGED: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: privileged, namespace: sidewatch-system}
spec:
  containers: [{name: app, image: 'sidewatch.test/test-workload:1', securityContext: {privileged: true}}]
";

/// Requirements of the installation.
pub(crate) async fn installed(cluster: &ScenarioCluster) -> Result<Vec<Verdict>> {
    let ready_after = cluster.installed.ready_after();
    say(&format!(
        "the operator was ready {:.1} s after the start of helm",
        ready_after.as_secs_f64()
    ));
    let slow = (ready_after > READY_WITHIN).then(|| format!("it was ready after {ready_after:?}"));
    let refused = cluster
        .cluster()
        .apply(PRIVILEGED)
        .await
        .err()
        .map(|error| error.to_string());
    let is_refused = refused
        .as_deref()
        .is_some_and(|error| error.contains("violates PodSecurity"));
    let accepted = (!is_refused).then(|| format!("its namespace accepts privileged Pods: {refused:?}"));
    Ok(vec![
        verdict("installed_by_its_chart_it_is_ready_within_45_s", slow),
        verdict("its_namespace_enforces_restricted_pod_security", accepted),
    ])
}

/// Requirements of the whole run.
pub(crate) async fn afterwards(cluster: &ScenarioCluster, runs: &[ScenarioRun]) -> Result<Vec<Verdict>> {
    let log = cluster.installed.log().await?;
    let errors = log.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
    let memory = cluster.installed.memory().await?;
    say(&format!("the operator uses {memory}"));
    let too_much = (memory.most() >= MEMORY_LIMIT).then(|| format!("it uses {memory}"));
    let namespaces: Vec<&str> = runs.iter().map(|run| run.scenario.name.as_str()).collect();
    let events = cluster.events().await?;
    let others = events.iter().filter(|event| {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        !namespaces.contains(&namespace)
    });
    let others = others.map(|event| format!("{:?} {:?}", event.regarding, event.note));
    let mut verdicts = vec![
        verdict("its_log_has_no_error", errors.map(str::to_owned)),
        verdict("it_uses_less_than_32_mebibytes", too_much),
        verdict("it_writes_no_other_event", others),
    ];
    verdicts.extend(alerts(cluster, runs).await?);
    Ok(verdicts)
}

/// Checks the shipped alerts, and writes target/comparison.md.
async fn alerts(cluster: &ScenarioCluster, runs: &[ScenarioRun]) -> Result<Option<Verdict>> {
    let Some((seen, alerts)) = runner::observed(cluster, runs).await? else {
        return Ok(None);
    };
    let page = page("make e2e", cluster.timing(), &seen, &alerts)?;
    std::fs::write(repository().join("target/comparison.md"), page)?;
    Ok(Some(verdict(
        "the_shipped_alerts_fire_and_resolve",
        check_shipped(&seen, &alerts),
    )))
}

fn verdict(name: &str, errors: impl IntoIterator<Item = String>) -> Verdict {
    (name.to_owned(), errors.into_iter().collect())
}
