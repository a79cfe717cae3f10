//! The longest time that one step holds the index, and the time of the whole work, for work that concerns many Pods. The
//! times are CPU times, so that the other load of the machine does not change them.
//!
//! `make bench` measures 50,000 and 150,000 Pods. `cargo test` runs each case once with a few Pods.

#![allow(clippy::unwrap_used, reason = "a benchmark of a broken program may panic")]

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use sidewatch::domain::{
    checkpoint::Assembly,
    effects::Effects,
    index::{Index, series::SeriesLimits},
    observation::{Observation, Workload},
    policy::{PolicyKind, PolicyUpdate},
};

use testkit::{
    fleet::{self, Fleet, REPLICAS, at, index_of, policy, policy_of, unready},
    policies,
};

/// The number of policies that all match all Pods.
const POLICIES: usize = 200;
/// The Pods that the operator exports in one step.
const PODS_PER_STEP: usize = 5_000;

fn main() {
    let measures = std::env::args().any(|argument| argument == "--bench");
    let pods = |count: u32| if measures { count } else { 200 };
    println!("{:54} {:>12} {:>12} {:>7}", "", "longest step", "total", "steps");
    only_policy(pods(150_000));
    many_policies(pods(50_000));
    workloads_and_images(pods(50_000));
    edits_of_a_namespace(pods(5_000));
    dropped_workloads(pods(10_000));
    mass_fault(pods(50_000));
    for count in [50_000, 150_000] {
        checkpoint(pods(count));
    }
}

/// Returns the time that this thread has run.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The durations of the steps of one piece of work.
#[derive(Default)]
struct Steps {
    longest: Duration,
    total: Duration,
    count: usize,
}

impl Steps {
    fn step<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let begun = cpu_time();
        let result = step();
        let took = cpu_time().saturating_sub(begun);
        self.longest = self.longest.max(took);
        self.total += took;
        self.count += 1;
        result
    }

    fn print(&self, what: &str) {
        let Self {
            longest,
            total,
            count,
        } = self;
        println!("{what:54} {longest:>12.2?} {total:>12.2?} {count:>7}");
    }
}

/// Applies Pods, one per step.
fn apply(steps: &mut Steps, index: &mut Index, pods: impl IntoIterator<Item = Observation>, now: Timestamp) {
    for pod in pods {
        drop(steps.step(|| index.apply(pod, now)));
    }
}

/// The same, and prints the times.
fn apply_and_print(
    what: &str,
    index: &mut Index,
    pods: impl IntoIterator<Item = Observation>,
    now: Timestamp,
) {
    let mut steps = Steps::default();
    apply(&mut steps, index, pods, now);
    steps.print(what);
}

/// Runs an update and the work that it leaves.
fn run(what: &str, index: &mut Index, now: Timestamp, update: impl FnOnce(&mut Index) -> Effects) {
    let mut steps = Steps::default();
    drop(steps.step(|| update(index)));
    while index.has_work() {
        drop(steps.step(|| index.work(now)));
    }
    while index.next_deadline().is_some_and(|due| due <= now) {
        drop(steps.step(|| index.tick(now)));
        while index.has_work() {
            drop(steps.step(|| index.work(now)));
        }
    }
    steps.print(what);
}

/// Computes the status of the only policy.
fn compute_status(index: &Index) {
    let key = policy("platform", 1, &json!({})).key;
    let mut report = Steps::default();
    assert!(report.step(|| index.report(&key)).is_some());
    report.print("  compute the status");
}

fn only_policy(pods: u32) {
    let mut index = index_of(Fleet::new(2).iter(pods), &json!({}));
    let edited = policy("platform", 2, &json!({"notReady": {"for": "7m"}}));
    run(
        &format!("edit the only policy of {pods} Pods"),
        &mut index,
        at(1),
        |index| index.apply_policy(edited, at(1)),
    );
    let key = policy("platform", 3, &json!({})).key;
    run(
        &format!("delete the only policy of {pods} Pods"),
        &mut index,
        at(2),
        |index| index.delete_policy(&key, at(2)),
    );
    run(
        &format!("add a policy to {pods} Pods"),
        &mut index,
        at(3),
        |index| index.apply_policy(policy("platform", 4, &json!({})), at(3)),
    );
}

fn many_policies(pods: u32) {
    let mut fleet = Fleet::new(2);
    let mut index = Index::new([None], false);
    for number in 0..POLICIES {
        let _ = index.apply_policy(policy(&format!("policy-{number}"), 1, &json!({})), at(0));
    }
    index.begin_resync(&None, at(0));
    let what = format!("list {pods} Pods under {POLICIES} policies");
    apply_and_print(&what, &mut index, fleet.iter(pods), at(0));
    run("  evaluate them", &mut index, at(0), |index| {
        index.finish_resync(&None, at(0))
    });
    run("  edit one policy", &mut index, at(1), |index| {
        index.apply_policy(policy("policy-7", 2, &json!({"notReady": {"for": "7m"}})), at(1))
    });
    run("  add a policy", &mut index, at(2), |index| {
        index.apply_policy(policy("another", 1, &json!({})), at(2))
    });
    let key = policy("policy-9", 1, &json!({})).key;
    run("  delete a policy", &mut index, at(3), |index| {
        index.delete_policy(&key, at(3))
    });
    let failing = fleet.iter(pods.min(1_000)).map(unready);
    apply_and_print("  Pods that become unready", &mut index, failing, at(4));
}

/// The checks on workloads and images: all workloads lack a sidecar, and half of the Pods change the version of another one.
fn workloads_and_images(pods: u32) {
    let mut off = Steps::default();
    let mut on = Steps::default();
    list(&mut off, pods, &json!({}));
    off.print(&format!("list {pods} Pods"));
    let mut index = list(&mut on, pods, &fleet::workloads_and_images("log-shipper"));
    on.print("  the same with the checks on workloads and images");
    run("  evaluate them", &mut index, at(0), |index| {
        index.finish_resync(&None, at(0))
    });
    let mut fleet = Fleet::new(2).with_proxy("1.28.1");
    let half = fleet.iter(pods / 2);
    let what = "  half of them change the version of their sidecar";
    apply_and_print(what, &mut index, half, at(1));
    run("  evaluate the images", &mut index, at(1), |_| Effects::default());
    run(
        "  the violations of workloads and images fire",
        &mut index,
        at(1_000),
        |_| Effects::default(),
    );
    let firing = index.violations().filter(|violation| violation.firing).count();
    assert_eq!(firing, (pods / REPLICAS) as usize + 1);
    compute_status(&index);
    run("  edit the policy", &mut index, at(1_001), |index| {
        let spec = fleet::workloads_and_images("another");
        index.apply_policy(policy_of("platform", 2, &spec), at(1_001))
    });
}

/// A namespace edits 50 policies that select all of its Pods, and then another namespace edits one: how long its status waits.
fn edits_of_a_namespace(pods: u32) {
    let of = |namespace: &str, name: &str, generation: i64| {
        let spec = json!({"checks": {"notReady": {"for": format!("{generation}m")}}});
        let mut update = policies::policy(PolicyKind::SidecarPolicy, name, generation, &spec);
        update.key.namespace = namespace.into();
        update.uid = format!("{namespace}-{name}").into();
        update
    };
    let tenant = |generation: i64| -> Vec<PolicyUpdate> {
        (0..50)
            .map(|n| of("shop", &format!("policy-{n}"), generation))
            .collect()
    };
    let mut fleet = Fleet::new(2);
    let others = fleet.iter(pods / 10).map(|pod| Observation {
        namespace: "pay".into(),
        uid: format!("pay-{}", pod.uid).into(),
        ..pod
    });
    let others: Vec<_> = others.collect();
    let mut index = index_of(fleet.iter(pods).chain(others), &json!({}));
    for update in tenant(1).into_iter().chain([of("pay", "mesh", 1)]) {
        let _ = index.apply_policy(update, at(1));
        fleet::finish_work(&mut index, at(1));
    }
    for update in tenant(2) {
        let _ = index.apply_policy(update, at(2));
    }
    let edited = of("pay", "mesh", 2);
    let key = edited.key.clone();
    let mut steps = Steps::default();
    drop(steps.step(|| index.apply_policy(edited, at(2))));
    while index.report(&key).is_none() {
        drop(steps.step(|| index.work(at(2))));
    }
    steps.print(&format!("a policy is edited beside 50 of {pods} Pods"));
    run("  the 50", &mut index, at(2), |_| Effects::default());
}

/// Lists Pods under one policy with this spec.
fn list(steps: &mut Steps, pods: u32, spec: &Value) -> Index {
    let mut index = Index::new([None], false);
    let _ = index.apply_policy(policy_of("platform", 1, spec), at(0));
    index.begin_resync(&None, at(0));
    apply(steps, &mut index, Fleet::new(2).iter(pods), at(0));
    index
}

/// Returns the Pod without an owner, so that it is a workload of its own.
fn bare(number: u32, pod: Observation) -> Observation {
    let workload = Workload {
        kind: "Pod".into(),
        name: format!("pod-{number}").into(),
    };
    Observation {
        workload: Arc::new(workload),
        ..pod
    }
}

fn dropped_workloads(pods: u32) {
    let mut fleet = Fleet::new(2);
    let pods: Vec<_> = (0..pods).map(|number| bare(number, fleet.pod(number))).collect();
    let mut index = index_of(pods.iter().cloned(), &json!({}));
    let count = pods.len();
    for mut pod in pods {
        for status in pod.statuses.iter_mut().flatten() {
            status.restart_count += 1;
        }
        let _ = index.apply(pod, at(1));
    }
    index.begin_resync(&None, at(2));
    run(
        &format!("a list drops {count} workloads with restarts"),
        &mut index,
        at(2),
        |index| index.finish_resync(&None, at(2)),
    );
    assert_eq!((index.tracked_pods(), index.restarts().count()), (0, 0));
}

/// All sidecars become unready at once, each in a workload of its own.
fn mass_fault(pods: u32) {
    let mut index = index_of(Fleet::new(2).iter(pods), &json!({}));
    let mut fleet = Fleet::new(2);
    let failing = (0..pods).map(|number| bare(number, unready(fleet.pod(number))));
    let what = format!("{pods} sidecars become unready");
    apply_and_print(&what, &mut index, failing, at(1));
    run("  their violations fire", &mut index, at(1_000), |_| {
        Effects::default()
    });
    assert_eq!(
        index.violations().filter(|violation| violation.firing).count(),
        2 * pods as usize
    );
    compute_status(&index);
    let mut series = Steps::default();
    drop(series.step(|| index.series(&SeriesLimits::default(), at(1_001))));
    series.print("  copy the series of the metrics");
    let edited = policy("platform", 2, &json!({"notReady": {"severity": "Critical"}}));
    run("  edit the policy", &mut index, at(1_001), |index| {
        index.apply_policy(edited, at(1_001))
    });
}

/// All sidecars are unready: export of the state, and import by a replica that watches the same Pods and by a new process.
fn checkpoint(pods: u32) {
    let of_fleet = || {
        let mut fleet = Fleet::new(2);
        (0..pods).map(move |number| unready(fleet.pod(number)))
    };
    let leader = index_of(of_fleet(), &json!({}));
    let mut export = Steps::default();
    let mut begun = export.step(|| leader.begin_export(at(10))).unwrap();
    let mut assembly = Assembly::new(begun.as_of, 0);
    while let Some(entries) = export.step(|| leader.export(&mut begun, PODS_PER_STEP)) {
        for entry in entries {
            assembly.add(entry).unwrap();
        }
    }
    let exported = assembly.finish(|_| false);
    export.print(&format!("export {pods} Pods with violations"));
    drop(leader);
    let mut standby = index_of(of_fleet(), &json!({}));
    let again = exported.clone();
    run("  join it as a standby", &mut standby, at(20), |index| {
        index.import(exported, at(20));
        Effects::default()
    });
    drop(standby);
    let mut index = Index::new([None], false);
    let mut import = Steps::default();
    import.step(|| index.import(again, at(20)));
    import.print("  read it in a new process");
    let _ = index.apply_policy(policy("platform", 1, &json!({})), at(20));
    index.begin_resync(&None, at(0));
    apply_and_print("  list the Pods", &mut index, of_fleet(), at(20));
    run("  end of the list", &mut index, at(20), |index| {
        index.finish_resync(&None, at(20))
    });
}
