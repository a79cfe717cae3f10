//! When a Pod, or a whole watch, is not believed for a while.

use crate::domain::{
    index::Index,
    policy::{Check, PolicyUpdate},
    testing::{Pod, Step, World, at, key, minutes, policy, story, web},
};

/// A hold in four acts: a good word, a Pod that fails, the hold, its end.
struct Hold {
    name: &'static str,
    begin: for<'a> fn(&'a mut World, &Pod) -> &'a mut World,
    end: for<'a> fn(&'a mut World, &Pod) -> &'a mut World,
}

/// Every way in which a Pod can be held.
fn holds() -> [Hold; 3] {
    fn restarting(pod: &Pod) -> Pod {
        pod.clone().conditions(|c| c.all_containers_restarting = true)
    }
    [
        Hold {
            name: "the watch is broken",
            begin: |world, _| world.hold(),
            end: |world, pod| world.pod(pod).resume(),
        },
        Hold {
            name: "the watch is listing anew",
            begin: |world, _| world.begin_resync(),
            end: |world, pod| world.pod(pod).finish_resync(),
        },
        Hold {
            name: "all containers are restarting",
            begin: |world, pod| world.pod(&restarting(pod)),
            end: |world, pod| world.pod(pod),
        },
    ]
}

#[test]
fn time_goes_on_while_held_and_deadlines_that_passed_act_at_once() {
    for Hold { name, begin, end } in holds() {
        let bad = web().unready("envoy");
        let mut world = World::with(policy().only(Check::NotReady));
        world.at(0).pod(&web()).at(10).pod(&bad).at(20);
        assert_eq!(world.story(), ["10 pending envoy NotReady"]);
        begin(&mut world, &bad);
        world.at(400);
        assert_eq!(world.story(), [""; 0], "{name}: nothing fires");
        end(&mut world, &bad);
        assert_eq!(
            world.story(),
            ["400 firing envoy NotReady"],
            "{name}: the fault is still there"
        );
        assert_eq!(
            world.onset("envoy", Check::NotReady),
            Some(10.0),
            "{name}: the onset stands"
        );
    }
}

#[test]
fn what_no_longer_fails_ends_with_the_hold() {
    for Hold { name, begin, end } in holds() {
        let bad = web().unready("envoy");
        let mut world = World::with(policy().only(Check::NotReady));
        world.at(0).pod(&web()).at(10).pod(&bad).at(20);
        begin(&mut world, &bad);
        world.at(400);
        world.story();
        end(&mut world, &web());
        assert_eq!(
            world.story(),
            ["400 cleared envoy NotReady"],
            "{name}: a pending one, and it never fired"
        );
    }
}

#[test]
fn nothing_resolves_while_held() {
    for Hold { name, begin, end } in holds() {
        let bad = web().unready("envoy");
        let mut world = World::with(policy().only(Check::NotReady));
        world
            .at(0)
            .pod(&web())
            .at(10)
            .pod(&bad)
            .at(320)
            .pod(&web())
            .at(330);
        assert_eq!(world.firing(), ["envoy NotReady"]);
        begin(&mut world, &web());
        world.at(1000);
        assert_eq!(
            world.firing(),
            ["envoy NotReady"],
            "{name}: keepFiringFor has passed"
        );
        world.story();
        end(&mut world, &web());
        assert_eq!(
            world.story(),
            ["1000 resolved envoy NotReady"],
            "{name}: now it acts"
        );

        let mut world = World::with(policy().only(Check::NotReady));
        world
            .at(0)
            .pod(&web())
            .at(10)
            .pod(&bad)
            .at(320)
            .pod(&web())
            .at(330);
        world.story();
        begin(&mut world, &web());
        world.at(1000);
        end(&mut world, &bad);
        world.at(2000);
        assert_eq!(
            world.story(),
            [""; 0],
            "{name}: the fault is back before anyone could say that it went"
        );
        assert_eq!(world.onset("envoy", Check::NotReady), Some(10.0), "{name}");
    }
}

#[test]
fn nothing_is_repeated_while_held() {
    for Hold { name, begin, end } in holds() {
        let bad = web().unready("envoy");
        let mut world = World::with(policy().only(Check::NotReady));
        world.at(0).pod(&web()).at(10).pod(&bad).at(400);
        assert_eq!(world.events().len(), 1);
        begin(&mut world, &bad);
        world.at(5000);
        assert_eq!(world.events(), [], "{name}");
        end(&mut world, &bad);
        assert_eq!(world.events().len(), 1, "{name}: what is due comes then");
    }
}

#[test]
fn a_held_pod_may_still_leave() {
    for Hold { name, begin, end: _ } in holds() {
        let bad = web().unready("envoy");
        let mut world = World::with(policy().only(Check::NotReady));
        world.at(0).pod(&web()).at(10).pod(&bad).at(400);
        begin(&mut world, &bad);
        world.story();
        world.at(410).pod(&bad.clone().with(|pod| pod.terminating = true));
        assert_eq!(
            world.story(),
            ["410 ended envoy NotReady"],
            "{name}: not evaluated wins over held"
        );
    }
}

#[test]
fn a_lost_node_freezes_what_its_pods_say() {
    let pod = web().regular("worker");
    let mut world = World::with(policy().check(Check::NotReady, |c| c.keep_firing_for = minutes(10)));
    world.at(0).pod(&pod).at(10).pod(&pod.clone().unready("envoy"));
    world
        .at(400)
        .pod(&pod)
        .at(410)
        .pod(&pod.clone().node_lost())
        .at(4000);
    assert_eq!(
        world.firing(),
        ["envoy NotReady", "envoy MainReadySidecarNotReady"],
        "nothing resolves"
    );
    world.story();
    world.pod(&pod);
    assert_eq!(
        world.story(),
        [
            "4000 resolved envoy NotReady",
            "4000 resolved envoy MainReadySidecarNotReady"
        ],
        "the node is back"
    );
}

#[test]
fn only_the_signs_of_a_lost_node_hold_a_pod() {
    let with_init = || Pod::named("web-1").init("setup").native("envoy").regular("app");
    let not_ready = |pod: Pod| pod.containers_unready_since(5);
    let table = [
        (
            web().node_lost(),
            true,
            "Ready=False without a reason, all else as if nothing was",
        ),
        (
            with_init().node_lost(),
            true,
            "a completed init container is ready too",
        ),
        (web(), false, "no Ready=False without a reason"),
        (
            not_ready(web().node_lost()),
            false,
            "ContainersReady=False: the kubelet's own word",
        ),
        (
            web().node_lost().conditions(|c| c.containers_ready = None),
            false,
            "no ContainersReady at all",
        ),
        (
            web().unready("envoy").node_lost(),
            false,
            "an unready container: it was unready before",
        ),
        (web().unready("app").node_lost(), false, "or a main one"),
        (
            web().unreported("envoy").node_lost(),
            false,
            "or one without a status",
        ),
        (
            web().conditions(|c| c.all_containers_restarting = true),
            true,
            "all containers restart",
        ),
        (
            web()
                .unready("envoy")
                .conditions(|c| c.all_containers_restarting = true),
            true,
            "whatever they say",
        ),
        (
            web().conditions(|c| c.resize_in_progress = true),
            false,
            "a resize holds nothing",
        ),
    ];
    for (pod, expected, why) in table {
        assert_eq!(pod.0.is_held(), expected, "{why}");
    }
}

#[test]
fn while_a_pod_is_held_nothing_is_counted() {
    let signs: [(&str, Step); 2] = [
        ("node lost", Pod::node_lost),
        ("restarting", |pod| {
            pod.conditions(|c| c.all_containers_restarting = true)
        }),
    ];
    for (name, sign) in signs {
        let mut pod = web();
        let mut world = World::with(policy());
        world.pod(&pod);
        for second in [10, 20, 30] {
            pod = pod.restarted("envoy", second);
            world.at(second).pod(&sign(pod.clone()));
        }
        pod = pod.killed_for_memory("envoy", 35).restarted("envoy", 36);
        world.at(40).pod(&pod).at(50);
        assert_eq!(
            world.story(),
            [""; 0],
            "{name}: not even on the way out of the hold"
        );
        assert_eq!(world.index.restarts().count(), 0, "{name}: nor in the series");
        for second in [60, 70, 80] {
            pod = pod.restarted("envoy", second);
            world.at(second).pod(&pod);
        }
        assert_eq!(
            world.story(),
            ["80 firing envoy FrequentRestarts"],
            "{name}: the baseline moved"
        );
    }
}

#[test]
fn a_deadline_within_a_hold_acts_at_its_end_whether_the_timer_came_or_not() {
    let bad = web().unready("envoy");
    for timer_comes in [true, false] {
        let mut world = World::with(policy().only(Check::NotReady));
        world.at(0).pod(&web()).at(10).pod(&bad).at(20).hold();
        if timer_comes {
            world.at(310);
        }
        world.without_tick(400).resume();
        assert_eq!(
            world.story(),
            ["10 pending envoy NotReady", "400 firing envoy NotReady"],
            "{timer_comes}"
        );
    }
}

#[test]
fn one_watch_holds_its_own_namespace_only() {
    let scopes = [Some("pay".into()), Some("shop".into())];
    let mut index = Index::new(scopes.clone(), false);
    for scope in &scopes {
        index.begin_resync(scope, at(0));
        drop(index.finish_resync(scope, at(0)));
    }
    let mut update = |namespace: &str| {
        let mut key = key("mesh");
        key.namespace = namespace.into();
        let update = PolicyUpdate {
            uid: namespace.into(),
            key,
            generation: 1,
            spec: Ok(policy().only(Check::NotReady)),
            stored: Vec::new(),
        };
        drop(index.apply_policy(update, at(0)));
    };
    update("pay");
    update("shop");
    let shop = Pod::named("shop-1")
        .within("shop")
        .native("linkerd")
        .regular("app");
    for pod in [web(), shop] {
        drop(index.apply(pod.clone().0, at(0)));
        let name = pod.0.shape.containers[0].name.clone();
        drop(index.apply(pod.unready(&name).0, at(10)));
    }
    index.hold(&scopes[0], at(20));
    let effects = index.tick(at(400));
    assert_eq!(story(&effects.transitions), ["310 firing linkerd NotReady"]);
    let effects = index.resume(&scopes[0], at(410));
    assert_eq!(story(&effects.transitions), ["410 firing envoy NotReady"]);
}
