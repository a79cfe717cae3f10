//! What `/metrics` shows.
//!
//! Two kinds of series: those about Pods and policies are computed from the index at each scrape ([`model`]), so that
//! none outlives its object; those about the operator itself come from [`Metrics`].

mod model;

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use prometheus::{
    Encoder as _, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder, process_collector::ProcessCollector,
};

use self::model::ModelCollector;
use crate::{
    domain::index::Index,
    http::health::Health,
    http::server::{Body, Page, Pages},
    telemetry::metrics::Metrics,
};

/// The page `/metrics`.
pub struct MetricsPages {
    registry: Registry,
}

impl MetricsPages {
    /// Shows the operator's own counters, the model and the state of the watches.
    pub fn new(metrics: &Metrics, index: Arc<Mutex<Index>>, health: Arc<Health>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        metrics.register(&registry)?;
        registry.register(Box::new(ModelCollector::new(index, health)?))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGauge::with_opts(
            Opts::new(
                "sidewatch_build_info",
                "The version that runs; the value is always 1.",
            )
            .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry })
    }

    /// The series in the text format.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut body = Body::default();
        self.encode(&mut body)?;
        Ok(body.to_text())
    }

    fn encode(&self, body: &mut Body) -> prometheus::Result<()> {
        TextEncoder::new().encode(&self.registry.gather(), body)
    }
}

impl Pages for MetricsPages {
    fn page(&self, path: &str) -> Option<Page> {
        if path != "/metrics" {
            return None;
        }
        let mut body = Body::default();
        Some(match self.encode(&mut body) {
            Ok(()) => Page {
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
