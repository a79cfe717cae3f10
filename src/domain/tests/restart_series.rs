//! The series of restarts.

use crate::domain::{
    policy::Check,
    testing::{Pod, World, key, policy, web},
};

#[test]
fn series_tell_restarts_by_reason_and_live_with_their_workload() {
    let mut world = World::with(policy().only(Check::FrequentRestarts));
    let (mut first, second) = (web(), Pod::named("web-2").native("envoy").regular("app"));
    world.pod(&first).pod(&second);
    let reasons = [
        ("Error", "Error"),
        ("OOMKilled", "OOMKilled"),
        ("Completed", "Completed"),
        ("StartError", "Other"),
    ];
    for (moment, (reason, _)) in (1..).zip(reasons) {
        first = first
            .exits_with("envoy", 1, reason, moment)
            .restarted("envoy", moment);
        first = first.restarted("app", moment);
        world.at(moment).pod(&first);
    }
    let series = |world: &World| -> Vec<String> {
        let lines = world.index.restarts();
        lines
            .map(|r| {
                format!(
                    "{} {} {} {} {}",
                    r.namespace, r.workload, r.container, r.reason, r.count
                )
            })
            .collect()
    };
    let expected: Vec<_> = ["Completed", "Error", "OOMKilled", "Other"]
        .map(|reason| format!("pay Deployment/web envoy {reason} 1"))
        .into();
    assert_eq!(series(&world), expected, "sidecars only");
    world.delete(&first);
    assert_eq!(series(&world), expected, "another Pod of the workload lives");
    world.delete(&second);
    assert_eq!(series(&world), [""; 0], "with the last one the series goes");
}

#[test]
fn a_series_goes_when_its_last_pod_changes_its_workload() {
    let mut world = World::with(policy().only(Check::FrequentRestarts));
    let pod = web().restarted("envoy", 5);
    world.pod(&web()).at(5).pod(&pod);
    assert_eq!(world.index.restarts().count(), 1);
    world.pod(&pod.of("ReplicaSet", "web-7d9"));
    assert_eq!(world.index.restarts().count(), 0);
}

#[test]
fn a_restart_counts_under_every_policy_that_calls_the_container_a_sidecar() {
    let mut world = World::with(policy().only(Check::FrequentRestarts));
    let excluding = policy().with(|p| p.sidecars.native = false);
    world.policy_as(key("none"), Ok(excluding), Vec::new());
    world.policy_as(key("too"), Ok(policy()), Vec::new());
    world.pod(&web()).at(10).pod(&web().restarted("envoy", 10));
    let names: Vec<_> = world
        .index
        .restarts()
        .map(|r| r.policy.name.to_string())
        .collect();
    assert_eq!(names, ["mesh", "too"]);
}
