//! What the watches' own beginnings and ends mean.

use crate::domain::{
    index::Index,
    policy::{Check, Policy, PolicyKey, PolicyUpdate},
    testing::{Pod, World, at, cluster_key, key, one_of, policy, seconds, stored, web},
};

fn at_once() -> Policy {
    policy()
        .only(Check::NotReady)
        .check(Check::NotReady, |c| c.hold_for = seconds(0))
}

#[test]
fn an_answer_to_a_resumed_watch_ends_no_list() {
    let bad = web().unready("envoy");
    let mut world = World::starting();
    world.policy(at_once()).pod(&bad).resume();
    assert_eq!(
        world.index.report(&key("mesh")),
        None,
        "there has been no list yet"
    );
    assert_eq!(world.firing(), [""; 0]);
    world.resync([&bad]);
    assert_eq!(world.firing(), ["envoy NotReady"]);
    world.at(10).begin_resync().pod(&web()).resume().at(500);
    assert_eq!(
        world.firing(),
        ["envoy NotReady"],
        "a list is under way: still held"
    );
    world.finish_resync().at(1000);
    assert_eq!(world.firing(), [""; 0]);
    world.hold().pod(&bad).finish_resync();
    assert_eq!(
        world.firing(),
        ["envoy NotReady"],
        "the end of a list that nobody saw begin ends a hold too"
    );
}

#[test]
fn a_pod_that_is_deleted_waits_no_more() {
    let mut world = World::with(at_once());
    world
        .pod(&web())
        .hold()
        .pod(&web().unready("envoy"))
        .delete(&web());
    world.resume();
    assert_eq!((world.story().len(), world.index.tracked_pods()), (0, 0));
}

#[test]
fn what_a_policy_lists_waits_for_the_end_of_a_hold() {
    let mut world = World::starting();
    world.resync([&web()]).at(1000).hold();
    let was = vec![stored(Check::NotReady, "envoy", true, 500)];
    world.policy_as(key("mesh"), Ok(policy().only(Check::NotReady)), was);
    assert_eq!(world.firing(), [""; 0]);
    world.at(1100).resume();
    assert_eq!(world.onset("envoy", Check::NotReady), Some(500.0));
}

fn in_namespace(namespace: &str) -> PolicyKey {
    let namespace = namespace.into();
    PolicyKey {
        namespace,
        ..key("mesh")
    }
}

#[test]
fn the_first_list_of_a_scope_is_news_to_the_policies_that_see_it() {
    let scopes = [Some("pay".into()), Some("shop".into())];
    let mut index = Index::new(scopes.clone(), false);
    let all = [in_namespace("pay"), in_namespace("shop"), cluster_key("all")];
    for key in &all {
        let update = PolicyUpdate {
            key: key.clone(),
            uid: key.to_string().into(),
            generation: 1,
            spec: Ok(policy()),
            stored: Vec::new(),
        };
        drop(index.apply_policy(update, at(0)));
    }
    let known = |index: &Index| all.each_ref().map(|key| index.report(key).is_some());
    let mut list = |scope| {
        index.begin_resync(scope, at(0));
        let changed: Vec<_> = index.finish_resync(scope, at(0)).changed.into_iter().collect();
        (changed, known(&index))
    };
    let (changed, known) = list(&scopes[0]);
    assert_eq!(changed, [in_namespace("pay"), cluster_key("all")]);
    assert_eq!(
        known,
        [true, false, false],
        "a policy of the cluster waits for every watch"
    );
    let (changed, known) = list(&scopes[1]);
    assert_eq!(changed, [in_namespace("shop"), cluster_key("all")]);
    assert_eq!(known, [true, true, true]);
    assert_eq!(
        list(&scopes[0]).0,
        [],
        "later lists that change nothing are no news"
    );
}

#[test]
fn the_first_list_of_namespaces_is_news_to_policies_of_the_cluster() {
    let mut world = World::starting();
    world.index = Index::new([None], true);
    let selecting = |team| at_once().with(|p| p.namespaces = one_of("team", team));
    world
        .policy_as(cluster_key("some"), Ok(selecting("pay")), Vec::new())
        .policy_as(cluster_key("none"), Ok(selecting("shop")), Vec::new())
        .policy(at_once());
    world.resync([&web().unready("envoy")]).story();
    let list = |world: &mut World| {
        world.index.begin_namespace_resync();
        let labels = std::sync::Arc::new([("team", "pay")].into_iter().collect());
        drop(world.index.apply_namespace(&"pay".into(), labels, at(0)));
        let effects = world.index.finish_namespace_resync(at(0));
        world.index.assert_counts();
        let cluster = effects
            .changed
            .into_iter()
            .filter(|changed| *changed != key("mesh"));
        cluster.collect::<Vec<_>>()
    };
    assert_eq!(list(&mut world), [cluster_key("none"), cluster_key("some")]);
    assert_eq!(world.firing().len(), 2, "now it matches");
    assert_eq!(
        list(&mut world),
        [],
        "later lists that change nothing are no news"
    );
}

#[test]
fn a_namespace_is_kept_for_its_pods_and_for_its_labels() {
    let other = Pod::named("web-2")
        .native("envoy")
        .regular("app")
        .unready("envoy");
    let mut world = World::with(at_once());
    world.pod(&web()).pod(&other).delete(&web());
    assert_eq!((world.index.tracked_pods(), world.firing().len()), (1, 1));

    let mut world = World::starting();
    world.index = Index::new([None], true);
    world.policy_as(
        cluster_key("pay"),
        Ok(at_once().with(|p| p.namespaces = one_of("team", "pay"))),
        Vec::new(),
    );
    world.index.begin_namespace_resync();
    world.namespace("pay", "pay");
    drop(world.index.finish_namespace_resync(at(0)));
    world.resync([&web()]).delete(&web()).pod(&other);
    assert_eq!(
        world.firing(),
        ["envoy NotReady"],
        "its labels are known although it had no Pod"
    );
}
