//! Configuration of Prometheus: scrape targets, and the rules in `config/prometheus`.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{KUBE_STATE_METRICS, SIDEWATCH, Timing};
use crate::operator::NAMESPACE;
use crate::project::repository;

/// Divisor of the durations with [`Timing::Fast`].
const SPEED_UP: u64 = 20;

/// `keep_firing_for` of the shipped alerts with [`Timing::Fast`].
const KEEP_FIRING_FOR: &str = "9s";

/// A rule file.
#[derive(Deserialize)]
struct Rules {
    groups: Vec<Value>,
}

/// The part of a `PrometheusRule` that Prometheus reads.
#[derive(Deserialize)]
struct PrometheusRule {
    spec: Rules,
}

/// Scrape configuration of kube-state-metrics. The labels of its series describe Pods, hence `honor_labels`.
pub(super) fn kube_state_metrics(port: u16) -> Value {
    json!({
        "job_name": KUBE_STATE_METRICS,
        "honor_labels": true,
        "static_configs": [{"targets": [format!("{}:{port}", Ipv4Addr::LOCALHOST)]}],
    })
}

/// Scrape configuration that prometheus-operator generates from `config/prometheus/monitor.yaml`.
pub(super) fn operator(kubeconfig: &Path) -> Value {
    let keep = |label: &str, value: &str| json!({"source_labels": [label], "regex": value, "action": "keep"});
    let set = |label: &str, from: &str| json!({"source_labels": [from], "target_label": label});
    json!({
        "job_name": SIDEWATCH,
        "honor_labels": true,
        "kubernetes_sd_configs": [{
            "role": "pod",
            "kubeconfig_file": kubeconfig,
            "namespaces": {"names": [NAMESPACE]},
        }],
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_phase"],
                "regex": "(Failed|Succeeded)",
                "action": "drop",
            },
            keep("__meta_kubernetes_pod_label_app_kubernetes_io_name", "sidewatch"),
            keep("__meta_kubernetes_pod_container_port_name", "metrics"),
            set("namespace", "__meta_kubernetes_namespace"),
            set("container", "__meta_kubernetes_pod_container_name"),
            set("pod", "__meta_kubernetes_pod_name"),
            {"target_label": "endpoint", "replacement": "metrics"},
        ],
    })
}

/// The rule groups of both sets.
pub(super) fn rules(timing: Timing) -> Result<Value> {
    let read = |file: &str| {
        let path = repository().join("config/prometheus").join(file);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let mut common = read("tests/originals.yaml")?;
    if timing == Timing::Fast {
        common = shortened(&common)?;
    }
    let common: Rules = serde_saphyr::from_str(&common)?;
    let mut shipped: PrometheusRule = serde_saphyr::from_str(&read("rules.yaml")?)?;
    if timing == Timing::Fast {
        shipped.spec.groups.iter_mut().for_each(keep_firing_shorter);
    }
    let groups = [common.groups, shipped.spec.groups].concat();
    Ok(json!({"groups": groups}))
}

/// Shortens `keep_firing_for`, so that a scenario sees its alert resolve.
fn keep_firing_shorter(group: &mut Value) {
    let rules = group.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        if let Some(duration) = rule.get_mut("keep_firing_for") {
            *duration = KEEP_FIRING_FOR.into();
        }
    }
}

/// Divides every duration in minutes by [`SPEED_UP`].
fn shortened(text: &str) -> Result<String> {
    let minutes = Regex::new(r"\b(\d+)m\b")?;
    let shorter = |captures: &Captures| {
        let minutes: u64 = captures
            .get(1)
            .map_or(Ok(0), |number| number.as_str().parse())
            .unwrap_or_default();
        format!("{}s", minutes * 60 / SPEED_UP)
    };
    Ok(minutes.replace_all(text, shorter).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_shipped_alerts_are_not_shortened() {
        let (real, shortened) = (rules(Timing::Real).unwrap(), rules(Timing::Fast).unwrap());
        let limits = |rules: &Value, group: usize| {
            let rules = rules["groups"][group]["rules"].as_array().unwrap().clone();
            rules.iter().map(|rule| rule["for"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(limits(&real, 0), ["5m", "2m", "5m"]);
        assert_eq!(limits(&shortened, 0), ["15s", "6s", "15s"]);
        let rate = shortened["groups"][0]["rules"][2]["expr"].as_str().unwrap();
        assert_eq!(rate, "rate(kube_pod_container_status_restarts_total[45s]) > 0.1");
        for group in [1, 2] {
            assert_eq!(limits(&real, group), limits(&shortened, group));
        }
        let keeps = |rules: &Value| rules["groups"][1]["rules"][0]["keep_firing_for"].clone();
        assert_eq!((keeps(&real), keeps(&shortened)), ("3m".into(), "9s".into()));
        assert_eq!(real["groups"].as_array().unwrap().len(), 3);
    }
}
