//! A Lease on the scripted server, with the rules of server-side apply that a leader election needs.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;
use serde_json::{Value, json};
use sidewatch::{
    clock::{LeaseClock, Reading},
    operator::leadership::Candidate,
};
use tokio::time::{Duration, Instant};

use super::{
    ApiServer, Exchange,
    stored_object::{NAMESPACE, Served, StoredObject},
};

/// Name of the Lease.
const NAME: &str = "sidewatch";

/// A Lease on the server. Clones share it.
#[derive(Clone)]
pub struct ServedLease(Arc<Mutex<State>>);

struct State {
    stored: StoredObject,
}

/// Returns a candidate with this identity, on clocks that follow the clock of tokio.
pub fn candidate(identity: &str) -> Candidate {
    candidate_ahead_by(identity, Arc::default())
}

/// Returns a candidate whose clocks are ahead of tokio's by some seconds, as after a suspension of the machine.
pub fn candidate_ahead_by(identity: &str, seconds: Arc<AtomicU64>) -> Candidate {
    let begun = Instant::now();
    let start: jiff::Timestamp = "2026-11-20T11:00:00Z".parse().unwrap();
    let clock: Arc<dyn LeaseClock> = Arc::new(move || {
        let elapsed = begun.elapsed() + Duration::from_secs(seconds.load(Ordering::Relaxed));
        Reading {
            boot: Duration::from_secs(1000) + elapsed,
            wall: start + elapsed,
        }
    });
    Candidate {
        namespace: NAMESPACE.to_owned(),
        lease: NAME.to_owned(),
        identity: identity.to_owned(),
        clock,
    }
}

impl ApiServer {
    /// Answers all requests for the Lease of [`candidate`].
    pub fn serve_lease(&self) -> ServedLease {
        let state = State {
            stored: StoredObject::new("leases", NAME),
        };
        ServedLease(self.serve_object("/apis/coordination.k8s.io/v1", state))
    }
}

impl ServedLease {
    /// Returns the holder; empty without a holder or a Lease.
    pub fn holder(&self) -> String {
        let holder = self.spec()["holderIdentity"].as_str().map(str::to_owned);
        holder.unwrap_or_default()
    }

    /// Returns `spec`; null without a Lease.
    pub fn spec(&self) -> Value {
        let state = self.state();
        let object = state.stored.object();
        object.map(|object| object["spec"].clone()).unwrap_or_default()
    }

    /// Makes another replica the holder, or renews its term: each call changes the content.
    pub fn hold(&self, holder: &str) {
        let mut state = self.state();
        let renewed = format!("2026-11-20T10:00:00.{:06}Z", state.stored.version());
        state.store(&json!({
            "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed, "leaseTransitions": 1,
        }));
    }

    /// Changes `spec` as another client does.
    pub fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut spec = self.spec();
        edit(&mut spec);
        self.state().store(&spec);
    }

    /// Deletes the Lease.
    pub fn delete(&self) {
        self.state().stored.delete();
    }

    /// Makes all requests for the Lease fail, or ends that.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.state().stored.set_failure(is_unavailable.then_some(503));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn store(&mut self, spec: &Value) -> Value {
        let content = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec});
        self.stored.store("uid-lease", content)
    }
}

impl Served for State {
    fn stored(&mut self) -> &mut StoredObject {
        &mut self.stored
    }

    fn apply(&mut self, exchange: Exchange) {
        assert_eq!(
            exchange.parameter("fieldManager").as_deref(),
            Some("sidewatch"),
            "all replicas share one entry in managedFields"
        );
        let object = self.store(&exchange.body["spec"]);
        exchange.json(StatusCode::OK, &object);
    }

    fn create(&mut self) -> Value {
        let content = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"});
        self.stored.store("uid-lease", content)
    }
}
