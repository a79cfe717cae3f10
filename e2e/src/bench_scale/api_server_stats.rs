//! What a client costs the API server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;

use crate::ControlPlane;
use crate::metrics::samples;
use crate::process::stats::cpu_seconds;

const IDLE_WITHIN: Duration = Duration::from_secs(25);
const IDLE_INTERVAL: Duration = Duration::from_millis(600);
/// CPU seconds of an idle API server in [`IDLE_INTERVAL`].
const IDLE_CPU: f64 = 0.04;
const GC_CYCLES: &str = "go_gc_cycles_total_gc_cycles_total";
const WATCH_BYTES: &str = "apiserver_watch_events_sizes_sum";
const GC_CPU: &str = "go_cpu_classes_gc_total_cpu_seconds_total";

/// The API server of the benchmark.
pub(super) struct ApiServer {
    client: Client,
    pid: u32,
}

/// Counters of the API server at one moment.
pub(super) struct Counters {
    cpu: f64,
    gc_cpu: f64,
    gc_cycles: f64,
    watch_bytes: f64,
    requests: BTreeMap<String, f64>,
}

/// The growth of the counters between two moments.
pub(super) struct Cost {
    /// CPU seconds of the process.
    pub(super) cpu: f64,
    /// CPU seconds of its garbage collector, as the Go runtime estimates them at the end of each cycle.
    pub(super) gc_cpu: f64,
    /// Cycles of its garbage collector that ended.
    pub(super) gc_cycles: f64,
    /// Bytes of watch events with Pods, before encryption.
    pub(super) watch_bytes: f64,
    /// Requests that ended, by verb and resource.
    pub(super) requests: BTreeMap<String, f64>,
}

impl ApiServer {
    pub(super) async fn new(plane: &ControlPlane) -> Result<Self> {
        let [_, pid] = plane.process_ids();
        Ok(Self {
            client: plane.client().await?,
            pid,
        })
    }

    /// Waits until the API server is idle, but not longer than [`IDLE_WITHIN`].
    pub(super) async fn wait_until_idle(&self) -> Result<()> {
        let deadline = Instant::now() + IDLE_WITHIN;
        while Instant::now() < deadline {
            let before = cpu_seconds(self.pid)?;
            tokio::time::sleep(IDLE_INTERVAL).await;
            if cpu_seconds(self.pid)? - before <= IDLE_CPU {
                break;
            }
        }
        Ok(())
    }

    /// Reads the counters at the beginning. The request for them is not part of the CPU seconds that follow.
    pub(super) async fn begin(&self) -> Result<Counters> {
        let metrics = self.metrics().await?;
        Self::counters(&metrics, cpu_seconds(self.pid)?)
    }

    /// Reads the counters at the end and returns the cost since the beginning.
    pub(super) async fn cost_since(&self, begin: &Counters) -> Result<Cost> {
        let cpu = cpu_seconds(self.pid)?;
        let end = Self::counters(&self.metrics().await?, cpu)?;
        let requests = end
            .requests
            .into_iter()
            .map(|(request, count)| {
                let before = begin.requests.get(&request).copied().unwrap_or_default();
                (request, count - before)
            })
            .filter(|(_, count)| *count > 0.0)
            .collect();
        Ok(Cost {
            cpu: end.cpu - begin.cpu,
            gc_cpu: end.gc_cpu - begin.gc_cpu,
            gc_cycles: end.gc_cycles - begin.gc_cycles,
            watch_bytes: end.watch_bytes - begin.watch_bytes,
            requests,
        })
    }

    async fn metrics(&self) -> Result<String> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }

    fn counters(metrics: &str, cpu: f64) -> Result<Counters> {
        let samples = samples(metrics)?;
        let value = |name: &str| {
            let found = samples.iter().find(|sample| sample.matches(name, &[]));
            found
                .map(|sample| sample.value)
                .with_context(|| format!("the API server has no {name}"))
        };
        let mut requests = BTreeMap::new();
        for sample in samples
            .iter()
            .filter(|sample| sample.name() == "apiserver_request_total")
        {
            let (verb, resource) = (sample.label("verb"), sample.label("resource"));
            // The requests of this benchmark for /metrics have no resource.
            if !resource.is_empty() {
                *requests.entry(format!("{verb} {resource}")).or_insert(0.0) += sample.value;
            }
        }
        // The series exists only after the first event.
        let of_pods = samples
            .iter()
            .filter(|sample| sample.matches(WATCH_BYTES, &[("resource", "pods")]));
        Ok(Counters {
            cpu,
            watch_bytes: of_pods.fold(0.0, |sum, sample| sum + sample.value),
            gc_cpu: value(GC_CPU)?,
            gc_cycles: value(GC_CYCLES)?,
            requests,
        })
    }
}
