//! Which Pods are evaluated, and what happens when the evaluation of a Pod ends.

use crate::domain::{
    observation::Phase,
    policy::Check,
    testing::{Harness, Pod, Step, minutes, policy, unready_since, web},
};

/// Every reason not to evaluate a Pod.
fn not_evaluated() -> [(&'static str, Step); 5] {
    [
        ("phase Succeeded", |pod| pod.with(|o| o.phase = Phase::Succeeded)),
        ("phase Failed", |pod| pod.with(|o| o.phase = Phase::Failed)),
        ("deletionTimestamp", |pod| pod.with(|o| o.terminating = true)),
        ("DisruptionTarget", |pod| {
            pod.conditions(|c| c.disruption_target = true)
        }),
        ("no node yet", |pod| pod.with(|o| o.scheduled = false)),
    ]
}

#[test]
fn a_pod_that_is_not_evaluated_violates_nothing() {
    for (why, change) in not_evaluated() {
        let mut harness = Harness::with(policy());
        harness.pod_at(10, &change(web().unready("envoy"))).at(4000);
        assert_eq!(harness.log(), [""; 0], "{why}");
        assert_eq!(harness.report().summary.pods, 0, "{why}: the Pod is not counted");
    }
    for phase in [Phase::Pending, Phase::Running, Phase::Unknown] {
        let mut harness = Harness::with(policy());
        harness
            .pod_at(10, &web().unready("envoy").with(|o| o.phase = phase))
            .at(4000);
        assert_eq!(harness.firing().len(), 2, "{phase:?} is evaluated");
    }
}

#[test]
fn everything_ends_when_a_pod_is_no_longer_evaluated() {
    for (why, change) in not_evaluated() {
        let mut harness = Harness::with(policy().check(Check::NotReady, |c| c.keep_firing_for = minutes(60)));
        harness
            .pod_at(0, &web())
            .pod_at(10, &web().unready("envoy"))
            .at(200);
        assert_eq!((harness.firing().len(), harness.pending().len()), (1, 1));
        harness.log();
        harness.events();
        harness.pod_at(210, &change(web().unready("envoy")));
        let expected = [
            "210 ended envoy NotReady",
            "210 ended envoy MainReadySidecarNotReady",
        ];
        assert_eq!(
            harness.log(),
            expected,
            "{why}: violations end at once, without keepFiringFor"
        );
        assert_eq!(harness.index.next_deadline(), None, "{why}: no deadline remains");
        harness.at(9000);
        assert_eq!(harness.events(), [], "{why}: no recovery Event");
    }
}

#[test]
fn a_deleted_pod_ends_everything_without_a_recovery() {
    let mut harness = Harness::with(policy());
    harness
        .pod_at(10, &web())
        .pod_at(20, &web().unready("envoy"))
        .at(200);
    harness.log();
    harness.events();
    harness.delete(&web());
    assert_eq!(
        harness.log(),
        [
            "200 ended envoy NotReady",
            "200 ended envoy MainReadySidecarNotReady"
        ]
    );
    assert_eq!(
        (harness.index.tracked_pods(), harness.index.next_deadline()),
        (0, None)
    );
    harness.delete(&web()).at(9000);
    assert_eq!(
        (harness.log().len(), harness.events().len()),
        (0, 0),
        "a deleted Pod has no later effects"
    );
}

#[test]
fn counts_are_dropped_when_a_pod_is_not_evaluated() {
    let evicted = |pod: Pod| pod.conditions(|c| c.disruption_target = true);
    let mut pod = web();
    let mut harness = Harness::with(policy());
    harness.pod(&pod);
    pod = harness.restarts(pod, "envoy", [10, 20]);
    harness.pod_at(30, &evicted(pod.clone())).pod_at(40, &pod);
    pod = harness.restarts(pod, "envoy", [50]);
    assert_eq!(
        harness.log(),
        [""; 0],
        "restarts before the eviction do not count"
    );
    harness.restarts(pod, "envoy", [60, 70]);
    assert_eq!(
        harness.log(),
        ["70 firing envoy FrequentRestarts"],
        "three restarts after the eviction fire"
    );
}

#[test]
fn changes_of_a_pod_that_is_not_evaluated_are_not_counted_later() {
    let evicted = |pod: Pod| pod.conditions(|c| c.disruption_target = true);
    let killed = web().oom_killed("envoy", 5).restarted("envoy", 6);
    let mut harness = Harness::with(policy());
    harness.pod_at(0, &web()).pod_at(10, &killed);
    assert_eq!(harness.log(), ["10 firing envoy OOMKilled"]);
    harness.pod_at(20, &evicted(killed.clone()));
    assert_eq!(harness.log(), ["20 ended envoy OOMKilled"]);
    harness.pod_at(30, &killed);
    assert_eq!(harness.log(), [""; 0], "the same kill does not count again");
    let thrice = (0..3).fold(killed.clone(), |pod, n| pod.restarted("envoy", 32 + n));
    harness.pod_at(31, &evicted(killed)).pod_at(40, &thrice);
    assert_eq!(
        harness.log(),
        [""; 0],
        "restarts during the eviction only move the baseline"
    );
    assert_eq!(
        harness.index.restarts().map(|r| r.count).sum::<u64>(),
        1,
        "restarts during the eviction are not in the series"
    );
    harness.pod_at(50, &thrice.oom_killed("envoy", 49).ready("envoy"));
    assert_eq!(harness.log(), ["50 firing envoy OOMKilled"], "another kill fires");
}

#[test]
fn a_fault_of_a_pod_that_is_evaluated_again_begins_then() {
    let bad = unready_since(5);
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod_at(10, &bad.clone().conditions(|c| c.disruption_target = true));
    harness.pod_at(600, &bad);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(600.0),
        "the onset is the observed change"
    );
}

#[test]
fn the_identity_of_a_pod_is_its_uid() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    let old = web().of("StatefulSet", "web");
    let new = old.clone().with(|pod| pod.uid = "another".into());
    harness
        .pod_at(0, &old)
        .pod_at(10, &old.clone().unready("envoy"))
        .at(200);
    harness.pod(&new.clone().starting("envoy", 150)).delete(&old);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(150.0),
        "the onset is the start of the new Pod's container"
    );
    harness.pod(&new.restarted("envoy", 200));
    assert_eq!(harness.firing(), [""; 0], "no violation of the old Pod remains");
    assert_eq!(harness.index.tracked_pods(), 1);
}
