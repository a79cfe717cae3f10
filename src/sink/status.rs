//! Writes the statuses of policies and exemptions by server-side apply to the `status` subresource.
//!
//! Input: the statuses that a watch observed, and the keys of objects whose status may have changed. Output: one apply
//! if the wanted status differs from the observed one. If the applied status still has entries of other field managers, a
//! merge patch removes them. The field manager names the installation, for people who read `metadata.managedFields`. Entries
//! of other field managers there have no effect. Each write requires the version of the object that was observed, so a write
//! that arrives late changes nothing. A standby writes nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    api::{Patch, PatchParams},
    core::Request,
};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::{
    select,
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    PendingEvents, Policies, StatusContent, Target, WriteError, Writer,
    status_queue::{Outcome, StatusQueue, Sync},
    status_reduction::Reduction,
};
use crate::{
    api,
    clock::Clock,
    domain::index::Index,
    kubernetes::{
        decode::{custom_metadata, object::read, policy::status::ObservedStatus},
        fence::Role,
        installation::Installation,
    },
    telemetry::{logging::clean, metrics::WriteKind},
};

/// Provides the reports of the index.
///
/// The sink computes a report when a write is due, not when a policy changes, so a burst of changes costs one report. A
/// report is a value: the index is locked only while the report is computed.
#[derive(Clone)]
pub struct Reports(Arc<Mutex<Index>>);

impl Reports {
    /// Creates a provider for this index.
    pub fn new(index: Arc<Mutex<Index>>) -> Self {
        Self(index)
    }

    /// Computes the report of an object. Returns `None` if it has none yet, for example before the first list of Pods is
    /// complete.
    fn get<T: Target>(&self, key: &T::Key) -> Option<T::Report> {
        T::report(&self.0.lock(), key)
    }
}

/// Keeps the statuses of all objects of one kind up to date.
pub struct StatusSink<T: Target = Policies> {
    queue: Mutex<StatusQueue<T::Key, T::Status>>,
    /// Signals a change of the queue, or that the sink is closed.
    notify: Notify,
    closed: AtomicBool,
    reports: Reports,
    pending_events: Arc<PendingEvents>,
    writer: Writer,
    installation: Installation,
    clock: Arc<dyn Clock>,
    /// The error that was logged last, until a write succeeds.
    logged_error: Mutex<Option<String>>,
}

impl<T: Target> StatusSink<T> {
    /// Creates a sink. It writes while [`Self::run`] runs.
    pub fn new(
        reports: Reports,
        pending_events: Arc<PendingEvents>,
        writer: Writer,
        installation: Installation,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            queue: Mutex::new(StatusQueue::new()),
            notify: Notify::new(),
            closed: AtomicBool::new(false),
            reports,
            pending_events,
            writer,
            installation,
            clock,
            logged_error: Mutex::default(),
        }
    }

    /// Records the status that a watch observed.
    pub fn observe(&self, key: &T::Key, status: ObservedStatus<T::Status>) {
        self.queue().observe(key, status, Instant::now());
        self.notify.notify_one();
    }

    /// Marks policies whose status may have changed.
    pub fn mark_changed<'a>(&self, keys: impl IntoIterator<Item = &'a T::Key>) {
        let now = Instant::now();
        let mut queue = self.queue();
        for key in keys {
            queue.mark_changed(key, now);
        }
        self.notify.notify_one();
    }

    /// Removes a deleted policy.
    pub fn remove(&self, key: &T::Key) {
        self.queue().remove(key);
    }

    /// Removes the policies for which `is_listed` is true and that are not in `existing`.
    pub fn retain(&self, is_listed: impl Fn(&T::Key) -> bool, existing: &BTreeSet<T::Key>) {
        self.queue().retain(is_listed, existing);
    }

    /// Closes the sink: [`Self::run`] writes the remaining changes at once and ends.
    pub fn close(&self) {
        self.queue().flush(Instant::now());
        self.closed.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Writes until the sink is closed and everything is written. A standby writes nothing. A new leader compares all
    /// statuses.
    pub async fn run(&self) {
        let mut writes = FuturesUnordered::new();
        let mut role = self.pending_events.role();
        let mut drained = self.pending_events.drained();
        let mut is_leader = *role.borrow_and_update() == Role::Leader;
        loop {
            let next = if is_leader { self.take() } else { None };
            let may_have_more = next.is_some();
            if let Some(sync) = next {
                match self.prepare(&sync) {
                    Ok(wanted) => writes.push(async move {
                        let outcome = self.write(&sync, wanted).await;
                        (sync, outcome)
                    }),
                    Err(outcome) => self.queue().finish(&sync, outcome, Instant::now()),
                }
            }
            let due = {
                let queue = self.queue();
                let is_done = queue.is_idle() || (!is_leader && writes.is_empty());
                if self.closed.load(Ordering::Relaxed) && is_done {
                    return;
                }
                queue.next_due().filter(|_| is_leader)
            };
            select! {
                Some((sync, outcome)) = writes.next() => self.queue().finish(&sync, outcome, Instant::now()),
                // A report takes time. Other tasks and the writes go on between two.
                () = yield_now(), if may_have_more => {}
                () = self.notify.notified() => {}
                Ok(()) = drained.changed() => {
                    self.queue().events_written(|policy| self.pending_events.has(policy), Instant::now());
                }
                Ok(()) = role.changed() => {
                    is_leader = *role.borrow_and_update() == Role::Leader;
                    if is_leader {
                        self.queue().mark_all_changed(Instant::now());
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Returns the status to write, or the outcome of a sync that needs no write now.
    fn prepare(&self, sync: &Sync<T::Key, T::Status>) -> Result<T::Status, Outcome<T::Status>> {
        let Some(report) = self.reports.get::<T>(&sync.key) else {
            return Err(Outcome::Unchanged);
        };
        let before = sync.observed.status.as_ref();
        let wanted = T::status(&report, before, self.clock.now());
        if wanted.is_current(before) {
            return Err(Outcome::Unchanged);
        }
        // The report is computed first, so that the wait includes the Events of all its violations.
        match T::awaited(&sync.key, &report) {
            Some(policy) if sync.may_wait && self.pending_events.has(&policy) => {
                Err(Outcome::AwaitsEvents(policy))
            }
            _ => Ok(wanted),
        }
    }

    async fn write(&self, sync: &Sync<T::Key, T::Status>, mut wanted: T::Status) -> Outcome<T::Status> {
        let Sync { key, observed, .. } = sync;
        match self.apply_valid(key, observed, &mut wanted).await {
            Ok(Applied::NotFound) => Outcome::NotFound,
            Ok(Applied::Conflict) => Outcome::Conflict,
            Ok(Applied::Object(object)) => Outcome::Written(ObservedStatus {
                uid: Arc::clone(&observed.uid),
                ..ObservedStatus::new(&object.metadata, Some(wanted))
            }),
            Err(error) if error.is_fenced => Outcome::NotSent,
            Err(error) => {
                self.log_error(key, &error);
                Outcome::Failed {
                    retry_after: error.retry_after,
                }
            }
        }
    }

    /// Applies a status. Removes the parts that the API server refuses, so that one field or entry does not block the others.
    async fn apply_valid(
        &self,
        key: &T::Key,
        observed: &ObservedStatus<T::Status>,
        status: &mut T::Status,
    ) -> Result<Applied<T::Status>, WriteError> {
        let mut reduction = Reduction::default();
        loop {
            match self.apply(key, observed, status).await {
                Err(error) => match T::reduced(&mut reduction, status, &error) {
                    Some(reduced) => {
                        self.log_error(key, &error);
                        *status = reduced;
                    }
                    None => return Err(error),
                },
                Ok(applied) => {
                    if reduction.is_empty() && matches!(applied, Applied::Object(_)) {
                        self.log_recovery();
                    }
                    return Ok(applied);
                }
            }
        }
    }

    /// Applies a status to the observed object, and removes entries of other field managers.
    async fn apply(
        &self,
        key: &T::Key,
        observed: &ObservedStatus<T::Status>,
        status: &T::Status,
    ) -> Result<Applied<T::Status>, WriteError> {
        let manager = self.installation.field_manager();
        // Zero stands for a version that is not a number.
        let version = (observed.version > 0).then(|| observed.version.to_string());
        let patch = apply_patch::<T>(key, &observed.uid, version.as_deref(), status);
        let params = PatchParams::apply(manager).force();
        let applied = match self.patch(key, &params, &patch).await? {
            Applied::Object(applied) => applied,
            other => return Ok(other),
        };
        let stays = |applied: &T::Status| status.has_foreign_entries(applied);
        if !applied.status.as_ref().is_some_and(stays) {
            return Ok(Applied::Object(applied));
        }
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({
            "metadata": { "uid": observed.uid, "resourceVersion": applied.metadata.resource_version },
            "status": status.without_foreign_entries(),
        }));
        info!(object = %key, "entries of other field managers removed from the status");
        self.patch(key, &params, &patch).await
    }

    /// Patches the `status` subresource.
    async fn patch(
        &self,
        key: &T::Key,
        params: &PatchParams,
        patch: &Patch<Value>,
    ) -> Result<Applied<T::Status>, WriteError> {
        let request = Request::new(T::url(key)).patch_subresource("status", T::name(key), params, patch);
        let expected = [StatusCode::NOT_FOUND, StatusCode::CONFLICT];
        let (code, body) = self.writer.send(WriteKind::Status, request, &expected).await?;
        Ok(match code {
            StatusCode::NOT_FOUND => Applied::NotFound,
            StatusCode::CONFLICT => Applied::Conflict,
            _ => Applied::Object(Box::new(read(&body).unwrap_or_default())),
        })
    }

    fn log_error(&self, key: &T::Key, error: &WriteError) {
        let message = clean(&error.message);
        let mut logged = self.logged_error.lock();
        if logged.as_ref() != Some(&message) {
            warn!(object = %key, error = message, "status apply failed, will retry");
            *logged = Some(message);
        }
    }

    fn log_recovery(&self) {
        if self.logged_error.lock().take().is_some() {
            info!("status apply succeeded again");
        }
    }

    fn take(&self) -> Option<Sync<T::Key, T::Status>> {
        self.queue().take(Instant::now())
    }

    fn queue(&self) -> MutexGuard<'_, StatusQueue<T::Key, T::Status>> {
        self.queue.lock()
    }
}

/// Result of a patch that the API server answered.
#[derive(Debug)]
enum Applied<S> {
    /// The object after the patch.
    Object(Box<Written<S>>),
    /// The object has another version or UID than the observed one.
    Conflict,
    /// The object does not exist.
    NotFound,
}

/// The response to a write. It contains `managedFields` and a status that other clients have written too.
#[derive(Debug, Deserialize)]
#[serde(bound = "S: DeserializeOwned")]
struct Written<S> {
    #[serde(default, deserialize_with = "custom_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "known_status")]
    status: Option<S>,
}

/// Decodes a status. One that does not match the types of the API counts as none.
fn known_status<'de, D: Deserializer<'de>, S: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<S>, D::Error> {
    let status = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(status).unwrap_or_default())
}

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self {
            metadata: ObjectMeta::default(),
            status: None,
        }
    }
}

/// Returns the patch that applies a status. The UID makes the API server refuse it for a new policy with the same name.
fn apply_patch<T: Target>(
    key: &T::Key,
    uid: &str,
    version: Option<&str>,
    status: &T::Status,
) -> Patch<Value> {
    let mut metadata = Map::from_iter([
        ("name".to_owned(), json!(T::name(key))),
        ("uid".to_owned(), json!(uid)),
    ]);
    metadata.extend(version.map(|version| ("resourceVersion".to_owned(), json!(version))));
    Patch::Apply(json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": T::kind(key),
        "metadata": metadata,
        "status": status,
    }))
}
