//! `explain` on recordings, files and a cluster.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{
    api_server::{ApiServer, CLUSTER_POLICIES, EXEMPTIONS, PODS, POLICIES, in_pay, list, pod},
    recordings::{self, Recording, Violation},
};

use crate::{
    setup::Setup,
    support::{Directory, Run, duration, sidewatch},
};

/// The container and the check of a violation.
type Pair = (String, String);

/// Returns the rows of the checks in a state.
fn rows<'a>(report: &'a Value, state: &str) -> Vec<(Pair, &'a Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = report["checks"].as_array().unwrap().iter();
    rows.filter(|row| row["state"] == state)
        .map(|row| ((text(&row["container"]), text(&row["check"])), row))
        .collect()
}

fn firing(report: &Value) -> BTreeSet<Pair> {
    rows(report, "firing").into_iter().map(|(pair, _)| pair).collect()
}

fn pair(violation: &Violation) -> Pair {
    (violation.container.clone(), violation.check.clone())
}

/// Returns the violations of a Pod that fire at a time: those that certainly do, and those that can.
fn expected(recording: &Recording, pod: &str, t: f64) -> (BTreeSet<Pair>, BTreeSet<Pair>) {
    let tolerance = recording.tolerance;
    let fires = |violation: &&Violation, tolerance: f64| {
        violation.pod == pod
            && violation.firing + tolerance <= t
            && violation.resolved.is_none_or(|end| t <= end - tolerance)
    };
    let all = || recording.violations.iter();
    (
        all()
            .filter(|v| !v.optional && fires(v, tolerance))
            .map(pair)
            .collect(),
        all().filter(|v| fires(v, -tolerance)).map(pair).collect(),
    )
}

/// Explains a Pod of a recording as it is at a time.
async fn explain_at(directory: &Directory, recording: &Recording, pod: &str, t: f64) -> Run {
    let policy = directory.policy("policy.json", &recording.spec);
    let file = recording.file().display().to_string();
    let length = duration(t);
    let args = [
        "explain", pod, "--record", &file, "-p", &policy, "--for", &length, "-o", "json",
    ];
    sidewatch(&args).await
}

/// Asserts that the row has the times of the violation.
fn assert_times(violation: &Violation, row: &Value, recording: &Recording, about: &str) {
    let (start, _) = recording.lines();
    let seconds = |field: &str| {
        let time = row.get(field)?.as_str()?.parse::<jiff::Timestamp>().ok()?;
        Some(time.duration_since(start).as_secs_f64())
    };
    let is_close =
        |t: Option<f64>, expected: f64| t.is_some_and(|t| (t - expected).abs() <= recording.tolerance);
    assert!(
        is_close(seconds("onset"), violation.onset),
        "{about}: {row}, expected {violation:?}"
    );
    if row["state"] == "firing" {
        let firing = seconds("firing");
        // The limit of an init container that restarts often is shorter: with that restart it is over the limit since
        // an earlier time.
        let is_overdue = violation.check == "StartupBlocked"
            && firing.is_some_and(|firing| (violation.onset..violation.firing).contains(&firing));
        assert!(
            is_close(firing, violation.firing) || is_overdue,
            "{about}: {row}, expected {violation:?}"
        );
    }
}

#[tokio::test]
async fn a_violation_is_pending_and_firing_since_the_expected_times() {
    let directory = Directory::new();
    let (mut pending, mut firings) = (0, 0);
    for recording in recordings::all() {
        for violation in recording.violations.iter().filter(|v| !v.optional) {
            let end = violation.resolved.unwrap_or(recording.end);
            let periods = [
                ("pending", violation.onset, violation.firing, &mut pending),
                ("firing", violation.firing, end, &mut firings),
            ];
            for (state, from, to, count) in periods {
                // The state in the middle of a longer period is certain in spite of the tolerance.
                if to - from <= 2.0 * recording.tolerance {
                    continue;
                }
                let t = f64::midpoint(from, to);
                let about = format!("{} under {} at {t}", recording.name, recording.policy);
                let run = explain_at(&directory, &recording, &violation.pod, t).await;
                let report = &run.json()[0];
                let rows = rows(report, state);
                let row = rows.iter().find(|(found, _)| *found == pair(violation));
                let (_, row) =
                    row.unwrap_or_else(|| panic!("{about}: not {state}: {report:#}, expected {violation:?}"));
                assert_times(violation, row, &recording, &about);
                if state == "firing" {
                    let (must, can) = expected(&recording, &violation.pod, t);
                    let found = firing(report);
                    assert!(
                        found.is_superset(&must) && found.is_subset(&can),
                        "{about}: {found:?}, expected {must:?}"
                    );
                    assert_eq!(run.code, Some(1), "{about}");
                }
                *count += 1;
            }
        }
    }
    assert!(
        firings > 150 && pending > 80,
        "{firings} firing, {pending} pending"
    );
}

#[tokio::test]
async fn nothing_fires_that_is_not_expected() {
    let directory = Directory::new();
    let mut explained = 0;
    for recording in recordings::all() {
        let (_, lines) = recording.lines();
        let deleted: BTreeSet<_> = lines
            .iter()
            .filter(|line| line.kind == "DELETED")
            .map(|line| line.object["metadata"]["name"].to_string())
            .collect();
        let pods: BTreeSet<_> = lines
            .iter()
            .map(|line| &line.object["metadata"]["name"])
            .filter(|name| !deleted.contains(&name.to_string()))
            .map(|name| name.as_str().unwrap())
            .collect();
        for pod in pods {
            let run = explain_at(&directory, &recording, pod, recording.end).await;
            let found = firing(&run.json()[0]);
            // At the end, an open violation certainly fires.
            let open = |v: &&Violation| v.pod == pod && v.resolved.is_none();
            let all = || recording.violations.iter().filter(open);
            let must: BTreeSet<Pair> = all().filter(|v| !v.optional).map(pair).collect();
            let can: BTreeSet<Pair> = all().map(pair).collect();
            let about = format!(
                "{pod} in {} under {}: {found:?}",
                recording.name, recording.policy
            );
            assert!(
                found.is_superset(&must) && found.is_subset(&can),
                "{about}, expected {must:?}"
            );
            assert_eq!(run.code, Some(i32::from(!found.is_empty())), "{about}");
            explained += 1;
        }
    }
    assert!(explained > 100, "{explained}");
}

#[tokio::test]
async fn a_manifest_is_explained_without_a_cluster() {
    let directory = Directory::new();
    let manifest = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": {
        "initContainers": [{
            "name": "istio-proxy", "image": "istio/proxyv2:1.27", "restartPolicy": "Always", "startupProbe": {"exec": {}},
        }],
        "containers": [{"name": "app", "image": "shop/web:1"}],
    }}}});
    let service = json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {}});
    let file = directory.file("web.yaml", format!("{manifest}\n---\n{service}\n"));
    let run = sidewatch(&["explain", "-f", &file]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for expected in [
        "Deployment default/web\n",
        "the next container starts when its startup probe has passed",
        "Istio proxy (mesh proxy)",
        "sidecar under SidecarPolicy default/defaults",
        "main under SidecarPolicy default/defaults",
        "the containers after it do not start",
        "what still runs 30 s after the deletion is killed",
        "A manifest has no status",
    ] {
        assert!(run.stdout.contains(expected), "no {expected:?} in {}", run.stdout);
    }
    let only_service = directory.file("service.yaml", service.to_string());
    let run = sidewatch(&["explain", "-f", &only_service]).await;
    run.assert_failed(&[
        "no Pod and no Pod template: expected Pod, Deployment",
        "found Service",
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pod_of_a_cluster_is_explained() {
    let server = ApiServer::default();
    for (path, kind) in [(POLICIES, "SidecarPolicy"), (EXEMPTIONS, "SidecarExemption")] {
        server.serve_quietly(&in_pay(path), list(kind, "1", &[]));
    }
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    let pay = json!({"metadata": {"name": "pay", "uid": "1"}});
    server.serve_quietly("/api/v1/namespaces/pay", pay);
    let pods = list("Pod", "7", &[pod("web-1", "5", false), pod("web-2", "6", true)]);
    server.serve_quietly(&in_pay(PODS), pods);
    let setup = Setup::new(server).await;
    let policy = setup
        .directory
        .policy("policy.json", &json!({"checks": {"notReady": {"for": "0s"}}}));
    let explain = async |name: &str, more: &[&str]| {
        setup
            .run(&[&["explain", name, "-o", "json"], more].concat())
            .await
    };
    let run = explain("web-1", &["-p", &policy]).await;
    assert!(
        firing(&run.json()[0]).contains(&("proxy".to_owned(), "NotReady".to_owned())),
        "{run:?}"
    );
    assert_eq!(run.code, Some(1));
    let run = explain("web-1", &[]).await;
    assert_eq!(run.json()[0]["checks"], json!([]), "no policy selects it");
    let slow = json!({"checks": {"notReady": {"for": "1h"}}});
    let slow = setup.directory.policy("slow.json", &slow);
    let run = setup.run(&["explain", "web-1", "-p", &slow]).await;
    assert!(run.stdout.contains("unready, at most since "), "{run:?}");
    let run = explain("pod/web-2", &["-p", &policy]).await;
    assert_eq!((firing(&run.json()[0]).len(), run.code), (0, Some(0)), "{run:?}");
    let run = explain("deployment/other", &[]).await;
    run.assert_failed(&["there is no Pod of deployment/other in namespace pay"]);
    let run = explain("web-1", &["-A"]).await;
    run.assert_failed(&["explain needs one namespace"]);
}

#[tokio::test]
async fn a_pod_that_is_not_in_the_recording_is_an_error() {
    let recording = "docs/examples/shop.jsonl";
    let run = sidewatch(&["explain", "web-9", "--record", recording]).await;
    run.assert_failed(&["contains no Pod of web-9"]);
    let run = sidewatch(&["explain", "web-9", "--record", "-"]).await;
    run.assert_failed(&["name a file instead of -"]);
    let run = sidewatch(&["explain"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
}
