//! The series that the index gives to the metrics.

use crate::domain::{
    index::series::SeriesLimits,
    observation::RestartPolicy,
    policy::{Check, Severity},
    testing::{Harness, Pod, policy, seconds, web, web_named},
};

fn limits(pods: usize) -> SeriesLimits {
    SeriesLimits {
        pods,
        ..SeriesLimits::default()
    }
}

/// A Pod of `Deployment/web` whose sidecar has this image and is not ready.
fn pod(name: &str, image: &str) -> Pod {
    let pod = super::images::pod(name, image).of("Deployment", "web");
    pod.unready("envoy")
}

/// Formats state, workload, container, image and count of each workload series.
fn workloads(harness: &mut Harness) -> Vec<String> {
    let series = harness.series();
    let rows = series.workloads.rows.iter().map(|row| {
        let state = if row.kind.firing { "firing" } else { "pending" };
        let of = row.subject.as_ref().unwrap();
        format!(
            "{state} {} {} {} {}",
            of.workload, of.container, of.image, row.count
        )
    });
    rows.collect()
}

#[test]
fn pods_in_violation_are_counted_by_workload_state_and_image() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness
        .pod(&pod("web-1", "mesh/proxy:1"))
        .pod(&pod("web-2", "mesh/proxy:1"));
    let third = pod("web-3", "mesh/proxy:2");
    harness
        .pod_at(400, &third.clone().ready("envoy"))
        .pod(&third)
        .at(500);
    let expected = [
        "pending Deployment/web envoy mesh/proxy:2 1",
        "firing Deployment/web envoy mesh/proxy:1 2",
    ];
    assert_eq!(workloads(&mut harness), expected);
    harness.delete(&pod("web-1", "mesh/proxy:1"));
    harness.delete(&pod("web-2", "mesh/proxy:1"));
    assert_eq!(workloads(&mut harness), [expected[0]]);
}

#[test]
fn images_that_are_equal_in_a_label_share_a_series() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    let prefix = format!("mesh/{}", "p".repeat(251));
    let one = pod("web-1", &format!("{prefix}:1"));
    let other = pod("web-2", &format!("{prefix}:2"));
    harness
        .pod(&one)
        .pod(&other)
        .pod(&pod("web-3", &prefix[..255]))
        .at(500);
    let shorter = format!("firing Deployment/web envoy {} 1", &prefix[..255]);
    let shared = |pods: usize| format!("firing Deployment/web envoy {prefix} {pods}");
    assert_eq!(workloads(&mut harness), [shorter.clone(), shared(2)]);
    harness.delete(&other);
    assert_eq!(workloads(&mut harness), [shorter.clone(), shared(1)]);
    harness.delete(&one);
    assert_eq!(workloads(&mut harness), [shorter]);
}

#[test]
fn an_oom_kill_has_a_series_for_two_minutes_even_if_its_violation_has_ended() {
    let job = |name: &str| {
        let pod = Pod::named(name).of("Job", "report").regular("app");
        pod.regular("envoy").restart_policy(RestartPolicy::Never)
    };
    let killed = |name: &str| job(name).oom_killed("envoy", 10);
    let quick = || {
        policy()
            .only(Check::OOMKilled)
            .check(Check::OOMKilled, |c| c.keep_firing_for = seconds(0))
    };
    let series = |pods: u32| vec![format!("firing Job/report envoy registry.example/envoy:1 {pods}")];
    let mut harness = Harness::with(quick());
    harness.pod_at(11, &job("job-1")).pod(&killed("job-1")).at(20);
    assert_eq!(harness.firing(), [""; 0], "the violation has resolved");
    assert_eq!(workloads(&mut harness), series(1));
    harness
        .pod(&job("job-2"))
        .pod(&killed("job-2"))
        .at(30)
        .delete(&killed("job-1"));
    assert_eq!(workloads(&mut harness), series(2), "two Pods of the workload");
    harness.at(11 + 120);
    assert_eq!(
        workloads(&mut harness),
        series(1),
        "the first kill is two minutes old"
    );
    harness.at(20 + 120);
    assert_eq!(workloads(&mut harness), [""; 0]);

    let slow = policy().only(Check::OOMKilled);
    let mut harness = Harness::with(slow.clone());
    harness.pod_at(11, &job("job-1")).pod(&killed("job-1")).at(20);
    harness.delete(&killed("job-1"));
    assert_eq!(workloads(&mut harness), series(1), "the Pod was deleted");
    let mut harness = Harness::with(slow);
    harness
        .pod_at(11, &job("job-1"))
        .pod(&killed("job-1"))
        .at(11 + 600);
    assert_eq!(
        workloads(&mut harness),
        [""; 0],
        "the violation fired for longer than two minutes"
    );

    let mut harness = Harness::with(quick());
    let pod = web().oom_killed("envoy", 10);
    harness.pod_at(10, &web()).pod(&pod).at(20);
    let again = pod.restarted("envoy", 30).oom_killed("envoy", 40);
    harness.pod_at(40, &again).at(50);
    assert_eq!(
        workloads(&mut harness),
        ["firing Deployment/web envoy registry.example/envoy:1 1"],
        "two kills of one container are one Pod"
    );
}

#[test]
fn the_most_severe_and_then_the_oldest_firing_violations_have_series() {
    let mut harness = Harness::with(policy().check(Check::FrequentRestarts, |common| {
        common.severity = Severity::Critical;
    }));
    for second in 1..=4 {
        let pod = Pod::named(&format!("web-{second}"))
            .regular("app")
            .regular("istio-proxy");
        harness
            .pod(&pod)
            .pod_at(second, &pod.unready("istio-proxy").unready("app"));
    }
    harness.at(1000);
    let mut names = |limit| -> (Vec<String>, usize) {
        let series = harness.index.series(&limits(limit), harness.now);
        let pods = series.violations.iter().map(|v| v.container().pod.to_string());
        (pods.collect(), series.omitted)
    };
    let oldest = |n: usize| (1..=n).map(|n| format!("web-{n}")).collect::<Vec<_>>();
    assert_eq!(names(4), (oldest(4), 0));
    assert_eq!(names(2), (oldest(2), 2));
    assert_eq!(names(0), (oldest(0), 4));

    let restarted = web_named("db-0");
    harness.pod(&restarted);
    harness.restarts(restarted, "envoy", 1001..=1005);
    let series = harness.index.series(&limits(1), harness.now);
    let [first] = &series.violations[..] else {
        panic!("{series:?}")
    };
    assert_eq!(first.severity, Severity::Critical, "severity sorts before age");
    assert_eq!(series.omitted, 4);
}

#[test]
fn a_pending_violation_has_no_series_of_its_own() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web().unready("envoy")).at(100);
    let series = harness.series();
    assert!(series.violations.is_empty() && series.omitted == 0);
    assert_eq!(series.workloads.rows.len(), 1);
}
