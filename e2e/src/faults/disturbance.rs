//! Disturbances of the leader of two replicas, of its Lease and of its checkpoint.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use sidewatch::checkpoint::{MAX_SIZE, VERSION, decode, encode};

use super::env::LEASE;
use super::replicas::{Replica, Replicas, taken_over};
use crate::ControlPlane;
use crate::poll::eventually;

/// Maximum time from the crash of a leader to the takeover: 15 s, and reserve for a busy machine.
const AFTER_CRASH: Duration = Duration::from_secs(17);
/// Maximum time from SIGTERM to the takeover.
const AFTER_SIGTERM: Duration = Duration::from_secs(2);
/// Longer than the Lease lasts.
pub const LONGER_THAN_THE_LEASE: Duration = Duration::from_secs(25);
/// How long writes arrive that were sent before a partition.
const LATE_ARRIVAL: Duration = Duration::from_secs(1);
/// Longer than the longest period of the checkpoint.
const STORED_WITHIN: Duration = Duration::from_secs(90);
/// Key of the checkpoint in the ConfigMap.
const KEY: &str = "checkpoint";

/// What happens to the leader, its Lease or its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// SIGKILL. The process starts again after the takeover.
    Kill,
    /// SIGTERM. The process starts again after the takeover.
    Terminate,
    /// SIGSTOP, and SIGCONT after the Lease has been taken over.
    Freeze,
    /// The network drops everything until the Lease has been taken over.
    Partition,
    /// Somebody deletes the Lease.
    DeleteLease,
    /// Somebody enters another holder.
    EditLease,
    /// SIGKILL, and the process starts again at once with a damaged checkpoint.
    Damage(Damage),
}

/// What happens to the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// The ConfigMap is deleted.
    Deleted,
    /// Half of the bytes are missing.
    Truncated,
    /// It has a later format version.
    NewerVersion,
    /// Its time is a day ahead.
    Future,
    /// Its time is five minutes ahead, which is accepted: the clock of its writer is.
    ClockAhead,
}

/// What followed from a disturbance.
#[derive(Debug, Default)]
pub struct Disturbed {
    /// Time from the disturbance to the takeover, if it is measured.
    pub takeover: Option<Duration>,
    /// The period in which writes arrive late.
    pub late: Option<Range<Instant>>,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Terminate,
        Self::Freeze,
        Self::Partition,
        Self::DeleteLease,
        Self::EditLease,
        Self::Damage(Damage::Deleted),
        Self::Damage(Damage::Truncated),
        Self::Damage(Damage::NewerVersion),
        Self::Damage(Damage::Future),
        Self::Damage(Damage::ClockAhead),
    ];

    /// Whether it ends the process of the leader.
    #[must_use]
    pub const fn ends_process(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate | Self::Damage(_))
    }

    /// How long the takeover may take if nothing else is disturbed. `None` if there is none, or if it is not measured.
    #[must_use]
    pub const fn takeover_within(self) -> Option<Range<Duration>> {
        match self {
            Self::Kill | Self::Partition => Some(Duration::ZERO..AFTER_CRASH),
            Self::Terminate => Some(Duration::ZERO..AFTER_SIGTERM),
            // The new holder does not renew. The Lease lasts 15 s, whatever duration it has.
            Self::EditLease => Some(Duration::from_secs(14)..AFTER_CRASH),
            Self::Freeze | Self::DeleteLease | Self::Damage(_) => None,
        }
    }

    /// Disturbs the leader, and returns when one of the replicas is the leader again and both run.
    pub async fn apply(
        self,
        plane: &ControlPlane,
        replicas: &mut Replicas,
        leader: Replica,
    ) -> Result<Disturbed> {
        let mut disturbed = Disturbed::default();
        let since = Instant::now();
        let standby = leader.other();
        let leases = replicas.leases();
        match self {
            Self::Kill => {
                replicas.of(leader).kill_operator()?;
                disturbed.takeover = Some(taken_over(replicas.of(standby), since).await? - since);
                start(plane, replicas, leader).await?;
            }
            Self::Terminate => {
                let stopped = replicas.of(leader).take_operator()?.stop().await?;
                ensure!(stopped.success(), "{stopped}");
                disturbed.takeover = Some(taken_over(replicas.of(standby), since).await? - since);
                start(plane, replicas, leader).await?;
            }
            Self::Freeze => {
                replicas.of(leader).operator()?.process().freeze()?;
                tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
                replicas.of(leader).operator()?.process().thaw()?;
            }
            Self::Partition => {
                replicas.of(leader).proxy.partition();
                disturbed.takeover = Some(taken_over(replicas.of(standby), since).await? - since);
                tokio::time::sleep_until((since + LONGER_THAN_THE_LEASE).into()).await;
                let healed = Instant::now();
                replicas.of(leader).proxy.heal();
                disturbed.late = Some(healed..healed + LATE_ARRIVAL);
            }
            Self::DeleteLease => {
                leases.delete(LEASE, &DeleteParams::default()).await?;
                // The leader creates it again.
                eventually(AFTER_CRASH, async || Ok(leases.get(LEASE).await?)).await?;
            }
            Self::EditLease => {
                let edit = Patch::Merge(json!({
                    "metadata": {"labels": {"edited": "true"}},
                    "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 86_400, "renewTime": null},
                }));
                leases.patch(LEASE, &PatchParams::default(), &edit).await?;
                let edited = Instant::now();
                let taken = tokio::select! {
                    taken = taken_over(&replicas.first, edited) => taken,
                    taken = taken_over(&replicas.second, edited) => taken,
                };
                disturbed.takeover = Some(taken? - edited);
            }
            Self::Damage(damage) => {
                stored(replicas).await?;
                replicas.of(leader).kill_operator()?;
                damage.apply(replicas).await?;
                start(plane, replicas, leader).await?;
            }
        }
        replicas.one_leads().await?;
        if let Self::Damage(_) = self {
            stored(replicas).await?;
        }
        Ok(disturbed)
    }
}

impl Damage {
    async fn apply(self, replicas: &Replicas) -> Result<()> {
        let maps = maps(replicas);
        let mut bytes = read(replicas).await?;
        match self {
            Self::Deleted => {
                maps.delete(&name(), &DeleteParams::default()).await?;
                return Ok(());
            }
            Self::Truncated => bytes.truncate(bytes.len() / 2),
            Self::NewerVersion => {
                let version = bytes.get_mut(4..6).context("no version")?;
                version.copy_from_slice(&(VERSION + 1).to_le_bytes());
            }
            Self::Future => bytes = ahead(&bytes, SignedDuration::from_hours(24))?,
            Self::ClockAhead => bytes = ahead(&bytes, SignedDuration::from_mins(5))?,
        }
        let data = Patch::Merge(json!({"binaryData": {KEY: ByteString(bytes)}}));
        maps.patch(&name(), &PatchParams::default(), &data).await?;
        Ok(())
    }
}

/// Starts the operator of a replica and waits until it is ready.
async fn start(plane: &ControlPlane, replicas: &mut Replicas, replica: Replica) -> Result<()> {
    let env = replicas.of(replica);
    env.start_operator(plane).await?;
    env.operator()?.wait_until_ready().await
}

/// The same checkpoint with a later time.
fn ahead(bytes: &[u8], by: SignedDuration) -> Result<Vec<u8>> {
    let mut checkpoint = decode(bytes)?;
    checkpoint.as_of += by;
    for policy in checkpoint.policies.values_mut() {
        policy.as_of += by;
    }
    Ok(encode(checkpoint, MAX_SIZE).bytes)
}

/// Waits until the ConfigMap has a checkpoint that can be read, of the present.
async fn stored(replicas: &Replicas) -> Result<()> {
    eventually(STORED_WITHIN, async || {
        let checkpoint = decode(&read(replicas).await?)?;
        let ahead = checkpoint.as_of.duration_since(jiff::Timestamp::now());
        if ahead > SignedDuration::from_mins(1) {
            bail!("the stored checkpoint is {ahead:#} ahead");
        }
        Ok(())
    })
    .await
}

async fn read(replicas: &Replicas) -> Result<Vec<u8>> {
    let map = maps(replicas).get(&name()).await?;
    let ByteString(bytes) = map
        .binary_data
        .and_then(|mut data| data.remove(KEY))
        .context("no checkpoint")?;
    Ok(bytes)
}

fn maps(replicas: &Replicas) -> Api<ConfigMap> {
    Api::namespaced(replicas.first.client(), replicas.first.namespace())
}

fn name() -> String {
    format!("{LEASE}-checkpoint")
}
