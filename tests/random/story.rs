//! One story: drawn from a seed, told to a disturbed operator, and compared.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use sidewatch::{
    domain::{observation::Observation, policy::PolicyKind},
    kubernetes::decode::intern::Interner,
    kubernetes::inputs::Input,
    kubernetes::watch::WatchEvent,
};
use tokio::time::{Instant, advance, sleep_until};

use testkit::{
    kubelet::{Pod, at},
    rng::Rng,
};

use crate::{
    api_server::ApiServer,
    compare::{Picture, assert_same_events},
    history::{Change, History},
    operator::Operator,
    plan::{Blind, CALM, Kind, Plan},
    policies::SHORT,
    reference::{namespaces, observed},
    tally::{Faults, Tally},
};

/// When all that any policy remembers of the faults is over.
pub(crate) const OVER: i64 = CALM + 700;
/// For how long nothing may be written then.
pub(crate) const QUIET: i64 = 300;

/// What a driver does next.
pub(crate) enum Step<'a> {
    Change(&'a Change),
    Blind(Blind),
    Sight(Blind),
    Stall(i64),
}

/// Tells a story, and panics where it ends badly.
pub(crate) fn tell(seed: u64) -> Tally {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, 0);
    let mut history = History::new(&plan, &mut rng);
    let (soon, end, events, faults) = in_virtual_time(async {
        let begin = Instant::now();
        let server = ApiServer::new(&plan, rng.clone());
        let mut world = World {
            operator: None,
            server,
            begin,
            rng,
            interner: Interner::default(),
            pods: BTreeMap::new(),
            missed: Vec::new(),
            faults: Faults::new(),
        };
        world.start(Vec::new());
        for (second, step) in steps(&plan, &history.changes) {
            world.until(second).await;
            world.step(step).await;
        }
        world.until(CALM + SHORT).await;
        // Under the others, deadlines still come.
        let soon = world.picture(|policy| policy == "short");
        world.until(OVER).await;
        let end = world.picture(|_| true);
        let requests = world.server.requests();
        world.until(OVER + QUIET).await;
        assert_eq!(
            world.server.requests() - requests,
            0,
            "writes while nothing happens"
        );
        assert!(
            end == world.picture(|_| true),
            "something happens while nothing happens"
        );
        let mut faults = world.faults;
        faults.extend(world.server.faults());
        (soon, end, world.server.events(), faults)
    });

    let reference = &mut history.reference;
    reference.pass(CALM + SHORT);
    reference.picture().assert_same_of("short", &soon);
    reference.pass(OVER);
    reference.picture().assert_same(&end, plan.restarts);
    assert_same_events(&reference.events, &events, &plan);
    Tally::new(&plan, &history.changes, &events, faults)
}

/// Runs a story whose seconds pass as soon as nothing is left to do in them.
pub(crate) fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story)
}

/// Everything that happens, in order.
pub(crate) fn steps<'a>(plan: &Plan, changes: &'a [(i64, Change)]) -> Vec<(i64, Step<'a>)> {
    let mut steps: Vec<(i64, Step<'_>)> = Vec::new();
    steps.extend(
        changes
            .iter()
            .map(|(second, change)| (*second, Step::Change(change))),
    );
    steps.extend(plan.blinds.iter().map(|blind| (blind.begin, Step::Blind(*blind))));
    steps.extend(plan.blinds.iter().map(|blind| (blind.heal, Step::Sight(*blind))));
    steps.extend(
        plan.stalls
            .iter()
            .map(|(begin, end)| (*begin, Step::Stall(end - begin))),
    );
    steps.sort_by_key(|(second, _)| *second);
    steps
}

/// Sleeps until a second of the story.
pub(crate) async fn until(begin: Instant, second: i64) {
    sleep_until(begin + Duration::from_secs(u64::try_from(second).unwrap())).await;
    // All that this second brings comes before what the driver does next.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// The disturbed run.
struct World {
    operator: Option<Operator>,
    server: ApiServer,
    begin: Instant,
    rng: Rng,
    interner: Interner,
    /// The Pods as they are, by UID.
    pods: BTreeMap<String, Pod>,
    /// What happened to them while nobody looked; nothing while somebody does.
    missed: Vec<Vec<WatchEvent<Observation>>>,
    faults: Faults,
}

impl World {
    async fn until(&self, second: i64) {
        until(self.begin, second).await;
    }

    fn tell(&self, tell: WatchEvent<Observation>) {
        if let Some(operator) = &self.operator {
            operator.tell(Input::Pod(None, tell));
        }
    }

    async fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Change(Change::Pod(pod)) => {
                self.pods.insert(pod.uid.clone(), pod.clone());
                let observation = observed(pod, &mut self.interner);
                self.happens(WatchEvent::Applied(observation));
            }
            Step::Change(Change::Gone(pod)) => {
                self.pods.remove(&pod.uid);
                let observation = observed(pod, &mut self.interner);
                self.happens(WatchEvent::Deleted(observation));
            }
            Step::Change(Change::Policy(policy) | Change::Anew(_, policy)) => self.server.put(policy.clone()),
            Step::Blind(blind) => self.blind(blind).await,
            Step::Sight(blind) => self.sight(blind),
            Step::Stall(seconds) => {
                self.fault("process stands still");
                advance(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
            }
        }
    }

    fn fault(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// The watch tells of a Pod, now or when it works again.
    fn happens(&mut self, tell: WatchEvent<Observation>) {
        if let Some(missed) = self.missed.last_mut() {
            missed.push(tell);
            return;
        }
        if self.rng.chance(20) {
            self.fault("event twice");
            self.tell(tell.clone());
        }
        self.tell(tell);
    }

    async fn blind(&mut self, blind: Blind) {
        self.missed.push(Vec::new());
        match blind.kind {
            Kind::Resumed | Kind::Relisted { .. } => {
                let last_synced = at(blind.begin);
                self.tell(WatchEvent::Disconnected { last_synced });
                if self.rng.chance(30) {
                    self.fault("watch broken twice");
                    self.tell(WatchEvent::Disconnected { last_synced });
                }
            }
            Kind::Restarted { graceful } => {
                let operator = self.operator.take().unwrap();
                self.fault(if graceful { "SIGTERM" } else { "SIGKILL" });
                if graceful {
                    operator.stop(&self.server).await;
                } else {
                    operator.kill(&self.server);
                }
            }
        }
    }

    fn sight(&mut self, blind: Blind) {
        let missed = self.missed.pop().unwrap();
        let last_synced = at(blind.begin);
        match blind.kind {
            Kind::Resumed => {
                self.fault("watch resumed");
                for tell in missed {
                    self.tell(tell);
                }
                self.tell(WatchEvent::Resumed);
            }
            Kind::Relisted { twice } => {
                self.fault(if twice { "list begun twice" } else { "list" });
                if twice {
                    let mut broken_off = self.list(last_synced);
                    broken_off.truncate(self.rng.below(broken_off.len()));
                    for tell in broken_off {
                        self.tell(tell);
                    }
                }
                for tell in self.list(last_synced) {
                    self.tell(tell);
                }
                if self.rng.chance(50) {
                    self.fault("list of policies");
                    self.policies()
                        .into_iter()
                        .flatten()
                        .for_each(|input| self.operator.as_ref().unwrap().tell(input));
                }
            }
            Kind::Restarted { .. } => {
                let pods = self.list(Timestamp::MIN);
                self.start(pods);
            }
        }
    }

    /// A list of Pods in any order.
    fn list(&mut self, last_synced: Timestamp) -> Vec<WatchEvent<Observation>> {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        let mut listed: Vec<_> = pods
            .iter()
            .map(|pod| WatchEvent::Listed(observed(pod, &mut self.interner)))
            .collect();
        self.rng.shuffle(&mut listed);
        let mut tells = vec![WatchEvent::Restarted { last_synced }];
        tells.extend(listed);
        tells.push(WatchEvent::Complete);
        tells
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
                    .map(|policy| policy.tell(WatchEvent::Listed)),
            );
            list.push(Input::Policy(kind, None, WatchEvent::Complete));
            list
        })
    }

    /// An operator starts; its watches list in any order.
    fn start(&mut self, pods: Vec<WatchEvent<Observation>>) {
        let operator = Operator::start(&self.server, self.begin);
        let first = vec![
            WatchEvent::Restarted {
                last_synced: Timestamp::MIN,
            },
            WatchEvent::Complete,
        ];
        let pods = if pods.is_empty() { first } else { pods };
        let [namespaced, cluster] = self.policies();
        let mut lists = [
            namespaces(),
            namespaced,
            cluster,
            pods.into_iter().map(|tell| Input::Pod(None, tell)).collect(),
        ]
        .map(Vec::into_iter);
        while lists.iter().any(|list| list.len() > 0) {
            let at = self.rng.below(lists.len());
            if let Some(input) = lists[at].next() {
                operator.tell(input);
            }
        }
        self.operator = Some(operator);
    }

    /// What there is to see; and what the API server has of these policies must be the same.
    fn picture(&self, of: impl Fn(&str) -> bool) -> Picture {
        let operator = self.operator.as_ref().unwrap();
        let policies = self.server.policies();
        let picture = Picture::of(&operator.index(), policies.iter());
        for (name, status) in self.server.statuses() {
            assert!(
                !of(name) || status == picture.statuses[name],
                "the status of {name} lags behind: {status} instead of {}",
                picture.statuses[name]
            );
        }
        picture
    }
}
