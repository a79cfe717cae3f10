//! Random histories of a small cluster: the steps, and a player that applies them to an index.

use jiff::{SignedDuration, Timestamp};
use proptest::{collection, prelude::*, sample::select};

use crate::domain::{
    checks::frequent_restarts::Scope,
    observation::{ContainerStatus, Phase, RestartPolicy, State},
    policy::{Check, Mode, Policy, PolicyKey, Severity},
    testing::{Harness, Pod, at, cluster_key, invalid, key, key_in, one_of, policy, seconds, web_named},
};

/// The number of Pods.
pub(super) const PODS: usize = 4;
/// The number of policies.
pub(super) const POLICIES: usize = 3;
/// The number of versions of each policy.
const VERSIONS: usize = 9;

/// A step of a history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The clock advances by tenths of a second.
    Wait(i64),
    /// A Pod changes. A deleted Pod is first created with a new UID.
    Pod(usize, Change),
    Delete(usize),
    /// A policy is created or edited.
    Policy(usize, usize),
    Invalid(usize),
    DeletePolicy(usize),
    Namespace(bool),
    /// The Pod watch breaks.
    Hold,
    /// The Pod watch resumes.
    Resume,
    /// The Pod watch lists again. The list may start twice.
    Relist(bool),
}

/// A change of a Pod. The first number selects a container.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Ready(usize),
    Unready(usize),
    Starting(usize),
    Waiting(usize),
    Exit(usize, i32),
    OomKill(usize),
    Restart(usize),
    Unreported(usize),
    Initialized(bool),
    Sandbox(bool),
    Disrupted(bool),
    Restarting(bool),
    Resizing(u32),
    NodeLost(bool),
    Scheduled(bool),
    Labelled(bool),
    Succeeded,
    Terminating,
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    let container = 0..4usize;
    let yes_no = any::<bool>();
    prop_oneof![
        8 => container.clone().prop_map(Ready),
        10 => container.clone().prop_map(Unready),
        4 => container.clone().prop_map(Starting),
        2 => container.clone().prop_map(Waiting),
        4 => (container.clone(), select(vec![0, 1])).prop_map(|(c, code)| Exit(c, code)),
        3 => container.clone().prop_map(OomKill),
        10 => container.clone().prop_map(Restart),
        1 => container.prop_map(Unreported),
        3 => yes_no.prop_map(Initialized),
        1 => yes_no.prop_map(Sandbox),
        2 => yes_no.prop_map(Disrupted),
        2 => yes_no.prop_map(Restarting),
        1 => (0..3u32).prop_map(Resizing),
        2 => yes_no.prop_map(NodeLost),
        1 => yes_no.prop_map(Scheduled),
        2 => yes_no.prop_map(Labelled),
        1 => Just(Succeeded),
        1 => Just(Terminating),
    ]
}

/// A random step. Waits are multiples of `unit` tenths of a second.
fn step(unit: i64) -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        12 => (0..80i64).prop_map(move |n| Wait(n / unit * unit)),
        24 => (0..PODS, change()).prop_map(|(pod, change)| Pod(pod, change)),
        1 => (0..PODS).prop_map(Delete),
        3 => (0..POLICIES, 0..VERSIONS).prop_map(|(policy, version)| Policy(policy, version)),
        1 => (0..POLICIES).prop_map(Invalid),
        1 => (0..POLICIES).prop_map(DeletePolicy),
        1 => any::<bool>().prop_map(Namespace),
        1 => Just(Hold),
        1 => Just(Resume),
        1 => any::<bool>().prop_map(Relist),
    ]
}

/// A history, in tenths of a second.
pub(super) fn history() -> impl Strategy<Value = Vec<Step>> {
    collection::vec(step(1), 1..60)
}

/// A history in whole seconds, as a status writes them.
pub(super) fn history_in_seconds() -> impl Strategy<Value = Vec<Step>> {
    collection::vec(step(10), 1..60)
}

/// The key of a policy by its number: of `pay`, of `shop`, of the cluster.
pub(super) fn policy_key(number: usize) -> PolicyKey {
    match number {
        0 => key("mesh"),
        1 => key_in("shop", "mesh"),
        _ => cluster_key("platform"),
    }
}

/// The versions of a policy, with short times. The first four keep the onsets of violations.
pub(super) fn version(number: usize) -> Policy {
    let base = Check::ALL.into_iter().fold(policy(), |policy, check| {
        policy.check(check, |c| {
            (c.count, c.window) = (2, seconds(10));
            c.keep_firing_for = seconds(4);
            if c.hold_for > seconds(0) {
                c.hold_for = seconds(5);
            }
        })
    });
    let base = base.with(|p| {
        (
            p.repeat_period,
            p.checks.startup_blocked.limits.init_containers_for,
        ) = (seconds(9), seconds(8));
    });
    let not_ready = |policy: Policy, hold_for| policy.hold_for(Check::NotReady, seconds(hold_for));
    match number {
        0 => base,
        1 => not_ready(base, 0).check(Check::OOMKilled, |c| c.severity = Severity::Critical),
        2 => not_ready(base, 20).with(|p| p.runbook_url = "https://example/".into()),
        3 => base.with(|p| p.mode = Mode::Observe),
        4 => base.with(|p| p.checks.frequent_restarts.limits.scope = Scope::AllContainers),
        5 => base.with(|p| p.sidecars.exclude_names = ["envoy".into()].into()),
        6 => base.with(|p| p.pods = one_of("app", "web")),
        7 => base.with(|p| p.namespaces = one_of("team", "pay")),
        _ => base.with(|p| p.mode = Mode::Off),
    }
}

/// The initial Pod with this number.
fn initial(place: usize, creation: usize) -> Pod {
    let name = format!("pod-{place}");
    let pod = match place {
        2 => Pod::named(&name)
            .init("setup")
            .native("envoy")
            .regular("app")
            .regular("log-sidecar")
            .restart_policy(RestartPolicy::OnFailure)
            .of("Job", "report"),
        3 => web_named(&name).in_namespace("shop"),
        _ => web_named(&name),
    };
    pod.with(|pod| pod.uid = format!("{name}-{creation}").into())
}

fn reported(pod: Pod, name: &str, place: usize) -> Pod {
    pod.with(|pod| {
        pod.statuses[place].get_or_insert(ContainerStatus {
            ready: false,
            started: true,
            restart_count: 0,
            run: 10 + name.len() as u64,
            state: State::Running(Some(at(0))),
            last_exit: None,
        });
    })
}

fn changed(pod: &Pod, change: &Change, second: i64) -> Pod {
    use Change::*;
    let pod = pod.clone();
    let chosen = match change {
        Ready(c)
        | Unready(c)
        | Starting(c)
        | Waiting(c)
        | Exit(c, _)
        | OomKill(c)
        | Restart(c)
        | Unreported(c) => c % pod.0.shape.containers.len(),
        _ => 0,
    };
    let name = pod.0.shape.containers[chosen].name.clone();
    let pod = reported(pod, &name, chosen);
    match change {
        Ready(_) => pod.ready(&name),
        Unready(_) => pod.unready(&name).containers_unready_since(second),
        Starting(_) => pod.starting(&name, second),
        Waiting(_) => pod.waiting(&name, "ImagePullBackOff"),
        Exit(_, code) => pod.exits(&name, *code, second),
        OomKill(_) => pod.oom_killed(&name, second),
        Restart(_) => pod.restarted(&name, second),
        Unreported(_) => pod.unreported(&name),
        Initialized(yes) => pod.conditions(|c| c.initialized = *yes),
        Sandbox(yes) => pod.sandbox(*yes, second),
        Disrupted(yes) => pod.conditions(|c| c.disruption_target = *yes),
        Restarting(yes) => pod.conditions(|c| c.all_containers_restarting = *yes),
        Resizing(generation) => pod.resizing(*generation),
        NodeLost(yes) => pod.conditions(|c| c.ready_false_without_reason = *yes),
        Scheduled(yes) => pod.with(|pod| pod.scheduled = *yes),
        Labelled(yes) => pod.labels(if *yes { &[("app", "web")] } else { &[] }),
        Succeeded => pod.with(|pod| pod.phase = Phase::Succeeded),
        Terminating => pod.with(|pod| pod.terminating = true),
    }
}

/// How the index handles deadlines.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// Each deadline is handled when it is due.
    Timely,
    /// The timer fires late.
    Late,
    /// Every Pod is evaluated every tenth of a second, without deadlines.
    Polling,
}

/// The current state of the cluster, and the index that observes it.
pub(super) struct Player {
    pub(super) harness: Harness,
    pub(super) pods: [Option<Pod>; PODS],
    pub(super) policies: [Option<usize>; POLICIES],
    pub(super) team: bool,
    pub(super) creations: [usize; PODS],
    pub(super) pace: Pace,
    /// The Pods that changed while the watch was broken, with the UIDs of deleted ones. `None` while it works.
    pub(super) missed: Option<Vec<(usize, Option<Pod>)>>,
}

impl Player {
    /// Creates a cluster with the first version of every policy and without Pods.
    pub(super) fn new(pace: Pace) -> Self {
        let mut player = Self {
            harness: Harness::starting(),
            pods: Default::default(),
            policies: [None; POLICIES],
            team: true,
            creations: [0; PODS],
            pace,
            missed: None,
        };
        player.harness.recounts = false;
        player.harness.resync([]);
        for number in 0..POLICIES {
            player.play(&Step::Policy(number, 0));
        }
        player
    }

    pub(super) fn play_all<'a>(&mut self, steps: impl IntoIterator<Item = &'a Step>) -> &mut Self {
        for step in steps {
            self.play(step);
        }
        self
    }

    pub(super) fn play(&mut self, step: &Step) {
        match step {
            Step::Wait(tenths) => self.pass(self.harness.now + SignedDuration::from_millis(100 * tenths)),
            Step::Pod(place, change) => {
                let second = self.harness.now.duration_since(at(0)).as_secs();
                let pod = self.pods[*place].clone().unwrap_or_else(|| {
                    self.creations[*place] += 1;
                    initial(*place, self.creations[*place])
                });
                self.pods[*place] = Some(changed(&pod, change, second));
                self.deliver(*place, None);
            }
            Step::Delete(place) => {
                let gone = self.pods[*place].take();
                self.deliver(*place, gone);
            }
            Step::Policy(number, of) => {
                self.policies[*number] = Some(*of);
                self.harness.add(policy_key(*number), version(*of));
            }
            Step::Invalid(number) => {
                if self.policies[*number].is_some() {
                    self.harness
                        .policy_as(policy_key(*number), invalid("no"), Vec::new());
                }
            }
            Step::DeletePolicy(number) => {
                self.policies[*number] = None;
                self.harness.delete_policy(&policy_key(*number));
            }
            Step::Namespace(team) => {
                self.team = *team;
                self.harness.namespace("pay", if *team { "pay" } else { "none" });
            }
            Step::Hold => {
                self.harness.hold();
                self.missed.get_or_insert_default();
            }
            Step::Resume => self.resume(),
            Step::Relist(twice) => self.relist(*twice),
        }
    }

    fn pass(&mut self, moment: Timestamp) {
        match self.pace {
            Pace::Timely => self.harness.until(moment),
            Pace::Late => self.harness.late(moment),
            Pace::Polling => self.harness.polling(moment),
        };
    }

    fn deliver(&mut self, place: usize, gone: Option<Pod>) {
        if let Some(missed) = &mut self.missed {
            missed.push((place, gone));
            return;
        }
        if let Some(gone) = gone {
            self.harness.delete(&gone);
        }
        if let Some(pod) = &self.pods[place] {
            self.harness.pod(pod);
        }
    }

    /// The watch resumes, and delivers the missed changes.
    pub(super) fn resume(&mut self) {
        self.harness.resume();
        for (place, gone) in self.missed.take().unwrap_or_default() {
            self.deliver(place, gone);
        }
    }

    fn relist(&mut self, twice: bool) {
        self.missed = None;
        self.harness.begin_resync();
        if let Some(first) = self.pods.iter().flatten().next().filter(|_| twice) {
            self.harness.pod(first).begin_resync();
        }
        for pod in self.pods.iter().flatten() {
            self.harness.pod(pod);
        }
        self.harness.finish_resync();
    }
}
