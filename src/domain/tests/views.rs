//! The values of the metrics.

use crate::domain::{
    effects::Change,
    histogram::Histogram,
    index::{ContainerClass, VIOLATION_DURATIONS},
    policy::{Check, Mode, Severity},
    testing::{Harness, Pod, at, cluster_key, invalid, key, policy, seconds, violation, web, web_named},
    violation::Violation,
};

#[test]
fn the_log_the_metrics_and_the_status_show_the_same_violation() {
    let mut harness = Harness::with(policy().check(Check::NotReady, |c| {
        (c.mode, c.severity) = (Mode::Observe, Severity::Info);
    }));
    let pod = web().regular("istio-proxy").unready("app");
    harness
        .pod(&pod.clone().of("CronJob", "report"))
        .pod_at(10, &pod.clone().unready("envoy"))
        .at(310);
    let expected = Violation {
        severity: Severity::Info,
        mode: Mode::Observe,
        onset: at(10),
        ..violation(Check::NotReady, "envoy")
    };
    let fired = harness.transitions().pop().unwrap();
    assert_eq!((fired.to, fired.at), (Change::Firing, at(310)));
    assert_eq!(fired.violation, expected);
    assert_eq!(harness.index.violations().collect::<Vec<_>>(), [&expected]);
    let listed = harness.report().violations;
    assert_eq!((listed.len(), &listed[0].violation), (1, &expected));
    harness.pod_at(400, &pod.unready("istio-proxy")).at(1000);
    let classic = harness.index.violations().next().unwrap().container();
    assert_eq!((&*classic.container, classic.native), ("istio-proxy", false));
}

#[test]
fn containers_are_counted_by_role_kind_and_readiness() {
    let pod = web().init("setup").regular("istio-proxy").regular("skipped");
    let mut harness = Harness::with(policy().with(|p| p.mains = ["app".into()].into()));
    let other = web_named("web-2").unready("envoy").unreported("app");
    harness.pod(&pod.clone().unready("istio-proxy")).pod(&other);
    let counts = |harness: &Harness| -> Vec<(&'static str, bool, bool, u32)> {
        let view = harness.index.policies().next().unwrap();
        view.containers
            .map(|(ContainerClass { role, native, ready }, n)| (role, native, ready, n))
            .into()
    };
    let expected = [
        ("sidecar", true, true, 1),
        ("sidecar", true, false, 1),
        ("sidecar", false, true, 0),
        ("sidecar", false, false, 1),
        ("main", false, true, 1),
        ("main", false, false, 1),
    ];
    assert_eq!(
        counts(&harness),
        expected,
        "a container without a status is unready; init and ignored containers do not count"
    );
    harness.pod(&pod).delete(&other);
    assert_eq!(
        counts(&harness).iter().map(|c| c.3).collect::<Vec<_>>(),
        [1, 0, 1, 0, 1, 0]
    );
}

#[test]
fn a_policy_shows_its_mode_its_pods_and_whether_it_is_valid() {
    let mut harness = Harness::with(policy());
    harness.add(cluster_key("off"), policy().with(|p| p.mode = Mode::Off));
    harness.policy_as(key("never"), invalid("no"), Vec::new());
    harness.add(key("late"), policy().with(|p| p.mode = Mode::Observe));
    harness
        .policy_as(key("late"), invalid("no"), Vec::new())
        .pod(&web());
    let mut shown: Vec<_> = harness
        .index
        .policies()
        .map(|p| (p.key.name.to_string(), p.ready, p.mode, p.pods))
        .collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("late", false, Mode::Observe, 1),
        ("mesh", true, Mode::Alert, 1),
        ("never", false, Mode::Off, 0),
        ("off", true, Mode::Off, 0),
    ];
    assert_eq!(
        shown,
        expected.map(|(name, ready, mode, pods)| (name.to_owned(), ready, mode, pods))
    );
}

#[test]
fn each_firing_counts_once_by_check() {
    let quick = policy().check(Check::NotReady, |c| {
        (c.hold_for, c.keep_firing_for) = (seconds(10), seconds(10));
    });
    let mut harness = Harness::with(quick);
    let fired = |harness: &Harness| -> Vec<u64> {
        let view = harness.index.policies().next().unwrap();
        assert_eq!(view.fired.map(|(check, _)| check), Check::ALL);
        view.fired.iter().map(|(_, n)| *n).collect()
    };
    harness.pod(&web()).pod_at(10, &web().unready("envoy")).at(19);
    assert_eq!(
        fired(&harness),
        [0; Check::ALL.len()],
        "a pending violation has not fired"
    );
    harness
        .pod_at(25, &web())
        .pod_at(60, &web().unready("envoy"))
        .at(75)
        .delete(&web());
    assert_eq!(
        fired(&harness),
        [2, 0, 0, 0, 0, 0, 0, 0, 0],
        "two episodes count, also after the deletion of the Pod"
    );
}

#[test]
fn durations_are_of_resolved_violations_from_onset_to_resolution() {
    let quick = policy().only(Check::NotReady).check(Check::NotReady, |c| {
        (c.hold_for, c.keep_firing_for) = (seconds(1), seconds(0));
    });
    let mut harness = Harness::with(quick);
    harness.pod(&web());
    for (from, to) in [(10, 15), (100, 106), (1000, 1015), (2000, 102_000)] {
        harness.pod_at(from, &web().unready("envoy")).pod_at(to, &web());
    }
    harness
        .pod_at(200_000, &web().unready("envoy"))
        .at(200_010)
        .delete(&web());
    let Histogram { bounds, counts, sum } = harness.index.durations();
    let mut expected = [0; VIOLATION_DURATIONS.len() + 1];
    expected[0] = 1; // Five seconds are within the first bound.
    expected[1] = 2;
    expected[VIOLATION_DURATIONS.len()] = 1; // One violation exceeds the last bound.
    assert_eq!(
        **counts, expected,
        "a violation that ends without recovery has no duration"
    );
    assert!((sum - 100_026.0).abs() < 0.001, "{sum}");
    assert!(bounds.is_sorted());
}

#[test]
fn statuses_of_containers_that_the_spec_lacks_are_counted() {
    let stray = |n| web().with(|pod| pod.stray_statuses = n);
    let mut harness = Harness::with(policy());
    harness
        .pod(&stray(2))
        .pod(&stray(3))
        .pod(&stray(1))
        .pod(&stray(2));
    assert_eq!(harness.index.stray_statuses(), 4, "every increase counts");
}

#[test]
fn tracked_pods_counts_all_known_pods() {
    let mut harness = Harness::with(policy());
    let shop = Pod::named("shop-1").in_namespace("shop");
    harness
        .pod(&web())
        .pod(&shop)
        .pod(&Pod::named("done").with(|pod| pod.terminating = true));
    assert_eq!(harness.index.tracked_pods(), 3);
    harness.delete(&shop);
    assert_eq!(harness.index.tracked_pods(), 2);
}
