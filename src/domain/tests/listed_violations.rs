//! The violations that a status lists.

use super::report::at_once;
use crate::domain::{
    policy::{Check, Severity},
    summary::ReportedViolation,
    testing::{Harness, Pod, cluster_key, seconds, web_named},
};

/// Unready Pods of a policy whose check NotReady (Info) fires at once, and whose check MainReadySidecarNotReady (Critical)
/// is visible after 25 seconds and fires after 100.
fn with_unready_pods(pods: &[(i64, &str)]) -> Harness {
    let policy = at_once()
        .check(Check::NotReady, |c| c.severity = Severity::Info)
        .check(Check::MainReadySidecarNotReady, |c| {
            (c.severity, c.hold_for) = (Severity::Critical, seconds(100));
        });
    let mut harness = Harness::with(policy);
    for (second, name) in pods {
        let pod = web_named(name);
        harness.pod_at(*second, &pod).pod(&pod.unready("envoy"));
    }
    harness
}

/// The listed violations, such as `firing Info b`.
fn listed(harness: &Harness) -> Vec<String> {
    let line = |ReportedViolation { violation, .. }: ReportedViolation| {
        let state = if violation.firing { "firing" } else { "pending" };
        format!("{state} {:?} {}", violation.severity, violation.container().pod)
    };
    harness.report().violations.into_iter().map(line).collect()
}

#[test]
fn firing_violations_come_first_by_severity_and_onset_then_pending_ones_by_onset() {
    let mut harness = with_unready_pods(&[(10, "b"), (20, "c"), (30, "a")]);
    harness.at(60);
    assert_eq!(
        listed(&harness),
        [
            "firing Info b",
            "firing Info c",
            "firing Info a",
            "pending Critical b",
            "pending Critical c",
            "pending Critical a",
        ]
    );
    harness.at(115);
    assert_eq!(
        listed(&harness),
        [
            "firing Critical b",
            "firing Info b",
            "firing Info c",
            "firing Info a",
            "pending Critical c",
            "pending Critical a",
        ]
    );
}

#[test]
fn pending_violations_do_not_displace_firing_ones() {
    let names: Vec<String> = (0..15).map(|n| format!("web-{n:02}")).collect();
    let pods: Vec<(i64, &str)> = (0..).zip(names.iter().rev().map(String::as_str)).collect();
    let mut harness = with_unready_pods(&pods);
    harness.at(50);
    let listed = listed(&harness);
    assert_eq!(listed.len(), 20);
    assert!(
        listed[..15].iter().all(|line| line.starts_with("firing Info")),
        "{listed:?}"
    );
    assert_eq!(
        listed[15..],
        ["14", "13", "12", "11", "10"].map(|n| format!("pending Critical web-{n}")),
        "the oldest"
    );
    assert_eq!(harness.report().omitted, 10);
}

#[test]
fn violations_with_one_onset_are_sorted_by_severity_namespace_workload_pod_container_check() {
    let pod = |namespace: &str, workload: &str, name: &str, containers: &[&str]| {
        let pod = containers.iter().fold(Pod::named(name), |pod, c| pod.native(c));
        let pod = pod
            .regular("app")
            .of("Deployment", workload)
            .in_namespace(namespace);
        containers.iter().fold(pod, |pod, c| pod.unready(c))
    };
    let pods = [
        pod("shop", "a", "a-1", &["x"]),
        pod("pay", "b", "a-1-", &["x"]),
        pod("pay", "a", "z-2", &["x"]),
        pod("pay", "a", "z-1", &["y", "x"]),
    ];
    let mut harness = Harness::starting();
    let severe = at_once().check(Check::MainReadySidecarNotReady, |c| {
        c.severity = Severity::Critical;
    });
    let severe = severe.check(Check::NotReady, |c| c.severity = Severity::Info);
    harness.add(cluster_key("all"), severe.clone()).resync(&pods);
    let lines = |harness: &Harness| -> Vec<String> {
        let report = harness.index.report(&cluster_key("all")).unwrap();
        let line = |ReportedViolation { violation, .. }: &ReportedViolation| {
            let (container, check) = (violation.container(), violation.check.as_str());
            let (pod, name) = (&container.pod, &container.container);
            let workload = format!("{} {}", container.namespace, container.workload);
            format!("{:?} {workload} {pod} {name} {check}", violation.severity)
        };
        report.violations.iter().map(line).collect()
    };
    let order = [
        "pay Deployment/a z-1 x",
        "pay Deployment/a z-1 y",
        "pay Deployment/a z-2 x",
        "pay Deployment/b a-1- x",
        "shop Deployment/a a-1 x",
    ];
    let of = |severity: &str, check: &str| order.map(|who| format!("{severity} {who} {check}"));
    let expected = [of("Critical", "MainReadySidecarNotReady"), of("Info", "NotReady")].concat();
    assert_eq!(lines(&harness), expected);
    let equal = severe.check(Check::NotReady, |c| c.severity = Severity::Critical);
    harness.add(cluster_key("all"), equal);
    assert_eq!(
        lines(&harness)[..2],
        ["Critical pay Deployment/a z-1 x NotReady", &expected[0]],
        "entries of equal containers are sorted by check"
    );
}

#[test]
fn a_status_lists_twenty_and_counts_the_rest() {
    let pods: Vec<_> = (0..12)
        .map(|n| web_named(&format!("web-{n:02}")).unready("envoy"))
        .collect();
    let mut harness = Harness::with(at_once());
    harness.resync(&pods[..10]);
    assert_eq!(
        (harness.report().violations.len(), harness.report().omitted),
        (20, 0)
    );
    harness.resync(&pods);
    let report = harness.report();
    assert_eq!((report.violations.len(), report.omitted), (20, 4));
    assert_eq!(report.summary.firing, 24);
    assert_eq!(&*report.violations[19].violation.container().pod, "web-09");
}
