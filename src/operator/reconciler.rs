//! The one task that owns time: facts and deadlines in, effects out.
//!
//! In: a stream of [`Input`]s and a clock. Out: Events and changed statuses to the sinks, a log line per transition.
//! [`step`] is the whole of its judgement, a plain function that tests call with a clock of their own; [`Reconciler`]
//! only waits, calls it and forwards. It never waits for the API server.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    pin, select,
    time::{Instant, sleep},
};
use tracing::{debug, info};

use crate::{
    clock::Clock,
    domain::{
        effects::{Change, Effects, Transition},
        index::Index,
        policy::PolicyKey,
    },
    http::health::Health,
    kubernetes::inputs::Input,
    kubernetes::watch::WatchEvent,
    sink::{events::EventSink, status::StatusSink},
    telemetry::metrics::Metrics,
};

/// The longest sleep: so often at least the process shows that it turns, and a clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Takes one fact into the index.
pub fn step(index: &mut Index, input: Input, now: Timestamp) -> Effects {
    match input {
        Input::Pod(scope, tell) => match tell {
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
        Input::Policy(kind, scope, tell) => match tell {
            WatchEvent::Restarted { .. } => {
                index.begin_policy_resync(kind, &scope);
                Effects::default()
            }
            WatchEvent::Listed(policy) | WatchEvent::Applied(policy) => {
                index.apply_policy(policy.update, now)
            }
            WatchEvent::Complete => index.finish_policy_resync(kind, &scope, now),
            WatchEvent::Deleted(policy) => index.delete_policy(&policy.update.key, now),
            // A policy that is out of date is better than none.
            WatchEvent::Disconnected { .. } | WatchEvent::Resumed => Effects::default(),
        },
        Input::Namespace(tell) => match tell {
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

/// Where effects go, and what they are computed from.
pub struct Reconciler {
    /// The model, shared with the metrics and the status sink.
    pub index: Arc<Mutex<Index>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where Events go.
    pub events: Arc<EventSink>,
    /// Where statuses go.
    pub status: Arc<StatusSink>,
    /// Where evaluation times are counted.
    pub metrics: Arc<Metrics>,
    /// Where turns are shown.
    pub health: Arc<Health>,
}

impl Reconciler {
    /// Turns until `stop` is ready or the inputs end.
    pub async fn run(&self, inputs: impl Stream<Item = Input>, stop: impl Future<Output = ()>) {
        pin!(inputs, stop);
        loop {
            self.health.turned();
            let wait = self.until_deadline();
            select! {
                biased;
                () = &mut stop => return,
                // Before the inputs, which may never pause; a deadline that is due stops being so.
                () = sleep(wait) => {
                    let effects = self.timed(Index::tick);
                    self.forward(effects);
                }
                input = inputs.next() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
            }
        }
    }

    fn take(&self, input: Input) {
        let about = StatusUpdate::new(&input);
        let effects = self.timed(|index, now| step(index, input, now));
        match about {
            // The sink must know the object before it is asked to write to it.
            StatusUpdate::Seen(key, shown) => self.status.seen(&key, shown),
            StatusUpdate::Gone(key) => self.status.remove(&key),
            StatusUpdate::Listed(kind, scope) => {
                let exist: BTreeSet<PolicyKey> =
                    self.index().policies().map(|policy| policy.key.clone()).collect();
                let is_meant = |key: &PolicyKey| {
                    key.kind == kind && scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
                };
                self.status.retain(is_meant, &exist);
            }
            StatusUpdate::Other => {}
        }
        self.forward(effects);
    }

    fn forward(&self, effects: Effects) {
        let Effects {
            events,
            changed,
            transitions,
        } = effects;
        for transition in &transitions {
            log(transition);
        }
        for event in events {
            self.events.push(event);
        }
        if !changed.is_empty() {
            self.status.changed(&changed);
        }
    }

    fn timed(&self, act: impl FnOnce(&mut Index, Timestamp) -> Effects) -> Effects {
        let begun = Instant::now();
        let effects = act(&mut self.index(), self.clock.now());
        self.metrics.evaluated(begun.elapsed());
        effects
    }

    fn until_deadline(&self) -> Duration {
        let Some(deadline) = self.index().next_deadline() else {
            return LONGEST_SLEEP;
        };
        let wait = deadline.duration_since(self.clock.now());
        // A deadline in the past is due at once.
        Duration::try_from(wait)
            .unwrap_or(Duration::ZERO)
            .min(LONGEST_SLEEP)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

/// What an input means to the status sink.
enum StatusUpdate {
    Seen(PolicyKey, crate::sink::status::ObservedStatus),
    Gone(PolicyKey),
    Listed(crate::domain::policy::PolicyKind, crate::domain::index::Scope),
    Other,
}

impl StatusUpdate {
    fn new(input: &Input) -> Self {
        let Input::Policy(kind, scope, tell) = input else {
            return Self::Other;
        };
        match tell {
            WatchEvent::Listed(policy) | WatchEvent::Applied(policy) => {
                Self::Seen(policy.update.key.clone(), policy.shown.clone())
            }
            WatchEvent::Deleted(policy) => Self::Gone(policy.update.key.clone()),
            WatchEvent::Complete => Self::Listed(*kind, scope.clone()),
            WatchEvent::Restarted { .. } | WatchEvent::Disconnected { .. } | WatchEvent::Resumed => {
                Self::Other
            }
        }
    }
}

/// One line per transition. What may come to nothing is for those who look closely.
fn log(transition: &Transition) {
    let Transition {
        policy,
        check,
        severity,
        namespace,
        pod,
        uid,
        container,
        to,
        onset,
        at: _,
    } = transition;
    macro_rules! line {
        ($log:ident) => {
            $log!(
                policy = %policy,
                check = check.as_str(),
                severity = ?severity,
                namespace = %namespace,
                pod = %pod,
                uid = %uid,
                container = %container,
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
