//! The effects of watches that start, break and resume.

use crate::domain::{
    index::Index,
    policy::{Check, Policy},
    testing::{
        Harness, at, cluster_key, key, key_in, one_of, only, policy, policy_update, stored, web, web_named,
    },
};

fn at_once() -> Policy {
    only(Check::NotReady, 0)
}

#[test]
fn an_answer_to_a_resumed_watch_does_not_end_a_list() {
    let bad = web().unready("envoy");
    let mut harness = Harness::starting();
    harness.policy(at_once()).pod(&bad).resume();
    assert_eq!(harness.index.report(&key("mesh")), None, "no list has completed");
    assert_eq!(harness.firing(), [""; 0]);
    harness.resync([&bad]);
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    harness.at(10).begin_resync().pod(&web()).resume().at(500);
    assert_eq!(
        harness.firing(),
        ["envoy NotReady"],
        "the watch is held during a list"
    );
    harness.finish_resync().at(1000);
    assert_eq!(harness.firing(), [""; 0]);
    harness.hold().pod(&bad).finish_resync();
    assert_eq!(
        harness.firing(),
        ["envoy NotReady"],
        "the end of a list without a beginning also ends a hold"
    );
}

#[test]
fn a_deleted_pod_does_not_wait() {
    let mut harness = Harness::with(at_once());
    harness
        .pod(&web())
        .hold()
        .pod(&web().unready("envoy"))
        .delete(&web());
    harness.resume();
    assert_eq!((harness.log().len(), harness.index.tracked_pods()), (0, 0));
}

#[test]
fn violations_of_a_status_are_adopted_when_a_hold_ends() {
    let mut harness = Harness::starting();
    harness.resync([&web()]).at(1000).hold();
    let was = vec![stored(Check::NotReady, "envoy", true, 500)];
    harness.policy_as(key("mesh"), Ok(policy().only(Check::NotReady)), was);
    assert_eq!(harness.firing(), [""; 0]);
    harness.at(1100).resume();
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(500.0));
}

#[test]
fn the_first_list_of_a_scope_changes_the_status_of_its_policies() {
    let scopes = [Some("pay".into()), Some("shop".into())];
    let mut index = Index::new(scopes.clone(), false);
    let all = [key_in("pay", "mesh"), key_in("shop", "mesh"), cluster_key("all")];
    for key in &all {
        let update = policy_update(key.clone(), Ok(policy()));
        drop(index.apply_policy(update, at(0)));
    }
    let known = |index: &Index| all.each_ref().map(|key| index.report(key).is_some());
    let mut list = |scope| {
        index.begin_resync(scope, at(0));
        let changed: Vec<_> = index.finish_resync(scope, at(0)).changed.into_iter().collect();
        (changed, known(&index))
    };
    let (changed, known) = list(&scopes[0]);
    assert_eq!(changed, [key_in("pay", "mesh"), cluster_key("all")]);
    assert_eq!(
        known,
        [true, false, false],
        "a cluster policy waits for every watch"
    );
    let (changed, known) = list(&scopes[1]);
    assert_eq!(changed, [key_in("shop", "mesh"), cluster_key("all")]);
    assert_eq!(known, [true, true, true]);
    assert_eq!(
        list(&scopes[0]).0,
        [],
        "later lists without changes have no effect"
    );
}

#[test]
fn the_first_list_of_namespaces_changes_the_status_of_cluster_policies() {
    let mut harness = Harness::without_namespaces();
    let selecting = |team| at_once().with(|p| p.namespaces = one_of("team", team));
    harness
        .add(cluster_key("some"), selecting("pay"))
        .add(cluster_key("none"), selecting("shop"))
        .policy(at_once());
    harness.resync([&web().unready("envoy")]).changed();
    let list = |harness: &mut Harness| {
        let changed = harness.list_namespaces(&["pay"]).changed().into_iter();
        let cluster = changed.filter(|changed| *changed != key("mesh"));
        cluster.collect::<Vec<_>>()
    };
    assert_eq!(list(&mut harness), [cluster_key("none"), cluster_key("some")]);
    assert_eq!(
        harness.firing().len(),
        2,
        "the policy matches after the list of namespaces"
    );
    assert_eq!(
        list(&mut harness),
        [],
        "later lists without changes have no effect"
    );
}

#[test]
fn a_namespace_is_kept_for_its_pods_and_for_its_labels() {
    let other = web_named("web-2").unready("envoy");
    let mut harness = Harness::with(at_once());
    harness.pod(&web()).pod(&other).delete(&web());
    assert_eq!((harness.index.tracked_pods(), harness.firing().len()), (1, 1));

    let mut harness = Harness::without_namespaces();
    harness.add(
        cluster_key("pay"),
        at_once().with(|p| p.namespaces = one_of("team", "pay")),
    );
    harness.list_namespaces(&["pay"]);
    harness.resync([&web()]).delete(&web()).pod(&other);
    assert_eq!(
        harness.firing(),
        ["envoy NotReady"],
        "the labels of a namespace without Pods are kept"
    );
}
