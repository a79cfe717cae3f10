//! `sidewatch doctor` on a scripted API server: a complete installation, and each defect.

pub(crate) mod installation;

use jiff::SignedDuration;
use serde_json::json;
use sidewatch::clock::{Clock, SystemClock};
use testkit::api_server::{EXEMPTIONS, POLICIES, list};

use self::installation::*;
use crate::support::Run;

/// The lines that are not ok: code, verdict and message.
fn findings(run: &Run) -> Vec<String> {
    let output = run.json();
    let lines = output["lines"].as_array().unwrap().iter();
    let lines = lines.filter(|line| line["verdict"] != "ok");
    lines
        .map(|line| format!("{} {} {}", line["code"], line["verdict"], line["message"]).replace('"', ""))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_complete_installation_has_no_findings() {
    let run = Cluster::complete().doctor(&["-o", "json"]).await;
    assert_eq!(findings(&run), Vec::<String>::new(), "{run:?}");
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = Cluster::complete().doctor(&[]).await;
    assert!(
        run.stdout.contains("19 ok, 0 warnings, 0 failed, 0 skipped"),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains("sidewatch-1 for 3h, after 2 changes of the leader"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn each_defect_has_a_line() {
    let no_label = json!({"name": "sidewatch", "namespace": "sidewatch-system", "labels": {"team": "a"}});
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/default";
    let crd = format!("{CRDS}/sidecarpolicies.sidewatch.dev");
    let complete = Cluster::complete;
    let second = |name: &str| {
        list(
            "SidecarPolicy",
            "1",
            &[evaluated_policy("mesh"), evaluated_policy(name)],
        )
    };
    let refused = json!([{"type": "Ready", "status": "False", "message": "over the limit"}]);
    let writer = |manager: &str, hours: i64| {
        let time =
            (SystemClock::default().now() - SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M:%SZ");
        json!({"manager": manager, "operation": "Apply", "subresource": "status", "time": time.to_string()})
    };
    let shared = json!([
        writer("sidewatch:a/x", 0),
        writer("sidewatch:b/x", 0),
        writer("kubectl", 0)
    ]);
    let replaced = json!([writer("sidewatch:a/x", 2), writer("sidewatch:b/x", 0)]);
    let nested = (0..200).fold(json!([]), |inner, _| json!([inner]));
    let unreadable = json!({"metadata": {"name": "odd", "namespace": "pay", "uid": "u", "creationTimestamp": 7}, "spec": {}});
    let mistyped =
        json!({"metadata": {"name": "odd", "namespace": "pay", "uid": "u"}, "spec": {"reason": 7}});
    // Half a minute more than the expected text: a Date has no fractions of a second.
    let skew = SignedDuration::from_secs(150);
    let table: Vec<(Cluster, &[&str])> = vec![
        (
            complete().changed("/version", "/minor", json!("29")),
            &["SD001 failed"],
        ),
        (
            complete().with(&crd, Err(404)),
            &[
                "SD002 failed sidecarpolicies.sidewatch.dev is not installed",
                "SD040 skipped",
                "SD041 skipped",
                "SD042 skipped",
                "SD043 skipped",
                "SD044 skipped",
            ],
        ),
        (
            complete().changed(&crd, schema, json!("Off")),
            &["SD003 warning sidecarpolicies.sidewatch.dev differs at [0].schema"],
        ),
        (
            Cluster {
                ahead: skew,
                renewal_age: -skew,
                ..complete()
            },
            &["SD004 warning is 2m"],
        ),
        (
            complete().with(DEPLOYMENTS, Ok(items(&[]))),
            &["SD010 failed there is no Deployment"],
        ),
        (
            complete().with(DEPLOYMENTS, Err(403)),
            &["SD010 skipped 403: no role"],
        ),
        (
            complete().changed(DEPLOYMENTS, "/items/0/status/readyReplicas", json!(1)),
            &["SD011 warning 1 of 2 are ready"],
        ),
        (
            complete().changed(DEPLOYMENTS, "/items/0/status/readyReplicas", json!(0)),
            &["SD011 failed 0 of 2 are ready"],
        ),
        (
            complete().changed(
                DEPLOYMENTS,
                "/items/0/spec/template/spec/containers/0/image",
                json!("sidewatch:9.0.0"),
            ),
            &["SD012 warning 9.0.0, but this command is"],
        ),
        (
            complete().with(LEADER, Err(404)),
            &["SD020 failed sidewatch-1 is the leader, but is not a Pod"],
        ),
        (
            Cluster {
                renewal_age: skew,
                ..complete()
            },
            &["SD021 warning is 2m"],
        ),
        (
            complete().with(CHECKPOINT, Err(404)),
            &["SD022 warning ConfigMap sidewatch-system/sidewatch-checkpoint does not exist"],
        ),
        (
            complete().changed(CHECKPOINT, "/binaryData/checkpoint", json!("eHg=")),
            &["SD022 failed"],
        ),
        (
            Cluster {
                denied: Some(("patch", "events")),
                ..complete()
            },
            &["SD030 failed ServiceAccount sidewatch-system/sidewatch may not patch events.events.k8s.io"],
        ),
        (
            Cluster {
                forbids_reviews: true,
                ..complete()
            },
            &[
                "SD030 skipped 403: subjectaccessreviews is forbidden",
                "SD052 skipped 403",
            ],
        ),
        (
            complete().changed(POLICIES, "/items/0/status/conditions", refused),
            &["SD040 failed SidecarPolicy pay/mesh: over the limit"],
        ),
        (
            complete().changed(POLICIES, "/items/0/status", json!({})),
            &["SD040 warning the operator has not written the status of SidecarPolicy pay/mesh"],
        ),
        (
            complete().changed(
                POLICIES,
                "/items/0/spec",
                json!({"checks": {"notReady": {"for": "soon"}}}),
            ),
            &["SD040 failed SidecarPolicy pay/mesh: "],
        ),
        (
            complete().changed(POLICIES, "/items/0/metadata/namespace", json!("empty")),
            &["SD041 warning no Pod is selected by SidecarPolicy empty/mesh"],
        ),
        (
            complete().with(POLICIES, Ok(second("other"))),
            &[
                "SD042 warning the same checks of the same Pods are on in SidecarPolicy pay/mesh and SidecarPolicy pay/other (1 Pods)",
            ],
        ),
        (
            complete().with(POLICIES, Ok(list("SidecarPolicy", "1", &[]))),
            &[
                "SD040 warning there are no policies",
                "SD041 skipped",
                "SD042 skipped",
                "SD043 skipped",
            ],
        ),
        (
            complete().changed(POLICIES, "/items/0/metadata/managedFields", shared),
            &["SD043 warning written within the last hour: SidecarPolicy pay/mesh by a/x, b/x"],
        ),
        (
            complete().changed(POLICIES, "/items/0/metadata/managedFields", replaced),
            &[],
        ),
        (
            complete().changed(POLICIES, "/items/0/metadata/managedFields", nested),
            &[],
        ),
        (
            complete().with(EXEMPTIONS, Ok(list("SidecarExemption", "1", &[mistyped]))),
            &["SD044 warning not evaluated: SidecarExemption pay/odd: the object cannot be decoded: "],
        ),
        (
            complete().with(EXEMPTIONS, Ok(list("SidecarExemption", "1", &[unreadable]))),
            &["SD044 warning not evaluated: SidecarExemption pay/odd: "],
        ),
        (
            complete().with(POD_MONITORS, Ok(items(&[]))),
            &["SD050 warning", "SD051 skipped", "SD052 skipped"],
        ),
        (
            complete()
                .with(POD_MONITORS, Err(404))
                .with(SERVICE_MONITORS, Err(404)),
            &[
                "SD050 skipped Prometheus Operator is not installed",
                "SD051 skipped",
                "SD052 skipped",
            ],
        ),
        (
            complete().changed(POD_MONITORS, "/items/0/spec/podMetricsEndpoints", json!([{}])),
            &["SD050 failed"],
        ),
        (
            complete()
                .changed(POD_MONITORS, "/items/0/metadata", no_label)
                .changed(
                    PROMETHEUSES,
                    "/items/0/spec/podMonitorSelector",
                    json!({"matchLabels": {"team": "b"}}),
                ),
            &["SD051 failed no Prometheus selects", "SD052 skipped"],
        ),
        (
            Cluster {
                denied: Some(("list", "pods")),
                ..complete()
            },
            &[
                "SD030 failed",
                "SD052 failed system:serviceaccount:monitoring:prometheus-k8s may not list pods in namespace sidewatch-system",
            ],
        ),
    ];
    let runs = table.into_iter().map(|(cluster, expected)| async move {
        let run = cluster.doctor(&["-o", "json"]).await;
        let found = findings(&run);
        let is_expected = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, expected)| found.starts_with(expected));
        assert!(is_expected, "expected {expected:?}, found {found:#?}");
        let is_finding = expected.iter().any(|line| !line.contains(" skipped"));
        assert_eq!(run.code, Some(i32::from(is_finding)), "{expected:?}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lease_that_is_not_renewed_has_no_leader() {
    let cluster = Cluster {
        renewal_age: SignedDuration::from_mins(5),
        is_frozen: true,
        ..Cluster::complete()
    };
    let run = cluster.doctor(&["-o", "json"]).await;
    let found = findings(&run);
    assert!(
        found[0].starts_with("SD020 failed sidewatch-1_0011223344556677 holds Lease"),
        "{found:?}"
    );
    assert!(found[1].starts_with("SD021 skipped"), "{found:?}");
    assert_eq!((found.len(), run.code), (2, Some(1)), "{found:?}");
}
