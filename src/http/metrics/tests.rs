//! That the series carry the names and labels which dashboards and alert rules rely on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use serde_json::json;

use super::*;
use crate::{
    api::SidecarPolicy,
    clock::Clock,
    domain::policy::PolicyKind,
    kubernetes::decode::{intern::Interner, pod, policy},
    kubernetes::inputs::WatchScope,
};

/// An index with one policy, and one Pod whose sidecar restarted and is not ready beside a ready main.
fn index() -> Index {
    let mut index = Index::new([None], false);
    let now: Timestamp = "2026-11-20T10:01:00Z".parse().unwrap();
    let spec = json!({"checks": {"mainReadySidecarNotReady": {"for": "0s", "mode": "Observe"}}});
    let object =
        json!({"metadata": {"name": "mesh", "namespace": "pay", "uid": "m", "generation": 1}, "spec": spec});
    let object: DeserializeGuard<SidecarPolicy> = serde_json::from_value(object).unwrap();
    let _ = index.apply_policy(policy::policy_update(&object).unwrap(), now);
    let _ = index.finish_policy_resync(PolicyKind::SidecarPolicy, &None, now);
    let _ = index.finish_resync(&None, now);
    for (ready, restarts) in [(true, 0), (false, 1)] {
        let status = |name: &str, ready: bool, restarts: u32| {
            json!({"name": name, "ready": ready, "started": true, "restartCount": restarts, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}})
        };
        let object = json!({
            "metadata": {
                "name": "web-7d9-x", "namespace": "pay", "uid": "w", "labels": {"pod-template-hash": "7d9"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9", "uid": "r", "controller": true},
                ],
            },
            "spec": {
                "nodeName": "n",
                "initContainers": [{"name": "proxy", "restartPolicy": "Always", "readinessProbe": {}}],
                "containers": [{"name": "app"}],
            },
            "status": {
                "phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}],
                "initContainerStatuses": [status("proxy", ready, restarts)],
                "containerStatuses": [status("app", true, 0)],
            },
        });
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
    MetricsPages::new(&metrics, Arc::new(Mutex::new(index())), health).unwrap()
}

#[test]
fn names_and_labels_are_those_of_the_contract() {
    let policy = "policy policy_kind policy_namespace";
    let violation =
        format!("check container mode namespace native pod {policy} severity state workload workload_kind");
    let expected = BTreeMap::from([
        ("sidewatch_violation", violation.clone()),
        ("sidewatch_violation_onset_timestamp_seconds", violation),
        ("sidewatch_policy_pods", policy.to_owned()),
        (
            "sidewatch_policy_containers",
            format!("native {policy} ready role"),
        ),
        ("sidewatch_policy_ready", policy.to_owned()),
        (
            "sidewatch_sidecar_restarts_total",
            format!("container namespace {policy} reason workload workload_kind"),
        ),
        ("sidewatch_violations_total", format!("check {policy}")),
        ("sidewatch_violation_duration_seconds", String::new()),
        ("sidewatch_build_info", "version".to_owned()),
        ("sidewatch_tracked_pods", String::new()),
        ("sidewatch_stray_statuses_total", String::new()),
        ("sidewatch_watch_synced", "resource".to_owned()),
        ("sidewatch_watch_events_total", String::new()),
        ("sidewatch_watch_errors_total", "reason resource".to_owned()),
        ("sidewatch_api_writes_total", "kind outcome".to_owned()),
        ("sidewatch_events_dropped_total", "reason".to_owned()),
        ("sidewatch_evaluation_seconds", String::new()),
    ]);
    let families = pages().registry.gather();
    let shown: BTreeMap<&str, String> = families
        .iter()
        .filter(|family| family.name().starts_with("sidewatch_"))
        .map(|family| {
            let labels = family.get_metric().iter().map(|metric| {
                metric
                    .get_label()
                    .iter()
                    .map(prometheus::proto::LabelPair::name)
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            let labels: BTreeSet<String> = labels.collect();
            assert_eq!(
                labels.len(),
                1,
                "{}: every series has the same labels",
                family.name()
            );
            (family.name(), labels.into_iter().next().unwrap())
        })
        .collect();
    assert_eq!(shown, expected);
    for family in &families {
        assert!(family.help().ends_with('.'), "{} has a help text", family.name());
    }
}

#[test]
fn a_violation_and_a_restart_are_shown_as_people_know_them() {
    let text = pages().text().unwrap();
    let policy = r#"policy="mesh",policy_kind="SidecarPolicy",policy_namespace="pay""#;
    let lines = [
        format!(
            r#"sidewatch_violation{{check="MainReadySidecarNotReady",container="proxy",mode="observe",namespace="pay",native="true",pod="web-7d9-x",{policy},severity="warning",state="firing",workload="web",workload_kind="Deployment"}} 1"#
        ),
        format!(
            r#"sidewatch_sidecar_restarts_total{{container="proxy",namespace="pay",{policy},reason="Error",workload="web",workload_kind="Deployment"}} 1"#
        ),
        format!(r#"sidewatch_violations_total{{check="MainReadySidecarNotReady",{policy}}} 1"#),
        format!(r#"sidewatch_policy_containers{{native="true",{policy},ready="false",role="sidecar"}} 1"#),
        r#"sidewatch_watch_synced{resource="pods"} 0"#.to_owned(),
        "sidewatch_tracked_pods 1".to_owned(),
    ];
    for line in lines {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    let onset = text.lines().find(|line| {
        line.starts_with("sidewatch_violation_onset") && line.contains("MainReadySidecarNotReady")
    });
    assert!(
        onset.unwrap().ends_with("} 1795168860"),
        "seconds since 1970: {onset:?}"
    );
}
