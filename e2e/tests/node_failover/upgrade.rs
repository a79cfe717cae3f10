//! Two disturbances while violations are pending and firing: `helm upgrade` to another image tag and then a deleted leader, or
//! an API server that is replaced by the newest version and then by the one before, while the kubelet stays one minor version
//! behind. Sidecars flap and restart before, between and after the two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::images::NEXT_TAG;
use e2e::node_failover::firing::{Firing, Violation};
use e2e::observers::{Series, Source};
use e2e::operator::helm::NAMESPACE as OPERATOR;
use e2e::poll::eventually;
use e2e::tools::KubernetesVersion;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;

use crate::installation::{Installation, repeated, subject};
use e2e::harness::say;

const NAMESPACE: &str = "upgrade";
const OBJECTS: &str = include_str!("upgrade.yaml");
/// Events before the disturbances: reason, Pod, container and policy.
const BEFORE: [&str; 5] = [
    "MainContainerReadyButSidecarNot kept proxy quick",
    "MainContainerReadyButSidecarNot never proxy quick",
    "SidecarBlocksStartup blocked proxy quick",
    "SidecarContainerNotReady kept proxy quick",
    "SidecarContainerNotReady never proxy quick",
];
/// Events after the disturbances.
const AFTER: [&str; 4] = [
    "SidecarContainerNotReady slow-1 proxy slow",
    "SidecarContainerNotReady slow-2 istio-proxy slow",
    "SidecarFlapping flapper proxy counts",
    "SidecarRestartingFrequently restarter proxy counts",
];
/// Number of pending violations during the disturbances.
const PENDING: usize = 2;
/// `for` of their policy.
const SLOW: f64 = 180.0;
/// Time before the disturbances in which the alerts are examined.
const BEGAN: Duration = Duration::from_secs(5);
/// How late a violation may fire on a busy node.
const LATE: f64 = 5.0;
/// The precision of the onset in the metric.
const PRECISION: f64 = 0.001;
const WITHIN: Duration = Duration::from_mins(3);
/// Time after the last Event in which others count.
const QUIET: Duration = Duration::from_secs(15);

/// Series that alerts read, without the labels of the scrape.
const VIOLATIONS: &str = "max by (policy, workload, container, check, state) \
                          (sidewatch_workload_violations{namespace=\"upgrade\"})";

/// What is disturbed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disturbed {
    /// The operator: an upgrade, and a deleted leader.
    Operator,
    /// The API server: another version, and the one before.
    ApiServer,
}

impl Disturbed {
    /// Causes the first disturbance and returns its description.
    async fn first(self, installation: &mut Installation) -> Result<String> {
        match self {
            Self::Operator => {
                let took = upgrade(installation).await?.as_secs_f64();
                Ok(format!("rolled out in {took:.1} s"))
            }
            Self::ApiServer => replace_api_server(installation, KubernetesVersion::NEWEST).await,
        }
    }

    /// Causes the second disturbance and returns its description.
    async fn second(self, installation: &mut Installation) -> Result<String> {
        match self {
            Self::Operator => {
                let took = delete_leader(installation).await?.as_secs_f64();
                Ok(format!("the deleted leader was replaced after {took:.1} s"))
            }
            Self::ApiServer => replace_api_server(installation, KubernetesVersion::selected()?).await,
        }
    }
}

pub(crate) async fn run(installation: &mut Installation, disturbed: Disturbed) -> Result<Vec<String>> {
    installation.create(NAMESPACE, OBJECTS).await?;
    let pending =
        format!("wait --for=jsonpath={{.status.summary.pending}}={PENDING} sidecarpolicy/slow --timeout=2m");
    installation.kubectl(NAMESPACE, &pending).await?;
    wait_for_events(installation, &BEFORE).await?;
    flap_and_restart(installation, 1).await?;

    let began = installation.observers.catch_up().await?;
    let before = installation.events(NAMESPACE).await?;
    let first = disturbed.first(installation).await?;
    flap_and_restart(installation, 2).await?;
    let announced = subjects(&installation.events(NAMESPACE).await?);
    let second = disturbed.second(installation).await?;
    let ended = installation.observers.catch_up().await?;
    flap_and_restart(installation, 3).await?;
    wait_for_events(installation, &[&BEFORE[..], &AFTER].concat()).await?;
    tokio::time::sleep(QUIET).await;
    let now = installation.observers.catch_up().await?;

    let mut errors = Vec::new();
    if announced != subjects(&before) {
        errors.push(format!(
            "announced before the third flap and restart: {announced:?}"
        ));
    }
    let after = installation.events(NAMESPACE).await?;
    errors.extend(events(&before, &after));
    errors.extend(pending_fired_on_time(installation, &after).await?);
    errors.extend(alerts(installation, began, ended, now).await?);
    let series = installation.observers.series(VIOLATIONS, began, ended).await?;
    errors.extend(changed(&series));
    let led = installation
        .observers
        .series("max(sidewatch_leader)", began, ended)
        .await?;
    let seconds = usize::try_from(ended.duration_since(began).as_secs())? + 1;
    say(&format!(
        "{disturbed:?}: {first}; {second}; in {seconds} s, Prometheus saw no leader for {} s and no replica for {} s; {} \
         Events",
        seconds_at_zero(&led),
        seconds_without(&series, seconds),
        after.len(),
    ));
    installation.remove(NAMESPACE).await?;
    Ok(errors)
}

/// Upgrades to the other image tag, and returns how long it took.
async fn upgrade(installation: &Installation) -> Result<Duration> {
    let start = Instant::now();
    let value = format!("image.tag={NEXT_TAG}");
    installation.installed.upgrade(&value).await?;
    let took = start.elapsed();
    let images = "get pods --output=jsonpath={.items[*].spec.containers[*].image}";
    let images = installation.kubectl(OPERATOR, images).await?;
    ensure!(
        images.contains(&format!(":{NEXT_TAG}")),
        "the operator runs {images}"
    );
    Ok(took)
}

/// Replaces the API server by this version, and returns a description.
async fn replace_api_server(installation: &mut Installation, version: KubernetesVersion) -> Result<String> {
    let start = Instant::now();
    installation.node.plane.replace_api_server(version).await?;
    let took = start.elapsed().as_secs_f64();
    let serves = installation.client.apiserver_version().await?.git_version;
    ensure!(serves == version.patch()?, "the API server has {serves}");
    Ok(format!("{serves} served after {took:.1} s"))
}

/// Deletes the Pod of the leader and waits until both replicas are ready again. Returns how long nobody else was the leader.
async fn delete_leader(installation: &Installation) -> Result<Duration> {
    let holder = installation.holder().await?;
    installation.delete(&installation.leader().await?).await?;
    let took = installation.taken_over(&holder).await?;
    installation.installed.wait_until_rolled_out().await?;
    Ok(took)
}

/// Makes the sidecar of `flapper` unready and ready again, and lets the kubelet restart that of `restarter`.
async fn flap_and_restart(installation: &Installation, restarts: i32) -> Result<()> {
    let run = |pod, step| format!("exec {pod} --container=proxy -- /test-workload run {step}");
    installation.kubectl(NAMESPACE, &run("restarter", "dead")).await?;
    for (step, ready) in [("live", false), ("ready", true)] {
        installation.kubectl(NAMESPACE, &run("flapper", step)).await?;
        let wait = format!("wait --for=condition=ContainersReady={ready} pod/flapper --timeout=1m");
        installation.kubectl(NAMESPACE, &wait).await?;
    }
    let pods = Api::<Pod>::namespaced(installation.client.clone(), NAMESPACE);
    eventually(WITHIN, async || {
        let status = pods.get("restarter").await?.status.unwrap_or_default();
        let proxy = status.init_container_statuses.unwrap_or_default();
        let proxy = proxy.first().context("no status of the sidecar")?;
        ensure!(proxy.restart_count == restarts && proxy.ready, "{proxy:?}");
        Ok(())
    })
    .await
}

async fn wait_for_events(installation: &Installation, expected: &[&str]) -> Result<()> {
    eventually(WITHIN, async || {
        let found = subjects(&installation.events(NAMESPACE).await?);
        let missing: Vec<_> = expected
            .iter()
            .filter(|subject| !found.contains(**subject))
            .collect();
        ensure!(missing.is_empty(), "missing Events: {missing:?}");
        Ok(())
    })
    .await
}

fn subjects(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(subject).collect()
}

/// Events that are missing, unexpected, repeated or changed.
fn events(before: &[Event], after: &[Event]) -> Vec<String> {
    let mut errors = repeated(after);
    let expected: BTreeSet<String> = BEFORE.iter().chain(&AFTER).map(ToString::to_string).collect();
    let found = subjects(after);
    errors.extend(
        expected
            .difference(&found)
            .map(|subject| format!("no Event: {subject}")),
    );
    errors.extend(
        found
            .difference(&expected)
            .map(|subject| format!("unexpected Event: {subject}")),
    );
    let changed = before.iter().filter(|event| !after.contains(event));
    errors.extend(changed.map(|event| format!("changed or deleted Event: {}", subject(event))));
    errors
}

/// The pending violations must fire when their `for` is over, counted from the start of the fault.
async fn pending_fired_on_time(installation: &Installation, events: &[Event]) -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for (pod, firing) in installation.firing_by_replica(NAMESPACE).await? {
        for event in events.iter().filter(|event| subject(event).ends_with(" slow")) {
            let fired = event.event_time.as_ref().context("an Event without a time")?;
            let Some(onset) = onset(&firing, event) else {
                errors.push(format!("{pod} does not report {}", subject(event)));
                continue;
            };
            let after = fired.0.as_duration().as_secs_f64() - onset;
            if !(SLOW - PRECISION..SLOW + LATE).contains(&after) {
                errors.push(format!("{} fired {after:.4} s after its onset", subject(event)));
            }
        }
    }
    Ok(errors)
}

fn onset(firing: &Firing, event: &Event) -> Option<f64> {
    let pod = event.regarding.as_ref()?.name.as_ref()?;
    let of_event = |violation: &Violation| violation.pod == *pod && violation.policy == "slow";
    firing
        .iter()
        .find_map(|(violation, onset)| of_event(violation).then_some(*onset))
}

/// No alert may resolve or begin because of the disturbances, and none about Sidewatch may fire.
async fn alerts(
    installation: &Installation,
    began: Timestamp,
    ended: Timestamp,
    now: Timestamp,
) -> Result<Vec<String>> {
    let alerts = installation.observers.alerts(began - BEGAN, now).await?;
    let fired = alerts
        .iter()
        .filter(|alert| alert.source == Source::Shipped && !alert.firing.is_empty());
    let mut errors = Vec::new();
    let mut counts = BTreeMap::from([("before", 0), ("after", 0)]);
    for alert in fired {
        if alert.label("namespace") != NAMESPACE {
            errors.push(format!("about another namespace: {alert}"));
        } else if alert.firing.len() != 1 || !alert.fires_at(now) {
            errors.push(format!("resolved: {alert}"));
        } else if alert.fires_at(began) {
            *counts.entry("before").or_default() += 1;
        } else if alert.fired_between(began, ended).is_some() {
            errors.push(format!("fired during the disturbances: {alert}"));
        } else {
            *counts.entry("after").or_default() += 1;
        }
    }
    for (when, expected) in [("before", BEFORE.len()), ("after", AFTER.len())] {
        if counts.get(when) != Some(&expected) {
            errors.push(format!("alerts: {counts:?}, expected {expected} {when}"));
        }
    }
    Ok(errors)
}

/// Series with another value than before, and series that are missing or additional.
fn changed(series: &[Series]) -> Vec<String> {
    let changes = |series: &&Series| {
        let values: BTreeSet<&String> = series.values.iter().map(|(_, value)| value).collect();
        values.len() != 1
    };
    let mut errors: Vec<String> = series
        .iter()
        .filter(changes)
        .map(|series| format!("changed: {series:?}"))
        .collect();
    let expected = BEFORE.len() + PENDING;
    if series.len() != expected {
        errors.push(format!(
            "{} series instead of {expected}: {series:?}",
            series.len()
        ));
    }
    errors
}

/// The largest number of seconds for which Prometheus had no sample of a series.
fn seconds_without(series: &[Series], seconds: usize) -> usize {
    let samples = series.iter().map(|series| series.values.len());
    samples
        .map(|samples| seconds.saturating_sub(samples))
        .max()
        .unwrap_or(seconds)
}

fn seconds_at_zero(series: &[Series]) -> usize {
    let values = series.iter().flat_map(|series| &series.values);
    values.filter(|(_, value)| value == "0").count()
}
