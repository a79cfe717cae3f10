//! The figures of the benchmark.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ClientKind;

/// What is measured, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Seconds from the start of the process until it has all Pods.
    InSync,
    /// Seconds from the start of the process until the end of the first scrape with all series.
    FirstScrape,
    /// CPU seconds of the client until it is in sync.
    ClientCpu,
    /// CPU seconds of the API server, from the start of the client until the API server is idle again.
    ApiServerCpu,
    /// The part of [`Figure::ApiServerCpu`] that the garbage collector used.
    ApiServerGc,
    /// Garbage collections of the API server in that time.
    ApiServerCollections,
    /// Megabytes of watch events with Pods that the API server wrote for the start.
    WatchMb,
    /// Peak RSS in MB when the client is in sync.
    SyncRss,
    /// Peak RSS in MB at the end of the run, after scrapes and updates.
    PeakRss,
    /// RSS in MB when the API server is idle after the start.
    IdleRss,
    /// Milliseconds of a scrape, median.
    ScrapeP50,
    /// Milliseconds of a scrape, 99th percentile.
    ScrapeP99,
    /// Bytes of a scrape.
    ScrapeBytes,
    /// CPU milliseconds of the client for a scrape.
    ScrapeCpu,
    /// Status updates per second that the API server accepted.
    UpdateRate,
    /// CPU seconds of the client for 10,000 updates.
    UpdateCpu,
    /// CPU seconds of the API server for 10,000 updates, most of them for the writes.
    UpdateApiServerCpu,
    /// The part of [`Figure::UpdateApiServerCpu`] that the garbage collector used.
    UpdateApiServerGc,
    /// Megabytes of watch events with Pods that the API server wrote for 10,000 updates, to all clients. One of them is the
    /// API server itself.
    UpdateWatchMb,
    /// Milliseconds from the response to a PATCH until the end of the scrape that shows it, median.
    LatencyP50,
    /// The same, 99th percentile.
    LatencyP99,
    /// LIST requests for Pods that the API server answered during the start.
    PodLists,
    /// Requests for Pods, Namespaces, policies and Events that ended during the start.
    Requests,
}

/// The figures in the order of the table, with the label of the row and the digits after the decimal point.
#[rustfmt::skip]
const ROWS: [(Figure, &str, usize); 23] = [
    (Figure::InSync, "start until in sync, s †", 2),
    (Figure::FirstScrape, "start until the first complete scrape, s †", 2),
    (Figure::ClientCpu, "CPU until in sync, s", 2),
    (Figure::ApiServerCpu, "CPU of the API server for the start, s", 2),
    (Figure::ApiServerGc, "of which garbage collection, s", 2),
    (Figure::ApiServerCollections, "garbage collections of the API server in that time", 0),
    (Figure::WatchMb, "watch events with Pods for the start, MB", 0),
    (Figure::SyncRss, "peak RSS until in sync, MB", 0),
    (Figure::PeakRss, "peak RSS of the whole run, MB", 0),
    (Figure::IdleRss, "RSS when idle, MB", 0),
    (Figure::ScrapeP50, "scrape, median, ms †", 1),
    (Figure::ScrapeP99, "scrape, 99 %, ms †", 1),
    (Figure::ScrapeBytes, "bytes of a scrape", 0),
    (Figure::ScrapeCpu, "CPU of a scrape, ms", 1),
    (Figure::UpdateRate, "status updates per second †", 0),
    (Figure::UpdateCpu, "CPU for 10,000 status updates, s", 2),
    (Figure::UpdateApiServerCpu, "CPU of the API server for 10,000 status updates, s", 2),
    (Figure::UpdateApiServerGc, "of which garbage collection for updates, s", 2),
    (Figure::UpdateWatchMb, "watch events with Pods for 10,000 status updates, MB", 0),
    (Figure::LatencyP50, "PATCH response until `/metrics` shows it, median, ms †", 1),
    (Figure::LatencyP99, "PATCH response until `/metrics` shows it, 99 %, ms †", 1),
    (Figure::PodLists, "LIST requests for Pods at the start", 0),
    (Figure::Requests, "requests for Pods, Namespaces, policies and Events that ended during the start", 0),
];

impl Figure {
    /// All figures, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.into_iter().map(|(figure, ..)| figure)
    }

    /// The row of the table.
    pub fn label(self) -> &'static str {
        self.row().map(|(_, label, _)| label).unwrap_or_default()
    }

    /// Digits after the decimal point.
    pub(super) fn digits(self) -> usize {
        self.row().map(|(.., digits)| digits).unwrap_or_default()
    }

    fn row(self) -> Option<(Self, &'static str, usize)> {
        ROWS.into_iter().find(|(figure, ..)| *figure == self)
    }

    /// The limit that the operator must keep at this number of Pods.
    pub(super) fn budget(self, pods: u32) -> Option<f64> {
        match (pods, self) {
            (50_000, Self::InSync) => Some(2.5),
            (50_000, Self::ClientCpu) => Some(1.3),
            (50_000, Self::ApiServerCpu) => Some(3.2),
            (50_000, Self::SyncRss) => Some(60.0),
            (150_000, Self::InSync) => Some(8.0),
            (150_000, Self::ClientCpu) => Some(4.0),
            (150_000, Self::SyncRss) => Some(150.0),
            (_, Self::UpdateCpu) => Some(0.7),
            (_, Self::LatencyP99) => Some(10.0),
            _ => None,
        }
    }
}

/// The figures of one client in one run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The client.
    pub client: ClientKind,
    /// Its figures.
    pub figures: BTreeMap<Figure, f64>,
    /// Requests that ended during the start, by verb and resource.
    pub requests: BTreeMap<String, f64>,
}

impl Run {
    /// One line of JSON with everything.
    pub fn to_json(&self) -> Value {
        let figures: BTreeMap<String, f64> = self
            .figures
            .iter()
            .map(|(figure, value)| (format!("{figure:?}"), (value * 1000.0).round() / 1000.0))
            .collect();
        json!({"client": self.client.name(), "figures": figures, "requests": self.requests})
    }
}

/// A percentile of the samples by nearest rank: 50 for the median. Sorts the samples; 0 without samples.
pub(super) fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    samples.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let table = [
            (hundred.clone(), 50, 50.0),
            (hundred, 99, 99.0),
            (vec![3.0, 1.0, 2.0], 50, 2.0),
            (vec![3.0], 99, 3.0),
            (vec![], 99, 0.0),
        ];
        for (mut samples, percent, expected) in table {
            let found = percentile(&mut samples, percent);
            assert!(
                (found - expected).abs() < 1e-9,
                "{percent} % of {samples:?} is {found}"
            );
        }
    }
}
