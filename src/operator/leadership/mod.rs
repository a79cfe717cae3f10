//! The task that takes part in the leader election and changes the role of the fence.
//!
//! [`Election`] decides. This task reads, writes and watches the Lease. A replica that loses the Lease becomes a standby; its
//! process and its watches continue. The deadline of the leadership does not depend on this task: the fence compares the clocks
//! at each write.

mod election;

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use kube::Client;
use tokio::{
    pin, select,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use self::election::{Action, Election, Input, RENEW_DEADLINE, RETRY_PERIOD, State};
use crate::{
    clock::LeaseClock,
    kubernetes::{
        failure,
        fence::{Fence, FenceControl},
        lease::{LeaseClient, LeaseRecord, LeaseWrite},
        named_object::Applied,
    },
    telemetry::{logging::clean, metrics::Metrics},
};

/// Maximum duration of a request for the Lease. A leader then has time for more attempts before its deadline.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// Maximum duration of the release at shutdown.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// A replica that takes part in a leader election.
#[derive(Clone)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Name of this replica, which no other process has. At most 128 printable characters.
    pub identity: String,
    /// The clocks by which leadership ends.
    pub clock: Arc<dyn LeaseClock>,
}

/// The leader election of one replica.
pub(super) struct Leadership {
    client: LeaseClient,
    election: Election,
    state: State,
    clock: Arc<dyn LeaseClock>,
    control: FenceControl,
    metrics: Arc<Metrics>,
    /// The watch of a standby.
    watch: Option<BoxStream<'static, Result<Option<LeaseRecord>, kube::Error>>>,
    /// The holder that was logged last.
    logged_holder: Option<String>,
    is_failing: bool,
}

impl Leadership {
    /// Creates the election of a standby, and the fence that follows it.
    pub(super) fn new(client: Client, candidate: &Candidate, metrics: Arc<Metrics>) -> (Self, Fence) {
        let Candidate {
            namespace,
            lease,
            identity,
            clock,
        } = candidate;
        info!(namespace, lease, identity, "taking part in the leader election");
        let (control, fence) = Fence::elected(Arc::clone(clock), RENEW_DEADLINE);
        let leadership = Self {
            client: LeaseClient::new(client, namespace, lease),
            election: Election {
                identity: identity.as_str().into(),
            },
            state: State::Unknown,
            clock: Arc::clone(clock),
            control,
            metrics,
            watch: None,
            logged_holder: None,
            is_failing: false,
        };
        (leadership, fence)
    }

    /// Takes part in the election until `release` is ready, then releases the Lease.
    pub(super) async fn run(mut self, release: impl Future<Output = ()>) {
        pin!(release);
        let mut action = Action::Read(Duration::ZERO);
        loop {
            let input = select! {
                biased;
                () = &mut release => break,
                input = self.perform(action) => input,
            };
            action = self.step(input);
        }
        self.release().await;
    }

    /// Passes an input to the election, and changes the role.
    fn step(&mut self, input: Input) -> Action {
        let was_leader = matches!(self.state, State::Leader { .. });
        let state = std::mem::replace(&mut self.state, State::Unknown);
        let (state, action) = self.election.step(state, input, self.clock.read());
        match &state {
            State::Leader { record, sent } => {
                self.control.renew(*sent);
                if !was_leader {
                    info!(transitions = record.term.transitions, "became the leader");
                    self.logged_holder = None;
                }
            }
            State::Unknown | State::Standby { .. } => {
                self.control.revoke();
                if was_leader {
                    warn!("lost the Lease, now a standby");
                }
            }
        }
        if let State::Standby {
            seen: Some(lease), ..
        } = &state
            && self.logged_holder.as_ref() != Some(&lease.term.holder)
        {
            info!(
                holder = clean(&lease.term.holder),
                "another replica holds the Lease"
            );
            self.logged_holder = Some(lease.term.holder.clone());
        }
        self.metrics.set_leader(matches!(state, State::Leader { .. }));
        self.state = state;
        action
    }

    async fn perform(&mut self, action: Action) -> Input {
        match action {
            Action::Read(wait) => {
                self.watch = None;
                sleep(self.before_deadline(wait)).await;
                self.read().await
            }
            Action::Write(write) => {
                self.watch = None;
                self.write(&write).await
            }
            Action::Wait(wait) if matches!(self.state, State::Leader { .. }) => {
                sleep(self.before_deadline(wait)).await;
                Input::Elapsed
            }
            Action::Wait(wait) => timeout(wait, self.change()).await.unwrap_or(Input::Elapsed),
        }
    }

    /// Limits a duration to the time until the deadline of a leader.
    fn before_deadline(&self, duration: Duration) -> Duration {
        let remaining = self.state.remaining(self.clock.read());
        remaining.map_or(duration, |remaining| remaining.min(duration))
    }

    async fn read(&mut self) -> Input {
        let result = timeout(self.before_deadline(REQUEST_LIMIT), self.client.get()).await;
        match self.checked(result) {
            Some(lease) => Input::Seen(lease),
            None => Input::Failed,
        }
    }

    async fn write(&mut self, write: &LeaseWrite) -> Input {
        let sent = self.clock.read();
        let limit = self.before_deadline(REQUEST_LIMIT);
        let result = timeout(limit, self.client.apply(write)).await;
        match self.checked(result) {
            Some(Applied::Written(record)) => Input::Written { sent, record },
            Some(Applied::Conflict) => Input::Conflict,
            None => Input::Failed,
        }
    }

    /// Waits until the Lease changes. Reads it every two seconds if it cannot be watched.
    async fn change(&mut self) -> Input {
        if self.watch.is_none()
            && let State::Standby {
                seen: Some(lease), ..
            } = &self.state
        {
            match self.client.watch(&lease.version).await {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => debug!(error = failure::chain(&error), "lease watch failed"),
            }
        }
        if let Some(watch) = &mut self.watch {
            match watch.next().await {
                Some(Ok(lease)) => return Input::Seen(lease),
                Some(Err(error)) => debug!(error = failure::chain(&error), "lease watch failed"),
                None => {}
            }
            self.watch = None;
        }
        sleep(RETRY_PERIOD).await;
        self.read().await
    }

    /// Returns the response of a request, or logs the error. Logs an error once until a request succeeds.
    fn checked<T, E>(&mut self, result: Result<Result<T, kube::Error>, E>) -> Option<T> {
        let error = match result {
            Ok(Ok(response)) => {
                if std::mem::take(&mut self.is_failing) {
                    info!("lease request succeeded again");
                }
                return Some(response);
            }
            Ok(Err(error)) => failure::chain(&error),
            Err(_elapsed) => "no response in time".to_owned(),
        };
        if !std::mem::replace(&mut self.is_failing, true) {
            warn!(error = clean(&error), "lease request failed, will retry");
        }
        None
    }

    /// Releases the Lease of a leader, so that a standby takes it over at once. Without an answer the Lease expires.
    async fn release(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Unknown);
        self.control.revoke();
        self.metrics.set_leader(false);
        let State::Leader { mut record, .. } = state else {
            return;
        };
        let release = async {
            loop {
                let write = election::release(&record, self.clock.read());
                match self.client.apply(&write).await {
                    Ok(Applied::Written(_)) => return Ok(true),
                    Ok(Applied::Conflict) => {}
                    Err(error) => return Err(error),
                }
                // A renewal whose response did not arrive, or another client, has changed the Lease.
                match self.client.get().await? {
                    Some(lease) if *lease.term.holder == *self.election.identity => record = lease,
                    _ => return Ok(false),
                }
            }
        };
        match timeout(RELEASE_LIMIT, release).await {
            Ok(Ok(true)) => info!("released the Lease"),
            Ok(Ok(false)) => info!("another replica holds the Lease, nothing to release"),
            Ok(Err(error)) => warn!(error = clean(&failure::chain(&error)), "lease release failed"),
            Err(_elapsed) => warn!("lease release timed out"),
        }
    }
}
