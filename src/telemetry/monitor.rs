//! The state of each watch: what it watches, whether it is in sync, and when the API server last sent something.
//!
//! The watches write a [`Monitor`]; `/readyz` and the metrics read it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};

use crate::{clock::Clock, domain::index::Scope, telemetry::logging::clean};

/// How long a watch that was in sync may be out of sync before the operator is not ready.
const OUT_OF_SYNC_LIMIT: Duration = Duration::from_mins(1);
/// How long a watch may be silent before it counts as out of sync. A healthy watch has data or ends once a minute.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// A watched resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// `pods`
    Pods,
    /// `namespaces`
    Namespaces,
    /// `sidecarpolicies.sidewatch.dev`
    SidecarPolicies,
    /// `clustersidecarpolicies.sidewatch.dev`
    ClusterSidecarPolicies,
    /// `sidecarexemptions.sidewatch.dev`
    SidecarExemptions,
}

impl Resource {
    /// Returns the plural name, as in RBAC rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::SidecarPolicies => "sidecarpolicies",
            Self::ClusterSidecarPolicies => "clustersidecarpolicies",
            Self::SidecarExemptions => "sidecarexemptions",
        }
    }

    /// Reports whether it is defined by one of Sidewatch's CRDs.
    pub const fn has_own_crd(self) -> bool {
        matches!(
            self,
            Self::SidecarPolicies | Self::ClusterSidecarPolicies | Self::SidecarExemptions
        )
    }

    /// Reports whether the operator works without it: the CRDs of an earlier version do not define it.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::SidecarExemptions)
    }
}

/// The state of one watch.
pub struct Monitor {
    /// The watched resource.
    pub resource: Resource,
    /// The watched namespace, or the whole cluster.
    pub scope: Scope,
    /// Activity of its requests.
    pub pulse: Arc<Pulse>,
    /// The number of objects that cannot be decoded now.
    undecodable: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// At least one list was complete.
    was_synced: bool,
    in_sync: bool,
    /// When the watch was last found to be in sync.
    in_since: Instant,
    /// When the watch was last found to be out of sync.
    out_since: Instant,
    /// When the known objects last matched the API server's, recorded at the last disconnect.
    last_synced: Timestamp,
    /// Why the watch is out of sync, as last logged.
    problem: Option<String>,
}

impl Monitor {
    /// Creates the state of a watch that has not started.
    pub fn new(resource: Resource, scope: Scope, clock: Arc<dyn Clock>) -> Self {
        Self {
            resource,
            scope,
            pulse: Arc::new(Pulse::new(clock)),
            undecodable: AtomicUsize::new(0),
            state: Mutex::new(State {
                was_synced: false,
                in_sync: false,
                in_since: Instant::now(),
                out_since: Instant::now(),
                last_synced: Timestamp::MIN,
                problem: None,
            }),
        }
    }

    /// Records that the watch is out of sync. Returns when it was last in sync.
    ///
    /// Only the first call after a sync changes that time, because a list that fails in the middle shows only some objects.
    pub fn lost(&self) -> Timestamp {
        let mut state = self.state();
        if state.in_sync {
            state.in_sync = false;
            state.out_since = Instant::now();
            state.last_synced = self.pulse.last_activity().unwrap_or(Timestamp::MIN);
        }
        state.last_synced
    }

    /// Sets the number of objects that cannot be decoded now.
    pub fn set_undecodable(&self, objects: usize) {
        self.undecodable.store(objects, Ordering::Relaxed);
    }

    /// Returns the number of objects that cannot be decoded now.
    pub fn undecodable(&self) -> usize {
        self.undecodable.load(Ordering::Relaxed)
    }

    /// Records why a list or watch failed. Logs the problem when it differs from the last one.
    pub fn failed(&self, reason: &'static str, problem: &str) {
        let problem = clean(problem);
        let mut state = self.state();
        if state.problem.as_ref() == Some(&problem) {
            return;
        }
        warn!(
            resource = self.resource.as_str(),
            scope = self.scope.as_deref(),
            reason,
            "{problem}"
        );
        state.problem = Some(problem);
    }

    /// Records that an optional resource does not exist: there are no objects, so the watch is in sync. Logs the problem when
    /// it differs from the last one. Returns whether this replaces the first list.
    pub fn absent(&self, problem: &str) -> bool {
        self.failed("not_found", problem);
        let mut state = self.state();
        state.in_sync = true;
        state.in_since = Instant::now();
        !std::mem::replace(&mut state.was_synced, true)
    }

    /// Records that the watch is in sync.
    pub fn in_sync(&self) {
        let mut state = self.state();
        if !state.was_synced || state.problem.is_some() {
            info!(
                resource = self.resource.as_str(),
                scope = self.scope.as_deref(),
                "in sync"
            );
        }
        state.was_synced = true;
        state.in_sync = true;
        state.in_since = Instant::now();
        state.problem = None;
    }

    /// Reports whether the watch is in sync. A watch that is silent for too long is not.
    pub fn is_in_sync(&self) -> bool {
        let state = self.state();
        state.in_sync && !self.is_silent(&state)
    }

    /// Reports whether the API server accepts the watch but neither sends data nor ends it, as behind a partition.
    fn is_silent(&self, state: &State) -> bool {
        let last_activity = *self.pulse.last_activity_instant.lock();
        let since = last_activity.map_or(state.in_since, |at| at.max(state.in_since));
        since.elapsed() > SILENCE_LIMIT
    }

    /// Returns why the operator is not ready because of this watch, or `None` if this watch is ready.
    pub fn not_ready_reason(&self) -> Option<String> {
        let state = self.state();
        let is_silent = state.in_sync && self.is_silent(&state);
        if state.in_sync && !is_silent
            || !state.in_sync && state.was_synced && state.out_since.elapsed() < OUT_OF_SYNC_LIMIT
        {
            return None;
        }
        Some(state.problem.clone().unwrap_or_else(|| {
            let resource = self.resource.as_str();
            let location = self
                .scope
                .as_ref()
                .map(|ns| format!(" in namespace {ns}"))
                .unwrap_or_default();
            if is_silent {
                format!("the watch of {resource}{location} is silent")
            } else {
                format!("the list of {resource}{location} is in progress")
            }
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Activity of one watch.
pub struct Pulse {
    clock: Arc<dyn Clock>,
    /// When the last data of a successful response arrived, in milliseconds since 1970; `i64::MIN` before the first.
    last_activity: AtomicI64,
    /// The same time on the monotonic clock.
    last_activity_instant: Mutex<Option<Instant>>,
    /// Whether the consumer needs a new list.
    list_requested: Notify,
}

impl Pulse {
    /// Creates a record without activity.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last_activity: AtomicI64::new(i64::MIN),
            last_activity_instant: Mutex::new(None),
            list_requested: Notify::new(),
        }
    }

    /// Returns when the last data of a list or watch arrived, bookmarks included, or a watch ended at its timeout. Until
    /// then the known objects matched the API server's. Error responses do not count, because they say nothing about the
    /// objects.
    pub fn last_activity(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.last_activity.load(Ordering::Relaxed)).ok()
    }

    /// Records that data of a list or watch arrived, or that a watch ended at its timeout.
    pub fn record_activity(&self) {
        self.last_activity
            .store(self.clock.now().as_millisecond(), Ordering::Relaxed);
        *self.last_activity_instant.lock() = Some(Instant::now());
    }

    /// Requests a new list from the watch.
    pub fn request_list(&self) {
        self.list_requested.notify_one();
    }

    /// Waits for [`Self::request_list`].
    pub async fn list_requested(&self) {
        self.list_requested.notified().await;
    }
}
