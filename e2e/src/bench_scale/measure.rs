//! One run of one client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::api_server_stats::{ApiServer, Cost};
use super::client::{ClientKind, RunningClient, start_leader};
use super::figures::{Figure, Run, percentile};
use super::status_updates::StatusUpdates;
use super::{Options, latency};
use crate::ControlPlane;
use crate::process::stats::{cpu_seconds, peak_resident_mb, resident_mb};

const UPDATES_PER_SECOND: u32 = 200;
/// How long a client can take to process the last updates.
const UPDATES_SETTLE: Duration = Duration::from_millis(1500);

/// The resources that the clients read and write.
const CLIENT_RESOURCES: [&str; 6] = [
    "pods",
    "namespaces",
    "sidecarpolicies",
    "clustersidecarpolicies",
    "sidecarexemptions",
    "events",
];

/// The figures so far.
type Figures = BTreeMap<Figure, f64>;

/// Starts the client, measures it, and ends it.
pub(super) async fn measure(
    plane: &ControlPlane,
    kind: ClientKind,
    options: Options,
    updates: &mut StatusUpdates,
) -> Result<Run> {
    let api_server = ApiServer::new(plane).await?;
    let mut figures = Figures::new();
    let leader = start_leader(plane, kind).await?;
    let (mut client, requests) = start(plane, kind, &api_server, updates, &mut figures).await?;
    scrapes(&mut client, options.scrapes, &mut figures).await?;
    send_updates(&mut client, &api_server, options.updates, updates, &mut figures).await?;
    let mut latencies = latency::measure(plane, kind, &client, updates, options.probes).await?;
    figures.insert(Figure::LatencyP50, percentile(&mut latencies, 50));
    figures.insert(Figure::LatencyP99, percentile(&mut latencies, 99));
    figures.insert(Figure::PeakRss, peak_resident_mb(client.pid())?);
    client.stop().await?;
    if let Some(leader) = leader {
        leader.stop().await?;
    }
    Ok(Run {
        client: kind,
        figures,
        requests,
    })
}

async fn start(
    plane: &ControlPlane,
    kind: ClientKind,
    api_server: &ApiServer,
    updates: &StatusUpdates,
    figures: &mut Figures,
) -> Result<(RunningClient, BTreeMap<String, f64>)> {
    api_server.wait_until_idle().await?;
    let before = api_server.begin().await?;
    let started = Instant::now();
    let mut client = RunningClient::start(plane, kind).await?;
    let in_sync = client.wait_until_in_sync(updates.population()).await?;
    let pid = client.pid();
    figures.insert(Figure::InSync, (in_sync.at - started).as_secs_f64());
    // The time without CPU use that shows that kube-state-metrics is in sync is not part of its start.
    let scrape = in_sync.scrape.ended - in_sync.scrape.began;
    figures.insert(Figure::FirstScrape, (in_sync.at - started + scrape).as_secs_f64());
    figures.insert(Figure::ClientCpu, in_sync.cpu);
    figures.insert(Figure::SyncRss, peak_resident_mb(pid)?);
    api_server.wait_until_idle().await?;
    let Cost {
        cpu,
        gc_cpu,
        gc_cycles,
        watch_bytes,
        requests,
    } = api_server.cost_since(&before).await?;
    figures.insert(Figure::ApiServerCpu, cpu);
    figures.insert(Figure::ApiServerGc, gc_cpu);
    figures.insert(Figure::ApiServerCollections, gc_cycles);
    figures.insert(Figure::WatchMb, watch_bytes / 1e6);
    figures.insert(Figure::IdleRss, resident_mb(pid)?);
    let pod_lists = requests.get("LIST pods").copied().unwrap_or_default();
    figures.insert(Figure::PodLists, pod_lists);
    figures.insert(Figure::Requests, client_requests(&requests));
    Ok((client, requests))
}

/// The requests of a client, without those that the API server makes itself.
fn client_requests(requests: &BTreeMap<String, f64>) -> f64 {
    let of_client = requests.iter().filter(|(request, _)| {
        let resource = request.split(' ').next_back().unwrap_or_default();
        CLIENT_RESOURCES.contains(&resource)
    });
    of_client.fold(0.0, |sum, (_, count)| sum + count)
}

async fn scrapes(client: &mut RunningClient, count: usize, figures: &mut Figures) -> Result<()> {
    let cpu = cpu_seconds(client.pid())?;
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..count {
        let scrape = client.scrape().await?;
        times.push((scrape.ended - scrape.began).as_secs_f64() * 1000.0);
        bytes = scrape.body.len();
    }
    let cpu = cpu_seconds(client.pid())? - cpu;
    figures.insert(Figure::ScrapeP50, percentile(&mut times, 50));
    figures.insert(Figure::ScrapeP99, percentile(&mut times, 99));
    figures.insert(Figure::ScrapeBytes, f64::from(u32::try_from(bytes)?));
    figures.insert(
        Figure::ScrapeCpu,
        cpu * 1000.0 / f64::from(u32::try_from(count.max(1))?),
    );
    Ok(())
}

async fn send_updates(
    client: &mut RunningClient,
    api_server: &ApiServer,
    count: u32,
    updates: &mut StatusUpdates,
    figures: &mut Figures,
) -> Result<()> {
    api_server.wait_until_idle().await?;
    let before = api_server.begin().await?;
    let cpu = cpu_seconds(client.pid())?;
    let rate = updates.send(count, UPDATES_PER_SECOND).await?;
    tokio::time::sleep(UPDATES_SETTLE).await;
    let cpu = cpu_seconds(client.pid())? - cpu;
    let cost = api_server.cost_since(&before).await?;
    let per_ten_thousand = 10_000.0 / f64::from(count.max(1));
    figures.insert(Figure::UpdateRate, rate);
    figures.insert(Figure::UpdateCpu, cpu * per_ten_thousand);
    figures.insert(Figure::UpdateApiServerCpu, cost.cpu * per_ten_thousand);
    figures.insert(Figure::UpdateApiServerGc, cost.gc_cpu * per_ten_thousand);
    figures.insert(Figure::UpdateWatchMb, cost.watch_bytes / 1e6 * per_ten_thousand);
    Ok(())
}
