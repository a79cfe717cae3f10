//! Executes one scenario, and returns when all expected Events have arrived or the time limit is over.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::EvictParams;
use tokio::time::timeout;

use super::cluster::ScenarioCluster;
use super::verify;
use crate::Cluster;
use crate::observers::{ObservedRun, Timing};
use crate::scenario::{EndExemption, Scenario, Step, Then};

/// Time limit of an awaited Event, longer than any default `for`.
const EVENT_WITHIN: Duration = Duration::from_mins(6);
/// Additional time for a recovery.
const RECOVERY_WITHIN: Duration = Duration::from_mins(2);

/// A scenario that was executed.
#[derive(Debug)]
pub struct ScenarioRun {
    /// The scenario.
    pub scenario: Scenario,
    /// When its objects were applied.
    pub started: Timestamp,
    /// When its last step ended.
    pub stepped: Timestamp,
    /// When it was verified. Later alerts do not count.
    pub ended: Timestamp,
    /// Differences from the expected result.
    pub errors: Vec<String>,
}

impl ScenarioRun {
    /// The data that the comparison of alerts needs.
    pub(super) fn observed(&self) -> ObservedRun<'_> {
        ObservedRun {
            scenario: &self.scenario,
            started: self.started,
            ended: self.ended,
        }
    }

    /// Whether this Event is in the namespace of the scenario.
    pub(super) fn owns(&self, event: &Event) -> bool {
        let regarding = event.regarding.as_ref();
        let namespace = regarding.and_then(|regarding| regarding.namespace.as_deref());
        namespace == Some(self.scenario.name.as_str())
    }
}

pub(super) async fn execute(cluster: &ScenarioCluster, scenario: Scenario) -> ScenarioRun {
    let now = Timestamp::now();
    let mut run = ScenarioRun {
        scenario,
        started: now,
        stepped: now,
        ended: now,
        errors: Vec::new(),
    };
    match apply_and_step(cluster, &mut run).await {
        // The expected Events hold for the shared policy, not for the defaults.
        Ok(()) if cluster.timing() == Timing::Real => {}
        Ok(()) => wait_for_events(cluster, &run).await,
        Err(error) => {
            run.errors.push(format!("cannot be executed: {error:#}"));
            if let Err(error) = cluster.repair_node().await {
                run.errors.push(format!("the node stays as it is: {error:#}"));
            }
        }
    }
    run
}

async fn apply_and_step(cluster: &ScenarioCluster, run: &mut ScenarioRun) -> Result<()> {
    let Scenario { name, spec, objects } = &run.scenario;
    cluster.cluster().create_namespace(name).await?;
    let namespaced = cluster.in_namespace_of(&run.scenario)?;
    match cluster.policy(spec.policy)? {
        Some(policy) => namespaced.apply(&format!("{policy}\n---\n{objects}")).await?,
        None => namespaced.apply(objects).await?,
    }
    run.started = Timestamp::now();
    for action in &spec.steps {
        step(cluster, &namespaced, name, action)
            .await
            .with_context(|| format!("{action:?}"))?;
    }
    run.stepped = Timestamp::now();
    Ok(())
}

/// Waits until all expected Events have arrived. [`verify`] reports missing ones.
async fn wait_for_events(cluster: &ScenarioCluster, run: &ScenarioRun) {
    let expected = run.scenario.spec.expect.iter();
    let times = expected.map(|expected| match expected.then {
        Then::Recovers => expected.within + RECOVERY_WITHIN,
        Then::Stays | Then::Ends => expected.within,
    });
    let longest = times.max().unwrap_or_default();
    let mut events = cluster.event_watch.events.clone();
    let complete = events.wait_for(|events| verify::is_complete(run, events));
    let _ = timeout(longest, complete).await;
}

async fn step(cluster: &ScenarioCluster, namespaced: &Cluster, namespace: &str, step: &Step) -> Result<()> {
    match step {
        Step::Pause(time) => tokio::time::sleep(*time).await,
        Step::Kubectl(arguments) => drop(namespaced.kubectl(arguments).await?),
        Step::EndExemption(EndExemption { name, after }) => {
            let until = (Timestamp::now() + SignedDuration::try_from(*after)?).round(Unit::Second)?;
            let patch = format!(r#"{{"spec": {{"until": "{until}"}}}}"#);
            let arguments = ["patch", "sidecarexemption", name, "--type=merge", "-p", &patch];
            namespaced.kubectl(arguments).await?;
        }
        Step::Evict(pod) => {
            let pods = Api::<Pod>::namespaced(cluster.client().await?, namespace);
            pods.evict(pod, &EvictParams::default()).await?;
        }
        Step::Await(reason) => {
            let mut events = cluster.event_watch.events.clone();
            let is_awaited = |event: &Event| {
                event.reason.as_deref() == Some(reason)
                    && event.metadata.namespace.as_deref() == Some(namespace)
            };
            let arrived = events.wait_for(|events| events.iter().any(is_awaited));
            // With the default policy it may never come; the next step follows anyway.
            if timeout(EVENT_WITHIN, arrived).await.is_err() && cluster.timing() == Timing::Fast {
                bail!("no such Event within {EVENT_WITHIN:?}");
            }
            // The next step may end the alert, so Prometheus must have evaluated it.
            cluster.caught_up().await?;
        }
        Step::Node(action) => cluster.disturb(*action).await?,
        Step::LoseSandbox(pod) => cluster.lose_sandbox(namespace, pod).await?,
    }
    Ok(())
}
