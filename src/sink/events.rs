//! Writes Events.
//!
//! Input: [`Event`]s of the domain; [`EventSink::push`] does not wait. Output: creates and merge patches of
//! `events.k8s.io/v1` Events. Dropped Events are counted. A summary on the policy reports the Events over the limits.
//!
//! A standby writes nothing and keeps its Events. When it becomes the leader, it writes the Events that the former leader may
//! not have written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event as EventObject;
use kube::{
    Resource,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    PendingEvents, WriteError, Writer,
    event_object::{self, summary_namespace},
    event_queue::{EventQueue, Message, QueuedEvent},
};
use crate::{
    clock::Clock,
    domain::{
        effects::{Delivery, Event},
        policy::PolicyKey,
    },
    kubernetes::{fence::Role, installation::FIELD_MANAGER},
    telemetry::{
        logging::clean,
        metrics::{DropReason, WriteKind},
    },
};

/// The queue of Events and the task that writes them.
pub struct EventSink {
    event_queue: Mutex<EventQueue>,
    /// Signals a new Event, or that the sink is closed.
    notify: Notify,
    pending_events: Arc<PendingEvents>,
    closed: AtomicBool,
    writer: Writer,
    clock: Arc<dyn Clock>,
    instance: String,
}

impl EventSink {
    /// Creates a sink. It writes while [`Self::run`] runs.
    pub fn new(writer: Writer, clock: Arc<dyn Clock>) -> Self {
        let role = *writer.fence().subscribe().borrow();
        Self {
            event_queue: Mutex::new(EventQueue::new(role)),
            notify: Notify::new(),
            pending_events: Arc::new(PendingEvents::new(role)),
            closed: AtomicBool::new(false),
            writer,
            clock,
            instance: event_object::instance(),
        }
    }

    /// Returns the counts of pending Events.
    pub fn pending_events(&self) -> Arc<PendingEvents> {
        Arc::clone(&self.pending_events)
    }

    /// Queues an Event. An Event over the limits is dropped, and counted by the leader.
    pub fn push(&self, event: Event) {
        let policy = event.policy.clone();
        let mut event_queue = self.event_queue();
        let pushed = event_queue.push(event, Instant::now());
        if event_queue.role() == Role::Leader {
            // The queue stays locked until here, because another thread may write the Event at once.
            match pushed {
                Ok(()) => self.pending_events.begin(&policy),
                Err(reason) => self.writer.metrics().dropped(reason, 1),
            }
        }
        drop(event_queue);
        self.notify.notify_one();
    }

    /// Returns the Events that are queued or being written, for the checkpoint of the leader.
    pub fn waiting(&self) -> Vec<Event> {
        self.event_queue().waiting()
    }

    /// Takes over the Events that a checkpoint lists as waiting. `arrived` is the time at which this replica received the
    /// checkpoint, `as_of` the time of its state by the clock of its writer. Events that this replica saw more than 20 s before
    /// that state are no longer kept. A leader ignores checkpoints.
    pub fn checkpointed(&self, arrived: Instant, as_of: Timestamp, waiting: Vec<Event>) {
        let written = written_at(arrived, self.clock.now(), as_of);
        self.event_queue().checkpointed(written, waiting);
    }

    /// Removes Events that a standby has kept by mistake.
    pub fn withdraw(&self, names: &[String]) {
        if !names.is_empty() {
            self.event_queue().withdraw(names);
        }
    }

    /// Closes the sink: [`Self::run`] ends when all Events are written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Counts the remaining Events as dropped at shutdown.
    pub fn abandon(&self) {
        let left = self.event_queue().len();
        if left > 0 {
            warn!(dropped = left, "shutdown dropped queued Events");
            self.writer.metrics().dropped(DropReason::Shutdown, left as u64);
        }
    }

    /// Writes until the sink is closed and the queue is empty. A standby writes nothing.
    pub async fn run(&self) {
        let mut writes = FuturesUnordered::new();
        let mut log = ErrorLog::default();
        let mut role = self.writer.fence().subscribe();
        loop {
            self.follow(*role.borrow_and_update());
            while let Some(queued) = self.event_queue().take(Instant::now()) {
                writes.push(async move {
                    let result = self.deliver(&queued.message).await;
                    (queued, result)
                });
            }
            let due = {
                let event_queue = self.event_queue();
                let closed = self.closed.load(Ordering::Relaxed);
                if closed && event_queue.len() == 0 {
                    return;
                }
                event_queue.next_due()
            };
            select! {
                Some((queued, result)) = writes.next() => self.delivered(queued, result, &mut log),
                () = self.notify.notified() => {}
                Ok(()) = role.changed() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Changes the role of the queue, and updates the counts of pending Events.
    fn follow(&self, role: Role) {
        let mut event_queue = self.event_queue();
        if event_queue.role() == role {
            return;
        }
        let now = Instant::now();
        match role {
            Role::Leader => event_queue
                .promote(now)
                .iter()
                .for_each(|policy| self.pending_events.begin(policy)),
            Role::Standby => event_queue
                .demote(now)
                .iter()
                .for_each(|policy| self.pending_events.end(policy)),
        }
        self.pending_events.set_role(role);
    }

    fn delivered(&self, queued: QueuedEvent, result: Result<(), WriteError>, log: &mut ErrorLog) {
        let now = Instant::now();
        let mut event_queue = self.event_queue();
        let policy = queued.message.event().map(|event| event.policy.clone());
        let ended: Vec<PolicyKey> = match result {
            Ok(()) => {
                event_queue.done(&queued, now);
                log.recovered();
                policy.into_iter().collect()
            }
            Err(error) if error.is_fenced => event_queue.postpone(queued, now).into_iter().collect(),
            Err(error) if error.is_transient() => {
                log.failed(&error);
                let left = event_queue.retry(queued, error.retry_after, now);
                self.writer.metrics().dropped(DropReason::GaveUp, left.gave_up);
                left.policies
            }
            Err(error) => {
                log.refused(&queued, &error);
                event_queue.refused(&queued, now);
                self.writer.metrics().dropped(DropReason::Refused, 1);
                policy.into_iter().collect()
            }
        };
        drop(event_queue);
        for policy in &ended {
            self.pending_events.end(policy);
        }
    }

    async fn deliver(&self, message: &Message) -> Result<(), WriteError> {
        match message {
            Message::Event(event) => self.deliver_event(event).await,
            Message::DroppedSummary {
                policy,
                policy_uid,
                dropped,
            } => {
                let summary = event_object::DroppedSummary {
                    policy: policy.clone(),
                    policy_uid: Arc::clone(policy_uid),
                    dropped: *dropped,
                    at: self.clock.now(),
                };
                self.create(&summary_namespace(policy), &summary.event(&self.instance))
                    .await
                    .map(drop)
            }
        }
    }

    async fn deliver_event(&self, event: &Event) -> Result<(), WriteError> {
        match event.delivery {
            Delivery::Create => {
                // A conflict means that an earlier attempt or another replica created it.
                self.create(&event.namespace, &event_object::event(event, &self.instance, 1))
                    .await?;
            }
            Delivery::CreateOrRaise(count) => {
                let object = event_object::event(event, &self.instance, 1);
                if self.create(&event.namespace, &object).await? == StatusCode::CONFLICT {
                    self.patch_series(event, count).await?;
                }
            }
            Delivery::Repeat(count) => {
                if self.patch_series(event, count).await? == StatusCode::NOT_FOUND {
                    // The API server deletes Events after one hour.
                    self.create(
                        &event.namespace,
                        &event_object::event(event, &self.instance, count),
                    )
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Creates an Event. Returns the status code, which may be `409 Conflict`.
    async fn create(&self, namespace: &str, object: &Value) -> Result<StatusCode, WriteError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let request = Request::new(EventObject::url_path(&(), Some(namespace)));
        let request = request.create(&params, object.to_string().into_bytes());
        let (status, _) = self
            .writer
            .send(WriteKind::Event, request, &[StatusCode::CONFLICT])
            .await?;
        Ok(status)
    }

    /// Sets the series of an Event. Returns the status code, which may be `404 Not Found`.
    async fn patch_series(&self, event: &Event, count: u32) -> Result<StatusCode, WriteError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(event_object::series_patch(count, event.at));
        let request = Request::new(EventObject::url_path(&(), Some(&event.namespace))).patch(
            &event.name,
            &params,
            &patch,
        );
        let (status, _) = self
            .writer
            .send(WriteKind::Event, request, &[StatusCode::NOT_FOUND])
            .await?;
        Ok(status)
    }

    fn event_queue(&self) -> MutexGuard<'_, EventQueue> {
        self.event_queue.lock()
    }
}

/// Returns the time of the state of a checkpoint. A checkpoint can be old when it arrives: one that its writer sent before a partition,
/// or one that is read after an outage. If the clock of its writer is ahead, it counts as new.
fn written_at(arrived: Instant, now: Timestamp, as_of: Timestamp) -> Option<Instant> {
    let age = Duration::try_from(now.duration_since(as_of)).unwrap_or_default();
    arrived.checked_sub(age)
}

/// Logs errors when they change, not once per Event.
#[derive(Default)]
struct ErrorLog {
    /// The error that was logged last, until a write succeeds.
    failing: Option<String>,
    /// Status code of the refusal that was logged last, until a write succeeds.
    refused: Option<StatusCode>,
}

impl ErrorLog {
    fn failed(&mut self, error: &WriteError) {
        let message = clean(&error.message);
        if self.failing.as_ref() != Some(&message) {
            warn!(error = message, "event write failed, will retry");
            self.failing = Some(message);
        }
    }

    fn refused(&mut self, queued: &QueuedEvent, error: &WriteError) {
        let event = match &queued.message {
            Message::Event(event) => event.name.as_str(),
            Message::DroppedSummary { policy, .. } => &policy.name,
        };
        let message = clean(&error.message);
        if self.refused == error.status {
            debug!(event, error = message, "event refused");
        } else {
            warn!(event, error = message, "event refused");
            self.refused = error.status;
        }
    }

    fn recovered(&mut self) {
        self.refused = None;
        if self.failing.take().is_some() {
            info!("event write succeeded again");
        }
    }
}

#[cfg(test)]
mod tests;
