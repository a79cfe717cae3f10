//! A running operator: connects the watches, the reconciler, the sinks and the pages, and stops them in order.

mod late_wake;
pub mod reconciler;
mod supervision;

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{net::TcpListener, select, task::JoinHandle, time::timeout};
use tracing::{info, warn};

pub use self::supervision::TaskEnded;

use crate::{
    clock::Clock,
    domain::{
        index::{Index, series::SeriesLimits},
        policy::PolicyLimits,
    },
    http::health::Health,
    http::metrics::MetricsPages,
    http::server::{Limits, Pages, serve},
    kubernetes::client::Clients,
    kubernetes::inputs::{WatchScope, inputs},
    operator::reconciler::{Ended, Reconciler},
    telemetry::metrics::Metrics,
};

/// How long the sinks may take to write what is queued at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Names of the tasks in errors.
const EVENTS: &str = "Events";
const STATUS: &str = "status";
const WATCHES: &str = "watches";

/// An operator that is ready to run.
pub struct Operator {
    clients: Clients,
    reconciler: Reconciler,
    metrics_pages: Arc<MetricsPages>,
}

impl Operator {
    /// Creates an operator. Sends no request.
    pub fn new(
        clients: Clients,
        scope: &WatchScope,
        policy_limits: PolicyLimits,
        limits: SeriesLimits,
        clock: Arc<dyn Clock>,
    ) -> prometheus::Result<Self> {
        if !scope.is_cluster_wide() {
            info!(namespaces = ?scope.namespaces, "namespaced installation, ClusterSidecarPolicies are not watched");
        }
        let metrics = Arc::new(Metrics::new()?);
        let health = Arc::new(Health::new(scope.monitors(&clock)));
        let index = Index::new(scope.scopes(), scope.is_cluster_wide()).with_policy_limits(policy_limits);
        let index = Arc::new(Mutex::new(index));
        let metrics_pages = Arc::new(MetricsPages::new(
            &metrics,
            Arc::clone(&index),
            Arc::clone(&health),
            limits,
            Arc::clone(&clock),
        )?);
        let reconciler = Reconciler::new(index, clients.write.clone(), clock, metrics, health);
        Ok(Self {
            clients,
            reconciler,
            metrics_pages,
        })
    }

    /// Returns the health pages.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.reconciler.health)
    }

    /// Returns the metrics page.
    pub fn metrics(&self) -> Arc<MetricsPages> {
        Arc::clone(&self.metrics_pages)
    }

    /// Runs until `stop` is ready, then writes what is queued, for at most five seconds. Ends with an error as soon as one
    /// of its tasks ends before.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let reconciler = &self.reconciler;
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        let mut events_task = tokio::spawn({
            let events = Arc::clone(&events);
            async move { events.run().await }
        });
        let mut status_task = tokio::spawn({
            let status = Arc::clone(&status);
            async move { status.run().await }
        });
        let inputs = inputs(
            &self.clients.watch,
            &reconciler.health.monitors,
            &reconciler.metrics,
        );
        select! {
            ended = reconciler.run(inputs, stop) => match ended {
                Ended::Stopped => {}
                Ended::NoInputs => return Err(TaskEnded::returned(WATCHES)),
            },
            result = &mut events_task => return Err(TaskEnded::new(EVENTS, result)),
            result = &mut status_task => return Err(TaskEnded::new(STATUS, result)),
        }

        info!("stopping");
        events.close();
        status.close();
        let abort = [events_task.abort_handle(), status_task.abort_handle()];
        match timeout(FLUSH_TIMEOUT, async { tokio::join!(events_task, status_task) }).await {
            Ok((Err(error), _)) => Err(TaskEnded::new(EVENTS, Err::<(), _>(error))),
            Ok((_, Err(error))) => Err(TaskEnded::new(STATUS, Err::<(), _>(error))),
            Ok((Ok(()), Ok(()))) => Ok(()),
            Err(_elapsed) => {
                warn!(timeout = ?FLUSH_TIMEOUT, "shutdown flush timed out");
                abort.iter().for_each(tokio::task::AbortHandle::abort);
                events.abandon();
                Ok(())
            }
        }
    }
}

/// Serves pages in the background until the runtime ends.
pub fn serve_in_background(
    pages_name: &'static str,
    (listener, address): (TcpListener, SocketAddr),
    pages: Arc<dyn Pages>,
    limits: Limits,
) -> JoinHandle<Infallible> {
    info!(%address, pages = pages_name, "serving");
    tokio::spawn(serve(listener, pages, limits))
}
