//! The series that are computed from the index and the watches at each scrape.
//!
//! Severity, mode and state are written in lower case, as people write them in Alertmanager's routes; check, kinds and
//! names as the API writes them.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    domain::{
        index::{Durations, Index},
        policy::{Mode, PolicyKey, Severity},
        violation::{Subject, Violation},
    },
    http::health::Health,
};

/// A family of series: its name, help and type.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        help,
        kind: MetricType::GAUGE,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
    }
}

const VIOLATION: Family = gauge(
    "sidewatch_violation",
    "A check that fails on a container under a policy; the value is always 1.",
);
const VIOLATION_ONSET: Family = gauge(
    "sidewatch_violation_onset_timestamp_seconds",
    "Since when the fault of a violation is there.",
);
const POLICY_PODS: Family = gauge(
    "sidewatch_policy_pods",
    "Evaluated Pods that a policy's selectors match.",
);
const POLICY_CONTAINERS: Family = gauge(
    "sidewatch_policy_containers",
    "Containers of those Pods by role, kind and readiness.",
);
const POLICY_READY: Family = gauge(
    "sidewatch_policy_ready",
    "Whether a policy's present spec is valid (1) or an older one is at work, or none (0).",
);
const VIOLATIONS: Family = counter(
    "sidewatch_violations_total",
    "Violations that began to fire, by policy and check.",
);
const RESTARTS: Family = counter(
    "sidewatch_sidecar_restarts_total",
    "Restarts of sidecars by workload and the way the run before ended.",
);
const DURATION: Family = Family {
    name: "sidewatch_violation_duration_seconds",
    help: "How long resolved violations lasted, from onset to resolution.",
    kind: MetricType::HISTOGRAM,
};
const TRACKED_PODS: Family = gauge("sidewatch_tracked_pods", "Pods that are known.");
const STRAY_STATUSES: Family = counter(
    "sidewatch_stray_statuses_total",
    "Container statuses that named no container of their Pod's spec.",
);
const WATCH_SYNCED: Family = gauge(
    "sidewatch_watch_synced",
    "Whether everything watched of a resource is in sync with the API server.",
);
const WATCH_ACTIVITY: Family = gauge(
    "sidewatch_watch_last_activity_timestamp_seconds",
    "When the last bytes of a list or watch came, bookmarks included; of several watches the oldest.",
);

/// Every family, in the order of the labels that their series carry.
const FAMILIES: [&Family; 12] = [
    &VIOLATION,
    &VIOLATION_ONSET,
    &POLICY_PODS,
    &POLICY_CONTAINERS,
    &POLICY_READY,
    &VIOLATIONS,
    &RESTARTS,
    &DURATION,
    &TRACKED_PODS,
    &STRAY_STATUSES,
    &WATCH_SYNCED,
    &WATCH_ACTIVITY,
];

/// Reads the index and the watches at each scrape.
pub(super) struct ModelCollector {
    index: Arc<Mutex<Index>>,
    health: Arc<Health>,
    descs: Vec<Desc>,
}

impl ModelCollector {
    pub(super) fn new(index: Arc<Mutex<Index>>, health: Arc<Health>) -> prometheus::Result<Self> {
        let desc = |family: &&Family| {
            Desc::new(
                family.name.into(),
                family.help.into(),
                Vec::new(),
                std::collections::HashMap::new(),
            )
        };
        let descs = FAMILIES.iter().map(desc).collect::<prometheus::Result<_>>()?;
        Ok(Self { index, health, descs })
    }

    fn watches(&self) -> [MetricFamily; 2] {
        let mut watches: BTreeMap<&str, (bool, Option<f64>)> = BTreeMap::new();
        for monitor in &self.health.monitors {
            let (synced, oldest) = watches.entry(monitor.resource.as_str()).or_insert((true, None));
            *synced &= monitor.is_in_sync();
            let activity = monitor
                .pulse
                .last_activity()
                .map(|at| at.as_duration().as_secs_f64());
            *oldest = match (*oldest, activity) {
                (Some(oldest), Some(activity)) => Some(oldest.min(activity)),
                (oldest, activity) => oldest.or(activity),
            };
        }
        let (mut synced, mut active) = (Vec::new(), Vec::new());
        for (resource, (is_synced, oldest)) in watches {
            let labels = || labels([("resource", resource)]);
            synced.push(gauge_of(labels(), f64::from(u8::from(is_synced))));
            active.extend(oldest.map(|oldest| gauge_of(labels(), oldest)));
        }
        [family(&WATCH_SYNCED, synced), family(&WATCH_ACTIVITY, active)]
    }
}

impl Collector for ModelCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::with_capacity(FAMILIES.len());
        families.extend(self.watches());
        let index = self.index.lock();
        let (violations, onsets) = index.violations().map(violation_series).unzip();
        families.push(family(&VIOLATION, violations));
        families.push(family(&VIOLATION_ONSET, onsets));
        families.extend(policies(&index));
        let restarts = index.restarts().map(|restarts| {
            let mut labels = policy_labels(restarts.policy);
            labels.extend(pairs([
                ("namespace", restarts.namespace),
                ("workload_kind", &restarts.workload.kind),
                ("workload", &restarts.workload.name),
                ("container", restarts.container),
                ("reason", restarts.reason),
            ]));
            counter_of(labels, restarts.count)
        });
        families.push(family(&RESTARTS, restarts.collect()));
        families.push(family(&DURATION, vec![durations(index.durations())]));
        families.push(family(
            &TRACKED_PODS,
            vec![gauge_of(Vec::new(), count(index.tracked_pods() as u64))],
        ));
        families.push(family(
            &STRAY_STATUSES,
            vec![counter_of(Vec::new(), index.stray_statuses())],
        ));
        families
    }
}

fn policies(index: &Index) -> [MetricFamily; 4] {
    let (mut pods, mut containers, mut ready, mut fired) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for policy in index.policies() {
        let labels = || policy_labels(policy.key);
        pods.push(gauge_of(labels(), f64::from(policy.pods)));
        ready.push(gauge_of(labels(), f64::from(u8::from(policy.ready))));
        for (class, n) in policy.containers {
            let mut labels = labels();
            labels.extend(pairs([
                ("role", class.role),
                ("native", bool_label(class.native)),
                ("ready", bool_label(class.ready)),
            ]));
            containers.push(gauge_of(labels, f64::from(n)));
        }
        for (check, n) in policy.fired {
            let mut labels = labels();
            labels.extend(pairs([("check", check.as_str())]));
            fired.push(counter_of(labels, n));
        }
    }
    [
        family(&POLICY_PODS, pods),
        family(&POLICY_CONTAINERS, containers),
        family(&POLICY_READY, ready),
        family(&VIOLATIONS, fired),
    ]
}

/// The two series of a violation.
fn violation_series(violation: &Violation) -> (Metric, Metric) {
    let Violation {
        policy,
        check,
        severity,
        mode,
        subject: Subject::Container(subject),
        firing,
        onset,
    } = violation;
    let mut labels = policy_labels(policy);
    labels.extend(pairs([
        ("check", check.as_str()),
        ("severity", severity_label(*severity)),
        ("mode", mode_label(*mode)),
        ("state", if *firing { "firing" } else { "pending" }),
        ("namespace", &subject.namespace),
        ("workload_kind", &subject.workload.kind),
        ("workload", &subject.workload.name),
        ("pod", &subject.pod),
        ("container", &subject.container),
        ("native", bool_label(subject.native)),
    ]));
    let onset = onset.as_duration().as_secs_f64();
    (gauge_of(labels.clone(), 1.0), gauge_of(labels, onset))
}

fn durations(durations: &Durations) -> Metric {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(Durations::BOUNDS.len());
    for (bound, n) in Durations::BOUNDS.iter().zip(durations.counts) {
        cumulative += n;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(durations.counts.iter().sum());
    histogram.set_sample_sum(durations.sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

fn policy_labels(policy: &PolicyKey) -> Vec<LabelPair> {
    labels([
        ("policy", &policy.name),
        ("policy_kind", policy.kind.as_str()),
        ("policy_namespace", &policy.namespace),
    ])
}

const fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

const fn mode_label(mode: Mode) -> &'static str {
    match mode {
        Mode::Alert => "alert",
        Mode::Observe => "observe",
        Mode::Off => "off",
    }
}

const fn bool_label(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> impl Iterator<Item = LabelPair> {
    pairs
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        })
        .into_iter()
}

fn labels<const N: usize>(of: [(&str, &str); N]) -> Vec<LabelPair> {
    pairs(of).collect()
}

/// Prometheus counts in floating point; these counts are far from where that rounds.
#[allow(clippy::cast_precision_loss)]
fn count(n: u64) -> f64 {
    n as f64
}

/// A series with its labels in order, as Prometheus' own clients write them.
fn series(mut labels: Vec<LabelPair>) -> Metric {
    labels.sort_by(|a, b| a.name().cmp(b.name()));
    Metric::from_label(labels)
}

fn gauge_of(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = series(labels);
    metric.set_gauge(gauge);
    metric
}

fn counter_of(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count(value));
    let mut metric = series(labels);
    metric.set_counter(counter);
    metric
}

fn family(family: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut out = MetricFamily::default();
    out.set_name(family.name.to_owned());
    out.set_help(family.help.to_owned());
    out.set_field_type(family.kind);
    out.set_metric(metrics);
    out
}
