//! The violations that a status lists.

use super::report::at_once;
use crate::domain::{
    policy::{Check, Severity},
    summary::ReportedViolation,
    testing::{Harness, Pod, at, cluster_key, policy, web},
};

#[test]
fn violations_are_sorted_by_severity_namespace_workload_pod_container_check() {
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
    harness
        .policy_as(cluster_key("all"), Ok(severe.clone()), Vec::new())
        .resync(&pods);
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
    harness.policy_as(cluster_key("all"), Ok(equal), Vec::new());
    assert_eq!(
        lines(&harness)[..2],
        ["Critical pay Deployment/a z-1 x NotReady", &expected[0]],
        "entries of equal containers are sorted by check"
    );
}

#[test]
fn a_status_lists_twenty_and_counts_the_rest() {
    let pods: Vec<_> = (0..12)
        .map(|n| {
            Pod::named(&format!("web-{n:02}"))
                .native("envoy")
                .regular("app")
                .unready("envoy")
        })
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

#[test]
fn a_listed_violation_has_all_its_fields() {
    let mut harness = Harness::with(policy());
    harness
        .pod(&web())
        .at(10)
        .pod(&web().unready("envoy").of("StatefulSet", "db"))
        .at(200);
    let [first, second] = &harness.report().violations[..] else {
        panic!("expected two violations")
    };
    let (first, second) = (&first.violation, &second.violation);
    assert_eq!((first.check, first.firing), (Check::NotReady, false));
    assert_eq!(
        (second.check, second.firing),
        (Check::MainReadySidecarNotReady, true)
    );
    let container = first.container();
    assert_eq!(
        (&*container.workload.to_string(), container.native, first.onset),
        ("StatefulSet/db", true, at(10))
    );
    assert_eq!(
        (&*container.namespace, &*container.pod, &*container.container),
        ("pay", "web-1", "envoy")
    );
    assert_eq!(first.severity, Severity::Warning);
}
