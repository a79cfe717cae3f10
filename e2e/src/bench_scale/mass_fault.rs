//! Memory of the operator while many sidecars fail at once, and clients abandon scrapes or read them slowly.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::wait_until_ready;
use super::seed;
use crate::http;
use crate::metrics;
use crate::operator::Operator;
use crate::poll::eventually;
use crate::process::stats::{cpu_seconds, peak_resident_mb, resident_mb};

/// Clients that connect, send a request and close the connection.
const ABANDONED: usize = 120;
/// Clients that read a page at the same time.
const CONCURRENT: usize = 50;
const FIRES_WITHIN: Duration = Duration::from_mins(5);

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MassFault {
    /// Number of Pods.
    pub pods: u32,
    /// Number of Pods whose sidecar is not ready.
    pub faulty: u32,
    /// Number of firing violations.
    pub violations: f64,
    /// Bytes of a scrape.
    pub page_bytes: usize,
    /// RSS in MB when all violations fire, after the first scrape.
    pub rss: f64,
    /// The same after abandoned scrapes.
    pub rss_after_abandoned: f64,
    /// The same after concurrent scrapes.
    pub rss_after_concurrent: f64,
    /// The largest RSS in MB of the whole run.
    pub peak_rss: f64,
    /// Time of a scrape after the abandoned ones, in ms.
    pub scrape_ms: f64,
    /// CPU seconds until all violations fire.
    pub cpu: f64,
}

/// Starts an operator on a cluster in which the sidecars of the first `faulty` Pods have been unready for a long time.
pub async fn mass_fault(pods: u32, faulty: u32) -> Result<MassFault> {
    let plane = seed::faulty_cluster(pods, faulty).await?;
    let flags = ["--log-level=warn"];
    let mut operator = Operator::start(&plane, plane.kubeconfig_path(), &flags).await?;
    let pid = operator.process().id();
    wait_until_ready(&mut operator, Duration::from_millis(100)).await?;
    let violations = all_fire(&operator, faulty).await?;
    let cpu = cpu_seconds(pid)?;
    let address = operator.metrics_address().to_owned();
    let page_bytes = http::get_bytes(&address, "/metrics").await?.len();
    let rss = resident_mb(pid)?;

    for _ in 0..ABANDONED {
        drop(request(&address).await?);
    }
    let began = Instant::now();
    http::get_bytes(&address, "/metrics").await?;
    let scrape_ms = began.elapsed().as_secs_f64() * 1000.0;
    let rss_after_abandoned = resident_mb(pid)?;

    let mut readers = JoinSet::new();
    for _ in 0..CONCURRENT {
        let address = address.clone();
        readers.spawn(async move { read_slowly(&address).await });
    }
    while let Some(read) = readers.join_next().await {
        read.context("task of a reader")??;
    }
    http::get_bytes(&address, "/metrics")
        .await
        .context("a scrape afterwards")?;
    let figures = MassFault {
        pods,
        faulty,
        violations,
        page_bytes,
        rss,
        rss_after_abandoned,
        rss_after_concurrent: resident_mb(pid)?,
        peak_rss: peak_resident_mb(pid)?,
        scrape_ms,
        cpu,
    };
    operator.stop().await?;
    plane.stop()?;
    Ok(figures)
}

/// Waits until two violations of each faulty Pod fire, and returns their number.
async fn all_fire(operator: &Operator, faulty: u32) -> Result<f64> {
    eventually(FIRES_WITHIN, async || {
        let page = operator.metrics().await?;
        let samples = metrics::samples(&page)?;
        let state = [("state", "firing")];
        let firing = samples
            .iter()
            .filter(|sample| sample.matches("sidewatch_workload_violations", &state));
        let firing = firing.fold(0.0, |sum, sample| sum + sample.value);
        ensure!(
            firing >= 2.0 * f64::from(faulty),
            "{firing} violations of {faulty} Pods fire"
        );
        Ok(firing)
    })
    .await
}

/// Connects and sends a request.
async fn request(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Reads a page in small pieces. The operator may refuse the connection or cut the page.
async fn read_slowly(address: &str) -> Result<()> {
    let Ok(mut stream) = request(address).await else {
        return Ok(());
    };
    let mut piece = vec![0; 16 << 10];
    for _ in 0..200 {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Ok(())
}

impl MassFault {
    /// The figures as one line.
    #[rustfmt::skip]
    pub fn line(&self) -> String {
        let Self {
            pods, faulty, violations, page_bytes, rss, rss_after_abandoned, rss_after_concurrent, peak_rss, scrape_ms, cpu,
        } = self;
        format!(
            "{faulty} of {pods} sidecars unready: {violations} violations, a page of {page_bytes} bytes, RSS {rss:.0} MB, \
             {rss_after_abandoned:.0} MB after {ABANDONED} abandoned scrapes (the next one takes {scrape_ms:.0} ms), \
             {rss_after_concurrent:.0} MB after {CONCURRENT} concurrent slow scrapes, peak {peak_rss:.0} MB, {cpu:.1} CPU-s"
        )
    }
}
