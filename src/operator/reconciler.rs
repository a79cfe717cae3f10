//! The task that applies watch events and deadlines to the index and forwards the effects.
//!
//! Input: a stream of [`Input`]s and a clock. Output: Events and changed policies to the sinks, and from the leader a log
//! line per transition. [`step`] is a plain function that tests call with a clock of their own. [`Reconciler`] waits, calls it and
//! forwards the effects. It never waits for the API server.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::Client;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    pin, select,
    sync::{Notify, watch},
    task::yield_now,
    time::{Instant, sleep},
};
use tracing::{debug, info};

use super::{late_wake::LateWake, status_update::StatusUpdate};
use crate::{
    clock::Clock,
    domain::{
        effects::{Change, Effects, Transition},
        exemption::ExemptionKey,
        index::Index,
        policy::PolicyKey,
        violation::Violation,
    },
    http::health::Health,
    kubernetes::{
        fence::{Fence, Role},
        inputs::Input,
        installation::Installation,
        watch::WatchEvent,
    },
    sink::{
        Exemptions, Writer,
        events::EventSink,
        status::{Reports, StatusSink},
    },
    telemetry::{metrics::Metrics, monitor::Resource},
};

/// Maximum sleep. It bounds the age of the heartbeat, and the delay until a clock that was set forward is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(10);

/// The number of inputs that are applied between two steps of long work, if they arrive without a pause.
const INPUTS_PER_STEP: usize = 64;

/// Applies one watch event to the index.
pub fn step(index: &mut Index, input: Input, now: Timestamp) -> Effects {
    match input {
        Input::Pod(scope, event) => match event {
            WatchEvent::Restarted { last_synced } => {
                index.begin_resync(&scope, last_synced);
                Effects::default()
            }
            WatchEvent::Listed(pod) | WatchEvent::Applied(pod) => index.apply(pod, now),
            WatchEvent::Complete => index.finish_resync(&scope, now),
            WatchEvent::Deleted(pod) => index.delete(&pod.namespace, &pod.uid, now),
            WatchEvent::Disconnected { last_synced } => {
                index.hold(&scope, last_synced);
                Effects::default()
            }
            WatchEvent::Resumed => index.resume(&scope, now),
        },
        Input::Policy(kind, scope, event) => match event {
            WatchEvent::Restarted { .. } => {
                index.begin_policy_resync(kind, &scope);
                Effects::default()
            }
            WatchEvent::Listed(policy) | WatchEvent::Applied(policy) => {
                index.apply_policy(policy.update, now)
            }
            WatchEvent::Complete => index.finish_policy_resync(kind, &scope, now),
            WatchEvent::Deleted(policy) => index.delete_policy(&policy.update.key, now),
            // A policy that may be out of date is better than none.
            WatchEvent::Disconnected { .. } | WatchEvent::Resumed => Effects::default(),
        },
        Input::Exemption(scope, event) => match event {
            WatchEvent::Restarted { .. } => {
                index.begin_exemption_resync(&scope);
                Effects::default()
            }
            WatchEvent::Listed(exemption) | WatchEvent::Applied(exemption) => {
                index.apply_exemption(exemption.update, now)
            }
            WatchEvent::Complete => index.finish_exemption_resync(&scope, now),
            WatchEvent::Deleted(exemption) => index.delete_exemption(&exemption.update.key, now),
            WatchEvent::Disconnected { .. } | WatchEvent::Resumed => Effects::default(),
        },
        Input::Namespace(event) => match event {
            WatchEvent::Restarted { .. } => {
                index.begin_namespace_resync();
                Effects::default()
            }
            WatchEvent::Listed((name, labels)) | WatchEvent::Applied((name, labels)) => {
                index.apply_namespace(&name, labels, now)
            }
            WatchEvent::Complete => index.finish_namespace_resync(now),
            WatchEvent::Deleted((name, _)) => index.delete_namespace(&name, now),
            WatchEvent::Disconnected { .. } | WatchEvent::Resumed => Effects::default(),
        },
    }
}

/// Why [`Reconciler::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped.
    Stopped,
    /// The inputs ended. Watches never end.
    NoInputs,
}

/// The index, its inputs other than the watches, and the receivers of its effects.
pub struct Reconciler {
    /// The index, shared with the metrics and the status sink.
    pub index: Arc<Mutex<Index>>,
    /// The source of `now`.
    pub clock: Arc<dyn Clock>,
    /// Receives Events.
    pub events: Arc<EventSink>,
    /// Receives observed and changed statuses.
    pub status: Arc<StatusSink>,
    /// Receives observed and changed statuses of exemptions.
    pub exemption_status: Arc<StatusSink<Exemptions>>,
    /// Counts the duration of each step.
    pub metrics: Arc<Metrics>,
    /// Heartbeat that /livez reports.
    pub health: Arc<Health>,
    /// Signals that another task has queued work in the index.
    pub work_queued: Arc<Notify>,
    /// Only a leader logs transitions.
    role: watch::Receiver<Role>,
}

impl Reconciler {
    /// Creates a reconciler and its sinks, which write when the fence permits it.
    pub fn new(
        index: Arc<Mutex<Index>>,
        client: Client,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        fence: Fence,
        installation: Installation,
    ) -> Self {
        let role = fence.subscribe();
        let writer = Writer::new(client, Arc::clone(&metrics), fence);
        let events = EventSink::new(writer.clone(), Arc::clone(&clock));
        let reports = Reports::new(Arc::clone(&index));
        let exemption_status = StatusSink::new(
            reports.clone(),
            events.pending_events(),
            writer.clone(),
            installation.clone(),
            Arc::clone(&clock),
        );
        let status = StatusSink::new(
            reports,
            events.pending_events(),
            writer,
            installation,
            Arc::clone(&clock),
        );
        Self {
            index,
            clock,
            events: Arc::new(events),
            status: Arc::new(status),
            exemption_status: Arc::new(exemption_status),
            metrics,
            health,
            work_queued: Arc::default(),
            role,
        }
    }

    /// Runs until `stop` is ready or the inputs end.
    pub async fn run(&self, inputs: impl Stream<Item = Input>, stop: impl Future<Output = ()>) -> Ended {
        pin!(inputs, stop);
        let mut late_wake = LateWake::new(self.clock.now());
        let mut inputs_since_step = 0;
        let mut was_timer = false;
        loop {
            self.health.record_heartbeat();
            let wait = self.until(late_wake.hold_end());
            let has_work = self.index().has_work();
            // Deadlines come before the inputs, which may never pause. Inputs come before the end of a hold, which waits for
            // them, and between the steps of many deadlines.
            let timer_first = !late_wake.is_holding() && !was_timer;
            let wake = select! {
                biased;
                () = &mut stop => return Ended::Stopped,
                () = pause(wait), if timer_first => Wake::Timer,
                input = inputs.next(), if !has_work || inputs_since_step < INPUTS_PER_STEP => match input {
                    Some(input) => Wake::Input(input),
                    None => return Ended::NoInputs,
                },
                // Yields, so that the runtime reads from the watches between two steps.
                () = async { yield_now().await; pause(wait).await }, if !timer_first => Wake::Timer,
                () = yield_now(), if has_work => Wake::Work,
                () = self.work_queued.notified(), if !has_work => continue,
            };
            was_timer = matches!(wake, Wake::Timer);
            let now = self.clock.now();
            late_wake.wake(&mut self.index(), now);
            match wake {
                Wake::Input(input) => {
                    inputs_since_step += 1;
                    late_wake.observe(&input, now);
                    self.apply(input);
                }
                Wake::Work => {
                    inputs_since_step = 0;
                    let effects = self.timed(Index::work);
                    self.forward(effects);
                }
                Wake::Timer => {}
            }
            if was_timer || late_wake.is_over(now) {
                let effects = self.timed(|index, now| {
                    let mut effects = late_wake.finish(index, now);
                    effects.append(index.tick(now));
                    effects
                });
                self.forward(effects);
            }
        }
    }

    fn apply(&self, input: Input) {
        let update = StatusUpdate::new(&input);
        let effects = self.timed(|index, now| step(index, input, now));
        match update {
            // The sink must observe the object before it writes the status.
            StatusUpdate::Observed(key, status) => self.status.observe(&key, status),
            StatusUpdate::Deleted(key) => self.status.remove(&key),
            StatusUpdate::Listed(kind, scope) => {
                let existing: BTreeSet<PolicyKey> =
                    self.index().policies().map(|policy| policy.key).collect();
                let is_listed = |key: &PolicyKey| {
                    key.kind == kind && scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
                };
                self.status.retain(is_listed, &existing);
            }
            StatusUpdate::Exemption(key, status) => {
                // Above the limit of a namespace, the index does not keep the youngest exemptions.
                if self.index().has_exemption(&key) {
                    self.exemption_status.observe(&key, *status);
                }
            }
            StatusUpdate::ExemptionDeleted(key) => self.exemption_status.remove(&key),
            StatusUpdate::ExemptionsListed(scope) => {
                let existing: BTreeSet<ExemptionKey> = self.index().exemptions().cloned().collect();
                let is_listed =
                    |key: &ExemptionKey| scope.as_ref().is_none_or(|namespace| *namespace == key.namespace);
                self.exemption_status.retain(is_listed, &existing);
            }
            StatusUpdate::Other => {}
        }
        self.forward(effects);
    }

    fn forward(&self, effects: Effects) {
        let Effects {
            events,
            withdrawn,
            changed,
            exemptions,
            relist_exemptions,
            transitions,
        } = effects;
        if *self.role.borrow() == Role::Leader {
            transitions.iter().for_each(log);
        }
        self.events.withdraw(&withdrawn);
        for event in events {
            self.events.push(event);
        }
        if !changed.is_empty() {
            self.status.mark_changed(&changed);
        }
        if !exemptions.is_empty() {
            self.exemption_status.mark_changed(&exemptions);
        }
        if relist_exemptions {
            let monitors = self.health.monitors.iter();
            monitors
                .filter(|monitor| monitor.resource == Resource::SidecarExemptions)
                .for_each(|monitor| monitor.pulse.request_list());
        }
    }

    fn timed(&self, act: impl FnOnce(&mut Index, Timestamp) -> Effects) -> Effects {
        let start = Instant::now();
        let effects = act(&mut self.index(), self.clock.now());
        self.metrics.evaluated(start.elapsed());
        effects
    }

    /// Returns the time until the end of a hold, or without a hold until the next deadline. At most [`MAX_SLEEP`].
    fn until(&self, hold_end: Option<Timestamp>) -> Duration {
        let Some(at) = hold_end.or_else(|| self.index().next_deadline()) else {
            return MAX_SLEEP;
        };
        let wait = at.duration_since(self.clock.now());
        // The conversion fails for a time in the past, which is due at once.
        Duration::try_from(wait).unwrap_or(Duration::ZERO).min(MAX_SLEEP)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

/// Why the reconciler woke.
enum Wake {
    /// A deadline or the end of a hold.
    Timer,
    /// An input.
    Input(Input),
    /// Work that remains.
    Work,
}

/// Sleeps. Returns at once for zero, while a timer of tokio waits for the next millisecond: inputs without a pause would
/// then delay an overdue deadline.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

/// Logs a transition. Pending violations are logged at debug level.
fn log(transition: &Transition) {
    let Transition { violation, to, at: _ } = transition;
    let Violation {
        policy,
        check,
        severity,
        mode: _,
        subject,
        firing: _,
        visible: _,
        onset,
    } = violation;
    macro_rules! line {
        ($log:ident) => {
            $log!(
                policy = %policy,
                check = check.as_str(),
                severity = ?severity,
                namespace = %subject.namespace(),
                workload = %subject.workload(),
                pod = %subject.pod(),
                uid = %subject.uid(),
                container = %subject.container(),
                image = %subject.image(),
                onset = %onset,
                "{}",
                to.as_str()
            )
        };
    }
    match to {
        Change::Firing | Change::Resolved | Change::Ended => line!(info),
        Change::Pending | Change::Cleared => line!(debug),
    }
}

#[cfg(test)]
mod tests;
