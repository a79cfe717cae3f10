//! Lists that begin, begin again and end.

use crate::domain::{
    index::Index,
    policy::{
        Check, Policy,
        PolicyKind::{ClusterSidecarPolicy, SidecarPolicy},
    },
    testing::{Pod, World, at, cluster_key, key, one_of, policy, web},
};

fn not_ready() -> Policy {
    policy().only(Check::NotReady)
}

#[test]
fn relists_delete_what_they_do_not_bring() {
    let mut world = World::with(not_ready());
    world.pod(&web().unready("envoy"));
    world.policy_as(key("other"), Ok(not_ready()), Vec::new());
    world.policy_as(
        cluster_key("all"),
        Ok(not_ready().with(|p| p.namespaces = one_of("team", "pay"))),
        Vec::new(),
    );
    let names = |world: &World| -> Vec<String> {
        let names = world.index.policies().map(|policy| policy.key.name.to_string());
        names.collect()
    };
    world.index.begin_policy_resync(SidecarPolicy, &None);
    world.policy_as(key("other"), Ok(not_ready()), Vec::new());
    let effects = world.index.finish_policy_resync(SidecarPolicy, &None, at(50));
    assert_eq!(names(&world), ["other", "all"], "of that kind only");
    assert_eq!(effects.transitions.len(), 1, "its violation ended");
    world
        .index
        .begin_policy_resync(SidecarPolicy, &Some("shop".into()));
    drop(
        world
            .index
            .finish_policy_resync(SidecarPolicy, &Some("shop".into()), at(50)),
    );
    assert_eq!(names(&world), ["other", "all"], "of that namespace only");
    drop(
        world
            .index
            .finish_policy_resync(ClusterSidecarPolicy, &None, at(50)),
    );
    assert_eq!(
        names(&world),
        ["other", "all"],
        "an end without a beginning deletes nothing"
    );
    world.index.begin_policy_resync(SidecarPolicy, &None);
    world.index.begin_policy_resync(SidecarPolicy, &None);
    drop(world.index.finish_policy_resync(SidecarPolicy, &None, at(50)));
    assert_eq!(
        names(&world),
        ["all"],
        "a second beginning forgets what the first had seen"
    );
    world.index.begin_namespace_resync();
    world.namespace("shop", "shop");
    let effects = world.index.finish_namespace_resync(at(60));
    assert_eq!(
        effects.transitions.len(),
        1,
        "the namespace pay is gone, and with it the match"
    );
    world.index.assert_counts();
}

#[test]
fn a_list_of_one_namespace_keeps_the_policies_that_it_brings() {
    let mut world = World::starting();
    let scopes = [Some("pay".into()), Some("shop".into())];
    world.index = Index::new(scopes.clone(), false);
    let [pay, _] = &scopes;
    for _ in 0..2 {
        world.index.begin_policy_resync(SidecarPolicy, pay);
        world.policy(not_ready());
        drop(world.index.finish_policy_resync(SidecarPolicy, pay, at(50)));
        assert_eq!(world.index.policies().count(), 1);
    }
}

#[test]
fn a_pod_list_may_begin_twice() {
    let (a, b) = (web(), Pod::named("web-2").native("envoy").regular("app"));
    let mut world = World::with(policy());
    world.resync([&a, &b]);
    assert_eq!(world.index.tracked_pods(), 2);
    world
        .begin_resync()
        .pod(&b)
        .begin_resync()
        .pod(&a)
        .finish_resync();
    assert_eq!(world.index.tracked_pods(), 1, "only what the last list brought");
    world.begin_resync().finish_resync();
    assert_eq!(world.index.tracked_pods(), 0);
}
