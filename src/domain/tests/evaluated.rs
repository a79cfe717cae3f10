//! Which Pods are evaluated at all, and what ends with that.

use crate::domain::{
    observation::Phase,
    policy::Check,
    testing::{Pod, Step, World, minutes, policy, web},
};

/// Every way in which a Pod is not evaluated.
fn ways_out() -> [(&'static str, Step); 5] {
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
    for (why, leaves) in ways_out() {
        let mut world = World::with(policy());
        world.at(10).pod(&leaves(web().unready("envoy"))).at(4000);
        assert_eq!(world.story(), [""; 0], "{why}");
        assert_eq!(world.report().summary.pods, 0, "{why}: it does not count either");
    }
    for phase in [Phase::Pending, Phase::Running, Phase::Unknown] {
        let mut world = World::with(policy());
        world
            .at(10)
            .pod(&web().unready("envoy").with(|o| o.phase = phase))
            .at(4000);
        assert_eq!(world.firing().len(), 2, "{phase:?} is evaluated");
    }
}

#[test]
fn everything_ends_when_a_pod_is_no_longer_evaluated() {
    for (why, leaves) in ways_out() {
        let mut world = World::with(policy().check(Check::NotReady, |c| c.keep_firing_for = minutes(60)));
        world
            .at(0)
            .pod(&web())
            .at(10)
            .pod(&web().unready("envoy"))
            .at(200);
        assert_eq!((world.firing().len(), world.pending().len()), (1, 1));
        world.story();
        world.events();
        world.at(210).pod(&leaves(web().unready("envoy")));
        let expected = [
            "210 ended envoy NotReady",
            "210 ended envoy MainReadySidecarNotReady",
        ];
        assert_eq!(
            world.story(),
            expected,
            "{why}: at that moment, whatever keepFiringFor says"
        );
        assert_eq!(world.index.next_deadline(), None, "{why}: nothing is due");
        world.at(9000);
        assert_eq!(world.events(), [], "{why}: without a recovery Event");
    }
}

#[test]
fn a_deleted_pod_ends_everything_without_a_recovery() {
    let mut world = World::with(policy());
    world
        .at(10)
        .pod(&web())
        .at(20)
        .pod(&web().unready("envoy"))
        .at(200);
    world.story();
    world.events();
    world.delete(&web());
    assert_eq!(
        world.story(),
        [
            "200 ended envoy NotReady",
            "200 ended envoy MainReadySidecarNotReady"
        ]
    );
    assert_eq!(
        (world.index.tracked_pods(), world.index.next_deadline()),
        (0, None)
    );
    world.delete(&web()).at(9000);
    assert_eq!(
        (world.story().len(), world.events().len()),
        (0, 0),
        "nothing is left to happen"
    );
}

#[test]
fn counts_are_forgotten_with_the_evaluation() {
    let evicted = |pod: Pod| pod.conditions(|c| c.disruption_target = true);
    let mut pod = web();
    let mut world = World::with(policy());
    world.pod(&pod);
    for second in [10, 20] {
        pod = pod.restarted("envoy", second);
        world.at(second).pod(&pod);
    }
    world.at(30).pod(&evicted(pod.clone())).at(40).pod(&pod);
    pod = pod.restarted("envoy", 50);
    world.at(50).pod(&pod);
    assert_eq!(
        world.story(),
        [""; 0],
        "two restarts before and one after are not three"
    );
    for second in [60, 70] {
        pod = pod.restarted("envoy", second);
        world.at(second).pod(&pod);
    }
    assert_eq!(
        world.story(),
        ["70 firing envoy FrequentRestarts"],
        "three after are"
    );
}

#[test]
fn what_happened_while_a_pod_was_not_evaluated_is_no_news_when_it_comes_back() {
    let evicted = |pod: Pod| pod.conditions(|c| c.disruption_target = true);
    let killed = web().killed_for_memory("envoy", 5).restarted("envoy", 6);
    let mut world = World::with(policy());
    world.at(0).pod(&web()).at(10).pod(&killed);
    assert_eq!(world.story(), ["10 firing envoy OOMKilled"]);
    world.at(20).pod(&evicted(killed.clone()));
    assert_eq!(world.story(), ["20 ended envoy OOMKilled"]);
    world.at(30).pod(&killed);
    assert_eq!(world.story(), [""; 0], "the same kill does not count again");
    let thrice = (0..3).fold(killed.clone(), |pod, n| pod.restarted("envoy", 32 + n));
    world.at(31).pod(&evicted(killed)).at(40).pod(&thrice);
    assert_eq!(
        world.story(),
        [""; 0],
        "restarts out of sight move the baseline only"
    );
    assert_eq!(
        world.index.restarts().map(|r| r.count).sum::<u64>(),
        1,
        "nor are they in the series"
    );
    world
        .at(50)
        .pod(&thrice.killed_for_memory("envoy", 49).ready("envoy"));
    assert_eq!(
        world.story(),
        ["50 firing envoy OOMKilled"],
        "another kill is news"
    );
}

#[test]
fn a_fault_that_a_pod_comes_back_with_begins_then() {
    let bad = web().unready("envoy").containers_unready_since(5);
    let mut world = World::with(policy().only(Check::NotReady));
    world
        .at(10)
        .pod(&bad.clone().conditions(|c| c.disruption_target = true));
    world.at(600).pod(&bad);
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(600.0),
        "we saw it come"
    );
}

#[test]
fn the_identity_of_a_pod_is_its_uid() {
    let mut world = World::with(policy().only(Check::NotReady));
    let old = web().of("StatefulSet", "web");
    let new = old.clone().with(|pod| pod.uid = "another".into());
    world
        .at(0)
        .pod(&old)
        .at(10)
        .pod(&old.clone().unready("envoy"))
        .at(200);
    world.pod(&new.clone().unready("envoy")).delete(&old);
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(0.0),
        "bound by its own start, not by what the old one did"
    );
    world.pod(&new.restarted("envoy", 200));
    assert_eq!(world.firing(), [""; 0], "nothing of the old one is left");
    assert_eq!(world.index.tracked_pods(), 1);
}
