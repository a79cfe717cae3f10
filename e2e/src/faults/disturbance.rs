//! Disturbances of the leader of two replicas, of its Lease and of its checkpoint.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::env::LEASE;
use super::replicas::{Replica, Replicas, taken_over};

/// Maximum time from the crash of a leader to the takeover: 15 s, and reserve for a busy machine.
pub const AFTER_CRASH: Duration = Duration::from_secs(17);
/// Longer than the Lease lasts.
pub const LONGER_THAN_THE_LEASE: Duration = Duration::from_secs(25);
/// How long writes arrive that were sent before a partition.
const LATE_ARRIVAL: Duration = Duration::from_secs(1);

/// What happens to the leader or its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP, and SIGCONT after the Lease has been taken over.
    Freeze,
    /// The network drops everything until the Lease has been taken over.
    Partition,
    /// Somebody deletes the Lease.
    DeleteLease,
    /// Somebody enters another holder.
    EditLease,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Kill,
        Self::Terminate,
        Self::Freeze,
        Self::Partition,
        Self::DeleteLease,
        Self::EditLease,
    ];

    /// Whether it ends the process of the leader.
    #[must_use]
    pub const fn ends_process(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate)
    }

    /// Disturbs the leader, and returns when one of the replicas is the leader again. Also returns the period in which writes
    /// arrive late.
    pub async fn apply(self, replicas: &mut Replicas, leader: Replica) -> Result<Option<Range<Instant>>> {
        let since = Instant::now();
        let standby = leader.other();
        let leases = replicas.leases();
        match self {
            Self::Kill => {
                replicas.of(leader).kill_operator()?;
                let took = taken_over(replicas.of(standby), since).await? - since;
                ensure!(took <= AFTER_CRASH, "the takeover took {took:?}");
                return Ok(None);
            }
            Self::Terminate => {
                let stopped = replicas.of(leader).take_operator()?.stop().await?;
                ensure!(stopped.success(), "{stopped}");
                taken_over(replicas.of(standby), since).await?;
                return Ok(None);
            }
            Self::Freeze => {
                replicas.of(leader).operator()?.process().freeze()?;
                tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
                replicas.of(leader).operator()?.process().thaw()?;
            }
            Self::Partition => {
                replicas.of(leader).proxy.partition();
                tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
                let healed = Instant::now();
                replicas.of(leader).proxy.heal();
                replicas.one_leads().await?;
                return Ok(Some(healed..healed + LATE_ARRIVAL));
            }
            Self::DeleteLease => {
                leases.delete(LEASE, &DeleteParams::default()).await?;
            }
            Self::EditLease => {
                let edit = Patch::Merge(json!({"spec": {"holderIdentity": "somebody"}}));
                leases.patch(LEASE, &PatchParams::default(), &edit).await?;
                tokio::time::sleep(AFTER_CRASH).await;
            }
        }
        replicas.one_leads().await?;
        Ok(None)
    }
}
