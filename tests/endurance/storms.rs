//! Storms of changes. Writes stay within the limits, memory is bounded, and every violation and Event is counted.

use std::time::Duration;

use allocation_counter::measure;
use serde_json::json;
use sidewatch::domain::{observation::Observation, policy::PolicyUpdate};
use tokio::runtime::Runtime;

use testkit::{
    api_server::paused_runtime,
    fleet::{Fleet, at, policy, unready},
    policies::only,
};

use crate::rig::Rig;

const PODS: u32 = 10_000;
/// The maximum number of summaries of dropped Events: one for each policy and severity.
const SUMMARIES: u64 = 4;
/// The number of violations when all Pods fail: one per Pod and policy.
const FOUND: u64 = 2 * PODS as u64;

/// Returns two policies, each with one check that acts at once.
fn policies() -> Vec<PolicyUpdate> {
    let at_once = json!({"for": "0s", "keepFiringFor": "0s"});
    vec![
        policy("platform", 1, &only("notReady", &at_once)),
        policy("pages", 1, &only("mainReadySidecarNotReady", &at_once)),
    ]
}

/// Changes every Pod within a second.
async fn storm(rig: &mut Rig, pods: &[Observation], change: impl Fn(Observation) -> Observation) {
    for tenth in pods.chunks(pods.len() / 10) {
        for pod in tenth {
            rig.apply(change(pod.clone())).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Verifies that each policy has this many summaries, at most one in five minutes, and that they report all dropped Events.
fn check_summaries(rig: &Rig, per_policy: usize) {
    let summaries = rig.written().summaries.clone();
    for policy in ["platform", "pages"] {
        let name = format!("of ClusterSidecarPolicy {policy} ");
        let of_policy = summaries.iter().filter(|note| note.contains(&name));
        assert_eq!(of_policy.count(), per_policy, "{summaries:?}");
    }
    let dropped = |note: &String| note.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(
        summaries.iter().map(dropped).sum::<u64>(),
        rig.dropped(),
        "{summaries:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_failures_within_a_second_stay_within_the_limits_and_are_all_counted() {
    let pods = Fleet::new(2).pods(PODS);
    let mut rig = Rig::with(policies(), true, &pods).await;
    storm(&mut rig, &pods, unready).await;
    rig.pass(60).await;

    assert_eq!(rig.firing(), 2 * PODS as usize);
    assert_eq!(
        rig.sum("sidewatch_violations_total", ""),
        FOUND,
        "every violation is counted"
    );
    let events = rig.written().events.len();
    assert!(
        (200..=211).contains(&events),
        "{events} Events: a burst of 200, and 10 per second"
    );
    assert_eq!(
        rig.dropped(),
        FOUND - events as u64,
        "all other Events are counted as dropped"
    );
    check_summaries(&rig, 1);
    check_statuses(&rig, 61);

    storm(&mut rig, &pods, |pod| pod).await;
    rig.pass(600).await;
    assert_eq!(rig.index.lock().violations().count(), 0);
    assert_eq!(
        rig.sum("sidewatch_violation_duration_seconds_count", ""),
        FOUND,
        "every resolved violation is counted"
    );
    assert_eq!(rig.dropped() + rig.written().events.len() as u64, 2 * FOUND);
    check_summaries(&rig, 2);
    check_statuses(&rig, 661);
}

/// Verifies the statuses: at most one per policy in ten seconds, of bounded size, and correct at the end.
fn check_statuses(rig: &Rig, seconds: usize) {
    let written = rig.written();
    for policy in ["platform", "pages"] {
        let of_policy: Vec<_> = written
            .statuses
            .iter()
            .filter(|(name, ..)| name == policy)
            .collect();
        assert!(
            of_policy.len() <= 1 + seconds.div_ceil(10),
            "{} statuses of {policy}",
            of_policy.len()
        );
        for pair in of_policy.windows(2) {
            assert!(
                pair[1].1 >= pair[0].1 + Duration::from_secs(10),
                "{policy}: {:?} {:?}",
                pair[0].1,
                pair[1].1
            );
        }
        let (_, _, status) = of_policy.last().unwrap();
        let (listed, omitted) = (
            status["violations"].as_array().map_or(0, Vec::len),
            status["violationsOmitted"].as_u64(),
        );
        let firing = rig
            .index
            .lock()
            .violations()
            .filter(|v| *v.policy.name == *policy)
            .count();
        assert_eq!(status["summary"]["firing"], firing, "{policy}");
        assert_eq!(
            (listed, omitted),
            (firing.min(20), Some(firing.saturating_sub(20) as u64)),
            "{policy}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_relist_in_the_middle_changes_nothing() {
    let pods = Fleet::new(2).pods(PODS);
    let failing: Vec<Observation> = pods.iter().cloned().map(unready).collect();
    let half = pods.len() / 2;
    let mut rig = Rig::with(policies(), true, &pods).await;
    storm(&mut rig, &pods[..half], unready).await;
    // The list starts, breaks off and starts again. The other half of the Pods fails meanwhile.
    rig.begin_relist(&failing[half..half + half / 2]).await;
    rig.pass(1).await;
    assert_eq!(
        rig.sum("sidewatch_violations_total", ""),
        FOUND / 2,
        "nothing fires during the list"
    );
    rig.relist(&failing).await;
    rig.pass(60).await;
    assert_eq!(rig.firing(), 2 * pods.len());
    assert_eq!(
        rig.sum("sidewatch_violations_total", ""),
        FOUND,
        "every violation fires once"
    );
    assert_eq!(
        rig.dropped() + rig.written().events.len() as u64,
        FOUND,
        "every violation has an Event or is counted as dropped"
    );
    let events = rig.written().events.len();
    assert!(
        (200..=230).contains(&events),
        "{events} Events: a burst of 200, and 10 per second"
    );
    assert_eq!(rig.written().summaries.len(), 2, "{:?}", rig.written().summaries);
}

#[tokio::test(start_paused = true)]
async fn five_thousand_pods_deleted_at_once_leave_nothing_behind() {
    let pods = Fleet::new(2).pods(PODS);
    let mut rig = Rig::with(policies(), true, &pods).await;
    storm(&mut rig, &pods, unready).await;
    rig.pass(60).await;
    let (events, dropped) = (rig.written().events.len(), rig.dropped());
    let (gone, left) = pods.split_at(5_000);
    for pod in gone {
        rig.delete(pod.clone()).await;
    }
    rig.pass(60).await;
    assert_eq!(rig.sum("sidewatch_tracked_pods", ""), left.len() as u64);
    assert_eq!(rig.index.lock().violations().count(), 2 * left.len());
    assert_eq!(
        rig.written().events.len(),
        events,
        "a deleted Pod is not a recovery"
    );
    assert_eq!(rig.dropped(), dropped);
    check_statuses(&rig, 121);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_flaps_has_its_own_limit() {
    let pods = Fleet::new(2).pods(2);
    // Each change has its own `ContainersReady` time, so each is a new episode.
    let turned = |pod: &Observation, ready: bool, second: i64| {
        let mut pod = if ready { pod.clone() } else { unready(pod.clone()) };
        pod.conditions.containers_ready.as_mut().unwrap().since = Some(at(second)).into();
        pod
    };
    let mut rig = Rig::with(policies(), true, &pods).await;
    for second in 0..120 {
        rig.apply(turned(&pods[0], second % 2 == 1, second)).await;
        rig.pass(1).await;
    }
    assert_eq!(rig.written().events.len(), 25, "25 of 240 Events in two minutes");
    assert_eq!(rig.sum("sidewatch_events_dropped_total", "pod_limit"), 240 - 25);
    assert_eq!(
        rig.sum("sidewatch_violations_total", ""),
        120,
        "every violation is counted"
    );
    rig.apply(turned(&pods[1], false, 0)).await;
    rig.pass(1).await;
    assert_eq!(
        rig.written().events.len(),
        25 + 2,
        "another Pod has its own limit"
    );
    rig.pass(600).await;
    check_summaries(&rig, 2);
}

/// Returns the bytes that a step of the rig leaves allocated, and the maximum during the step.
fn leaves(runtime: &Runtime, step: impl Future<Output = ()>) -> (i64, u64) {
    let info = measure(|| runtime.block_on(step));
    (info.bytes_current, info.bytes_max)
}

#[test]
fn memory_is_released_after_a_storm() {
    let mut fleet = Fleet::new(2);
    let pods = fleet.pods(PODS);
    let runtime = paused_runtime();
    let mut rig = runtime.block_on(Rig::with(policies(), true, &pods));
    let mut storm_and_end = || {
        leaves(&runtime, async {
            storm(&mut rig, &pods, unready).await;
            rig.pass(60).await;
            storm(&mut rig, &pods, |pod| pod).await;
            rig.pass(600).await;
        })
    };
    let (first, most) = storm_and_end();
    let (second, _) = storm_and_end();
    println!("a storm and its end: {first} bytes kept, {most} at most; another one: {second} kept");
    // Three things are kept until the Pod is deleted: the history of its containers, with what identifies each change in the
    // checkpoint; its place among the histories of the namespace; and the hashes of Event names.
    assert!(first < i64::from(PODS) * 900, "{first} bytes after a storm");
    assert!(second < i64::from(PODS) * 60, "{second} bytes more after another");
    assert!(most < 40_000_000, "{most} bytes in a storm");

    let (kept, _) = leaves(&runtime, async {
        for pod in &pods[..5_000] {
            rig.delete(pod.clone()).await;
        }
        rig.pass(60).await;
    });
    println!("5,000 Pods deleted: {kept} bytes kept");
    assert!(kept < -5_000 * 300, "{kept} bytes after 5,000 Pods went");

    let mut grown = Vec::new();
    for generation in 1..=4 {
        let (kept, _) = leaves(&runtime, async {
            let others = (0..5_000).map(|number| unready(fleet.pod(generation * 5_000 + number)));
            let others: Vec<_> = others.collect();
            rig.relist(&others).await;
            rig.pass(60).await;
        });
        grown.push(kept);
    }
    println!("5,000 Pods replaced by others, each time: {grown:?} bytes kept");
    // The limit equals one leaked record for every tenth Pod.
    assert!(
        grown[1..].iter().sum::<i64>() < 1_000_000,
        "{grown:?} bytes after each generation"
    );
}

#[tokio::test(start_paused = true)]
async fn queues_are_bounded_if_the_server_never_answers() {
    let pods = Fleet::new(2).pods(PODS);
    let mut rig = Rig::with(policies(), false, &pods).await;
    // Twenty Events per second for seven minutes are twice the budget. Each Pod fails once.
    let mut found = 0;
    for pods in pods.chunks(10).take(7 * 60) {
        for pod in pods {
            rig.apply(unready(pod.clone())).await;
            found += 2;
        }
        rig.pass(1).await;
    }
    let limited = rig.sum("sidewatch_events_dropped_total", "global_limit");
    let full = rig.sum("sidewatch_events_dropped_total", "queue_full");
    assert!(limited > 1_000, "{limited} Events exceeded the budget");
    assert!(full > 100, "{full} Events met a full queue");
    let waiting = found - limited - full;
    assert!(waiting <= 4_096, "{waiting} Events wait");
    rig.abandon();
    let shutdown = rig.sum("sidewatch_events_dropped_total", "shutdown");
    assert!(
        (waiting..=waiting + SUMMARIES).contains(&shutdown),
        "{waiting} Events and their summaries are dropped at shutdown: {shutdown}"
    );
    assert_eq!(rig.dropped(), limited + full + shutdown);
}
