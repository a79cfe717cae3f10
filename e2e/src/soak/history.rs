//! Random changes of Pods, the same in several namespaces.
//!
//! Each fault lasts until a later round, so that a replica that sees it late reports it too. The time between two changes of a
//! Pod is a multiple of [`PERIOD`], give or take [`CHANGES_WITHIN`]. No time limit of a policy is near such a time: else a
//! difference of milliseconds decides whether a violation fires or resolves in between.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};
use testkit::rng::Rng;
use tokio::time::{Instant, sleep_until};

use crate::faults::pods::{CRASH, PodKind, START};
use crate::simulated_kubelet::{SimulatedKubelet, SimulatedPod, Step};

/// The time from the start of a round to the start of the next one. After differences it is twice as long.
pub(super) const PERIOD: Duration = Duration::from_secs(90);
/// The changes of a round happen within this time.
const CHANGES_WITHIN: Duration = Duration::from_secs(12);
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
        "frequentRestarts": {"count": 3, "window": "33s", "keepFiringFor": "0s"},
        "startupBlocked": {"for": "3s"},
        "jobHeldOpen": {"for": "2s"},
        "flapping": {"count": 3, "window": "12m45s", "keepFiringFor": "1s"},
        "oomKilled": {"keepFiringFor": "135s"},
    }})
}

/// Fires in the round after the fault, or not at all if the fault ends in that round.
pub(super) fn slow() -> Value {
    json!({"checks": {
        "notReady": {"for": "133s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "134s", "keepFiringFor": "1s"},
        "startupBlocked": {"for": "135s"},
        "jobHeldOpen": {"for": "136s"},
        "frequentRestarts": {"mode": "Off"},
        "flapping": {"mode": "Off"},
        "oomKilled": {"mode": "Off"},
    }})
}

/// A Pod in each namespace.
struct PodCopies {
    name: String,
    kind: PodKind,
    pods: Vec<SimulatedPod>,
    faulty: bool,
    /// Number of changes since the Pods were created.
    changes: u32,
}

/// A change of a Pod.
pub(super) struct Change {
    /// The time since the start of the round.
    after: Duration,
    /// The number of the Pod.
    number: usize,
    /// A new Pod with the same name replaces it.
    replaced: bool,
}

/// The Pods in all namespaces.
pub(super) struct History {
    kubelet: SimulatedKubelet,
    namespaces: Vec<String>,
    copies: Vec<PodCopies>,
}

impl History {
    /// Healthy Pods that are not created yet.
    pub(super) fn new(client: Client, namespaces: Vec<String>) -> Self {
        let mut kinds = vec![PodKind::Meshed; 8];
        kinds.extend([PodKind::Cart, PodKind::Cart, PodKind::Boot, PodKind::Boot]);
        kinds.extend([PodKind::Report, PodKind::Report, PodKind::Logs, PodKind::Logs]);
        let copies = kinds.into_iter().enumerate().map(|(number, kind)| PodCopies {
            name: format!("{kind:?}-{number}").to_lowercase(),
            kind,
            pods: Vec::new(),
            faulty: false,
            changes: 0,
        });
        Self {
            kubelet: SimulatedKubelet::new(client),
            namespaces,
            copies: copies.collect(),
        }
    }

    /// Creates the Pods.
    pub(super) async fn begin(&mut self) -> Result<()> {
        for number in 0..self.copies.len() {
            self.replace(number).await?;
        }
        Ok(())
    }

    /// Chooses random changes of one round, in the order of their times.
    pub(super) fn plan(&self, rng: &mut Rng) -> Vec<Change> {
        let longest = i64::try_from(CHANGES_WITHIN.as_millis()).unwrap_or(i64::MAX);
        let mut changes: Vec<(Duration, usize)> = Vec::new();
        for number in 0..self.copies.len() {
            if rng.chance(CHANGED) {
                let after = Duration::from_millis(rng.between(0, longest).unsigned_abs());
                changes.push((after, number));
            }
        }
        changes.sort_unstable();
        let changes = changes.into_iter().map(|(after, number)| Change {
            after,
            number,
            replaced: rng.chance(REPLACED),
        });
        changes.collect()
    }

    /// Changes the state of the Pods before they are created.
    pub(super) fn skip(&mut self, changes: &[Change]) {
        for change in changes {
            if let Some(copies) = self.copies.get_mut(change.number) {
                copies.faulty = !copies.faulty;
            }
        }
    }

    /// Changes the Pods.
    pub(super) async fn round(&mut self, changes: &[Change]) -> Result<()> {
        let begin = Instant::now();
        for change in changes {
            sleep_until(begin + change.after).await;
            self.change(change.number, change.replaced).await?;
        }
        Ok(())
    }

    async fn change(&mut self, number: usize, replaced: bool) -> Result<()> {
        let Some(copies) = self.copies.get_mut(number) else {
            return Ok(());
        };
        let faulty = !copies.faulty;
        let replaced = replaced || copies.changes >= LAST_CHANGE;
        let kind = copies.kind;
        let steps: Option<&[Step<'static>]> = match (kind, faulty) {
            _ if replaced => None,
            (PodKind::Meshed, true) => Some(&[Step::Unready("proxy")]),
            (PodKind::Meshed, false) => Some(&[Step::Ready("proxy")]),
            (PodKind::Cart, true) => Some(&CRASHES),
            (PodKind::Cart, false) => Some(&[START]),
            (PodKind::Logs, _) => Some(&[Step::OomKill("fluent-bit"), Step::Start("fluent-bit")]),
            (PodKind::Report, true) => Some(&[Step::Exit("report", 0)]),
            (PodKind::Boot, _) | (PodKind::Report, false) => None,
        };
        copies.faulty = faulty;
        copies.changes = if steps.is_some() { copies.changes + 1 } else { 0 };
        if let Some(steps) = steps {
            try_join_all(copies.pods.iter_mut().map(|pod| pod.together(steps))).await?;
            return Ok(());
        }
        self.replace(number).await
    }

    /// Removes the Pods with this number, and creates them again.
    async fn replace(&mut self, number: usize) -> Result<()> {
        let Some(copies) = self.copies.get_mut(number) else {
            return Ok(());
        };
        let (name, kind, faulty) = (copies.name.clone(), copies.kind, copies.faulty);
        let old = std::mem::take(&mut copies.pods);
        try_join_all(old.into_iter().map(SimulatedPod::remove_now)).await?;
        let pods = self.create(&name, kind, faulty).await?;
        if let Some(copies) = self.copies.get_mut(number) {
            copies.pods = pods;
        }
        Ok(())
    }

    /// Creates a Pod in each namespace, with its fault or without.
    async fn create(&self, name: &str, kind: PodKind, faulty: bool) -> Result<Vec<SimulatedPod>> {
        let spec = kind.pod(name);
        let mut start = if matches!(kind, PodKind::Boot) && faulty {
            vec![Step::Admit, Step::SandboxReady, Step::Start("vault-agent")]
        } else {
            spec.healthy_start()
        };
        match kind {
            PodKind::Meshed if faulty => start.push(Step::Unready("proxy")),
            PodKind::Cart if faulty => {
                start.extend(CRASHES);
            }
            PodKind::Report if faulty => start.push(Step::Exit("report", 0)),
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

/// Three restarts, the limit of the policy `fast`. With fewer, a process without a checkpoint can report more than one with it: it
/// counts all restarts of a container that is down at the time of the last.
const CRASHES: [Step<'static>; 8] = [
    CRASH,
    START,
    CRASH,
    START,
    CRASH,
    START,
    CRASH,
    Step::BackOff("shipper"),
];

#[cfg(test)]
mod tests {
    use sidewatch::domain::history::DOWN_WINDOWS;

    use super::*;

    /// How late a replica sees a change: a frozen one after 25 s.
    const LATE: Duration = Duration::from_secs(25);

    /// The time limits in a spec.
    fn limits(spec: &Value) -> Vec<Duration> {
        let checks = spec["checks"].as_object().unwrap().values();
        let fields = checks.flat_map(|check| check.as_object().unwrap().values());
        let texts = fields.filter_map(|value| value.as_str().filter(|text| *text != "Off"));
        let durations = texts.map(|text| text.parse::<jiff::SignedDuration>().unwrap());
        durations.map(jiff::SignedDuration::unsigned_abs).collect()
    }

    #[test]
    fn no_time_limit_is_near_the_time_between_two_changes() {
        let restarts = fast()["checks"]["frequentRestarts"]["window"].clone();
        let down = limits(&json!({"checks": {"down": {"window": restarts}}}));
        let down = down
            .into_iter()
            .map(|window| window * DOWN_WINDOWS.unsigned_abs());
        for limit in limits(&fast()).into_iter().chain(limits(&slow())).chain(down) {
            for periods in 1..20 {
                let between = PERIOD * periods;
                assert!(
                    limit.abs_diff(between) > CHANGES_WITHIN + LATE,
                    "{limit:?} is near {between:?}"
                );
            }
        }
    }
}
