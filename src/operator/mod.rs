//! A running operator: connects the watches, the reconciler, the sinks and the pages, and stops them in order.

pub mod checkpoint;
mod late_wake;
pub mod leadership;
pub mod reconciler;
mod status_update;
mod supervision;

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    pin, select,
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tracing::{info, warn};

pub use self::supervision::TaskEnded;

use crate::{
    clock::Clock,
    domain::{
        index::{Index, series::SeriesLimits},
        policy::PolicyLimits,
    },
    http::{
        health::Health,
        metrics::MetricsPages,
        server::{Limits, Pages, Protection, serve},
    },
    kubernetes::{
        checkpoint_map::CheckpointMap,
        client::Clients,
        fence::Fence,
        inputs::{WatchScope, inputs},
        installation::Installation,
    },
    telemetry::metrics::Metrics,
};

use self::{
    checkpoint::{CheckpointLocation, CheckpointTask, LocalState},
    leadership::{Candidate, Leadership},
    reconciler::{Ended, Reconciler},
};

/// How long the sinks may take to write what is queued at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last write of the checkpoint may take after that. With the two seconds for the release of the Lease, the sum is
/// below the grace period of the chart, 15 s.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(4);

/// Names of the tasks in errors.
const EVENTS: &str = "Events";
const STATUS: &str = "status";
const WATCHES: &str = "watches";
const LEADERSHIP: &str = "leader election";
const CHECKPOINT: &str = "checkpoint";

/// An operator that is ready to run.
pub struct Operator {
    clients: Clients,
    reconciler: Reconciler,
    metrics_pages: Arc<MetricsPages>,
    fence: Fence,
    /// `None` without leader election.
    leadership: Option<Leadership>,
    /// `None` without a namespace of the operator.
    checkpoint: Option<Arc<CheckpointTask>>,
}

impl Operator {
    /// Creates an operator. Sends no request. Without a candidate there is no leader election, and this operator writes.
    pub fn new(
        clients: Clients,
        scope: &WatchScope,
        policy_limits: PolicyLimits,
        limits: SeriesLimits,
        clock: Arc<dyn Clock>,
        installation: Installation,
        candidate: Option<&Candidate>,
    ) -> prometheus::Result<Self> {
        if !scope.is_cluster_wide() {
            info!(namespaces = ?scope.namespaces, "namespaced installation, ClusterSidecarPolicies are not watched");
        }
        let metrics = Arc::new(Metrics::new()?);
        let health = Arc::new(Health::new(scope.monitors(&clock)));
        let index = Index::new(scope.scopes(), scope.is_cluster_wide()).with_policy_limits(policy_limits);
        let index = index.awaiting_exemptions();
        let index = Arc::new(Mutex::new(index));
        let metrics_pages = Arc::new(MetricsPages::new(
            &metrics,
            Arc::clone(&index),
            Arc::clone(&health),
            limits,
            Arc::clone(&clock),
        )?);
        let (leadership, fence) = match candidate {
            Some(candidate) => {
                let client = clients.write.clone();
                let (leadership, fence) = Leadership::new(client, candidate, Arc::clone(&metrics));
                (Some(leadership), fence)
            }
            None => (None, Fence::always()),
        };
        metrics.set_leader(leadership.is_none());
        let reconciler = Reconciler::new(
            index,
            clients.write.clone(),
            clock,
            metrics,
            health,
            fence.clone(),
            installation,
        );
        Ok(Self {
            clients,
            reconciler,
            metrics_pages,
            fence,
            leadership,
            checkpoint: None,
        })
    }

    /// Stores the state that the API does not show in a ConfigMap, and continues what is stored there.
    #[must_use]
    pub fn with_checkpoint(mut self, location: &CheckpointLocation) -> Self {
        let CheckpointLocation { namespace, lease } = location;
        let map = CheckpointMap::new(self.clients.write.clone(), namespace, lease);
        let Reconciler {
            index,
            events,
            metrics,
            clock,
            work_queued,
            ..
        } = &self.reconciler;
        let state = LocalState {
            index: Arc::clone(index),
            work_queued: Arc::clone(work_queued),
            events: Arc::clone(events),
        };
        let (metrics, clock) = (Arc::clone(metrics), Arc::clone(clock));
        self.checkpoint = Some(Arc::new(CheckpointTask::new(
            map,
            state,
            self.fence.clone(),
            metrics,
            clock,
        )));
        self
    }

    /// Returns the health pages.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.reconciler.health)
    }

    /// Returns the counters of the operator.
    pub fn counters(&self) -> Arc<Metrics> {
        Arc::clone(&self.reconciler.metrics)
    }

    /// Returns the metrics page.
    pub fn metrics(&self) -> Arc<MetricsPages> {
        Arc::clone(&self.metrics_pages)
    }

    /// Runs until `stop` is ready. Then writes what is queued, for at most five seconds, and releases the Lease. Ends with an
    /// error as soon as one of its tasks ends before.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let Self {
            clients,
            reconciler,
            metrics_pages: _,
            fence: _,
            leadership,
            checkpoint,
        } = self;
        pin!(stop);
        let mut events_task = AbortOnDrop(tokio::spawn({
            let events = Arc::clone(&reconciler.events);
            async move { events.run().await }
        }));
        let mut status_task = AbortOnDrop(tokio::spawn({
            let policies = Arc::clone(&reconciler.status);
            let exemptions = Arc::clone(&reconciler.exemption_status);
            async move {
                tokio::join!(policies.run(), exemptions.run());
            }
        }));
        let (release, released) = oneshot::channel::<()>();
        let mut leadership_task = leadership.map(|leadership| {
            AbortOnDrop(tokio::spawn(leadership.run(async {
                let _sender_dropped = released.await;
            })))
        });
        if let Some(checkpoint) = &checkpoint {
            // No watch event is applied before, so no violation of an earlier process begins again.
            select! {
                () = checkpoint.read_at_start() => {}
                () = &mut stop => {}
            }
        }
        let mut checkpoint_task = checkpoint
            .clone()
            .map(|checkpoint| AbortOnDrop(tokio::spawn(async move { checkpoint.run().await })));
        let inputs = inputs(&clients.watch, &reconciler.health.monitors, &reconciler.metrics);
        select! {
            ended = reconciler.run(inputs, &mut stop) => match ended {
                Ended::Stopped => {}
                Ended::NoInputs => return Err(TaskEnded::returned(WATCHES)),
            },
            result = &mut events_task => return Err(TaskEnded::new(EVENTS, result)),
            result = &mut status_task => return Err(TaskEnded::new(STATUS, result)),
            result = joined(&mut leadership_task) => return Err(TaskEnded::new(LEADERSHIP, result)),
            result = joined(&mut checkpoint_task) => return Err(TaskEnded::new(CHECKPOINT, result)),
        }

        info!("stopping");
        flush(&reconciler, events_task, status_task).await?;
        drop(checkpoint_task);
        if let Some(checkpoint) = &checkpoint
            && timeout(CHECKPOINT_TIMEOUT, checkpoint.flush()).await.is_err()
        {
            warn!(timeout = ?CHECKPOINT_TIMEOUT, "shutdown flush of the checkpoint timed out");
        }
        drop(release);
        if leadership_task.is_some() {
            joined(&mut leadership_task)
                .await
                .map_err(|error| TaskEnded::new(LEADERSHIP, Err::<(), _>(error)))?;
        }
        Ok(())
    }
}

/// Closes the sinks, and waits until they have written what is queued. Aborts them after [`FLUSH_TIMEOUT`].
async fn flush(
    reconciler: &Reconciler,
    mut events_task: AbortOnDrop,
    mut status_task: AbortOnDrop,
) -> Result<(), TaskEnded> {
    reconciler.events.close();
    reconciler.status.close();
    reconciler.exemption_status.close();
    let ended = async { tokio::join!(&mut events_task, &mut status_task) };
    match timeout(FLUSH_TIMEOUT, ended).await {
        Ok((Err(error), _)) => Err(TaskEnded::new(EVENTS, Err::<(), _>(error))),
        Ok((_, Err(error))) => Err(TaskEnded::new(STATUS, Err::<(), _>(error))),
        Ok((Ok(()), Ok(()))) => Ok(()),
        Err(_elapsed) => {
            warn!(timeout = ?FLUSH_TIMEOUT, "shutdown flush timed out");
            drop((events_task, status_task));
            reconciler.events.abandon();
            Ok(())
        }
    }
}

/// A task that ends when its handle is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Future for AbortOnDrop {
    type Output = Result<(), JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for the end of a task, forever without a task.
async fn joined(task: &mut Option<AbortOnDrop>) -> Result<(), JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Serves pages in the background until the runtime ends.
pub fn serve_in_background(
    pages_name: &'static str,
    (listener, address): (TcpListener, SocketAddr),
    pages: Arc<dyn Pages>,
    limits: Limits,
    protection: Protection,
) -> JoinHandle<Infallible> {
    let (tls, auth) = (protection.tls.is_some(), protection.authorizer.is_some());
    info!(%address, pages = pages_name, tls, auth, "serving");
    tokio::spawn(serve(listener, pages, limits, protection))
}
