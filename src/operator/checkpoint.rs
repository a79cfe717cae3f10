//! The task that stores the checkpoint as the leader, and continues it as a new process or as a standby.
//!
//! Input: the index and the Events that wait. Output: the ConfigMap. The checkpoint is read before the first watch event is
//! applied, so that no violation of an earlier process begins again. A standby follows it. A leader writes it when it has
//! changed, and merges the content of other writers instead of overwriting it. Every failure leaves the operator as it would be
//! without a checkpoint.

use std::{mem, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::{
    select,
    sync::{Mutex as AsyncMutex, Notify},
    task::{spawn_blocking, yield_now},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    checkpoint::{self, Encoded, MAX_SIZE, Writer},
    clock::Clock,
    domain::{
        checkpoint::{Checkpoint, Entry},
        index::Index,
        time::later,
    },
    kubernetes::{
        backoff::Backoff,
        checkpoint_map::{CheckpointMap, StoredCheckpoint},
        failure,
        fence::{Fence, Role},
        named_object::{Applied, Version},
    },
    sink::events::EventSink,
    telemetry::{checkpoint::CheckpointWrite, logging::clean, metrics::Metrics},
};

/// How long the start waits for the checkpoint.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The period of writes up to [`LARGE`].
const PERIOD: Duration = Duration::from_secs(15);
/// The period of larger writes.
const LONG_PERIOD: Duration = Duration::from_mins(1);
/// The size in bytes above which a checkpoint is written less often.
const LARGE: usize = 100_000;
/// The time until the next attempt while the index is not ready for an export.
const NOT_READY: Duration = Duration::from_secs(1);
/// The number of Pods that one step of an export visits: some milliseconds.
const PODS_PER_STEP: usize = 5_000;
/// The maximum number of attempts of one write, if other clients write too.
const ATTEMPTS: usize = 3;
/// How far ahead the clock of the writer may be.
const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// The place of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointLocation {
    /// The namespace of the operator.
    pub namespace: String,
    /// The name of the Lease. The name of the ConfigMap is derived from it.
    pub lease: String,
}

/// The state that is exported, and that checkpoints of others are joined to.
pub struct LocalState {
    /// The index.
    pub index: Arc<Mutex<Index>>,
    /// Signals that the index has work.
    pub work_queued: Arc<Notify>,
    /// The Events.
    pub events: Arc<EventSink>,
}

/// The checkpoint of one replica.
pub struct CheckpointTask {
    map: CheckpointMap,
    local: LocalState,
    fence: Fence,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    state: AsyncMutex<State>,
}

/// What this replica knows about the stored checkpoint.
#[derive(Default)]
struct State {
    /// The state of the object that was read or written last; `None` if it did not exist.
    version: Option<Version>,
    /// The content that this replica wrote last, and its size.
    written: Option<(u64, usize)>,
    /// When the object was last found as this replica has written it.
    verified: Option<Instant>,
    /// The object has been read, or was found missing. Before that nothing is written.
    is_known: bool,
    /// A checkpoint has been read.
    was_read: bool,
    /// The error that was logged last, until a write succeeds.
    logged_error: Option<String>,
}

/// The result of an attempt to store the checkpoint.
enum Saved {
    /// It is stored, or has not changed.
    Done,
    /// The index has not evaluated every Pod yet.
    NotReady,
    /// This replica is not the leader.
    Fenced,
    /// The write failed.
    Failed,
}

impl CheckpointTask {
    /// Creates the task. It writes only with a permit of the fence.
    pub fn new(
        map: CheckpointMap,
        local: LocalState,
        fence: Fence,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            map,
            local,
            fence,
            metrics,
            clock,
            state: AsyncMutex::default(),
        }
    }

    /// Reads the checkpoint, for at most five seconds. Must end before the first watch event is applied.
    pub async fn read_at_start(&self) {
        let mut state = self.state.lock().await;
        match timeout(READ_TIMEOUT, self.load(&mut state)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(
                error = clean(&failure::chain(&error)),
                "checkpoint not read, starting without it"
            ),
            Err(_elapsed) => {
                warn!(timeout = ?READ_TIMEOUT, "checkpoint not read in time, starting without it");
            }
        }
    }

    /// Stores the checkpoint as the leader, and follows it as a standby. Does not end.
    pub async fn run(&self) {
        let mut role = self.fence.subscribe();
        loop {
            let current = *role.borrow_and_update();
            let act = async {
                match current {
                    Role::Leader => self.lead().await,
                    Role::Standby => self.follow().await,
                }
            };
            select! {
                () = act => {}
                _ = role.changed() => {}
            }
        }
    }

    /// Stores the checkpoint one last time, if this replica is the leader.
    pub async fn flush(&self) {
        if self.fence.permit().is_some() {
            let mut state = self.state.lock().await;
            self.save(&mut state).await;
        }
    }

    async fn lead(&self) {
        loop {
            let mut state = self.state.lock().await;
            let saved = self.save(&mut state).await;
            let size = state.written.map_or(0, |(_, size)| size);
            drop(state);
            sleep(match saved {
                Saved::NotReady | Saved::Fenced => NOT_READY,
                Saved::Done | Saved::Failed if size <= LARGE => PERIOD,
                Saved::Done | Saved::Failed => LONG_PERIOD,
            })
            .await;
        }
    }

    /// Exports, encodes and writes the checkpoint. After a conflict, merges the checkpoints of other writers and repeats.
    async fn save(&self, state: &mut State) -> Saved {
        for _ in 0..ATTEMPTS {
            if !state.is_known
                && let Err(error) = self.load_permitted(state).await
            {
                self.metrics.checkpoint().write(CheckpointWrite::Error);
                self.log_failure(state, &error);
                return Saved::Failed;
            }
            let Some(encoded) = self.encode().await else {
                return Saved::NotReady;
            };
            let is_unchanged = |(content, _): (u64, usize)| content == encoded.content;
            if state.written.is_some_and(is_unchanged) {
                if self.is_stored(state).await {
                    return Saved::Done;
                }
                info!(
                    name = self.map.name(),
                    "checkpoint was changed or deleted, writing it again"
                );
            } else if let Some(saved) = self.write(state, encoded).await {
                return saved;
            }
            (state.written, state.is_known) = (None, false);
        }
        Saved::Failed
    }

    /// Writes an encoded checkpoint. Returns `None` after a conflict.
    async fn write(&self, state: &mut State, encoded: Encoded) -> Option<Saved> {
        let Encoded {
            bytes,
            content,
            entries,
            omitted,
        } = encoded;
        let size = bytes.len();
        let Some(permit) = self.fence.permit() else {
            return Some(Saved::Fenced);
        };
        let metrics = self.metrics.checkpoint();
        let (outcome, error) = match permit.run(self.map.apply(state.version.as_ref(), bytes)).await {
            Ok(Ok(Applied::Written(version))) => {
                state.version = Some(version);
                state.written = Some((content, size));
                state.verified = Some(Instant::now());
                metrics.write(CheckpointWrite::Ok);
                metrics.written(self.clock.now(), size, omitted);
                debug!(size, entries, omitted, "checkpoint written");
                if state.logged_error.take().is_some() {
                    info!("checkpoint write succeeded again");
                }
                return Some(Saved::Done);
            }
            Ok(Ok(Applied::Conflict)) => {
                metrics.write(CheckpointWrite::Conflict);
                debug!("checkpoint changed by another writer, merging");
                return None;
            }
            Ok(Err(error)) => (CheckpointWrite::Error, failure::chain(&error)),
            Err(_limit_reached) if self.fence.permit().is_none() => return Some(Saved::Fenced),
            Err(limit_reached) => (CheckpointWrite::Timeout, limit_reached.to_string()),
        };
        metrics.write(outcome);
        self.log_failure(state, &error);
        Some(Saved::Failed)
    }

    /// Reports whether the object is as this replica has written it. Reads its version at most once a minute. A request that
    /// fails shows nothing.
    async fn is_stored(&self, state: &mut State) -> bool {
        let is_recent = |at: Instant| at.elapsed() < LONG_PERIOD;
        let Some(permit) = self
            .fence
            .permit()
            .filter(|_| !state.verified.is_some_and(is_recent))
        else {
            return true;
        };
        let Ok(Ok(version)) = permit.run(self.map.version()).await else {
            return true;
        };
        state.verified = Some(Instant::now());
        version == state.version
    }

    fn log_failure(&self, state: &mut State, error: &str) {
        let error = clean(error);
        if state.logged_error.as_ref() != Some(&error) {
            warn!(
                name = self.map.name(),
                error, "checkpoint write failed, will retry"
            );
            state.logged_error = Some(error);
        }
    }

    /// Reads the checkpoint of another writer, within the time limit of a write.
    async fn load_permitted(&self, state: &mut State) -> Result<(), String> {
        let permit = self.fence.permit().ok_or("no longer the leader")?;
        match permit.run(self.load(state)).await {
            Ok(result) => result.map_err(|error| failure::chain(&error)),
            Err(limit_reached) => Err(limit_reached.to_string()),
        }
    }

    /// Exports the state in steps, and encodes each step on another thread. Returns `None` if the index is not ready.
    async fn encode(&self) -> Option<Encoded> {
        let now = self.clock.now();
        let mut export = self.local.index.lock().begin_export(now)?;
        let reserved = checkpoint::reserved(self.local.events.waiting().len(), MAX_SIZE);
        let mut writer = Writer::new(export.as_of, MAX_SIZE, reserved);
        loop {
            let Some(entries) = self.local.index.lock().export(&mut export, PODS_PER_STEP) else {
                break;
            };
            writer = write(writer, entries).await?;
            // Watch events are applied between two steps.
            yield_now().await;
        }
        // After the Pods: an Event of a violation that was exported is in the queue, or is written.
        let mut waiting = self.local.events.waiting();
        waiting.sort_by(|a, b| (b.severity, a.at, &a.name).cmp(&(a.severity, b.at, &b.name)));
        let writer = write(writer, waiting.into_iter().map(Entry::Event).collect()).await?;
        Some(writer.finish())
    }

    /// Follows the checkpoint of the leader.
    async fn follow(&self) {
        let mut backoff = Backoff::default();
        loop {
            match self.follow_once().await {
                Ok(()) => backoff = Backoff::default(),
                Err(error) => {
                    debug!(error = clean(&failure::chain(&error)), "checkpoint watch failed");
                    sleep(backoff.next_wait_or(None)).await;
                }
            }
        }
    }

    /// Reads the checkpoint, and follows it until the watch ends.
    async fn follow_once(&self) -> Result<(), kube::Error> {
        let mut state = self.state.lock().await;
        self.load(&mut state).await?;
        let version = state.version.clone().unwrap_or_default();
        drop(state);
        let mut states = self.map.watch(&version).await?;
        while let Some(stored) = states.next().await {
            let stored = stored?;
            self.receive(stored, &mut *self.state.lock().await).await;
        }
        Ok(())
    }

    /// Reads the checkpoint. Does nothing if its version is known.
    async fn load(&self, state: &mut State) -> Result<(), kube::Error> {
        let stored = self.map.get().await?;
        self.receive(stored, state).await;
        state.is_known = true;
        Ok(())
    }

    /// Joins a checkpoint to the index.
    async fn receive(&self, stored: Option<StoredCheckpoint>, state: &mut State) {
        let Some(StoredCheckpoint { version, bytes }) = stored else {
            state.version = None;
            return;
        };
        if state.version.replace(version.clone()) == Some(version) {
            return;
        }
        let arrived = Instant::now();
        let Some(bytes) = bytes else {
            return self.ignore("missing", "the ConfigMap has no checkpoint");
        };
        let size = bytes.len();
        match spawn_blocking(move || checkpoint::decode(&bytes)).await {
            Ok(Ok(checkpoint)) if checkpoint.as_of > later(self.clock.now(), MAX_AHEAD) => {
                self.ignore("future", "its time is in the future");
            }
            Ok(Ok(checkpoint)) => {
                debug!(size, entries = checkpoint.entries(), "checkpoint read");
                self.join(checkpoint, state, arrived);
            }
            Ok(Err(error)) => self.ignore(error.as_str(), &error.to_string()),
            Err(_panicked) => self.ignore("content", "decoding failed"),
        }
    }

    fn join(&self, mut checkpoint: Checkpoint, state: &mut State, arrived: Instant) {
        let waiting = mem::take(&mut checkpoint.waiting).into_values();
        let was_read = mem::replace(&mut state.was_read, true);
        let role = *self.fence.subscribe().borrow();
        match role {
            Role::Standby => {
                let events = &self.local.events;
                events.checkpointed(arrived, checkpoint.as_of, waiting.collect());
            }
            // The Events of an earlier process. A leader knows its own.
            Role::Leader if !was_read => waiting.for_each(|event| self.local.events.push(event)),
            Role::Leader => {}
        }
        self.local.index.lock().import(checkpoint, self.clock.now());
        self.local.work_queued.notify_one();
    }

    fn ignore(&self, reason: &'static str, error: &str) {
        warn!(name = self.map.name(), reason, error, "checkpoint ignored");
        self.metrics.checkpoint().ignored(reason);
    }
}

/// Encodes entries on another thread.
async fn write(mut writer: Writer, entries: Vec<Entry>) -> Option<Writer> {
    if entries.is_empty() {
        return Some(writer);
    }
    let encode = move || {
        for entry in entries {
            writer.write(entry);
        }
        writer
    };
    spawn_blocking(encode).await.ok()
}
