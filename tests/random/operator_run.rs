//! A run of the complete operator, whose lists and watches fail.
//!
//! The operator chooses its retry delays at random, so a plan leaves time for the longest delays. The comparison covers
//! what does not depend on them: the statuses at the end, and that nothing is written afterwards.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use sidewatch::kubernetes::client::Clients;
use tokio::time::Instant;

use testkit::{
    api_server::{self, NAMESPACES, PODS, checkpoint_location, paused_runtime, start_stored},
    rng::Rng,
};

use crate::{
    api_server::ApiServer,
    counts::{Counts, Faults},
    history::{Change, History},
    operator::clock,
    plan::{FAULTS_END, Gap, GapKind, Plan},
    policies::SHORT_MEMORY,
    reads::Reads,
    reconciler_run::{IDLE_PERIOD, MEMORY_END, Step, stall, steps, until},
};

/// Limit of the time in which a watch catches up after an outage: three retry delays of at most 30 s (before the 410, before a
/// list, and before another list if that one fails), and 3 s for the events.
const RECONNECT_LIMIT: i64 = 95;

/// Runs a seed. Panics if the runs differ.
pub(crate) fn run(seed: u64) -> Counts {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, RECONNECT_LIMIT);
    let mut history = History::new(&plan, &mut rng);
    let (soon, end, events, faults) = paused_runtime().block_on(async {
        let begin = Instant::now();
        let server = ApiServer::new(&plan, rng);
        for name in ["pay", "shop"] {
            server.reads(|reads| {
                reads.put(
                    NAMESPACES,
                    json!({"metadata": {"name": name, "uid": name, "labels": {"team": name}}}),
                );
            });
        }
        let mut environment = Environment {
            running: Some(Running::start(&server, begin)),
            server,
            begin,
            faults: Faults::default(),
        };
        for (second, step) in steps(&plan, &history.changes) {
            until(begin, second).await;
            environment.step(step).await;
        }
        until(begin, FAULTS_END + SHORT_MEMORY).await;
        let soon = environment.server.statuses();
        until(begin, MEMORY_END).await;
        let end = environment.server.statuses();
        let requests = environment.server.requests();
        environment.server.reads(Reads::take_requests);
        until(begin, MEMORY_END + IDLE_PERIOD).await;
        let written = environment.server.requests() - requests;
        assert_eq!(written, 0, "writes without a cause");
        let reads = environment.server.reads(Reads::take_requests);
        assert_eq!(
            reads.lists,
            BTreeMap::new(),
            "a watch that reaches its timeout needs no list"
        );
        let one_a_minute = |(_, watches): (&_, &usize)| (4..=6).contains(watches);
        assert!(
            reads.watches.len() == 5 && reads.watches.iter().all(one_a_minute),
            "{:?}",
            reads.watches
        );
        let operator = environment.running.unwrap().operator;
        assert_eq!(operator.readyz().0, 200, "{}", operator.readyz().1);
        let mut faults = environment.faults;
        faults.extend(&environment.server.faults());
        (soon, end, environment.server.events(), faults)
    });

    let reference = &mut history.reference;
    reference.pass(FAULTS_END + SHORT_MEMORY);
    let undisturbed = reference.observed().statuses;
    assert_eq!(undisturbed["short"], soon["short"], "the status of short, soon");
    reference.pass(MEMORY_END);
    assert_eq!(reference.observed().statuses, end, "the statuses at the end");
    Counts::new(&plan, &history.changes, &events, faults)
}

/// The disturbed run.
struct Environment {
    running: Option<Running>,
    server: ApiServer,
    begin: Instant,
    faults: Faults,
}

impl Environment {
    async fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Change(Change::Pod(pod)) => self.server.reads(|reads| {
                reads.next_version();
                reads.put(PODS, pod.object());
            }),
            Step::Change(Change::PodDeleted(pod)) => self.server.reads(|reads| {
                reads.next_version();
                reads.delete(PODS, &pod.uid);
            }),
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

    async fn begin_gap(&mut self, gap: Gap) {
        let GapKind::Restarted { graceful } = gap.kind else {
            self.faults.count("outage");
            return self.server.reads(Reads::begin_outage);
        };
        self.faults.count(if graceful { "SIGTERM" } else { "SIGKILL" });
        let running = self.running.take().unwrap();
        if graceful {
            running.operator.stop().await;
        }
    }

    fn end_gap(&mut self, gap: Gap) {
        match gap.kind {
            GapKind::Resumed => self.server.reads(|reads| reads.end_outage(false, false)),
            GapKind::Relisted { twice } => self.server.reads(|reads| reads.end_outage(true, twice)),
            GapKind::Restarted { .. } => self.running = Some(Running::start(&self.server, self.begin)),
        }
    }
}

/// A running process. Dropped, it ends as by SIGKILL.
struct Running {
    /// Identifies the process to the API server, which ignores a killed one.
    _process: Arc<()>,
    operator: api_server::Running,
}

impl Running {
    fn start(server: &ApiServer, begin: Instant) -> Self {
        let process = Arc::new(());
        let clients = Clients {
            watch: server.client(&process),
            write: server.client(&process),
        };
        Self {
            _process: process,
            operator: start_stored(clients, None, &checkpoint_location(), clock(begin)),
        }
    }
}
