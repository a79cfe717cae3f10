//! The onset of a fault that exists at the end of a gap, or when a policy is created.

use crate::domain::{
    policy::Check,
    testing::{Harness, Pod, key, minutes, one_of, policy, unready_since, web},
};

#[test]
fn no_onset_after_a_gap_is_before_the_last_sync() {
    let table = [
        (700, 700.0, "within the gap"),
        (100, 1000.0, "before the last sync: it does not date this fault"),
        (2000, 1000.0, "after now"),
    ];
    for (since, expected, why) in table {
        for relist in [true, false] {
            let mut harness = Harness::with(policy().only(Check::NotReady));
            harness.pod(&web()).at(500).hold().at(1000);
            if relist {
                harness.resync([&unready_since(since)]);
            } else {
                harness.pod(&unready_since(since)).resume();
            }
            assert_eq!(
                harness.onset("envoy", Check::NotReady),
                Some(expected),
                "{why}, {relist}"
            );
        }
    }
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness
        .pod(&web())
        .at(500)
        .hold()
        .at(600)
        .begin_resync()
        .at(800)
        .begin_resync();
    harness.pod_at(1000, &unready_since(550)).finish_resync();
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(550.0),
        "a second error does not move the last sync"
    );
    let bad = unready_since(700).regular("worker").unready("worker");
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web()).at(500).hold().at(1000).resync([&bad]);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(1000.0),
        "another unready container may have changed ContainersReady"
    );
    let bad = web().exits("envoy", 1, 800).backs_off("envoy");
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web()).at(500).hold().at(1000);
    harness.resync([&bad.containers_unready_since(700)]);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(700.0),
        "a fault with several exits began with ContainersReady"
    );
    let killed = web().oom_killed("envoy", 700).restarted("envoy", 701);
    let mut harness = Harness::with(policy().only(Check::OOMKilled));
    harness.pod(&web()).at(500).hold().at(1000).resync([&killed]);
    assert_eq!(
        harness.onset("envoy", Check::OOMKilled),
        Some(700.0),
        "an OOM kill within the gap has its own time"
    );
}

#[test]
fn a_policy_that_follows_a_gap_dates_a_fault_as_one_before_it() {
    let of_another = |pod: Pod| pod.regular("worker").unready("worker");
    let table = [
        (
            unready_since(700),
            700.0,
            "ContainersReady changed with the sidecar",
        ),
        (
            unready_since(100),
            1000.0,
            "ContainersReady had changed before the gap",
        ),
        (
            of_another(unready_since(700)),
            1000.0,
            "another container is unready",
        ),
    ];
    for (bad, expected, why) in table {
        let mut harness = Harness::with(policy().only(Check::OOMKilled));
        harness.pod(&web()).at(500).hold().at(1000).resync([&bad]);
        harness.at(2000).policy(policy().only(Check::NotReady));
        assert_eq!(harness.onset("envoy", Check::NotReady), Some(expected), "{why}");
    }
}

#[test]
fn a_pod_created_in_a_gap_is_new() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    let bad = web().starting("envoy", 450);
    harness.at(500).hold().at(1000).resync([&bad]);
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(450.0));
}

#[test]
fn a_later_policy_observes_pods_for_the_first_time() {
    let bad = web().starting("envoy", 300);
    let mut harness = Harness::with(policy().with(|p| p.pods = one_of("app", "web")));
    harness.pod(&web()).pod_at(310, &bad).at(1000);
    assert_eq!(harness.log(), [""; 0]);
    harness.pod(&bad.clone().labels(&[("app", "web")]));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(300.0),
        "the policy matches the Pod after a label change"
    );
    harness
        .policy(policy().only(Check::FrequentRestarts))
        .policy(policy());
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(300.0),
        "an edit enables the check"
    );
}

#[test]
fn each_policy_has_its_own_first_observation() {
    let labels = |pod: Pod| pod.labels(&[("app", "web")]);
    let bad = web().starting("envoy", 300);
    let mut harness = Harness::with(policy().only(Check::NotReady));
    let other = policy()
        .only(Check::JobHeldOpen)
        .with(|p| p.pods = one_of("app", "web"));
    harness.add(key("other"), other.clone());
    harness.pod(&web()).pod_at(310, &labels(bad.clone()));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(310.0),
        "the policy matched before and observed the start of the fault"
    );

    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web()).at(500).hold().pod_at(600, &bad);
    harness.add(key("other"), other.hold_for(Check::NotReady, minutes(1)));
    harness.at(1000).resume();
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(500.0),
        "the onset is not before the last sync of the policy"
    );
}
