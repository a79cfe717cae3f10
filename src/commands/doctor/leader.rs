//! The leader, its clock, and the checkpoint.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    access::{Access, Answer},
    api_server::{CLOCK_TOLERANCE, Server, difference},
    diagnosis::{Code, Diagnosis},
    installation::Installation,
};
use crate::{
    checkpoint,
    cli::exit::Failure,
    domain::time::Human,
    kubernetes::{
        checkpoint_map::StoredCheckpoint,
        lease::{LeaseRecord, Term},
    },
};

/// A leader renews the Lease every 2 s, and gives up after 10 s.
const RENEWED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// The time in which a leader renews the Lease at least once.
const RENEWAL: Duration = Duration::from_secs(4);

pub(super) async fn examine(
    access: &Access<'_>,
    installation: &Installation,
    server: &Server,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    if installation.elects_leader {
        examine_lease(access, installation, server, diagnosis).await?;
    } else {
        let reason = "the operator runs without leader election";
        diagnosis.skip_all(&[Code::SD020, Code::SD021], reason);
    }
    examine_checkpoint(access, installation, server, diagnosis).await
}

async fn examine_lease(
    access: &Access<'_>,
    installation: &Installation,
    server: &Server,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let Installation { namespace, lease, .. } = installation;
    let name = format!("Lease {namespace}/{lease}");
    let term = match read(access, installation).await? {
        Ok(Some(term)) => term,
        Ok(None) => {
            diagnosis.fail(
                Code::SD020,
                format!("{name} does not exist: no replica is the leader"),
                "see the log of the operator, and SD030 for its rights",
            );
            diagnosis.skip(Code::SD021, "there is no leader");
            return Ok(());
        }
        Err(reason) => {
            diagnosis.skip_all(&[Code::SD020, Code::SD021], &reason);
            return Ok(());
        }
    };
    let holder = &term.holder;
    if holder.is_empty() {
        diagnosis.fail(
            Code::SD020,
            format!("{name} has no holder: no replica is the leader"),
            "see the log of the operator",
        );
        diagnosis.skip(Code::SD021, "there is no leader");
        return Ok(());
    }
    let now = server_now(access, server);
    let age = term.renewed.map(|renewed| now.duration_since(renewed));
    let is_plausible =
        age.is_some_and(|age| age >= -CLOCK_TOLERANCE && age <= RENEWED_WITHIN + CLOCK_TOLERANCE);
    if !is_plausible {
        // Either the leader does not renew the Lease, or its clock differs.
        sleep(RENEWAL).await;
        let later = read(access, installation).await?;
        if later.ok().flatten().and_then(|later| later.renewed) == term.renewed {
            let age = age.map(|age| Human(age).to_string()).unwrap_or_default();
            diagnosis.fail(
                Code::SD020,
                format!("{holder} holds {name}, but has not renewed it for {age}"),
                "see the log of the operator: a replica takes the Lease over after 15 s",
            );
            diagnosis.skip(Code::SD021, "the Lease is not renewed");
            return Ok(());
        }
    }
    examine_holder(access, installation, holder, &leadership(&term, now), diagnosis).await?;
    match age {
        _ if is_plausible => diagnosis.ok(Code::SD021, "agrees with the clock of the API server"),
        Some(age) => diagnosis.warn(
            Code::SD021,
            format!("is {} the clock of the API server", difference(-age)),
            "synchronize the clocks of the nodes: times in Events, statuses and metrics are wrong by the difference",
        ),
        None => diagnosis.skip(Code::SD021, "the Lease has no renewTime"),
    }
    Ok(())
}

/// Returns how long the holder has been the leader.
fn leadership(term: &Term, now: Timestamp) -> String {
    let since = term.acquired.map(|acquired| now.duration_since(acquired));
    let since = since
        .map(|since| format!(" for {}", Human(since)))
        .unwrap_or_default();
    format!("{since}, after {} changes of the leader", term.transitions)
}

/// The holder must be a Pod of the Deployment.
async fn examine_holder(
    access: &Access<'_>,
    installation: &Installation,
    holder: &str,
    leadership: &str,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let Installation { namespace, name, .. } = installation;
    // The identity is the name of the Pod and a random suffix.
    let pod = holder.rsplit_once('_').map_or(holder, |(pod, _)| pod);
    let message = format!("{pod}{leadership}");
    match access
        .get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
        .await?
    {
        Answer::Found(found) if has_labels(&found, &installation.labels) => {
            diagnosis.ok(Code::SD020, message);
        }
        Answer::Unknown(_) => diagnosis.ok(Code::SD020, format!("{message}; its Pod cannot be read")),
        Answer::Found(_) | Answer::Missing => diagnosis.fail(
            Code::SD020,
            format!("{pod} is the leader, but is not a Pod of Deployment {namespace}/{name}"),
            "find the other process that uses this Lease, and give it another --lease-name",
        ),
    }
    Ok(())
}

fn has_labels(pod: &Value, labels: &Value) -> bool {
    let mut expected = labels.as_object().into_iter().flatten();
    expected.all(|(name, value)| pod["metadata"]["labels"][name] == *value)
}

/// Reads the Lease. `None` stands for one that does not exist.
async fn read(
    access: &Access<'_>,
    installation: &Installation,
) -> Result<Result<Option<Term>, String>, Failure> {
    let Installation { namespace, lease, .. } = installation;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease}");
    Ok(match access.get(&path).await? {
        Answer::Found(object) => match serde_json::from_value::<LeaseRecord>(object) {
            Ok(lease) => Ok(Some(lease.term)),
            Err(error) => Err(error.to_string()),
        },
        Answer::Missing => Ok(None),
        Answer::Unknown(reason) => Err(reason),
    })
}

/// Returns the time by the clock of the API server.
fn server_now(access: &Access<'_>, server: &Server) -> Timestamp {
    let now = access.cluster.now();
    now.checked_add(server.ahead.unwrap_or_default()).unwrap_or(now)
}

async fn examine_checkpoint(
    access: &Access<'_>,
    installation: &Installation,
    server: &Server,
    diagnosis: &mut Diagnosis,
) -> Result<(), Failure> {
    let Installation { namespace, lease, .. } = installation;
    let name = format!("ConfigMap {namespace}/{lease}-checkpoint");
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{lease}-checkpoint");
    let stored = match access.get(&path).await? {
        Answer::Found(object) => serde_json::from_value::<StoredCheckpoint>(object)?,
        Answer::Missing => {
            diagnosis.warn(
                Code::SD022,
                format!("{name} does not exist"),
                "a leader writes it within 15 s: see its log, and SD030 for its rights",
            );
            return Ok(());
        }
        Answer::Unknown(reason) => {
            diagnosis.skip(Code::SD022, reason);
            return Ok(());
        }
    };
    let bytes = stored.bytes.unwrap_or_default();
    match checkpoint::decode(&bytes) {
        Ok(decoded) => {
            let age = server_now(access, server).duration_since(decoded.as_of);
            diagnosis.ok(
                Code::SD022,
                format!(
                    "{} old, {} bytes; it is written when its content changes",
                    Human(age),
                    bytes.len()
                ),
            );
        }
        Err(error) => diagnosis.fail(
            Code::SD022,
            format!("{name} cannot be read: {error}"),
            "delete it; the leader writes a new one",
        ),
    }
    Ok(())
}
