//! Writes policies' statuses, by server-side apply to the status subresource. In: which policies changed, and what
//! their objects show. Out: an apply when, and only when, an object does not show what there is to say.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use kube::{
    Resource,
    api::{Patch, PatchParams},
    core::Request,
};
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

pub use super::status_queue::ObservedStatus;
use super::{
    FIELD_MANAGER, PendingEvents, WriteError, Writer, status_object,
    status_queue::{Outcome, StatusQueue},
};
use crate::{
    api::{self, ClusterSidecarPolicy, PolicyStatus, SidecarPolicy},
    clock::Clock,
    domain::{
        policy::{PolicyKey, PolicyKind},
        summary::Report,
    },
    telemetry::{logging::clean, metrics::WriteKind},
};

/// How many writes are under way at a time.
const CONCURRENCY: usize = 8;
/// How long a status waits for the Events of what it tells. Events that cannot be written must not silence it.
const EVENTS_FIRST: Duration = Duration::from_secs(5);

/// What there is to say about a policy; `None` while that is not known.
pub type Reports = Box<dyn Fn(&PolicyKey) -> Option<Report> + Send + Sync>;

/// The statuses that are kept up to date.
pub struct StatusSink {
    queue: Mutex<StatusQueue>,
    /// Something changed, or the end has come.
    news: Notify,
    closed: AtomicBool,
    reports: Reports,
    pending_events: Arc<PendingEvents>,
    writer: Writer,
    clock: Arc<dyn Clock>,
    /// The trouble that was logged last.
    trouble: Mutex<Option<String>>,
}

impl StatusSink {
    /// A sink that writes once [`Self::run`] runs.
    pub fn new(
        reports: Reports,
        pending_events: Arc<PendingEvents>,
        writer: Writer,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            queue: Mutex::default(),
            news: Notify::new(),
            closed: AtomicBool::new(false),
            reports,
            pending_events,
            writer,
            clock,
            trouble: Mutex::default(),
        }
    }

    /// A watch showed the policy.
    pub fn seen(&self, key: &PolicyKey, shown: ObservedStatus) {
        self.queue().seen(key, shown, Instant::now());
        self.news.notify_one();
    }

    /// The statuses of these policies may read differently now.
    pub fn changed<'a>(&self, keys: impl IntoIterator<Item = &'a PolicyKey>) {
        let now = Instant::now();
        let mut queue = self.queue();
        for key in keys {
            queue.changed(key, now);
        }
        self.news.notify_one();
    }

    /// The policy is gone.
    pub fn remove(&self, key: &PolicyKey) {
        self.queue().remove(key);
    }

    /// Of the policies that `is_meant`, all but those that `exist` are gone.
    pub fn retain(&self, is_meant: impl Fn(&PolicyKey) -> bool, exist: &BTreeSet<PolicyKey>) {
        self.queue().retain(is_meant, exist);
    }

    /// Nothing will change any more: [`Self::run`] ends when all is written.
    pub fn close(&self) {
        self.queue().flush(Instant::now());
        self.closed.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Writes until the sink is closed and all is written.
    pub async fn run(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < CONCURRENCY
                && let Some((key, shown)) = self.take()
            {
                under_way.push(async move {
                    let uid = Arc::clone(&shown.uid);
                    let outcome = self.look(&key, shown).await;
                    (key, uid, outcome)
                });
            }
            let due = {
                let queue = self.queue();
                if self.closed.load(Ordering::Relaxed) && queue.is_idle() {
                    return;
                }
                queue.next_due()
            };
            select! {
                Some((key, uid, outcome)) = under_way.next() => {
                    self.queue().finished(&key, &uid, outcome, Instant::now());
                }
                () = self.news.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && under_way.len() < CONCURRENCY => {}
            }
        }
    }

    /// Compares what there is to say with what the object shows, and writes it if they differ.
    async fn look(&self, key: &PolicyKey, shown: ObservedStatus) -> Outcome {
        let Some(report) = (self.reports)(key) else {
            return Outcome::Nothing;
        };
        let wanted = status_object::status(&report, shown.status.as_ref(), self.clock.now());
        if status_object::is_shown(&wanted, shown.status.as_ref()) {
            return Outcome::Nothing;
        }
        // After the look, so that what it tells is among what it waits for.
        let _elapsed = timeout(EVENTS_FIRST, self.pending_events.told(key)).await;
        match self.apply(key, &shown.uid, &wanted).await {
            Ok(None) => Outcome::Gone,
            Ok(Some(version)) => {
                self.untroubled();
                Outcome::Written(ObservedStatus {
                    uid: shown.uid,
                    version,
                    status: Some(wanted),
                })
            }
            Err(error) => {
                self.troubled(key, &error);
                Outcome::Failed {
                    asked: error.retry_after,
                }
            }
        }
    }

    /// Applies a status; returns the object's new version, or nothing when it is not there any more.
    async fn apply(
        &self,
        key: &PolicyKey,
        uid: &str,
        status: &PolicyStatus,
    ) -> Result<Option<u64>, WriteError> {
        let (path, kind) = match key.kind {
            PolicyKind::SidecarPolicy => (
                SidecarPolicy::url_path(&(), Some(&key.namespace)),
                key.kind.as_str(),
            ),
            PolicyKind::ClusterSidecarPolicy => {
                (ClusterSidecarPolicy::url_path(&(), None), key.kind.as_str())
            }
        };
        // With the UID, a policy that was made anew under the same name refuses what was meant for the old one; the
        // watch is about to tell of it.
        let object = json!({
            "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
            "kind": kind,
            "metadata": { "name": key.name, "uid": uid },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let request =
            Request::new(path).patch_subresource("status", &key.name, &params, &Patch::Apply(object));
        let (code, body) = self
            .writer
            .send(WriteKind::Status, request, &[StatusCode::NOT_FOUND])
            .await?;
        Ok(code.is_success().then(|| version(&body)))
    }

    fn troubled(&self, key: &PolicyKey, error: &WriteError) {
        let message = clean(&error.message);
        let mut trouble = self.trouble.lock();
        if trouble.as_ref() != Some(&message) {
            warn!(policy = %key, "cannot write a status, will try again: {message}");
            *trouble = Some(message);
        }
    }

    fn untroubled(&self) {
        let mut trouble = self.trouble.lock();
        if trouble.take().is_some() {
            info!("statuses are written again");
        }
    }

    fn take(&self) -> Option<(PolicyKey, ObservedStatus)> {
        self.queue().take(Instant::now())
    }

    fn queue(&self) -> MutexGuard<'_, StatusQueue> {
        self.queue.lock()
    }
}

/// `metadata.resourceVersion` as a number; 0 if it is none.
pub fn parse_version(version: Option<&str>) -> u64 {
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// The version of the object in an answer.
fn version(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
    }
    let object = serde_json::from_slice::<Object>(body).ok();
    parse_version(object.as_ref().map(|object| &*object.metadata.resource_version))
}
