//! A run of the reconciler with both sinks, which gets its inputs directly.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use sidewatch::{
    domain::{checkpoint::Checkpoint, observation::Observation, policy::PolicyKind},
    kubernetes::decode::intern::Interner,
    kubernetes::inputs::Input,
    kubernetes::watch::WatchEvent,
};
use tokio::time::{Instant, advance, sleep_until};

use testkit::{
    api_server::paused_runtime,
    kubelet::{Pod, at},
    rng::Rng,
};

use crate::{
    api_server::ApiServer,
    compare::{Observed, assert_same_events},
    counts::{Counts, Faults},
    history::{Change, History},
    operator::Operator,
    plan::{FAULTS_END, Gap, GapKind, Plan},
    policies::SHORT_MEMORY,
    reference::{namespaces, observed},
};

/// The second at which no policy is affected by the faults any more.
pub(crate) const MEMORY_END: i64 = FAULTS_END + 700;
/// The number of seconds after that in which the operator must write nothing.
pub(crate) const IDLE_PERIOD: i64 = 300;

/// A step of a run.
pub(crate) enum Step<'a> {
    Change(&'a Change),
    BeginGap(Gap),
    EndGap(Gap),
    Stall(i64),
}

/// Runs a seed. Panics if the runs differ.
pub(crate) fn run(seed: u64) -> Counts {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, 0);
    let mut history = History::new(&plan, &mut rng);
    let (soon, end, events, faults) = paused_runtime().block_on(async {
        let begin = Instant::now();
        let server = ApiServer::new(&plan, rng.clone());
        let mut environment = Environment {
            operator: None,
            checkpoint: None,
            server,
            begin,
            rng,
            interner: Interner::default(),
            pods: BTreeMap::new(),
            missed: Vec::new(),
            faults: Faults::default(),
        };
        environment.start();
        for (second, step) in steps(&plan, &history.changes) {
            environment.until(second).await;
            environment.step(step).await;
        }
        environment.until(FAULTS_END + SHORT_MEMORY).await;
        // Under the other policies, deadlines are still to come.
        let soon = environment.observed(|policy| policy == "short");
        environment.until(MEMORY_END).await;
        let end = environment.observed(|_| true);
        let requests = environment.server.requests();
        environment.until(MEMORY_END + IDLE_PERIOD).await;
        let written = environment.server.requests() - requests;
        assert_eq!(written, 0, "writes without a cause");
        assert!(end == environment.observed(|_| true), "a change without a cause");
        let mut faults = environment.faults;
        faults.extend(&environment.server.faults());
        (soon, end, environment.server.events(), faults)
    });

    let reference = &mut history.reference;
    reference.pass(FAULTS_END + SHORT_MEMORY);
    reference.observed().assert_same_of("short", &soon);
    reference.pass(MEMORY_END);
    reference.observed().assert_same(&end, plan.restarts);
    assert_same_events(&reference.events, &events, &plan);
    Counts::new(&plan, &history.changes, &events, faults)
}

/// All steps in order.
pub(crate) fn steps<'a>(plan: &Plan, changes: &'a [(i64, Change)]) -> Vec<(i64, Step<'a>)> {
    let mut steps: Vec<(i64, Step<'_>)> = Vec::new();
    for (second, change) in changes {
        steps.push((*second, Step::Change(change)));
    }
    for gap in &plan.gaps {
        steps.push((gap.begin, Step::BeginGap(*gap)));
        steps.push((gap.reachable, Step::EndGap(*gap)));
    }
    for (begin, end) in &plan.stalls {
        steps.push((*begin, Step::Stall(end - begin)));
    }
    steps.sort_by_key(|(second, _)| *second);
    steps
}

/// Sleeps until this second of the run.
pub(crate) async fn until(begin: Instant, second: i64) {
    sleep_until(begin + Duration::from_secs(u64::try_from(second).unwrap())).await;
    // The operator handles everything of this second before the next step.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Suspends the process, with its timers.
pub(crate) async fn stall(seconds: i64, faults: &mut Faults) {
    faults.count("process stalls");
    advance(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
}

/// The disturbed run.
struct Environment {
    operator: Option<Operator>,
    /// The checkpoint of the operator that has ended.
    checkpoint: Option<Checkpoint>,
    server: ApiServer,
    begin: Instant,
    rng: Rng,
    interner: Interner,
    /// The current Pods by UID.
    pods: BTreeMap<String, Pod>,
    /// The events of each gap that is in progress.
    missed: Vec<Vec<WatchEvent<Observation>>>,
    faults: Faults,
}

impl Environment {
    async fn until(&self, second: i64) {
        until(self.begin, second).await;
    }

    fn send(&self, event: WatchEvent<Observation>) {
        if let Some(operator) = &self.operator {
            operator.send(Input::Pod(None, event));
        }
    }

    async fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Change(Change::Pod(pod)) => {
                self.pods.insert(pod.uid.clone(), pod.clone());
                let observation = observed(pod, &mut self.interner);
                self.deliver(WatchEvent::Applied(observation));
            }
            Step::Change(Change::PodDeleted(pod)) => {
                self.pods.remove(&pod.uid);
                let observation = observed(pod, &mut self.interner);
                self.deliver(WatchEvent::Deleted(observation));
            }
            Step::Change(Change::Policy(policy) | Change::PolicyRecreated(_, policy)) => {
                self.server.put(policy.clone());
            }
            Step::BeginGap(gap) => self.begin_gap(gap).await,
            Step::EndGap(gap) => self.end_gap(gap),
            Step::Stall(seconds) => {
                stall(seconds, &mut self.faults).await;
            }
        }
    }

    /// Sends an event of a Pod, now or at the end of the gap.
    fn deliver(&mut self, event: WatchEvent<Observation>) {
        if let Some(missed) = self.missed.last_mut() {
            missed.push(event);
            return;
        }
        if self.rng.chance(20) {
            self.faults.count("event twice");
            self.send(event.clone());
        }
        self.send(event);
    }

    async fn begin_gap(&mut self, gap: Gap) {
        self.missed.push(Vec::new());
        match gap.kind {
            GapKind::Resumed | GapKind::Relisted { .. } => {
                let last_synced = at(gap.begin);
                self.send(WatchEvent::Disconnected { last_synced });
                if self.rng.chance(30) {
                    self.faults.count("watch broken twice");
                    self.send(WatchEvent::Disconnected { last_synced });
                }
            }
            GapKind::Restarted { graceful } => {
                let operator = self.operator.take().unwrap();
                self.faults.count(if graceful { "SIGTERM" } else { "SIGKILL" });
                self.checkpoint = if graceful {
                    operator.stop(&self.server).await
                } else {
                    operator.kill(&self.server)
                };
            }
        }
    }

    fn end_gap(&mut self, gap: Gap) {
        let missed = self.missed.pop().unwrap();
        let last_synced = at(gap.begin);
        match gap.kind {
            GapKind::Resumed => {
                self.faults.count("watch resumed");
                for event in missed {
                    self.send(event);
                }
                self.send(WatchEvent::Resumed);
            }
            GapKind::Relisted { twice } => {
                self.faults.count(if twice { "list begun twice" } else { "list" });
                if twice {
                    let mut broken_off = self.list(last_synced);
                    broken_off.truncate(self.rng.below(broken_off.len()));
                    for event in broken_off {
                        self.send(event);
                    }
                }
                for event in self.list(last_synced) {
                    self.send(event);
                }
                if self.rng.chance(50) {
                    self.faults.count("list of policies");
                    self.policies()
                        .into_iter()
                        .flatten()
                        .for_each(|input| self.operator.as_ref().unwrap().send(input));
                }
            }
            GapKind::Restarted { .. } => self.start(),
        }
    }

    /// A list of the Pods in random order.
    fn list(&mut self, last_synced: Timestamp) -> Vec<WatchEvent<Observation>> {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let mut listed: Vec<_> = pods
            .iter()
            .map(|pod| WatchEvent::Listed(observed(pod, &mut self.interner)))
            .collect();
        self.rng.shuffle(&mut listed);
        let mut events = vec![WatchEvent::Restarted { last_synced }];
        events.extend(listed);
        events.push(WatchEvent::Complete);
        events
    }

    /// A list of each kind of policy.
    fn policies(&self) -> [Vec<Input>; 2] {
        let policies = self.server.policies();
        [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy].map(|kind| {
            let last_synced = Timestamp::MIN;
            let mut list = vec![Input::Policy(kind, None, WatchEvent::Restarted { last_synced })];
            list.extend(
                policies
                    .iter()
                    .filter(|policy| policy.kind == kind)
                    .map(|policy| policy.input(WatchEvent::Listed)),
            );
            list.push(Input::Policy(kind, None, WatchEvent::Complete));
            list
        })
    }

    /// Starts an operator, whose watches list in random order.
    fn start(&mut self) {
        let pods = self.list(Timestamp::MIN);
        let operator = Operator::start(&self.server, self.begin, self.checkpoint.take());
        let [namespaced, cluster] = self.policies();
        let mut lists = [
            namespaces(),
            namespaced,
            cluster,
            pods.into_iter().map(|event| Input::Pod(None, event)).collect(),
        ]
        .map(Vec::into_iter);
        while lists.iter().any(|list| list.len() > 0) {
            let at = self.rng.below(lists.len());
            if let Some(input) = lists[at].next() {
                operator.send(input);
            }
        }
        self.operator = Some(operator);
    }

    /// The state of the operator. The stored statuses of the selected policies must equal it.
    fn observed(&self, of: impl Fn(&str) -> bool) -> Observed {
        let operator = self.operator.as_ref().unwrap();
        let policies = self.server.policies();
        let observed = Observed::of(&operator.index(), policies.iter());
        for (name, status) in self.server.statuses() {
            assert!(
                !of(name) || status == observed.statuses[name],
                "the status of {name} lags behind: {status} instead of {}",
                observed.statuses[name]
            );
        }
        observed
    }
}
