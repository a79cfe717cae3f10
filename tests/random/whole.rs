//! The same stories, told to the whole operator: watches and all, over an API server whose lists and watches break.
//!
//! When a watch works again depends on the waits between tries, which the operator draws anew each time. So a plan leaves
//! time for that, and what is compared is what does not depend on it: the statuses at the end, and the silence after it.

use std::sync::Arc;

use serde_json::json;
use sidewatch::{kubernetes::client::Clients, kubernetes::inputs::WatchScope, operator::Operator};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Duration, Instant, advance},
};

use testkit::{kubelet::Pod, rng::Rng};

use crate::{
    api_server::ApiServer,
    history::{Change, History},
    operator::clock,
    plan::{Blind, CALM, Kind, Plan},
    policies::SHORT,
    reads::{NAMESPACES, PODS, Reads},
    story::{OVER, QUIET, Step, in_virtual_time, steps, until},
    tally::{Faults, Tally},
};

/// How long after an outage a watch may take to see all again: three waits of at most 30 s (before the answer that the
/// version is forgotten, before a list, and before another when that breaks off), and 3 s to catch up.
const SLACK: i64 = 95;

/// Tells a story, and panics where it ends badly.
pub(crate) fn tell(seed: u64) -> Tally {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, SLACK);
    let mut history = History::new(&plan, &mut rng);
    let (soon, end, events, faults) = in_virtual_time(async {
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
        let mut world = World {
            running: Some(Running::start(&server, begin)),
            server,
            begin,
            faults: Faults::new(),
        };
        for (second, step) in steps(&plan, &history.changes) {
            until(begin, second).await;
            world.step(step).await;
        }
        until(begin, CALM + SHORT).await;
        let soon = world.server.statuses();
        until(begin, OVER).await;
        let end = world.server.statuses();
        let requests = world.server.requests();
        until(begin, OVER + QUIET).await;
        assert_eq!(
            world.server.requests() - requests,
            0,
            "writes while nothing happens"
        );
        let mut faults = world.faults;
        faults.extend(world.server.faults());
        (soon, end, world.server.events(), faults)
    });

    let reference = &mut history.reference;
    reference.pass(CALM + SHORT);
    let undisturbed = reference.picture().statuses;
    assert_eq!(undisturbed["short"], soon["short"], "the status of short, soon");
    reference.pass(OVER);
    assert_eq!(reference.picture().statuses, end, "the statuses at the end");
    Tally::new(&plan, &history.changes, &events, faults)
}

/// The disturbed run.
struct World {
    running: Option<Running>,
    server: ApiServer,
    begin: Instant,
    faults: Faults,
}

impl World {
    async fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Change(Change::Pod(pod)) => self.put(pod),
            Step::Change(Change::Gone(pod)) => self.server.reads(|reads| {
                reads.next_version();
                reads.delete(PODS, &pod.uid);
            }),
            Step::Change(Change::Policy(policy) | Change::Anew(_, policy)) => self.server.put(policy.clone()),
            Step::Blind(blind) => self.blind(blind).await,
            Step::Sight(blind) => self.sight(blind),
            Step::Stall(seconds) => {
                self.fault("process stands still");
                advance(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
            }
        }
    }

    fn put(&self, pod: &Pod) {
        self.server.reads(|reads| {
            reads.next_version();
            reads.put(PODS, pod.object());
        });
    }

    async fn blind(&mut self, blind: Blind) {
        let Kind::Restarted { graceful } = blind.kind else {
            self.fault("outage");
            return self.server.reads(Reads::cut);
        };
        self.fault(if graceful { "SIGTERM" } else { "SIGKILL" });
        let running = self.running.take().unwrap();
        if graceful {
            running.stop().await;
        } else {
            running.kill();
        }
    }

    fn sight(&mut self, blind: Blind) {
        match blind.kind {
            Kind::Resumed => self.server.reads(|reads| reads.heal(false, false)),
            Kind::Relisted { twice } => self.server.reads(|reads| reads.heal(true, twice)),
            Kind::Restarted { .. } => self.running = Some(Running::start(&self.server, self.begin)),
        }
    }

    fn fault(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

/// A running process.
struct Running {
    /// What the API server knows it by: of a killed one, nothing is heard any more.
    _process: Arc<()>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(server: &ApiServer, begin: Instant) -> Self {
        let process = Arc::new(());
        let clients = Clients {
            watch: server.client(&process),
            write: server.client(&process),
        };
        let installation = WatchScope {
            namespaces: Vec::new(),
        };
        let operator = Operator::new(clients, &installation, clock(begin)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            _process: process,
            stop,
            task: tokio::spawn(async move { operator.run(async { drop(stopped.await) }).await }),
        }
    }

    /// SIGKILL.
    fn kill(self) {
        self.task.abort();
    }

    /// SIGTERM.
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}
