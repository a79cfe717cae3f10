//! The page `/metrics`.
//!
//! Series about Pods, policies and watches are computed at each render from the index and the monitors ([`families`],
//! [`watches`]). The operator's own counters come from a registry of the `prometheus` crate. A render locks the index only
//! while it copies the series, not while it formats them.

mod encoder;
mod families;
mod watches;

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder};

use self::encoder::Encoder;
use crate::{
    clock::Clock,
    domain::index::{Index, series::SeriesLimits},
    http::{
        health::Health,
        server::{Body, Page, Pages},
    },
    telemetry::metrics::Metrics,
};

/// The page `/metrics`.
pub struct MetricsPages {
    registry: Registry,
    index: Arc<Mutex<Index>>,
    health: Arc<Health>,
    limits: SeriesLimits,
    clock: Arc<dyn Clock>,
}

impl MetricsPages {
    /// Creates the page from the operator's counters, the index and the state of the watches.
    pub fn new(
        metrics: &Metrics,
        index: Arc<Mutex<Index>>,
        health: Arc<Health>,
        limits: SeriesLimits,
        clock: Arc<dyn Clock>,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        metrics.register(&registry)?;
        // The collector reads /proc, which only Linux has.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGauge::with_opts(
            Opts::new(
                "sidewatch_build_info",
                "The version of the operator; the value is always 1.",
            )
            .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            index,
            health,
            limits,
            clock,
        })
    }

    /// Returns the series in the text format.
    pub fn text(&self) -> prometheus::Result<String> {
        Ok(self.render()?.to_text())
    }

    fn render(&self) -> prometheus::Result<Body> {
        let mut body = Body::default();
        TextEncoder::new().encode(&self.registry.gather(), &mut body)?;
        let mut encoder = Encoder::new(&mut body);
        watches::write_watches(&mut encoder, &self.health);
        let series = self.index.lock().series(&self.limits, self.clock.now());
        families::write_series(&mut encoder, &series);
        Ok(body)
    }
}

impl Pages for MetricsPages {
    fn page(&self, path: &str) -> Option<Page> {
        if path != "/metrics" {
            return None;
        }
        Some(match self.render() {
            Ok(body) => Page {
                status: StatusCode::OK,
                content_type: TEXT_FORMAT,
                body,
            },
            Err(error) => Page::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        })
    }
}

#[cfg(test)]
mod tests;
