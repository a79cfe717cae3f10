//! Random changes of Pods, the same in several namespaces.
//!
//! Each fault lasts until a later round, so that a replica that sees it late reports it too.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};
use testkit::rng::Rng;
use tokio::time::{Instant, sleep_until};

use crate::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, SimulatedPod, Step};

/// The changes of a round happen within this time.
pub(super) const CHANGES_WITHIN: Duration = Duration::from_secs(12);
/// Percentage of Pods that change in a round.
const CHANGED: usize = 60;
/// Percentage of the changes that replace the Pod by a new one with the same name.
const REPLACED: usize = 20;
/// Number of changes after which a Pod is replaced. Its Events then stay below the limit for one Pod.
const LAST_CHANGE: u32 = 5;

/// Fires within seconds.
pub(super) fn fast() -> Value {
    json!({"checks": {
        "notReady": {"for": "2s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "1s", "keepFiringFor": "1s"},
        "frequentRestarts": {"count": 3, "window": "30s", "keepFiringFor": "0s"},
        "startupBlocked": {"for": "3s"},
        "jobHeldOpen": {"for": "2s"},
        "flapping": {"count": 3, "window": "12m"},
        "oomKilled": {"keepFiringFor": "140s"},
    }})
}

/// Fires at the end of the round after the fault, or not at all if the fault ends in that round.
pub(super) fn slow() -> Value {
    json!({"checks": {
        "notReady": {"for": "125s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "126s", "keepFiringFor": "1s"},
        "startupBlocked": {"for": "127s"},
        "jobHeldOpen": {"for": "128s"},
        "frequentRestarts": {"mode": "Off"},
        "flapping": {"mode": "Off"},
        "oomKilled": {"mode": "Off"},
    }})
}

/// A kind of Pod, and its fault.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The proxy becomes unready.
    Meshed,
    /// The shipper restarts often, and stays in back-off.
    Cart,
    /// The sidecar never starts.
    Boot,
    /// The sidecar holds the Job open.
    Report,
    /// The sidecar is OOM-killed and runs again.
    Logs,
}

/// A Pod in each namespace.
struct Twins {
    name: String,
    kind: Kind,
    pods: Vec<SimulatedPod>,
    faulty: bool,
    /// Number of changes since the Pods were created.
    changes: u32,
}

/// The Pods in all namespaces.
pub(super) struct History {
    kubelet: SimulatedKubelet,
    namespaces: Vec<String>,
    twins: Vec<Twins>,
}

impl History {
    /// Creates healthy Pods.
    pub(super) async fn begin(client: Client, namespaces: Vec<String>) -> Result<Self> {
        let mut kinds = vec![Kind::Meshed; 8];
        kinds.extend([Kind::Cart, Kind::Cart, Kind::Boot, Kind::Boot]);
        kinds.extend([Kind::Report, Kind::Report, Kind::Logs, Kind::Logs]);
        let mut history = Self {
            kubelet: SimulatedKubelet::new(client),
            namespaces,
            twins: Vec::new(),
        };
        for (number, kind) in kinds.into_iter().enumerate() {
            let name = format!("{kind:?}-{number}").to_lowercase();
            let pods = history.create(&name, kind, false).await?;
            history.twins.push(Twins {
                name,
                kind,
                pods,
                faulty: false,
                changes: 0,
            });
        }
        Ok(history)
    }

    /// Changes random Pods at random times. Returns the number of changes.
    pub(super) async fn round(&mut self, rng: &mut Rng) -> Result<usize> {
        let begin = Instant::now();
        let longest = i64::try_from(CHANGES_WITHIN.as_millis())?;
        let mut changes: Vec<(Duration, usize)> = Vec::new();
        for number in 0..self.twins.len() {
            if rng.chance(CHANGED) {
                let after = Duration::from_millis(rng.between(0, longest).unsigned_abs());
                changes.push((after, number));
            }
        }
        changes.sort_unstable();
        for (after, number) in &changes {
            sleep_until(begin + *after).await;
            self.change(*number, rng.chance(REPLACED)).await?;
        }
        Ok(changes.len())
    }

    async fn change(&mut self, number: usize, replaced: bool) -> Result<()> {
        let Some(twins) = self.twins.get_mut(number) else {
            return Ok(());
        };
        let faulty = !twins.faulty;
        let replaced = replaced || twins.changes >= LAST_CHANGE;
        let (name, kind) = (twins.name.clone(), twins.kind);
        let steps: Option<&[Step<'static>]> = match (kind, faulty) {
            _ if replaced => None,
            (Kind::Meshed, true) => Some(&[Step::Unready("proxy")]),
            (Kind::Meshed, false) => Some(&[Step::Ready("proxy")]),
            (Kind::Cart, true) => Some(&[CRASH, START, CRASH, START, CRASH, Step::BackOff("shipper")]),
            (Kind::Cart, false) => Some(&[START]),
            (Kind::Logs, _) => Some(&[Step::OomKill("fluent-bit"), Step::Start("fluent-bit")]),
            (Kind::Report, true) => Some(&[Step::Exit("report", 0)]),
            (Kind::Boot, _) | (Kind::Report, false) => None,
        };
        twins.faulty = faulty;
        twins.changes = if steps.is_some() { twins.changes + 1 } else { 0 };
        if let Some(steps) = steps {
            try_join_all(twins.pods.iter_mut().map(|pod| pod.together(steps))).await?;
            return Ok(());
        }
        let old = std::mem::take(&mut twins.pods);
        try_join_all(old.into_iter().map(SimulatedPod::remove_now)).await?;
        let pods = self.create(&name, kind, faulty).await?;
        if let Some(twins) = self.twins.get_mut(number) {
            twins.pods = pods;
        }
        Ok(())
    }

    /// Creates a Pod in each namespace, with its fault or without.
    async fn create(&self, name: &str, kind: Kind, faulty: bool) -> Result<Vec<SimulatedPod>> {
        let spec = spec(name, kind);
        let mut start = if matches!(kind, Kind::Boot) && faulty {
            vec![Step::Admit, Step::SandboxReady, Step::Start("vault-agent")]
        } else {
            spec.healthy_start()
        };
        match kind {
            Kind::Meshed if faulty => start.push(Step::Unready("proxy")),
            Kind::Cart if faulty => {
                start.extend([CRASH, START, CRASH, START, CRASH, Step::BackOff("shipper")]);
            }
            Kind::Report if faulty => start.push(Step::Exit("report", 0)),
            _ => {}
        }
        let create = async |namespace: &String| {
            let mut pod = self.kubelet.create(namespace, spec.clone()).await?;
            pod.together(&start).await?;
            anyhow::Ok(pod)
        };
        try_join_all(self.namespaces.iter().map(create)).await
    }
}

const CRASH: Step<'static> = Step::Exit("shipper", 1);
const START: Step<'static> = Step::Start("shipper");

fn spec(name: &str, kind: Kind) -> PodSpec {
    let app = Container::regular("app").readiness_probe();
    let spec = PodSpec::new(name).on_node("node-1");
    match kind {
        Kind::Meshed => spec
            .container(Container::native("proxy").readiness_probe())
            .container(app),
        Kind::Cart => spec.container(Container::native("shipper")).container(app),
        Kind::Boot => spec
            .container(Container::native("vault-agent").startup_probe())
            .container(app),
        Kind::Report => spec
            .restart_policy(RestartPolicy::Never)
            .container(Container::regular("report"))
            .container(Container::regular("log-sidecar")),
        Kind::Logs => spec
            .container(app)
            .container(Container::regular("fluent-bit").memory_limit("64Mi")),
    }
}
