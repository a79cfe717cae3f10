//! The series of restarts.

use crate::domain::{
    policy::Check,
    testing::{Harness, Pod, key, policy, web, web_named},
};

#[test]
fn restart_series_have_a_reason_and_exist_as_long_as_their_workload() {
    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    let (mut first, second) = (web(), web_named("web-2"));
    harness.pod(&first).pod(&second);
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
        harness.pod_at(moment, &first);
    }
    let series = |harness: &Harness| -> Vec<String> {
        let lines = harness.index.restarts();
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
    assert_eq!(
        series(&harness),
        expected,
        "only restarts of sidecars have series"
    );
    harness.delete(&first);
    assert_eq!(
        series(&harness),
        expected,
        "the series remain while the workload has a Pod"
    );
    harness.delete(&second);
    assert_eq!(series(&harness), [""; 0], "the series end with the last Pod");
}

#[test]
fn a_series_ends_when_its_last_pod_changes_its_workload() {
    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    let pod = web().restarted("envoy", 5);
    harness.pod(&web()).pod_at(5, &pod);
    assert_eq!(harness.index.restarts().count(), 1);
    harness.pod(&pod.of("ReplicaSet", "web-7d9"));
    assert_eq!(harness.index.restarts().count(), 0);
}

#[test]
fn the_successor_of_a_pod_without_an_owner_begins_a_series_also_in_a_list() {
    let pod = Pod::named("single")
        .of("Pod", "single")
        .native("envoy")
        .regular("app");
    let successor = pod.clone().with(|pod| pod.uid = "uid-2".into());
    let counts = |listed: bool| -> Vec<u64> {
        let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
        harness.pod(&pod).pod_at(5, &pod.clone().restarted("envoy", 5));
        if listed {
            harness.resync([&successor]);
        } else {
            harness.delete(&pod).pod(&successor);
        }
        harness.pod_at(10, &successor.clone().restarted("envoy", 10));
        harness.index.restarts().map(|series| series.count).collect()
    };
    assert_eq!(counts(false), [1]);
    assert_eq!(counts(true), [1]);
}

#[test]
fn a_restart_counts_under_every_policy_for_which_the_container_is_a_sidecar() {
    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    let excluding = policy().with(|p| p.sidecars.native = false);
    harness.add(key("none"), excluding);
    harness.add(key("too"), policy());
    harness.pod(&web()).pod_at(10, &web().restarted("envoy", 10));
    let names: Vec<_> = harness
        .index
        .restarts()
        .map(|r| r.policy.name.to_string())
        .collect();
    assert_eq!(names, ["mesh", "too"]);
}
