//! The names and labels of the series, which dashboards and alert rules use.

use std::collections::{BTreeMap, BTreeSet};

use crate::kubernetes::decode::custom::Checked;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    api::{SidecarExemption, SidecarPolicy},
    clock::Clock,
    domain::policy::PolicyKind,
    kubernetes::decode::{exemption::exemption_update, intern::Interner, pod, policy},
    kubernetes::inputs::WatchScope,
};

/// An index with one policy, and one Pod whose sidecar started, restarted and is not ready while a main container is ready.
fn index() -> Index {
    let mut index = Index::new([None], false);
    let now: Timestamp = "2026-11-20T10:01:00Z".parse().unwrap();
    let exemption = json!({
        "metadata": {"name": "flaps", "namespace": "pay", "uid": "e", "generation": 1},
        "spec": {"selector": {}, "checks": ["NotReady"], "reason": "known", "until": "2026-11-21T00:00:00Z"},
    });
    let exemption: Checked<SidecarExemption> = serde_json::from_value(exemption).unwrap();
    let _ = index.apply_exemption(exemption_update(&exemption).unwrap(), now);
    let spec = json!({"checks": {
        "mainReadySidecarNotReady": {"for": "0s", "mode": "Observe"}, "notReady": {"for": "0s"},
    }});
    let object =
        json!({"metadata": {"name": "mesh", "namespace": "pay", "uid": "m", "generation": 1}, "spec": spec});
    let object: Checked<SidecarPolicy> = serde_json::from_value(object).unwrap();
    let _ = index.apply_policy(policy::policy_update(&object).unwrap(), now);
    let _ = index.finish_policy_resync(PolicyKind::SidecarPolicy, &None, now);
    let _ = index.finish_resync(&None, now);
    for (reported, ready, restarts) in [(false, false, 0), (true, true, 0), (true, false, 1)] {
        let status = |name: &str, ready: bool, restarts: u32| {
            json!({"name": name, "ready": ready, "started": true, "restartCount": restarts, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}})
        };
        let mut object = json!({
            "metadata": {
                "name": "web-7d9-x", "namespace": "pay", "uid": "w", "labels": {"pod-template-hash": "7d9"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9", "uid": "r", "controller": true},
                ],
            },
            "spec": {
                "nodeName": "n",
                "initContainers": [{"name": "proxy", "image": "reg.io:5000/mesh/proxy:1.2@sha256:ab",
                    "restartPolicy": "Always", "readinessProbe": {}}],
                "containers": [{"name": "app"}],
            },
            "status": {
                "phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}],
                "initContainerStatuses": [status("proxy", ready, restarts)],
                "containerStatuses": [status("app", true, 0)],
            },
        });
        if !reported {
            object["status"] = json!({"phase": "Pending"});
        }
        let object = serde_json::from_value(object).unwrap();
        let _ = index.apply(pod::observe(object, &mut Interner::default()).unwrap(), now);
    }
    index
}

fn pages() -> MetricsPages {
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::UNIX_EPOCH);
    let installation = WatchScope {
        namespaces: Vec::new(),
    };
    let health = Arc::new(Health::new(installation.monitors(&clock)));
    let metrics = Metrics::new().unwrap();
    metrics.watch_error("pods", "gone");
    MetricsPages::new(
        &metrics,
        Arc::new(Mutex::new(index())),
        health,
        SeriesLimits::default(),
        clock,
    )
    .unwrap()
}

#[test]
fn names_and_labels_are_those_of_the_contract() {
    let policy = "policy policy_kind policy_namespace";
    let workload = "workload workload_kind";
    let violation = format!("check container mode namespace native pod {policy} severity state {workload}");
    let by_workload =
        format!("check container image mode namespace native {policy} repository severity state {workload}");
    let expected = BTreeMap::from([
        ("sidewatch_workload_violations", by_workload),
        ("sidewatch_violation", violation.clone()),
        ("sidewatch_violation_onset_timestamp_seconds", violation),
        ("sidewatch_violation_series_omitted", String::new()),
        ("sidewatch_collapsed_namespaces", "metric".to_owned()),
        ("sidewatch_policy_pods", policy.to_owned()),
        (
            "sidewatch_policy_containers",
            format!("native {policy} ready role"),
        ),
        ("sidewatch_policies_over_limit", String::new()),
        ("sidewatch_policy_ready", policy.to_owned()),
        (
            "sidewatch_sidecar_restarts_total",
            format!("container namespace {policy} reason workload workload_kind"),
        ),
        ("sidewatch_sidecar_images", format!("{policy} repository version")),
        ("sidewatch_violations_total", format!("check {policy}")),
        ("sidewatch_exempted_violations", format!("check {policy}")),
        ("sidewatch_violation_duration_seconds", String::new()),
        ("sidewatch_sidecar_startup_seconds", "container until".to_owned()),
        ("sidewatch_build_info", "version".to_owned()),
        ("sidewatch_tracked_pods", String::new()),
        ("sidewatch_stray_statuses_total", String::new()),
        ("sidewatch_history_entries_dropped_total", String::new()),
        ("sidewatch_watch_synced", "resource".to_owned()),
        ("sidewatch_undecodable_objects", "resource".to_owned()),
        ("sidewatch_watch_events_total", String::new()),
        ("sidewatch_watch_errors_total", "reason resource".to_owned()),
        ("sidewatch_api_writes_total", "kind outcome".to_owned()),
        ("sidewatch_events_dropped_total", "reason".to_owned()),
        ("sidewatch_metrics_reviews_total", "outcome".to_owned()),
        ("sidewatch_metrics_tls_reloads_total", "outcome".to_owned()),
        ("sidewatch_evaluation_seconds", String::new()),
        ("sidewatch_leader", String::new()),
        ("sidewatch_checkpoint_last_write_timestamp_seconds", String::new()),
        ("sidewatch_checkpoint_size_bytes", String::new()),
        ("sidewatch_checkpoint_entries_omitted", String::new()),
        ("sidewatch_checkpoint_ignored_total", "reason".to_owned()),
        ("sidewatch_checkpoint_writes_total", "outcome".to_owned()),
    ]);
    let text = pages().text().unwrap();
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("sidewatch_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        let names = labels.split("\",").filter_map(|label| label.split_once("=\""));
        let names: Vec<_> = names.map(|(name, _)| name).filter(|name| *name != "le").collect();
        found.entry(family).or_default().insert(names.join(" "));
    }
    for (family, labels) in &found {
        assert_eq!(labels.len(), 1, "{family}: every series has the same labels");
    }
    let found: BTreeMap<&str, String> = found
        .into_iter()
        .map(|(family, labels)| (family, labels.into_iter().next().unwrap()))
        .collect();
    assert_eq!(found, expected);
    for help in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(help.ends_with('.'), "a sentence: {help}");
    }
    let families = text.lines().filter(|line| line.starts_with("# TYPE"));
    let names: BTreeSet<_> = families
        .clone()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(families.count(), names.len(), "each family is written once");
}

#[test]
fn violations_and_restarts_have_the_documented_series() {
    let text = pages().text().unwrap();
    let policy = r#"policy="mesh",policy_kind="SidecarPolicy",policy_namespace="pay""#;
    let lines = [
        format!(
            r#"sidewatch_workload_violations{{check="MainReadySidecarNotReady",container="proxy",image="reg.io:5000/mesh/proxy:1.2@sha256:ab",mode="observe",namespace="pay",native="true",{policy},repository="reg.io:5000/mesh/proxy",severity="warning",state="firing",workload="web",workload_kind="Deployment"}} 1"#
        ),
        "sidewatch_violation_series_omitted 0".to_owned(),
        r#"sidewatch_collapsed_namespaces{metric="sidewatch_workload_violations"} 0"#.to_owned(),
        format!(
            r#"sidewatch_violation{{check="MainReadySidecarNotReady",container="proxy",mode="observe",namespace="pay",native="true",pod="web-7d9-x",{policy},severity="warning",state="firing",workload="web",workload_kind="Deployment"}} 1"#
        ),
        format!(
            r#"sidewatch_sidecar_restarts_total{{container="proxy",namespace="pay",{policy},reason="Error",workload="web",workload_kind="Deployment"}} 1"#
        ),
        format!(
            r#"sidewatch_sidecar_images{{{policy},repository="reg.io:5000/mesh/proxy",version="1.2"}} 1"#
        ),
        r#"sidewatch_collapsed_namespaces{metric="sidewatch_sidecar_images"} 0"#.to_owned(),
        format!(r#"sidewatch_violations_total{{check="MainReadySidecarNotReady",{policy}}} 1"#),
        format!(r#"sidewatch_policy_containers{{native="true",{policy},ready="false",role="sidecar"}} 1"#),
        r#"sidewatch_watch_synced{resource="pods"} 0"#.to_owned(),
        format!(r#"sidewatch_exempted_violations{{check="NotReady",{policy}}} 1"#),
        "sidewatch_tracked_pods 1".to_owned(),
        r#"sidewatch_sidecar_startup_seconds_count{container="proxy",until="started"} 1"#.to_owned(),
        r#"sidewatch_sidecar_startup_seconds_bucket{container="proxy",until="ready",le="0.5"} 1"#.to_owned(),
    ];
    for line in lines {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    let exempted = text
        .lines()
        .filter(|line| line.starts_with("sidewatch_exempted_violations{"));
    assert_eq!(exempted.count(), 1, "only checks with hidden violations");
    let onset = text.lines().find(|line| {
        line.starts_with("sidewatch_violation_onset") && line.contains("MainReadySidecarNotReady")
    });
    assert!(
        onset.unwrap().ends_with("} 1795168860"),
        "seconds since 1970: {onset:?}"
    );
}
