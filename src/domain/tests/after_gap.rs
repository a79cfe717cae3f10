//! Since when a fault is there that was there when a gap ended, or when a policy came.

use crate::domain::{
    policy::Check,
    testing::{Pod, World, key, minutes, one_of, policy, web},
};

#[test]
fn after_a_gap_nothing_began_before_our_last_look() {
    let bad = |since| web().unready("envoy").containers_unready_since(since);
    let table = [
        (700, 700.0, "within the gap"),
        (100, 500.0, "before our last look"),
        (2000, 1000.0, "after now"),
    ];
    for (since, expected, why) in table {
        for relist in [true, false] {
            let mut world = World::with(policy().only(Check::NotReady));
            world.pod(&web()).at(500).hold().at(1000);
            if relist {
                world.resync([&bad(since)]);
            } else {
                world.pod(&bad(since)).resume();
            }
            assert_eq!(
                world.onset("envoy", Check::NotReady),
                Some(expected),
                "{why}, {relist}"
            );
        }
    }
    let mut world = World::with(policy().only(Check::NotReady));
    world
        .pod(&web())
        .at(500)
        .hold()
        .at(600)
        .begin_resync()
        .at(800)
        .begin_resync();
    world.at(1000).pod(&bad(550)).finish_resync();
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(550.0),
        "a second error does not move the last look"
    );
    let killed = web().killed_for_memory("envoy", 700).restarted("envoy", 701);
    let mut world = World::with(policy().only(Check::OOMKilled));
    world.pod(&web()).at(500).hold().at(1000).resync([&killed]);
    assert_eq!(
        world.onset("envoy", Check::OOMKilled),
        Some(700.0),
        "a memory kill within the gap, at its time"
    );
}

#[test]
fn a_pod_that_came_within_a_gap_is_seen_for_the_first_time() {
    let mut world = World::with(policy().only(Check::NotReady));
    world
        .at(500)
        .hold()
        .at(1000)
        .resync([&web().unready("envoy").containers_unready_since(450)]);
    assert_eq!(world.onset("envoy", Check::NotReady), Some(450.0));
}

#[test]
fn a_policy_that_comes_later_looks_for_the_first_time() {
    let bad = web().unready("envoy").containers_unready_since(300);
    let mut world = World::with(policy().with(|p| p.pods = one_of("app", "web")));
    world.pod(&web()).at(310).pod(&bad).at(1000);
    assert_eq!(world.story(), [""; 0]);
    world.pod(&bad.clone().labelled(&[("app", "web")]));
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(300.0),
        "the Pod's label makes it match"
    );
    world
        .policy(policy().only(Check::FrequentRestarts))
        .policy(policy());
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(300.0),
        "an edit puts the check on"
    );
}

#[test]
fn the_first_look_of_one_policy_is_not_that_of_another() {
    let labelled = |pod: Pod| pod.labelled(&[("app", "web")]);
    let bad = web().unready("envoy").containers_unready_since(300);
    let mut world = World::with(policy().only(Check::NotReady));
    let other = policy()
        .only(Check::JobHeldOpen)
        .with(|p| p.pods = one_of("app", "web"));
    world.policy_as(key("other"), Ok(other.clone()), Vec::new());
    world.pod(&web()).at(310).pod(&labelled(bad.clone()));
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(310.0),
        "it matched before, and saw the fault begin"
    );

    let mut world = World::with(policy().only(Check::NotReady));
    world.pod(&web()).at(500).hold().at(600).pod(&bad);
    world.policy_as(
        key("other"),
        Ok(other.check(Check::NotReady, |c| c.hold_for = minutes(1))),
        Vec::new(),
    );
    world.at(1000).resume();
    assert_eq!(
        world.onset("envoy", Check::NotReady),
        Some(500.0),
        "not before its own last look"
    );
}
