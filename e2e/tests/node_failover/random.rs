//! Random Pods and an undisturbed operator. The leader is killed with two replicas, and later the only replica is killed.
//!
//! With two replicas, what the other replica reports must not differ from what the undisturbed operator reports, and both
//! together may only report a violation for longer that has resolved since the last checkpoint. With one replica, the report
//! may differ for Pods that changed since the last checkpoint.
//!
//! `SIDEWATCH_SEED` selects other Pods.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::node_failover::firing::{Difference, Firing, History};
use e2e::node_failover::random_pods::random_pod;
use e2e::operator::helm::NAMESPACE as OPERATOR;
use futures::future::{join, join_all};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use testkit::rng::Rng;
use tokio::task::JoinHandle;

use crate::installation::Installation;
use crate::undisturbed;
use e2e::harness::say;

const NAMESPACE: &str = "random";
const SEED: &str = "SIDEWATCH_SEED";
const PODS: usize = 90;
/// Time between two Pods: a kubelet starts about three in two seconds.
const PACE: Duration = Duration::from_millis(700);
/// From the first Pod until the comparison begins. The leader is killed after 200 s.
const COMPARED_AFTER: Duration = Duration::from_secs(185);
/// Time after a kill in which the operators are compared.
const COMPARED: Duration = Duration::from_secs(75);
/// Time before a kill in which the operators are compared.
const BEFORE: Duration = Duration::from_secs(15);
/// Time from a change until the checkpoint with it is written, on a busy node.
const CHECKPOINT: Duration = Duration::from_secs(18);
/// How long a busy operator may be behind another one.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Least number of firing violations, and of answers after a kill.
const LEAST: usize = 40;

pub(crate) async fn run(installation: &Installation) -> Result<Vec<String>> {
    let seed = std::env::var(SEED)
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let undisturbed = undisturbed::install(installation).await?;
    let policy = include_str!("../../scenarios/policy.yaml");
    installation.create(NAMESPACE, policy).await?;
    let changes = Changes::record(installation);
    let start = Instant::now();
    create_pods(installation, seed, start).await?;
    let mut observation = Observation::new(installation, undisturbed, start);

    observation.until(start + COMPARED_AFTER).await;
    let mut errors = two_replicas(installation, &mut observation, &changes).await?;
    installation.installed.upgrade("replicas=1").await?;
    errors.extend(one_replica(installation, &mut observation, &changes).await?);
    Ok(errors)
}

async fn two_replicas(
    installation: &Installation,
    observation: &mut Observation<'_>,
    changes: &Changes,
) -> Result<Vec<String>> {
    let (leader, standby) = (installation.leader().await?, installation.standby().await?);
    let begin = observation.now();
    observation.until(Instant::now() + BEFORE).await;
    let (killed, firing) = (observation.now(), observation.firing());
    let holder = installation.holder().await?;
    installation.kill(&leader).await?;
    observation.until(Instant::now() + COMPARED).await;
    let holds = installation.holder().await?;
    ensure!(
        holds != holder && holds.starts_with(&standby),
        "{holds} is the leader"
    );

    let (leader, standby) = (observation.of(&leader), observation.of(&standby));
    let afterwards = killed..Duration::MAX;
    let compared = [
        ("before the kill, the leader", &leader, begin..killed),
        ("the other replica", &standby, begin..Duration::MAX),
    ];
    let mut errors = Vec::new();
    for (name, history, times) in compared {
        let found = observation.differences(history, times);
        errors.extend(found.iter().map(|found| format!("two replicas: {name}: {found}")));
    }
    // The killed replica continues what its checkpoint lists as firing for `keepFiringFor`, even if it has just resolved.
    let unsaved = observation.changed_before(changes, killed, killed)?;
    let found = observation.differences(&leader.or(&standby), afterwards.clone());
    let unexplained = found
        .iter()
        .filter(|found| !found.is_additional || !unsaved.contains(&found.violation.pod));
    errors.extend(unexplained.map(|found| format!("two replicas: both: {found}")));
    errors.extend(too_few(&standby, killed, firing));
    say(&format!(
        "random: killed at {:.0} s with two replicas and {firing} firing violations, {} afterwards; the killed replica differed \
         in: {}",
        killed.as_secs_f64(),
        observation.firing(),
        list(&observation.differences(&leader, afterwards)),
    ));
    Ok(errors)
}

async fn one_replica(
    installation: &Installation,
    observation: &mut Observation<'_>,
    changes: &Changes,
) -> Result<Vec<String>> {
    let pods = installation.installed.pods().await?;
    let [pod] = &pods[..] else {
        bail!("the operator has the Pods {pods:?}");
    };
    let begin = observation.now();
    // The remaining replica becomes the leader and writes the checkpoint.
    observation.until(Instant::now() + 2 * CHECKPOINT + BEFORE).await;
    let (killed, firing) = (observation.now(), observation.firing());
    installation.kill(pod).await?;
    observation.until(Instant::now() + COMPARED).await;

    let history = observation.of(pod);
    let answered = history.answers_from(killed + Duration::from_secs(1)).next();
    let answered = answered.context("the replica does not answer again")?;
    let before = observation.differences(&history, begin..killed);
    let after = observation.differences(&history, answered..Duration::MAX);
    let unsaved = observation.changed_before(changes, killed, answered)?;
    let (lost, unexplained): (Vec<_>, Vec<_>) = after
        .into_iter()
        .partition(|found| unsaved.contains(&found.violation.pod));
    say(&format!(
        "random: killed at {:.0} s with one replica and {firing} firing violations, {} afterwards; it answered again after \
         {:.0} s; {} of {PODS} Pods had changed since the checkpoint, and {} of their violations differed: {}",
        killed.as_secs_f64(),
        observation.firing(),
        answered.saturating_sub(killed).as_secs_f64(),
        unsaved.len(),
        lost.len(),
        lost.iter()
            .map(Difference::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    ));
    let mut errors = too_few(&history, killed, firing);
    errors.extend(
        before
            .iter()
            .map(|found| format!("one replica, before the kill: {found}")),
    );
    errors.extend(unexplained.iter().map(|found| format!("one replica: {found}")));
    Ok(errors)
}

fn list(differences: &[Difference]) -> String {
    let differences: Vec<String> = differences.iter().map(Difference::to_string).collect();
    differences.join("; ")
}

/// A comparison of few violations or of few answers says little.
fn too_few(history: &History, killed: Duration, firing: usize) -> Vec<String> {
    let answers = history.answers_from(killed).count();
    let few = firing < LEAST || answers < LEAST;
    let error = || format!("only {firing} firing violations and {answers} answers after the kill");
    few.then(error).into_iter().collect()
}

async fn create_pods(installation: &Installation, seed: u64, start: Instant) -> Result<()> {
    let pods = Api::<Pod>::namespaced(installation.client.clone(), NAMESPACE);
    let mut rng = Rng::new(seed);
    for (nth, index) in (0..).zip(0..PODS) {
        let pod = serde_json::from_value(random_pod(&mut rng, &format!("pod-{index:02}")))?;
        pods.create(&PostParams::default(), &pod).await?;
        tokio::time::sleep_until((start + PACE * nth).into()).await;
    }
    Ok(())
}

/// What all replicas and the undisturbed operator report, once a second.
struct Observation<'a> {
    installation: &'a Installation,
    start: Instant,
    undisturbed_pod: String,
    undisturbed: History,
    replicas: BTreeMap<String, History>,
}

impl<'a> Observation<'a> {
    fn new(installation: &'a Installation, undisturbed_pod: String, start: Instant) -> Self {
        Self {
            installation,
            start,
            undisturbed_pod,
            undisturbed: History::default(),
            replicas: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Observes until `end`. An operator that does not answer has no entry for that second.
    async fn until(&mut self, end: Instant) {
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_secs(1);
            let at = self.now();
            let installation = self.installation;
            let replicas = installation.installed.pods().await.unwrap_or_default();
            let of_replicas = replicas.iter().map(async |pod| {
                let firing = installation.firing((OPERATOR, pod), NAMESPACE).await;
                (pod, firing)
            });
            let undisturbed = (undisturbed::NAMESPACE, &*self.undisturbed_pod);
            let (of_replicas, of_undisturbed) =
                join(join_all(of_replicas), installation.firing(undisturbed, NAMESPACE)).await;
            if let Ok(firing) = of_undisturbed {
                self.undisturbed.push(at, firing);
            }
            for (pod, firing) in of_replicas {
                if let Ok(firing) = firing {
                    self.replicas.entry(pod.clone()).or_default().push(at, firing);
                }
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }

    fn of(&self, pod: &str) -> History {
        self.replicas.get(pod).cloned().unwrap_or_default()
    }

    fn differences(&self, history: &History, times: Range<Duration>) -> Vec<Difference> {
        // The latest answers have no later ones to compare them with.
        let end = times.end.min(self.now().saturating_sub(2 * TOLERANCE));
        history.differences(&self.undisturbed, times.start..end, TOLERANCE)
    }

    /// Names of the Pods that changed after the last checkpoint before `killed`, until `end`.
    fn changed_before(&self, changes: &Changes, killed: Duration, end: Duration) -> Result<BTreeSet<String>> {
        let saved = killed.saturating_sub(CHECKPOINT);
        changes.between(&(self.start + saved..self.start + end))
    }

    /// Number of firing violations of the undisturbed operator.
    fn firing(&self) -> usize {
        self.undisturbed.last().map_or(0, Firing::len)
    }
}

/// The times at which Pods changed, from a watch.
struct Changes {
    changes: Arc<Mutex<Vec<(Instant, String)>>>,
    watch: JoinHandle<()>,
}

impl Changes {
    fn record(installation: &Installation) -> Self {
        let pods = Api::<Pod>::namespaced(installation.client.clone(), NAMESPACE);
        let changes = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&changes);
        let watch = tokio::spawn(async move {
            let events = watcher(pods, watcher::Config::default()).default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event
                    && let Ok(mut recorded) = recorded.lock()
                {
                    recorded.push((Instant::now(), pod.name_any()));
                }
            }
        });
        Self { changes, watch }
    }

    /// Names of the Pods that changed between two times.
    fn between(&self, times: &Range<Instant>) -> Result<BTreeSet<String>> {
        ensure!(!self.watch.is_finished(), "the watch has ended");
        let changes = self.changes.lock().ok().context("the watch has panicked")?;
        let between = changes.iter().filter(|(at, _)| times.contains(at));
        Ok(between.map(|(_, pod)| pod.clone()).collect())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
