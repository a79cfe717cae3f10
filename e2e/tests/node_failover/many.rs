//! More than 200 violations when the leader is killed, and when the processes of both replicas are killed. A status lists 20
//! of them, and the faults of half of them have ended, so that only the other replica and the checkpoint know them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::images::TEST_WORKLOAD;
use e2e::node_failover::firing::Firing;
use e2e::poll::eventually;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

use crate::installation::{Installation, repeated, subject};
use e2e::harness::say;

const NAMESPACE: &str = "many";
const PODS: usize = 14;
const SIDECARS: u16 = 8;
/// NotReady and MainReadySidecarNotReady of each sidecar.
const VIOLATIONS: usize = PODS * SIDECARS as usize * 2;
const POLICY: &str = r"
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarPolicy
metadata: {name: quick}
spec:
  checks:
    notReady: {for: 5s, keepFiringFor: 30m}
    mainReadySidecarNotReady: {for: 5s, keepFiringFor: 30m}
";
const WITHIN: Duration = Duration::from_mins(3);
/// Interval of the checkpoint, and some time to write it.
const CHECKPOINT: Duration = Duration::from_secs(20);
/// How far apart two replicas may see the start of a fault, in seconds.
const ONSET_TOLERANCE: f64 = 2.0;

pub(crate) async fn run(installation: &Installation) -> Result<Vec<String>> {
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    installation.create(NAMESPACE, POLICY).await?;
    installation
        .cluster
        .apply_in(NAMESPACE, &objects.to_string())
        .await?;
    all_fire(installation).await?;
    tokio::time::sleep(CHECKPOINT).await;
    let before = Reported::now(installation).await?;
    let mut errors = before.differences(&before, "before the kill");

    let began = installation.observers.catch_up().await?;
    let takeover = kill(installation, false).await?;
    let after = Reported::now(installation).await?;
    errors.extend(after.differences(&before, "after the leader was killed"));
    let ended = installation.observers.catch_up().await?;
    let count = "count(max by (policy, workload, container, check) \
                 (sidewatch_workload_violations{namespace=\"many\", state=\"firing\"}))";
    for series in installation.observers.series(count, began, ended).await? {
        let expected = VIOLATIONS.to_string();
        let wrong: Vec<_> = series
            .values
            .iter()
            .filter(|(_, value)| *value != expected)
            .collect();
        if !wrong.is_empty() {
            errors.push(format!("Prometheus saw another number of violations: {wrong:?}"));
        }
    }

    let alone = kill(installation, true).await?;
    let after = Reported::now(installation).await?;
    errors.extend(after.differences(&before, "after both replicas were killed"));
    say(&format!(
        "many: {} violations and {} Events; takeover {:.1} s after the leader was killed, {:.1} s after both were killed",
        before.firing.values().map(Firing::len).max().unwrap_or_default(),
        before.events.len(),
        takeover.as_secs_f64(),
        alone.as_secs_f64(),
    ));
    installation.remove(NAMESPACE).await?;
    Ok(errors)
}

/// A Pod whose sidecars are not ready. Those of every second Pod become ready when their violations have fired.
fn pod(index: usize) -> Value {
    let sidecar = |nth: u16| {
        let number: u16 = 15_000 + nth;
        let script: &[&str] = if index.is_multiple_of(2) {
            &["hold"]
        } else {
            &["sleep=40", "ready", "hold"]
        };
        let port = number.to_string();
        let arguments = [&["run", "--listen", &port][..], script].concat();
        json!({
            "name": format!("sidecar-{port}"),
            "image": TEST_WORKLOAD,
            "imagePullPolicy": "Never",
            "restartPolicy": "Always",
            "args": arguments,
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": number},
                "periodSeconds": 5,
            },
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("many-{index:02}")},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "initContainers": (0..SIDECARS).map(sidecar).collect::<Vec<_>>(),
            "containers": [{
                "name": "app",
                "image": TEST_WORKLOAD,
                "imagePullPolicy": "Never",
                "args": ["run", "hold"],
            }],
        },
    })
}

/// Waits until all violations fire and have their Events, and half of the Pods are ready.
async fn all_fire(installation: &Installation) -> Result<()> {
    eventually(WITHIN, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let events = installation.events(NAMESPACE).await?.len();
        ensure!(events == VIOLATIONS, "{events} Events instead of {VIOLATIONS}");
        Ok(())
    })
    .await?;
    let odd = (0..PODS).filter(|index| !index.is_multiple_of(2));
    for index in odd {
        let ready = format!("wait --for=condition=Ready pod/many-{index:02} --timeout=3m");
        installation.kubectl(NAMESPACE, &ready).await?;
    }
    Ok(())
}

/// Kills the leader, or both replicas, and waits until they are ready again. Returns the time until another process was the
/// leader.
async fn kill(installation: &Installation, both: bool) -> Result<Duration> {
    let holder = installation.holder().await?;
    let (standby, leader) = (installation.standby().await?, installation.leader().await?);
    if both {
        installation.kill(&standby).await?;
    }
    installation.kill(&leader).await?;
    let took = installation.taken_over(&holder).await?;
    settle(installation).await?;
    Ok(took)
}

/// Waits until both replicas are ready, and until the leader had time to announce something twice.
async fn settle(installation: &Installation) -> Result<()> {
    tokio::time::sleep(CHECKPOINT).await;
    installation.installed.wait_until_rolled_out().await
}

/// What the operator reports.
struct Reported {
    /// By replica.
    firing: BTreeMap<String, Firing>,
    events: Vec<Event>,
}

impl Reported {
    async fn now(installation: &Installation) -> Result<Self> {
        Ok(Self {
            firing: installation.firing_by_replica(NAMESPACE).await?,
            events: installation.events(NAMESPACE).await?,
        })
    }

    /// Violations that were forgotten, began again or are additional, and Events that are not those of before.
    fn differences(&self, before: &Self, when: &str) -> Vec<String> {
        let mut errors = repeated(&self.events);
        if self.firing.len() != 2 {
            errors.push(format!("{} replicas instead of 2", self.firing.len()));
        }
        let expected = before.firing.values().next();
        for (pod, firing) in &self.firing {
            if firing.len() != VIOLATIONS {
                errors.push(format!(
                    "{pod} reports {} of {VIOLATIONS} violations",
                    firing.len()
                ));
            }
            for (violation, onset) in expected.into_iter().flatten() {
                match firing.get(violation) {
                    None => errors.push(format!("{pod} has forgotten {violation}")),
                    Some(now) if (now - onset).abs() > ONSET_TOLERANCE => {
                        errors.push(format!("{pod} dates {violation} {:.1} s later", now - onset));
                    }
                    Some(_) => {}
                }
            }
        }
        let changed = self.events.iter().filter(|event| !before.events.contains(event));
        errors.extend(changed.map(|event| format!("new or changed Event: {}", subject(event))));
        if self.events.len() != before.events.len() {
            errors.push(format!(
                "{} Events instead of {}",
                self.events.len(),
                before.events.len()
            ));
        }
        errors
            .into_iter()
            .map(|error| format!("{when}: {error}"))
            .collect()
    }
}
