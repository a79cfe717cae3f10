//! A Lease on the scripted server, with the rules of server-side apply that a leader election needs.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidewatch::{
    clock::{LeaseClock, Reading},
    operator::leadership::Candidate,
};
use tokio::time::{Duration, Instant};

use super::{ApiServer, Exchange, WatchStream, failure};

/// Namespace of the Lease.
const NAMESPACE: &str = "sidewatch-system";
/// Name of the Lease.
const NAME: &str = "sidewatch";

/// A Lease on the server. Clones share it.
#[derive(Clone, Default)]
pub struct ServedLease(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    object: Option<Value>,
    version: u64,
    /// The field manager that owns `spec.holderIdentity`.
    owner: String,
    watches: Vec<WatchStream>,
    is_unavailable: bool,
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
        let lease = ServedLease::default();
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let path = format!("{leases}/{NAME}");
        for (method, path, answer) in [
            (Method::GET, &path, ServedLease::get as fn(&ServedLease, Exchange)),
            (Method::PATCH, &path, ServedLease::patch),
            (Method::GET, &leases, ServedLease::watch),
        ] {
            let (route, lease) = (self.route(method, path), lease.clone());
            tokio::spawn(async move {
                loop {
                    answer(&lease, route.any().await);
                }
            });
        }
        lease
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
        let object = self.state().object.clone();
        object.map(|object| object["spec"].clone()).unwrap_or_default()
    }

    /// Makes another replica the holder, or renews its term: each call changes the content.
    pub fn hold(&self, holder: &str) {
        let mut state = self.state();
        let renewed = format!("2026-11-20T10:00:00.{:06}Z", state.version);
        holder.clone_into(&mut state.owner);
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
        let mut state = self.state();
        if let Some(object) = state.object.take() {
            state.send("DELETED", &object);
        }
    }

    /// Makes all requests for the Lease fail, or ends that.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        let mut state = self.state();
        state.is_unavailable = is_unavailable;
        state.watches.clear();
    }

    fn get(&self, exchange: Exchange) {
        let state = self.state();
        match &state.object {
            _ if state.is_unavailable => exchange.fail(503, "unavailable"),
            Some(object) => exchange.json(StatusCode::OK, object),
            None => not_found(exchange),
        }
    }

    fn watch(&self, exchange: Exchange) {
        let mut state = self.state();
        if state.is_unavailable {
            return exchange.fail(503, "unavailable");
        }
        assert_eq!(
            exchange.parameter("fieldSelector").as_deref(),
            Some("metadata.name=sidewatch"),
            "the role names the Lease"
        );
        let from = exchange.parameter("resourceVersion").unwrap();
        let watch = exchange.watch();
        if let Some(object) = &state.object
            && object["metadata"]["resourceVersion"] != *from
        {
            watch.event("MODIFIED", object);
        }
        state.watches.push(watch);
    }

    fn patch(&self, exchange: Exchange) {
        let mut state = self.state();
        if state.is_unavailable {
            return exchange.fail(503, "unavailable");
        }
        assert_eq!(
            exchange.content_type.as_deref(),
            Some("application/apply-patch+yaml")
        );
        let manager = exchange.parameter("fieldManager").unwrap();
        let is_forced = exchange.parameter("force").as_deref() == Some("true");
        let applied = &exchange.body["metadata"];
        let meets = match &state.object {
            Some(object) => {
                let stored = &object["metadata"];
                let is_same = |field: &str| applied.get(field).is_none_or(|value| *value == stored[field]);
                let is_owner = is_forced || state.owner == manager;
                is_same("uid") && is_same("resourceVersion") && is_owner
            }
            None => applied.get("uid").is_none(),
        };
        if !meets {
            return exchange.json(StatusCode::CONFLICT, &failure(409, "Conflict", "conflict"));
        }
        state.owner = manager;
        let is_new = state.object.is_none();
        let object = state.store(&exchange.body["spec"]);
        exchange.json(
            if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            },
            &object,
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn store(&mut self, spec: &Value) -> Value {
        self.version += 1;
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": "uid-lease", "resourceVersion": self.version.to_string(),
            },
            "spec": spec,
        });
        let kind = if self.object.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.object = Some(object.clone());
        self.send(kind, &object);
        object
    }

    fn send(&mut self, kind: &str, object: &Value) {
        self.watches.retain(WatchStream::is_open);
        for watch in &self.watches {
            watch.event(kind, object);
        }
    }
}

fn not_found(exchange: Exchange) {
    exchange.json(
        StatusCode::NOT_FOUND,
        &failure(404, "NotFound", "leases \"sidewatch\" not found"),
    );
}
