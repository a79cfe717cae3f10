//! An operator without its watches: the reconciler and both sinks, on virtual time.

use std::sync::Arc;

use futures::stream;
use jiff::SignedDuration;
use parking_lot::{Mutex, MutexGuard};
use sidewatch::{
    clock::Clock,
    domain::index::Index,
    http::health::Health,
    kubernetes::fence::Fence,
    kubernetes::inputs::Input,
    kubernetes::installation::Installation,
    operator::reconciler::Reconciler,
    sink::{events::EventSink, status::StatusSink},
    telemetry::metrics::Metrics,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Duration, Instant, timeout},
};

use testkit::kubelet::at;

use crate::api_server::ApiServer;

/// Few, so that an edit of a policy and the end of a list take several steps.
const UNITS_PER_STEP: usize = 8;

/// A clock with whole milliseconds: a timer of tokio fires up to a millisecond late, and runs are in seconds.
pub(crate) fn clock(begin: Instant) -> Arc<dyn Clock> {
    Arc::new(move || at(0) + SignedDuration::from_millis(i64::try_from(begin.elapsed().as_millis()).unwrap()))
}

/// A running operator.
pub(crate) struct Operator {
    /// Identifies the process to the API server.
    _process: Arc<()>,
    index: Arc<Mutex<Index>>,
    inputs: mpsc::UnboundedSender<Input>,
    stop: oneshot::Sender<()>,
    events: Arc<EventSink>,
    status: Arc<StatusSink>,
    reconciler: JoinHandle<()>,
    sinks: [JoinHandle<()>; 2],
}

impl Operator {
    pub(crate) fn start(server: &ApiServer, begin: Instant) -> Self {
        let clock = clock(begin);
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut index = Index::new([None], true);
        index.set_units_per_step(UNITS_PER_STEP);
        let index = Arc::new(Mutex::new(index));
        let process = Arc::new(());
        let reconciler = Reconciler::new(
            Arc::clone(&index),
            server.client(&process),
            clock,
            metrics,
            Arc::new(Health::new(Vec::new())),
            Fence::always(),
            Installation::on_host("test"),
        );
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        let (inputs, received) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        server.watch(Some(inputs.clone()));
        Self {
            _process: process,
            index,
            inputs,
            stop,
            sinks: [
                tokio::spawn({
                    let events = Arc::clone(&events);
                    async move { events.run().await }
                }),
                tokio::spawn({
                    let status = Arc::clone(&status);
                    async move { status.run().await }
                }),
            ],
            events,
            status,
            reconciler: tokio::spawn(async move {
                let inputs = stream::unfold(received, |mut received| async {
                    received.recv().await.map(|input| (input, received))
                });
                let stop = async { drop(stopped.await) };
                reconciler.run(inputs, stop).await;
            }),
        }
    }

    /// Sends an input, as a watch does.
    pub(crate) fn send(&self, input: Input) {
        self.inputs.send(input).unwrap();
    }

    /// Locks the index.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// SIGKILL: requests that are in progress end too.
    pub(crate) fn kill(self, server: &ApiServer) {
        server.watch(None);
        self.reconciler.abort();
        self.sinks.iter().for_each(JoinHandle::abort);
    }

    /// SIGTERM: writes what is queued, for at most five seconds.
    pub(crate) async fn stop(self, server: &ApiServer) {
        server.watch(None);
        self.stop.send(()).unwrap();
        self.reconciler.await.unwrap();
        self.events.close();
        self.status.close();
        let abort: Vec<_> = self.sinks.iter().map(JoinHandle::abort_handle).collect();
        let [events, status] = self.sinks;
        if timeout(Duration::from_secs(5), async { tokio::join!(events, status) })
            .await
            .is_err()
        {
            abort.iter().for_each(tokio::task::AbortHandle::abort);
            self.events.abandon();
        }
    }
}
