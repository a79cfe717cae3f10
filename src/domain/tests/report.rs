//! The status of a policy.

use crate::domain::{
    observation::Phase,
    policy::{Check, InvalidSpec, Mode, Policy, Severity},
    summary::{CheckCounts, Report, Summary},
    testing::{Harness, Pod, at, cluster_key, invalid, key, one_of, policy, seconds, web, web_named},
};

pub(super) fn at_once() -> Policy {
    let at_once = |policy: Policy, check| policy.hold_for(check, seconds(0));
    Check::ALL.into_iter().fold(policy(), at_once)
}

/// Formats every condition as `Ready=True/Evaluating`.
fn conditions(report: &Report) -> Vec<String> {
    let status = |status: Option<bool>| status.map_or("Unknown", |s| if s { "True" } else { "False" });
    let lines = report.conditions.iter();
    lines
        .map(|c| format!("{}={}/{}", c.kind, status(c.status), c.reason))
        .collect()
}

fn message<'a>(report: &'a Report, kind: &str) -> &'a str {
    let mut conditions = report.conditions.iter();
    &conditions.find(|c| c.kind == kind).unwrap().message
}

/// A spec, the Pods, the expected conditions, the reason.
type Row<'a> = (Result<Policy, InvalidSpec>, &'a [&'a Pod], [&'a str; 3], &'a str);

#[test]
fn conditions_report_validity_health_and_matches() {
    let off = || policy().with(|p| p.mode = Mode::Off);
    let observe = at_once().with(|p| p.mode = Mode::Observe);
    let bad = web().unready("envoy");
    #[rustfmt::skip]
    let table: [Row; 7] = [
        (Ok(policy()), &[&web()],
            ["Ready=True/Evaluating", "SidecarsHealthy=True/NoViolations", "TargetsFound=True/PodsMatched"],
            "no violation"),
        (Ok(at_once()), &[&bad],
            ["Ready=True/Evaluating", "SidecarsHealthy=False/ViolationsFiring", "TargetsFound=True/PodsMatched"],
            "a violation does not change Ready"),
        (Ok(policy()), &[&bad],
            ["Ready=True/Evaluating", "SidecarsHealthy=True/NoViolations", "TargetsFound=True/PodsMatched"],
            "a pending violation does not change SidecarsHealthy"),
        (Ok(observe), &[&bad],
            ["Ready=True/Evaluating", "SidecarsHealthy=False/ViolationsFiring", "TargetsFound=True/PodsMatched"],
            "mode Observe reports violations in the status"),
        (Ok(policy()), &[],
            ["Ready=True/Evaluating", "SidecarsHealthy=True/NoViolations", "TargetsFound=False/NoPodsMatched"],
            "no Pod matches"),
        (Ok(off()), &[&bad],
            ["Ready=True/Suspended", "SidecarsHealthy=Unknown/Suspended", "TargetsFound=Unknown/Suspended"],
            "mode Off"),
        (invalid("no"), &[&bad],
            ["Ready=False/Invalid", "SidecarsHealthy=Unknown/Invalid", "TargetsFound=Unknown/Invalid"],
            "the policy was never valid"),
    ];
    for (spec, pods, expected, why) in table {
        let mut harness = Harness::starting();
        harness
            .policy_as(key("mesh"), spec, Vec::new())
            .resync(pods.iter().copied());
        assert_eq!(conditions(&harness.report()), expected, "{why}");
    }
    let mut harness = Harness::with(off());
    harness.policy_as(key("mesh"), invalid("no"), Vec::new());
    assert_eq!(
        conditions(&harness.report()),
        [
            "Ready=False/Invalid",
            "SidecarsHealthy=Unknown/Suspended",
            "TargetsFound=Unknown/Suspended"
        ],
        "the last valid version has mode Off"
    );
}

#[test]
fn the_message_about_health_names_numbers_checks_and_the_worst_violation() {
    let mut harness = Harness::with(at_once().check(Check::FrequentRestarts, |c| {
        (c.count, c.severity) = (1, Severity::Critical);
    }));
    let second = Pod::named("web-2")
        .native("envoy")
        .regular("istio-proxy")
        .regular("app");
    harness.pod(&web()).pod(&second);
    assert_eq!(
        message(&harness.report(), "SidecarsHealthy"),
        "None of 3 sidecars in 2 Pods fails"
    );
    assert_eq!(
        message(&harness.report(), "TargetsFound"),
        "2 Pods match, with 3 sidecars"
    );
    harness.pod_at(
        10,
        &second.clone().restarted("istio-proxy", 10).unready("istio-proxy"),
    );
    harness.pod(&web().unready("envoy").unready("app"));
    assert_eq!(
        message(&harness.report(), "SidecarsHealthy"),
        "2 of 3 sidecars in 2 of 2 Pods fail: FrequentRestarts 1 (Critical), NotReady 2 (Warning), \
         MainReadySidecarNotReady 1 (Warning); worst: Deployment/web istio-proxy"
    );
    let starting = || {
        Pod::named("web-3")
            .init("setup")
            .regular("app")
            .uninitialized()
            .starting("setup", 0)
    };
    let initially = at_once().with(|p| p.checks.startup_blocked.limits.init_containers_for = seconds(0));
    let mut harness = Harness::with(initially.clone());
    harness.pod(&starting());
    assert_eq!(
        message(&harness.report(), "SidecarsHealthy"),
        "1 other containers in 1 of 1 Pods fail: StartupBlocked 1 (Warning); worst: Deployment/web setup"
    );
    harness.pod(&web().unready("envoy"));
    assert!(
        message(&harness.report(), "SidecarsHealthy")
            .starts_with("1 of 1 sidecars and 1 other containers in 2 of 2 Pods"),
    );
}

#[test]
fn the_summary_counts_what_is_evaluated() {
    let bare = Pod::named("bare").regular("app");
    let probeless = Pod::named("p")
        .native("envoy")
        .regular("istio-proxy")
        .regular("app");
    let probeless = probeless
        .spec("envoy", |c| c.probes.readiness = false)
        .spec("app", |c| c.probes.readiness = false)
        .spec("istio-proxy", |c| {
            (c.probes.readiness, c.probes.liveness) = (false, true);
        });
    let done = web_named("done").with(|pod| pod.phase = Phase::Succeeded);
    let mut harness = Harness::with(policy());
    harness
        .pod(&bare)
        .pod(&probeless)
        .pod(&done)
        .pod(&web().unready("envoy").init("setup"));
    let expected = Summary {
        pods: 3,
        sidecars: 3,
        mains: 3,
        firing: 0,
        pending: 2,
        without_readiness_probe: 2,
    };
    harness.at(100);
    assert_eq!(
        harness.report().summary,
        expected,
        "Pods without sidecars count, finished Pods do not"
    );
    harness.at(200);
    assert_eq!(
        harness.report().summary,
        Summary {
            firing: 1,
            pending: 1,
            ..expected
        }
    );
    assert_eq!(
        harness.report().checks,
        [
            CheckCounts {
                check: Check::NotReady,
                firing: 0,
                pending: 1
            },
            CheckCounts {
                check: Check::MainReadySidecarNotReady,
                firing: 1,
                pending: 0
            },
        ],
        "the report lists only checks with violations"
    );
}

#[test]
fn a_status_does_not_change_without_a_cause() {
    let mut harness =
        Harness::with(at_once().check(Check::OOMKilled, |c| c.keep_firing_for = seconds(86_400)));
    let pod = (1..4).fold(web(), |pod, n| pod.restarted("envoy", n));
    let pod = pod.oom_killed("envoy", 5).restarted("envoy", 6).unready("envoy");
    harness.pod(&web()).pod_at(10, &pod).at(20).log();
    let before = harness.report();
    assert_eq!(before.violations.len(), 4);
    harness.changed();
    harness.late(at(800));
    assert_eq!(harness.report(), before);
    assert_eq!((harness.changed(), harness.log().len()), (Vec::new(), 0));
}

#[test]
fn a_status_waits_for_the_first_lists() {
    let mut harness = Harness::starting();
    harness.policy(policy());
    assert_eq!(
        harness.index.report(&key("mesh")),
        None,
        "the Pods have not been listed"
    );
    assert_eq!(
        harness.index.report(&key("none")),
        None,
        "the policy does not exist"
    );
    harness.changed();
    harness.begin_resync().pod(&web());
    assert_eq!(
        harness.index.report(&key("mesh")),
        None,
        "the list is not complete"
    );
    harness.finish_resync();
    assert_eq!(harness.changed(), [key("mesh")]);
    assert_eq!(harness.report().summary.pods, 1);
    harness.at(10).hold();
    assert!(
        harness.index.report(&key("mesh")).is_some(),
        "a hold keeps the report"
    );

    let mut harness = Harness::without_namespaces();
    let selecting = policy().with(|p| p.namespaces = one_of("team", "pay"));
    harness.add(cluster_key("some"), selecting);
    harness.add(cluster_key("all"), policy()).resync([&web()]);
    assert!(
        harness.index.report(&cluster_key("all")).is_some(),
        "an empty selector does not need the namespaces"
    );
    assert_eq!(
        harness.index.report(&cluster_key("some")),
        None,
        "namespaces have not been listed"
    );
    harness.changed();
    drop(harness.index.finish_namespace_resync(at(0)));
    assert!(harness.index.report(&cluster_key("some")).is_some());
}
