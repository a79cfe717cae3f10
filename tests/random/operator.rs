//! An operator without its watches: the reconciler and both sinks, on virtual time.

use std::{mem, sync::Arc};

use futures::stream;
use jiff::SignedDuration;
use parking_lot::{Mutex, MutexGuard};
use sidewatch::{
    checkpoint::{MAX_SIZE, Writer, decode, reserved},
    clock::Clock,
    domain::{
        checkpoint::{Checkpoint, Entry},
        index::Index,
    },
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
    clock: Arc<dyn Clock>,
    index: Arc<Mutex<Index>>,
    inputs: mpsc::UnboundedSender<Input>,
    stop: Option<oneshot::Sender<()>>,
    events: Arc<EventSink>,
    status: Arc<StatusSink>,
    reconciler: JoinHandle<()>,
    sinks: [JoinHandle<()>; 2],
}

impl Operator {
    /// Starts an operator with the checkpoint of the one before, if there is one.
    pub(crate) fn start(server: &ApiServer, begin: Instant, stored: Option<Checkpoint>) -> Self {
        let clock = clock(begin);
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut index = Index::new([None], true);
        index.set_units_per_step(UNITS_PER_STEP);
        let index = Arc::new(Mutex::new(index));
        let process = Arc::new(());
        let reconciler = Reconciler::new(
            Arc::clone(&index),
            server.client(&process),
            Arc::clone(&clock),
            metrics,
            Arc::new(Health::new(Vec::new())),
            Fence::always(),
            Installation::on_host("test"),
        );
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        if let Some(mut stored) = stored {
            for event in mem::take(&mut stored.waiting).into_values() {
                events.push(event);
            }
            index.lock().import(stored, clock.now());
        }
        let (inputs, received) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        server.watch(Some(inputs.clone()));
        Self {
            _process: process,
            clock,
            index,
            inputs,
            stop: Some(stop),
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

    /// The checkpoint of this moment, through its encoded form, as the next process reads it. `None` while the index cannot be
    /// exported, as in production.
    fn checkpoint(&self) -> Option<Checkpoint> {
        let index = self.index.lock();
        let mut export = index.begin_export(self.clock.now())?;
        let waiting = self.events.waiting();
        let mut writer = Writer::new(export.as_of, MAX_SIZE, reserved(waiting.len(), MAX_SIZE));
        while let Some(entries) = index.export(&mut export, usize::MAX) {
            for entry in entries {
                writer.write(entry);
            }
        }
        for event in waiting {
            writer.write(Entry::Event(event));
        }
        Some(decode(&writer.finish().bytes).unwrap())
    }

    /// SIGKILL: requests that are in progress end too. Returns a checkpoint that was written just before.
    pub(crate) fn kill(self, server: &ApiServer) -> Option<Checkpoint> {
        server.watch(None);
        let checkpoint = self.checkpoint();
        self.reconciler.abort();
        self.sinks.iter().for_each(JoinHandle::abort);
        checkpoint
    }

    /// SIGTERM: writes what is queued, for at most five seconds, and then the checkpoint, which it returns.
    pub(crate) async fn stop(mut self, server: &ApiServer) -> Option<Checkpoint> {
        server.watch(None);
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.reconciler).await.unwrap();
        self.events.close();
        self.status.close();
        let [events, status] = &mut self.sinks;
        if timeout(Duration::from_secs(5), async { tokio::join!(events, status) })
            .await
            .is_err()
        {
            self.sinks.iter().for_each(JoinHandle::abort);
            self.events.abandon();
        }
        self.checkpoint()
    }
}
