//! Two operators of one installation with leader election, each behind a proxy of its own.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::Value;

use super::env::{FaultEnv, LEASE};
use super::proxy::{Call, Verb};
use crate::ControlPlane;
use crate::metrics;
use crate::poll::eventually;

/// Time from a renewal to the end of the leadership.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time from the start of a write in the operator to its arrival at the proxy, on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Path pattern of the Lease.
const LEASE_PATH: &str = "*/leases/sidewatch";
const LEADS_WITHIN: Duration = Duration::from_mins(1);

/// One of two replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// [`Replicas::first`].
    First,
    /// [`Replicas::second`].
    Second,
}

impl Replica {
    /// The other replica.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Two replicas. They share the namespace.
#[derive(Debug)]
#[must_use]
pub struct Replicas {
    /// The replica that was the leader at the start.
    pub first: FaultEnv,
    /// The replica that was the standby at the start.
    pub second: FaultEnv,
}

impl Replicas {
    /// Starts a leader and a standby, and waits until both are ready.
    pub async fn start(plane: &ControlPlane, name: &str) -> Result<Self> {
        Self::start_with_clock_ahead(plane, name, None).await
    }

    /// The same, with the wall clock of one replica five minutes ahead.
    pub async fn start_with_clock_ahead(
        plane: &ControlPlane,
        name: &str,
        ahead: Option<Replica>,
    ) -> Result<Self> {
        let mut first = FaultEnv::new(plane, name).await?;
        first.elect().await?;
        let mut second = first.replica(plane).await?;
        match ahead {
            Some(Replica::First) => first.set_clock_ahead(plane)?,
            Some(Replica::Second) => second.set_clock_ahead(plane)?,
            None => {}
        }
        first.start_operator(plane).await?;
        first.operator()?.wait_until_ready().await?;
        leads(&first).await?;
        second.start_operator(plane).await?;
        second.operator()?.wait_until_ready().await?;
        ensure!(!is_leader(&second).await?, "two leaders");
        Ok(Self { first, second })
    }

    /// Waits until exactly one of the running replicas is the leader, and returns it.
    pub async fn one_leads(&self) -> Result<Replica> {
        eventually(LEADS_WITHIN, async || {
            let leaders = tokio::try_join!(is_leader(&self.first), is_leader(&self.second))?;
            match leaders {
                (true, false) => Ok(Replica::First),
                (false, true) => Ok(Replica::Second),
                _ => bail!("leaders: {leaders:?}"),
            }
        })
        .await
    }

    /// A replica.
    pub fn of(&mut self, replica: Replica) -> &mut FaultEnv {
        match replica {
            Replica::First => &mut self.first,
            Replica::Second => &mut self.second,
        }
    }

    /// The Leases of the namespace.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.first.client(), self.first.namespace())
    }

    /// Checks that each replica began its writes while it was the leader.
    pub fn check_writes(&self) -> Result<()> {
        self.check_writes_except(&[])
    }

    /// The same, without the writes that arrived in one of these periods.
    pub fn check_writes_except(&self, periods: &[Range<Instant>]) -> Result<()> {
        for (name, env) in [("first", &self.first), ("second", &self.second)] {
            let mut calls = env.proxy.calls();
            calls.retain(|call| !periods.iter().any(|period| period.contains(&call.at)));
            let late = late_writes(&calls);
            ensure!(
                late.is_empty(),
                "writes of the {name} replica after its deadline: {late:#?}"
            );
        }
        Ok(())
    }
}

/// Waits until a replica is the leader.
pub async fn leads(env: &FaultEnv) -> Result<()> {
    eventually(LEADS_WITHIN, async || {
        ensure!(is_leader(env).await?, "not the leader");
        Ok(())
    })
    .await
}

async fn is_leader(env: &FaultEnv) -> Result<bool> {
    let leader = metrics::value(&env.metrics().await?, "sidewatch_leader", &[])?;
    Ok(leader.context("no sidewatch_leader")? > 0.5)
}

/// Waits for the next successful write of the Lease by a replica after `since`, and returns its time.
pub async fn taken_over(env: &FaultEnv, since: Instant) -> Result<Instant> {
    eventually(LEADS_WITHIN, async || {
        let calls = env.proxy.calls_of(Verb::Patch, LEASE_PATH);
        let taken = calls
            .iter()
            .find(|call| call.at > since && call.status == Some(200));
        taken.map(|call| call.at).context("the Lease was not taken over")
    })
    .await
}

/// The writes of one replica that began after the deadline of its last renewal, from the record of its proxy. The deadline
/// counts from the sending of a renewal that succeeded.
fn late_writes(calls: &[Call]) -> Vec<String> {
    let mut renewed: Option<Instant> = None;
    let mut late = Vec::new();
    for call in calls {
        if is_of_lease(call) {
            if call.verb == Verb::Patch && matches!(call.status, Some(200 | 201)) {
                // The creation of the Lease has no content: it neither renews nor releases.
                if let Some(has_holder) = has_holder(call) {
                    renewed = has_holder.then_some(call.at);
                }
            }
        } else if call.verb.writes() {
            let age = renewed.map(|renewed| call.at.saturating_duration_since(renewed));
            if age.is_none_or(|age| age >= DEADLINE + ARRIVAL) {
                late.push(format!(
                    "{} {} {age:?} after the last renewal: {:?}",
                    call.verb, call.path, call.status
                ));
            }
        }
    }
    late
}

/// Reports whether a request reads or writes the Lease.
#[must_use]
pub fn is_of_lease(call: &Call) -> bool {
    call.path.ends_with(&format!("/leases/{LEASE}"))
}

/// Returns `None` if the write has no content.
fn has_holder(call: &Call) -> Option<bool> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    Some(body.get("spec")?.get("holderIdentity").is_some())
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    #[test]
    fn writes_after_the_deadline_are_found() {
        let start = Instant::now();
        let call = |seconds, verb, path: &str, body: &'static str| Call {
            verb,
            path: path.to_owned(),
            query: String::new(),
            body: Bytes::from_static(body.as_bytes()),
            at: start + Duration::from_secs(seconds),
            faulted: false,
            server_status: Some(200),
            status: Some(200),
            ended: None,
        };
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/sidewatch";
        let renewal = |seconds| call(seconds, Verb::Patch, lease, r#"{"spec":{"holderIdentity":"a"}}"#);
        let write = |seconds| call(seconds, Verb::Create, "/events", "");
        let mut failed = renewal(12);
        failed.status = None;
        let creation = call(31, Verb::Patch, lease, r#"{"metadata":{}}"#);
        let release = call(32, Verb::Patch, lease, r#"{"spec":{}}"#);
        let calls = [
            write(0),
            renewal(1),
            write(10),
            failed,
            write(12),
            call(13, Verb::Watch, "/pods", ""),
            renewal(30),
            creation,
            write(31),
            release,
            write(33),
        ];
        assert_eq!(
            late_writes(&calls).len(),
            3,
            "before, too late, and after the release"
        );
    }
}
