//! Prometheus Operator: a monitor that selects the operator, a Prometheus that selects the monitor, and its rights.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::{
    access::{Access, Answer, Review},
    diagnosis::{Code, Diagnosis},
    installation::Installation,
    rights::{describe, path_review, review, right},
};
use crate::cli::exit::Failure;

const GROUP: &str = "/apis/monitoring.coreos.com/v1";
/// The codes of this file.
const ALL: [Code; 3] = [Code::SD050, Code::SD051, Code::SD052];
/// The codes that need a monitor.
const PROMETHEUS: [Code; 2] = [Code::SD051, Code::SD052];

/// The kind of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PodMonitor,
    ServiceMonitor,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::PodMonitor => "PodMonitor",
            Self::ServiceMonitor => "ServiceMonitor",
        }
    }

    /// The plural name in the path of the API.
    const fn resource(self) -> &'static str {
        match self {
            Self::PodMonitor => "podmonitors",
            Self::ServiceMonitor => "servicemonitors",
        }
    }

    /// The field with the endpoints.
    const fn endpoints(self) -> &'static str {
        match self {
            Self::PodMonitor => "podMetricsEndpoints",
            Self::ServiceMonitor => "endpoints",
        }
    }

    /// The fields of a Prometheus that select monitors and their namespaces.
    const fn selectors(self) -> (&'static str, &'static str) {
        match self {
            Self::PodMonitor => ("podMonitorSelector", "podMonitorNamespaceSelector"),
            Self::ServiceMonitor => ("serviceMonitorSelector", "serviceMonitorNamespaceSelector"),
        }
    }

    /// The resources that Prometheus lists and watches to find the targets.
    fn targets(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::PodMonitor => &[("", "pods")],
            Self::ServiceMonitor => &[("", "pods"), ("", "services")],
        }
    }
}

/// A monitor that selects the operator.
struct Monitor {
    kind: Kind,
    object: Value,
}

impl Monitor {
    fn text(&self, field: &str) -> &str {
        self.object["metadata"][field].as_str().unwrap_or_default()
    }

    fn name(&self) -> String {
        format!(
            "{} {}/{}",
            self.kind.name(),
            self.text("namespace"),
            self.text("name")
        )
    }
}

pub(super) async fn examine(
    access: &Access<'_>,
    installation: &Installation,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let mut monitors = Vec::new();
    let mut has_kinds = false;
    for kind in [Kind::PodMonitor, Kind::ServiceMonitor] {
        match access.list(&format!("{GROUP}/{}", kind.resource())).await? {
            Ok(None) => {}
            Ok(Some(objects)) => {
                has_kinds = true;
                let labels = labels_of_targets(access, kind, installation).await?;
                let selected = objects
                    .into_iter()
                    .filter(|object| selects(object, &labels, installation));
                monitors.extend(selected.map(|object| Monitor { kind, object }));
            }
            Err(reason) => {
                diagnosis.skip_all(&ALL, &reason);
                return Ok(());
            }
        }
    }
    if !has_kinds {
        diagnosis.skip_all(&ALL, "Prometheus Operator is not installed");
        return Ok(());
    }
    let Some((monitor, others)) = monitors.split_first() else {
        diagnosis.warn(
            Code::SD050,
            "no PodMonitor and no ServiceMonitor selects the operator",
            "set podMonitor.enabled of the chart, or apply config/prometheus",
        );
        diagnosis.skip_all(&PROMETHEUS, "there is no monitor");
        return Ok(());
    };
    examine_monitor(monitor, others, diagnosis);
    examine_prometheus(access, monitor, installation, diagnosis).await
}

/// Returns the labels of what the monitor selects: the Pods, or the Services.
async fn labels_of_targets(
    access: &Access<'_>,
    kind: Kind,
    installation: &Installation,
) -> Result<Vec<Value>, Failure> {
    if kind == Kind::PodMonitor {
        return Ok(vec![installation.labels.clone()]);
    }
    let path = format!("/api/v1/namespaces/{}/services", installation.namespace);
    let services = access.list(&path).await?.ok().flatten().unwrap_or_default();
    let selects_pods = |service: &Value| {
        let selector = service["spec"]["selector"].as_object();
        selector.is_some_and(|selector| {
            !selector.is_empty()
                && selector
                    .iter()
                    .all(|(name, value)| installation.labels[name] == *value)
        })
    };
    let services = services.into_iter().filter(selects_pods);
    Ok(services
        .map(|service| service["metadata"]["labels"].clone())
        .collect())
}

/// Reports whether a monitor selects one of these labels, in the namespace of the operator.
fn selects(monitor: &Value, labels: &[Value], installation: &Installation) -> bool {
    let spec = &monitor["spec"];
    let namespaces = &spec["namespaceSelector"];
    let names = namespaces["matchNames"].as_array();
    let in_namespace = namespaces["any"] == true
        || match names {
            Some(names) if !names.is_empty() => names.iter().any(|name| *name == *installation.namespace),
            _ => monitor["metadata"]["namespace"] == *installation.namespace,
        };
    in_namespace && labels.iter().any(|labels| matches(&spec["selector"], labels))
}

/// Reports whether a label selector matches. A selector that cannot be decoded does not.
fn matches(selector: &Value, labels: &Value) -> bool {
    let selector: LabelSelector = serde_json::from_value(selector.clone()).unwrap_or_default();
    let labels: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap_or_default();
    Selector::try_from(selector).is_ok_and(|selector| selector.matches(&labels))
}

fn examine_monitor(monitor: &Monitor, others: &[Monitor], diagnosis: &mut Diagnosis) {
    let endpoints = monitor.object["spec"][monitor.kind.endpoints()].as_array();
    let keeps_labels =
        endpoints.is_some_and(|endpoints| endpoints.iter().all(|endpoint| endpoint["honorLabels"] == true));
    let name = monitor.name();
    if let Some(other) = others.first() {
        diagnosis.warn(
            Code::SD050,
            format!("{name} and {} select the operator", other.name()),
            "delete one of them, or Prometheus scrapes each Pod twice",
        );
    } else if keeps_labels {
        diagnosis.ok(Code::SD050, name);
    } else {
        diagnosis.fail(
            Code::SD050,
            format!("{name} has no honorLabels: the series have the namespace and the Pod of the operator"),
            "set honorLabels: true in its endpoint",
        );
    }
}

async fn examine_prometheus(
    access: &Access<'_>,
    monitor: &Monitor,
    installation: &Installation,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let all = match access.list(&format!("{GROUP}/prometheuses")).await? {
        Ok(Some(all)) if !all.is_empty() => all,
        Ok(_) => {
            diagnosis.skip_all(&PROMETHEUS, "there is no Prometheus object");
            return Ok(());
        }
        Err(reason) => {
            diagnosis.skip_all(&PROMETHEUS, &reason);
            return Ok(());
        }
    };
    let path = format!("/api/v1/namespaces/{}", monitor.text("namespace"));
    let namespace = match access.get(&path).await? {
        Answer::Found(namespace) => namespace,
        Answer::Missing => Value::Null,
        Answer::Unknown(reason) => {
            diagnosis.skip_all(&PROMETHEUS, &reason);
            return Ok(());
        }
    };
    let Some(prometheus) = all
        .iter()
        .find(|prometheus| selects_monitor(prometheus, monitor, &namespace))
    else {
        let (labels, namespaces) = monitor.kind.selectors();
        diagnosis.fail(
            Code::SD051,
            format!("no Prometheus selects {}", monitor.name()),
            &format!("compare {labels} and {namespaces} of the Prometheus with its labels; the chart sets labels with podMonitor.labels and serviceMonitor.labels"),
        );
        diagnosis.skip(Code::SD052, "no Prometheus selects the monitor");
        return Ok(());
    };
    let text = |pointer: &str| prometheus.pointer(pointer).and_then(Value::as_str);
    let place = text("/metadata/namespace").unwrap_or_default();
    let name = format!("{place}/{}", text("/metadata/name").unwrap_or_default());
    diagnosis.ok(
        Code::SD051,
        format!("Prometheus {name} selects {}", monitor.name()),
    );
    let account = text("/spec/serviceAccountName").unwrap_or("default");
    let user = format!("system:serviceaccount:{place}:{account}");
    examine_rights(access, monitor.kind, &user, installation, diagnosis).await
}

/// Reports whether a Prometheus selects a monitor. A missing selector of monitors selects none, and a missing selector of
/// namespaces the namespace of the Prometheus.
fn selects_monitor(prometheus: &Value, monitor: &Monitor, namespace: &Value) -> bool {
    let (labels, namespaces) = monitor.kind.selectors();
    let spec = &prometheus["spec"];
    let in_namespace = if spec[namespaces].is_null() {
        prometheus["metadata"]["namespace"] == monitor.object["metadata"]["namespace"]
    } else {
        matches(&spec[namespaces], &namespace["metadata"]["labels"])
    };
    in_namespace && !spec[labels].is_null() && matches(&spec[labels], &monitor.object["metadata"]["labels"])
}

async fn examine_rights(
    access: &Access<'_>,
    kind: Kind,
    user: &str,
    installation: &Installation,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let namespace = Some(installation.namespace.as_str());
    let mut reviews = Vec::new();
    for (group, resource) in kind.targets() {
        for verb in ["list", "watch"] {
            let right = right(group, resource, verb, None, namespace);
            reviews.push((describe(&right), review(user, right), namespace));
        }
    }
    if installation.protects_metrics {
        reviews.push(("get /metrics".to_owned(), path_review(user, "/metrics"), None));
    }
    let mut missing = Vec::new();
    for (shown, review, namespace) in reviews {
        match access.review(&review, namespace).await? {
            Review::Allowed => {}
            Review::Denied => missing.push(shown),
            Review::Unknown(reason) => {
                diagnosis.skip(Code::SD052, reason);
                return Ok(());
            }
        }
    }
    if missing.is_empty() {
        diagnosis.ok(Code::SD052, format!("{user} finds the operator"));
    } else {
        diagnosis.fail(
            Code::SD052,
            format!("{user} may not {}", missing.join(", ")),
            "set prometheusRole.create of the chart; for protected metrics, bind the ClusterRole sidewatch-metrics-reader",
        );
    }
    Ok(())
}
