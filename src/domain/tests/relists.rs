//! Lists that start, start over and end.

use crate::domain::{
    index::Index,
    policy::PolicyKind::{ClusterSidecarPolicy, SidecarPolicy},
    policy::{Check, Policy},
    testing::{Harness, at, cluster_key, key, one_of, policy, web, web_named},
};

fn not_ready() -> Policy {
    policy().only(Check::NotReady)
}

#[test]
fn a_list_deletes_the_policies_and_namespaces_that_it_does_not_contain() {
    let mut harness = Harness::with(not_ready());
    harness.pod(&web().unready("envoy"));
    harness.add(key("other"), not_ready());
    harness.add(
        cluster_key("all"),
        not_ready().with(|p| p.namespaces = one_of("team", "pay")),
    );
    let names = |harness: &Harness| -> Vec<String> {
        let names = harness.index.policies().map(|policy| policy.key.name.to_string());
        names.collect()
    };
    harness.index.begin_policy_resync(SidecarPolicy, &None);
    harness.add(key("other"), not_ready());
    let effects = harness.index.finish_policy_resync(SidecarPolicy, &None, at(50));
    assert_eq!(
        names(&harness),
        ["other", "all"],
        "a list affects only policies of its kind"
    );
    assert_eq!(
        effects.transitions.len(),
        1,
        "the violation of the deleted policy ends"
    );
    harness
        .index
        .begin_policy_resync(SidecarPolicy, &Some("shop".into()));
    drop(
        harness
            .index
            .finish_policy_resync(SidecarPolicy, &Some("shop".into()), at(50)),
    );
    assert_eq!(
        names(&harness),
        ["other", "all"],
        "a list affects only policies of its namespace"
    );
    drop(
        harness
            .index
            .finish_policy_resync(ClusterSidecarPolicy, &None, at(50)),
    );
    assert_eq!(
        names(&harness),
        ["other", "all"],
        "the end of a list without a beginning deletes nothing"
    );
    harness.index.begin_policy_resync(SidecarPolicy, &None);
    harness.index.begin_policy_resync(SidecarPolicy, &None);
    drop(harness.index.finish_policy_resync(SidecarPolicy, &None, at(50)));
    assert_eq!(
        names(&harness),
        ["all"],
        "a list that starts again drops the items of the first attempt"
    );
    harness.index.begin_namespace_resync();
    harness.namespace("shop", "shop");
    let effects = harness.index.finish_namespace_resync(at(60));
    assert_eq!(
        effects.transitions.len(),
        1,
        "the namespace pay is gone, so its Pods no longer match"
    );
    harness.index.assert_counts();
}

#[test]
fn a_list_of_one_namespace_keeps_the_policies_that_it_contains() {
    let mut harness = Harness::starting();
    let scopes = [Some("pay".into()), Some("shop".into())];
    harness.index = Index::new(scopes.clone(), false);
    let [pay, _] = &scopes;
    for _ in 0..2 {
        harness.index.begin_policy_resync(SidecarPolicy, pay);
        harness.policy(not_ready());
        drop(harness.index.finish_policy_resync(SidecarPolicy, pay, at(50)));
        assert_eq!(harness.index.policies().count(), 1);
    }
}

#[test]
fn a_pod_list_can_begin_twice() {
    let (a, b) = (web(), web_named("web-2"));
    let mut harness = Harness::with(policy());
    harness.resync([&a, &b]);
    assert_eq!(harness.index.tracked_pods(), 2);
    harness
        .begin_resync()
        .pod(&b)
        .begin_resync()
        .pod(&a)
        .finish_resync();
    assert_eq!(
        harness.index.tracked_pods(),
        1,
        "only Pods of the last list remain"
    );
    harness.begin_resync().finish_resync();
    assert_eq!(harness.index.tracked_pods(), 0);
}
