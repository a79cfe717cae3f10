//! Records what a real kubelet reports in a scenario, without the operator.
//!
//! Input: a cluster without the operator, scenarios, and the length of the recordings. Output: `NAME.jsonl` for each, in the
//! format of `tests/traces`. The expected violations are not determined here: read them from the Pods.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use jiff::{Timestamp, Unit};
use kube::api::{ApiResource, DynamicObject, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Scenario, Step};
use crate::Cluster;
use crate::process::Scratch;
use crate::process::programs::say;
use crate::project::repository;

/// Timeout of the watch on the server, in seconds. A recording is shorter.
const WATCH_TIMEOUT: u32 = 290;

/// Records these scenarios at the same time, each for this long after its objects are applied.
pub async fn record(
    cluster: &Cluster,
    scenarios: Vec<Scenario>,
    directory: &Path,
    length: Duration,
) -> Result<()> {
    ensure!(
        length.as_secs() < u64::from(WATCH_TIMEOUT),
        "a recording is shorter than {WATCH_TIMEOUT} s"
    );
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    // Policies and exemptions are among the objects of some scenarios.
    for file in ["sidecarpolicies", "clustersidecarpolicies", "sidecarexemptions"] {
        let path = repository().join(format!("crds/sidewatch.dev_{file}.yaml"));
        let crd = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        cluster.apply(&crd).await?;
    }
    let scratch = Arc::new(Scratch::new()?);
    let mut running = JoinSet::new();
    for scenario in scenarios {
        let cluster = cluster.clone();
        let path = directory.join(format!("{}.jsonl", scenario.name));
        let scratch = Arc::clone(&scratch);
        running.spawn(async move {
            let kubeconfig = scratch.path().join(format!("{}.kubeconfig", scenario.name));
            let lines = record_one(&cluster, &kubeconfig, &scenario, &path, length)
                .await
                .with_context(|| scenario.name.clone())?;
            say(&format!("{lines:>5}"), &format!("lines in {}", path.display()));
            anyhow::Ok(())
        });
    }
    while let Some(recorded) = running.join_next().await {
        recorded.context("task of a recording")??;
    }
    Ok(())
}

async fn record_one(
    cluster: &Cluster,
    kubeconfig: &Path,
    scenario: &Scenario,
    path: &Path,
    length: Duration,
) -> Result<u64> {
    let name = &scenario.name;
    cluster.create_namespace(name).await?;
    let client = cluster.client().await?;
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let watch = tokio::spawn(watch(client, name.clone(), BufWriter::new(file), length));
    let namespaced = cluster.in_namespace(name, kubeconfig)?;
    namespaced.apply(&scenario.objects).await?;
    for step in &scenario.spec.steps {
        match step {
            Step::Pause(time) => sleep(*time).await,
            Step::Kubectl(arguments) => drop(namespaced.kubectl(arguments).await?),
            step => bail!("a recording cannot do {step:?}"),
        }
    }
    watch.await.context("task of a watch")?
}

/// Writes the events of the Pods of a namespace until the time is over. Returns their number.
async fn watch(client: Client, namespace: String, mut output: impl Write, length: Duration) -> Result<u64> {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods = Api::<DynamicObject>::namespaced_with(client, &namespace, &resource);
    let params = WatchParams::default().disable_bookmarks().timeout(WATCH_TIMEOUT);
    let start = Timestamp::now();
    let mut lines = 0;
    let write = async {
        let mut events = Box::pin(pods.watch(&params, "0").await?);
        while let Some(event) = events.try_next().await? {
            let (kind, mut pod) = match event {
                WatchEvent::Added(pod) => ("ADDED", pod),
                WatchEvent::Modified(pod) => ("MODIFIED", pod),
                WatchEvent::Deleted(pod) => ("DELETED", pod),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => bail!("{status:?}"),
            };
            pod.metadata.managed_fields = None;
            let now = Timestamp::now();
            let t = now.duration_since(start).as_millis();
            let line = json!({
                "t": f64::from(u32::try_from(t)?) / 1000.0,
                "wall": now.round(Unit::Millisecond)?.to_string(),
                "type": kind,
                "object": pod,
            });
            writeln!(output, "{line}")?;
            lines += 1;
        }
        bail!("the watch ended")
    };
    if let Ok(ended) = timeout(length, write).await {
        return ended;
    }
    output.flush()?;
    Ok(lines)
}
