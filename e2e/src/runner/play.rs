//! One scenario, played.
//!
//! Input: a [`ScenarioCluster`] and a [`Scenario`]. Output: [`Played`]: when it began, when its last step was done, what went wrong with
//! playing it. It returns when everything was said that is expected, or when its time is over.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{EvictParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::cluster::ScenarioCluster;
use super::judge;
use crate::Cluster;
use crate::observers::{self, Timing};
use crate::scenario::{Policy, Scenario, Step, Then};

const ACCOUNT_WITHIN: Duration = Duration::from_mins(1);
/// More than any default `for`.
const SAID_WITHIN: Duration = Duration::from_mins(6);
/// What a recovery may take beyond the time that the violation itself was given.
const RECOVERY: Duration = Duration::from_mins(2);

/// A scenario that was played.
#[derive(Debug)]
pub struct Played {
    /// Which.
    pub scenario: Scenario,
    /// When its objects were applied.
    pub began: Timestamp,
    /// When its last step was done.
    pub stepped: Timestamp,
    /// When it was judged; what came after belongs to others.
    pub until: Timestamp,
    /// What is wrong.
    pub errors: Vec<String>,
}

impl Played {
    /// For those who watch from outside.
    pub(super) fn seen(&self) -> observers::Played<'_> {
        observers::Played {
            scenario: &self.scenario,
            began: self.began,
            until: self.until,
        }
    }

    /// Whether this Event is of this scenario.
    pub(super) fn is_about(&self, event: &Event) -> bool {
        let namespace = event
            .regarding
            .as_ref()
            .and_then(|regarding| regarding.namespace.as_deref());
        namespace == Some(self.scenario.name.as_str())
    }
}

pub(super) async fn play(place: &ScenarioCluster, scenario: Scenario) -> Played {
    let now = Timestamp::now();
    let mut played = Played {
        scenario,
        began: now,
        stepped: now,
        until: now,
        errors: Vec::new(),
    };
    match act(place, &mut played).await {
        // What the defaults make of it is for a person to read, and not expected.
        Ok(()) if place.timing() == Timing::Real => {}
        Ok(()) => expect(place, &played).await,
        Err(error) => played.errors.push(format!("cannot be played: {error:#}")),
    }
    played
}

async fn act(place: &ScenarioCluster, played: &mut Played) -> Result<()> {
    let Scenario { name, story, objects } = &played.scenario;
    make_namespace(place, name).await?;
    let cluster = place.cluster_of(&played.scenario)?;
    if story.policy == Policy::Shared {
        cluster
            .apply(&format!("{}\n---\n{objects}", place.policy()?))
            .await?;
    } else {
        cluster.apply(objects).await?;
    }
    played.began = Timestamp::now();
    for step in &story.steps {
        take(place, &cluster, name, step)
            .await
            .with_context(|| format!("{step:?}"))?;
    }
    played.stepped = Timestamp::now();
    Ok(())
}

/// Waits until everything was said.
async fn expect(place: &ScenarioCluster, played: &Played) {
    let expected = played.scenario.story.expect.iter();
    let times = expected.map(|expected| match expected.then {
        Then::Recovers => expected.within + RECOVERY,
        Then::Stays | Then::Ends => expected.within,
    });
    let longest = times.max().unwrap_or_default();
    let mut events = place.told.events.clone();
    // What is missing in the end is said by the judge.
    let said = events.wait_for(|events| judge::is_complete(played, events));
    let _ = timeout(longest, said).await;
}

async fn take(place: &ScenarioCluster, cluster: &Cluster, namespace: &str, step: &Step) -> Result<()> {
    match step {
        Step::Pause(time) => tokio::time::sleep(*time).await,
        Step::Kubectl(arguments) => drop(cluster.kubectl(arguments).await?),
        Step::Evict(pod) => {
            let pods = Api::<Pod>::namespaced(place.client().await?, namespace);
            pods.evict(pod, &EvictParams::default()).await?;
        }
        Step::Await(reason) => {
            let mut events = place.told.events.clone();
            let is_it = |event: &Event| {
                event.reason.as_deref() == Some(reason)
                    && event.metadata.namespace.as_deref() == Some(namespace)
            };
            let said = events.wait_for(|events| events.iter().any(is_it));
            // With the defaults it may never come, and the story goes on.
            if timeout(SAID_WITHIN, said).await.is_err() && place.timing() == Timing::Hurried {
                bail!("no such Event within {SAID_WITHIN:?}");
            }
            // Prometheus must have seen what the next step may end.
            place.caught_up().await?;
        }
        Step::Node(action) => place.disturb(*action).await?,
        Step::LoseSandbox(pod) => place.lose_sandbox(namespace, pod).await?,
    }
    Ok(())
}

/// A namespace whose Pods can start: its ServiceAccount is there.
async fn make_namespace(place: &ScenarioCluster, name: &str) -> Result<()> {
    let client = place.client().await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("make the namespace {name}"))?;
    let accounts = Api::<ServiceAccount>::namespaced(client, name);
    let deadline = Instant::now() + ACCOUNT_WITHIN;
    while accounts.get_opt("default").await?.is_none() {
        if Instant::now() > deadline {
            bail!("the namespace {name} gets no ServiceAccount");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
