//! Two replicas for a long time, beside an operator that nothing disturbs.
//!
//! ```text
//! history ─▶ Pods in two namespaces ─▶ undisturbed operator
//!                                   └▶ two replicas ◀─ a disturbance and a fault of the proxy in each round
//! ```
//!
//! After each round, violations, statuses, Events, gauges and counters of both replicas must equal those of the undisturbed
//! operator. After the last round, no process may have grown. Input: [`Options`]. Output: the figures, as Markdown.

mod faults;
mod history;
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use testkit::rng::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use self::faults::ProxyFault;
use self::history::{Change, History, PERIOD};
use self::samples::Samples;
use crate::ControlPlane;
use crate::faults::disturbance::Disturbance;
use crate::faults::env::FaultEnv;
use crate::faults::replicas::{Replica, Replicas};
use crate::faults::snapshot::{Snapshot, Tolerance};
use crate::operator::{install_crds, install_rbac};
use crate::process::stats::cpu_seconds;

/// From the start of a round to its comparison. All changes and disturbances have then taken effect.
const COMPARED_AFTER: Duration = Duration::from_secs(75);
/// Latest start of a disturbance in a round, in milliseconds. The longest ones take 25 s.
const LATEST_START: i64 = 15_000;
/// How long the state of the replicas may differ at the end of a round. No violation changes its state by itself in this time.
const EQUAL_WITHIN: Duration = Duration::from_secs(45);
const COMPARED_EVERY: Duration = Duration::from_secs(2);
/// Without an end of the Events: the API server deletes them after an hour by default.
const EVENT_TTL: &str = "--event-ttl=48h";
/// A leader that receives nothing for 25 s and loses no connection takes the end of that time for the onset of a fault.
const TOLERANCE: Tolerance = Tolerance {
    onset: Duration::from_secs(45),
    sent: Duration::from_secs(45),
    restarted: true,
};

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Minimum duration; the last round is completed.
    pub duration: Duration,
    /// Determines the changes and disturbances.
    pub seed: u64,
    /// The rounds before this one only determine the state of the Pods at the start.
    pub first_round: u32,
}

/// What happens in a round. The disturbance depends on the leader too.
struct Plan {
    disturbance: Rng,
    /// The time from the start of the round to the disturbance.
    after: Duration,
    /// The replica whose proxy has the fault.
    hit: Replica,
    fault: ProxyFault,
    changes: Vec<Change>,
}

impl Plan {
    fn choose(rng: &mut Rng, history: &History) -> Self {
        let disturbance = rng.clone();
        rng.below(1);
        Self {
            disturbance,
            after: Duration::from_millis(rng.between(0, LATEST_START).unsigned_abs()),
            hit: rng.pick(&[Replica::First, Replica::Second]),
            fault: faults::pick(rng),
            changes: history.plan(rng),
        }
    }

    /// The process of the second replica is never ended, so that it can be measured for the whole time.
    fn disturbance(&self, leader: Replica) -> Disturbance {
        let possible: Vec<Disturbance> = Disturbance::ALL
            .into_iter()
            .filter(|disturbance| leader == Replica::First || !disturbance.ends_process())
            .collect();
        self.disturbance.clone().pick(&possible)
    }
}

/// A run in progress.
struct Soak<'a> {
    plane: &'a ControlPlane,
    rng: Rng,
    history: History,
    undisturbed: FaultEnv,
    replicas: Replicas,
    leader: Replica,
    began: Timestamp,
    samples: Samples,
    counts: BTreeMap<String, usize>,
    late: Vec<std::ops::Range<std::time::Instant>>,
    /// The names of the facts that have differed. The replicas need not agree on them again.
    differing: BTreeSet<String>,
}

/// Starts a control plane and runs.
pub async fn run(options: Options) -> Result<String> {
    let plane = ControlPlane::start_with(&[EVENT_TTL.to_owned()]).await?;
    install_crds(&plane).await?;
    install_rbac(&plane).await?;
    let report = run_on(&plane, options).await?;
    plane.stop()?;
    Ok(report)
}

/// Runs on a control plane with CRDs and RBAC.
pub async fn run_on(plane: &ControlPlane, options: Options) -> Result<String> {
    let Options {
        duration,
        seed,
        first_round,
    } = options;
    let mut soak = Soak::begin(plane, seed, first_round).await?;
    let begin = Instant::now();
    let mut failures = BTreeSet::new();
    let mut rounds = 0;
    while begin.elapsed() < duration {
        let round = first_round + rounds;
        rounds += 1;
        let (happened, found) = soak.round().await?;
        let new: Vec<String> = found
            .into_iter()
            .filter(|fact| failures.insert(fact.clone()))
            .collect();
        let minutes = begin.elapsed().as_secs() / 60;
        log(&format!(
            "round {round}, {minutes} min: {happened}: {} differences",
            new.len()
        ));
        for fact in &new {
            log(fact);
        }
    }
    soak.replicas.check_writes_except(&soak.late)?;
    let report = soak.report(rounds, begin.elapsed())?;
    ensure!(
        failures.is_empty(),
        "{} facts differed from the undisturbed run:\n{}\n{report}",
        failures.len(),
        Vec::from_iter(failures).join("\n")
    );
    let growing = soak.samples.growing();
    ensure!(growing.is_empty(), "these grew: {}\n{report}", growing.join(", "));
    Ok(report)
}

impl<'a> Soak<'a> {
    async fn begin(plane: &'a ControlPlane, seed: u64, first_round: u32) -> Result<Self> {
        let undisturbed = FaultEnv::start(plane, "undisturbed").await?;
        let replicas = Replicas::start(plane, "soak").await?;
        for env in [&undisturbed, &replicas.first] {
            env.policy("fast", history::fast()).await?;
            env.policy("slow", history::slow()).await?;
        }
        let namespaces = [&undisturbed, &replicas.first].map(|env| env.namespace().to_owned());
        let mut rng = Rng::new(seed);
        let mut history = History::new(plane.client().await?, namespaces.to_vec());
        for _ in 1..first_round {
            let plan = Plan::choose(&mut rng, &history);
            history.skip(&plan.changes);
        }
        history.begin().await?;
        Ok(Self {
            plane,
            rng,
            history,
            undisturbed,
            replicas,
            leader: Replica::First,
            began: Timestamp::now(),
            samples: Samples::default(),
            counts: BTreeMap::new(),
            late: Vec::new(),
            differing: BTreeSet::new(),
        })
    }

    /// Returns what happened, and the facts that differ at the end.
    async fn round(&mut self) -> Result<(String, Vec<String>)> {
        let begin = Instant::now();
        let plan = Plan::choose(&mut self.rng, &self.history);
        let disturbance = plan.disturbance(self.leader);
        let Plan {
            after,
            hit,
            fault,
            changes,
            ..
        } = plan;
        let active = fault.add(&self.replicas.of(hit).proxy);
        let (plane, leader, replicas) = (self.plane, self.leader, &mut self.replicas);
        let disturb = async {
            sleep(after).await;
            disturbance.apply(plane, replicas, leader).await
        };
        let lift = async {
            sleep(faults::LAST).await;
            for rule in &active {
                rule.lift();
            }
            anyhow::Ok(())
        };
        let ((), disturbed, ()) = tokio::try_join!(self.history.round(&changes), disturb, lift)?;
        self.late.extend(disturbed.late);
        sleep_until(begin + COMPARED_AFTER).await;
        self.leader = self.replicas.one_leads().await?;
        self.sample().await?;
        for what in [format!("{disturbance:?}"), format!("{fault:?}")] {
            *self.counts.entry(what).or_default() += 1;
        }
        *self.counts.entry("changes of Pods".to_owned()).or_default() += changes.len();
        let happened = format!(
            "{disturbance:?} of {leader:?} after {after:?}, {fault:?} for {hit:?}, {} changes",
            changes.len()
        );
        let differences = self.differences().await?;
        self.differing
            .extend(differences.iter().map(|fact| name_of(fact)));
        // The changes of the next round keep their distance from these.
        let mut next = begin + PERIOD;
        while next < Instant::now() {
            next += PERIOD;
        }
        sleep_until(next).await;
        Ok((happened, differences))
    }

    /// Waits until both replicas agree with the undisturbed operator, and returns the facts that still differ. Does not wait for
    /// facts that have differed in an earlier round.
    async fn differences(&self) -> Result<Vec<String>> {
        let epoch = |_: &str, _: bool| self.began;
        let deadline = Instant::now() + EQUAL_WITHIN;
        loop {
            let [expected, first, second] = self.snapshots(epoch).await?;
            let mut facts = Vec::new();
            for (name, found) in [("first", first), ("second", second)] {
                let differences = found.differences(&expected, TOLERANCE);
                facts.extend(
                    differences
                        .facts()
                        .iter()
                        .map(|fact| format!("{name} replica: {fact}")),
                );
            }
            let is_known = facts.iter().all(|fact| self.differing.contains(&name_of(fact)));
            if is_known || Instant::now() >= deadline {
                return Ok(facts);
            }
            sleep(COMPARED_EVERY).await;
        }
    }

    async fn snapshots(&self, epoch: impl Fn(&str, bool) -> Timestamp + Copy) -> Result<[Snapshot; 3]> {
        let (expected, first, second) = tokio::try_join!(
            self.undisturbed.snapshot(epoch),
            self.replicas.first.snapshot(epoch),
            self.replicas.second.snapshot(epoch),
        )?;
        Ok([expected, first, second].map(Snapshot::without_worst))
    }

    async fn sample(&mut self) -> Result<()> {
        let operators = [
            ("undisturbed operator", &self.undisturbed),
            ("first replica", &self.replicas.first),
            ("second replica", &self.replicas.second),
        ];
        for (name, env) in operators {
            let pid = env.pid().with_context(|| format!("the {name} does not run"))?;
            self.samples.process(name, pid)?;
        }
        let [_, api_server] = self.plane.process_ids();
        self.samples
            .api_server(&self.undisturbed.client(), api_server)
            .await
    }

    fn report(&self, rounds: u32, duration: Duration) -> Result<String> {
        let seconds = duration.as_secs_f64();
        let mut report = format!("{rounds} rounds in {:.0} minutes\n\n", seconds / 60.0);
        for (what, count) in &self.counts {
            writeln!(report, "* {what}: {count}")?;
        }
        let [etcd, api_server] = self.plane.process_ids();
        let own = std::process::id();
        for (name, pid) in [("API server", api_server), ("etcd", etcd), ("test", own)] {
            writeln!(
                report,
                "* CPU use of {name}: {:.1} %",
                cpu_seconds(pid)? * 100.0 / seconds
            )?;
        }
        writeln!(report, "\n{}", self.samples)?;
        if !self.samples.suffice() {
            writeln!(report, "Too few samples to tell whether a process grows.")?;
        }
        Ok(report)
    }
}

/// The name of a fact, without the values.
fn name_of(fact: &str) -> String {
    fact.lines().next().unwrap_or_default().to_owned()
}

fn log(line: &str) {
    // A closed pipe must not end the run.
    let _ = writeln!(std::io::stderr(), "{line}");
}
