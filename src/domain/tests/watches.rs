//! The effects of watches that start, break and resume.

use crate::domain::{
    index::Index,
    policy::{Check, Policy, PolicyKey, PolicyUpdate},
    testing::{Harness, Pod, at, cluster_key, key, one_of, policy, seconds, stored, web},
};

fn at_once() -> Policy {
    policy()
        .only(Check::NotReady)
        .check(Check::NotReady, |c| c.hold_for = seconds(0))
}

#[test]
fn an_answer_to_a_resumed_watch_ends_no_list() {
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
fn a_pod_that_is_deleted_waits_no_more() {
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
fn violations_of_a_status_are_taken_over_when_a_hold_ends() {
    let mut harness = Harness::starting();
    harness.resync([&web()]).at(1000).hold();
    let was = vec![stored(Check::NotReady, "envoy", true, 500)];
    harness.policy_as(key("mesh"), Ok(policy().only(Check::NotReady)), was);
    assert_eq!(harness.firing(), [""; 0]);
    harness.at(1100).resume();
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(500.0));
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
            created: at(0),
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
        "a cluster policy waits for every watch"
    );
    let (changed, known) = list(&scopes[1]);
    assert_eq!(changed, [in_namespace("shop"), cluster_key("all")]);
    assert_eq!(known, [true, true, true]);
    assert_eq!(
        list(&scopes[0]).0,
        [],
        "later lists without changes have no effect"
    );
}

#[test]
fn the_first_list_of_namespaces_is_news_to_policies_of_the_cluster() {
    let mut harness = Harness::starting();
    harness.index = Index::new([None], true);
    let selecting = |team| at_once().with(|p| p.namespaces = one_of("team", team));
    harness
        .policy_as(cluster_key("some"), Ok(selecting("pay")), Vec::new())
        .policy_as(cluster_key("none"), Ok(selecting("shop")), Vec::new())
        .policy(at_once());
    harness.resync([&web().unready("envoy")]).log();
    let list = |harness: &mut Harness| {
        harness.index.begin_namespace_resync();
        let labels = std::sync::Arc::new([("team", "pay")].into_iter().collect());
        drop(harness.index.apply_namespace(&"pay".into(), labels, at(0)));
        let effects = harness.index.finish_namespace_resync(at(0));
        harness.index.assert_counts();
        let cluster = effects
            .changed
            .into_iter()
            .filter(|changed| *changed != key("mesh"));
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
    let other = Pod::named("web-2")
        .native("envoy")
        .regular("app")
        .unready("envoy");
    let mut harness = Harness::with(at_once());
    harness.pod(&web()).pod(&other).delete(&web());
    assert_eq!((harness.index.tracked_pods(), harness.firing().len()), (1, 1));

    let mut harness = Harness::starting();
    harness.index = Index::new([None], true);
    harness.policy_as(
        cluster_key("pay"),
        Ok(at_once().with(|p| p.namespaces = one_of("team", "pay"))),
        Vec::new(),
    );
    harness.index.begin_namespace_resync();
    harness.namespace("pay", "pay");
    drop(harness.index.finish_namespace_resync(at(0)));
    harness.resync([&web()]).delete(&web()).pod(&other);
    assert_eq!(
        harness.firing(),
        ["envoy NotReady"],
        "the labels of a namespace without Pods are kept"
    );
}
