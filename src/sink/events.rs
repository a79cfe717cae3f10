//! Writes Events. In: [`Event`]s from the domain, at any time and without waiting. Out: creates and merge patches of
//! `events.k8s.io/v1` Events; no other request. What cannot be written is counted, and told on the policy if it was too
//! much.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
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
    FIELD_MANAGER, PendingEvents, WriteError, Writer, event_object,
    event_queue::{EventQueue, Message, QueuedEvent},
};
use crate::{
    clock::Clock,
    domain::effects::{Delivery, Event},
    telemetry::{
        logging::clean,
        metrics::{DropReason, WriteKind},
    },
};

/// How many writes are under way at a time.
const CONCURRENCY: usize = 8;

/// The Events on their way.
pub struct EventSink {
    event_queue: Mutex<EventQueue>,
    /// Something came, or the end has come.
    news: Notify,
    pending_events: Arc<PendingEvents>,
    closed: AtomicBool,
    writer: Writer,
    clock: Arc<dyn Clock>,
    instance: String,
}

impl EventSink {
    /// A sink that writes once [`Self::run`] runs.
    pub fn new(writer: Writer, clock: Arc<dyn Clock>) -> Self {
        Self {
            event_queue: Mutex::new(EventQueue::new()),
            news: Notify::new(),
            pending_events: Arc::default(),
            closed: AtomicBool::new(false),
            writer,
            clock,
            instance: event_object::instance(),
        }
    }

    /// Which policies have Events on their way.
    pub fn pending_events(&self) -> Arc<PendingEvents> {
        Arc::clone(&self.pending_events)
    }

    /// Takes an Event in. What is too much is dropped and counted.
    pub fn push(&self, event: Event) {
        let policy = event.policy.clone();
        // First, as another thread may write it at once.
        self.pending_events.begin(&policy);
        if let Err(reason) = self.event_queue().push(event, Instant::now()) {
            self.pending_events.end(&policy);
            self.writer.metrics().dropped(reason, 1);
        }
        self.news.notify_one();
    }

    /// No more Events will come: [`Self::run`] ends when all are written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Counts what is left when there is no more time to write it.
    pub fn abandon(&self) {
        let left = self.event_queue().len();
        if left > 0 {
            warn!(events = left, "stopped before all Events were written");
            self.writer.metrics().dropped(DropReason::Shutdown, left as u64);
        }
    }

    /// Writes until the sink is closed and empty.
    pub async fn run(&self) {
        let mut under_way = FuturesUnordered::new();
        let mut trouble = Trouble::default();
        loop {
            while under_way.len() < CONCURRENCY
                && let Some(letter) = self.event_queue().take(Instant::now())
            {
                under_way.push(async move {
                    let result = self.deliver(&letter.message).await;
                    (letter, result)
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
                Some((letter, result)) = under_way.next() => self.delivered(letter, result, &mut trouble),
                () = self.news.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && under_way.len() < CONCURRENCY => {}
            }
        }
    }

    fn delivered(&self, letter: QueuedEvent, result: Result<(), WriteError>, trouble: &mut Trouble) {
        let policy = match &letter.message {
            Message::Event(event) => Some(event.policy.clone()),
            Message::DroppedSummary { .. } => None,
        };
        let over = match result {
            Ok(()) => {
                self.event_queue().done();
                trouble.over();
                true
            }
            Err(error) if error.is_transient() => {
                trouble.failed(&error);
                let retry = self
                    .event_queue()
                    .retry(letter, error.retry_after, Instant::now());
                if let Err(reason) = retry {
                    self.writer.metrics().dropped(reason, 1);
                }
                retry.is_err()
            }
            Err(error) => {
                trouble.refused(&letter, &error);
                self.event_queue().done();
                self.writer.metrics().dropped(DropReason::Refused, 1);
                true
            }
        };
        if let Some(policy) = policy.filter(|_| over) {
            self.pending_events.end(&policy);
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
                let storm = event_object::DroppedSummary {
                    policy: policy.clone(),
                    policy_uid: Arc::clone(policy_uid),
                    dropped: *dropped,
                    at: self.clock.now(),
                };
                self.create(storm.namespace(), &storm.event(&self.instance))
                    .await
                    .map(drop)
            }
        }
    }

    async fn deliver_event(&self, event: &Event) -> Result<(), WriteError> {
        match event.delivery {
            Delivery::Create => {
                // When it is there already, an earlier try or another replica wrote it.
                self.create(&event.namespace, &event_object::event(event, &self.instance, 1))
                    .await?;
            }
            Delivery::CreateOrRaise(count) => {
                let object = event_object::event(event, &self.instance, 1);
                if self.create(&event.namespace, &object).await? == StatusCode::CONFLICT {
                    self.raise(event, count).await?;
                }
            }
            Delivery::Repeat(count) => {
                if self.raise(event, count).await? == StatusCode::NOT_FOUND {
                    // Events expire after an hour.
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

    /// Creates an Event. `409 Conflict` is an answer.
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

    /// Sets the count of an Event. `404 Not Found` is an answer.
    async fn raise(&self, event: &Event, count: u32) -> Result<StatusCode, WriteError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(event_object::raise(count, event.at));
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

/// What was logged of the trouble that we are in: a line when it changes, not one per Event.
#[derive(Default)]
struct Trouble {
    failing: Option<String>,
    refused: Option<StatusCode>,
}

impl Trouble {
    fn failed(&mut self, error: &WriteError) {
        let message = clean(&error.message);
        if self.failing.as_ref() != Some(&message) {
            warn!("cannot write Events, will try again: {message}");
            self.failing = Some(message);
        }
    }

    fn refused(&mut self, letter: &QueuedEvent, error: &WriteError) {
        let event = match &letter.message {
            Message::Event(event) => event.name.as_str(),
            Message::DroppedSummary { policy, .. } => &policy.name,
        };
        let message = clean(&error.message);
        if self.refused == error.status {
            debug!(event = %event, "the API server refused an Event: {message}");
        } else {
            warn!(event = %event, "the API server refused an Event: {message}");
            self.refused = error.status;
        }
    }

    fn over(&mut self) {
        self.refused = None;
        if self.failing.take().is_some() {
            info!("Events are written again");
        }
    }
}
