//! One running operator: puts the parts together, and takes them apart again when it is told to stop.

pub mod reconciler;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{net::TcpListener, time::timeout};
use tracing::{info, warn};

use crate::{
    clock::Clock,
    domain::index::Index,
    http::health::Health,
    http::metrics::MetricsPages,
    http::server::{Limits, Pages, serve},
    kubernetes::client::Clients,
    kubernetes::inputs::{WatchScope, inputs},
    operator::reconciler::Reconciler,
    sink::{Writer, events::EventSink, status::StatusSink},
    telemetry::metrics::Metrics,
};

/// How long the sinks may take to write what is left.
const FLUSH: Duration = Duration::from_secs(5);

/// An operator that is ready to run.
pub struct Operator {
    clients: Clients,
    reconciler: Reconciler,
    metrics_pages: Arc<MetricsPages>,
}

impl Operator {
    /// Puts an operator together. Talks to nobody yet.
    pub fn new(
        clients: Clients,
        installation: &WatchScope,
        clock: Arc<dyn Clock>,
    ) -> prometheus::Result<Self> {
        if !installation.is_cluster_wide() {
            info!(namespaces = ?installation.namespaces, "namespaced installation: ClusterSidecarPolicies are not watched");
        }
        let metrics = Arc::new(Metrics::new()?);
        let health = Arc::new(Health::new(installation.monitors(&clock)));
        let index = Index::new(installation.scopes(), installation.is_cluster_wide());
        let index = Arc::new(Mutex::new(index));
        let metrics_pages = Arc::new(MetricsPages::new(
            &metrics,
            Arc::clone(&index),
            Arc::clone(&health),
        )?);
        let writer = Writer::new(clients.write.clone(), Arc::clone(&metrics));
        let reports = {
            let index = Arc::clone(&index);
            Box::new(move |key: &_| index.lock().report(key))
        };
        let events = Arc::new(EventSink::new(writer.clone(), Arc::clone(&clock)));
        let status = StatusSink::new(reports, events.pending_events(), writer, Arc::clone(&clock));
        let reconciler = Reconciler {
            index,
            events,
            status: Arc::new(status),
            clock,
            metrics,
            health,
        };
        Ok(Self {
            clients,
            reconciler,
            metrics_pages,
        })
    }

    /// The health pages.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.reconciler.health)
    }

    /// The metrics page.
    pub fn metrics(&self) -> Arc<MetricsPages> {
        Arc::clone(&self.metrics_pages)
    }

    /// Runs until `stop` is ready, and then writes what is left, for as long as that may take.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let reconciler = &self.reconciler;
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        let events_task = tokio::spawn({
            let events = Arc::clone(&events);
            async move { events.run().await }
        });
        let status_task = tokio::spawn({
            let status = Arc::clone(&status);
            async move { status.run().await }
        });
        let inputs = inputs(
            &self.clients.watch,
            &reconciler.health.monitors,
            &reconciler.metrics,
        );
        reconciler.run(inputs, stop).await;

        info!("stopping: writing what is left");
        events.close();
        status.close();
        let abort = [events_task.abort_handle(), status_task.abort_handle()];
        if timeout(FLUSH, async { tokio::join!(events_task, status_task) })
            .await
            .is_err()
        {
            warn!("the API server did not take everything in time");
            abort.iter().for_each(tokio::task::AbortHandle::abort);
            events.abandon();
        }
    }
}

/// Serves pages in the background until the runtime stops.
pub fn serve_in_background(
    what: &'static str,
    (listener, address): (TcpListener, SocketAddr),
    pages: Arc<dyn Pages>,
    limits: Limits,
) {
    info!(%address, "serving {what}");
    tokio::spawn(serve(listener, pages, limits));
}
