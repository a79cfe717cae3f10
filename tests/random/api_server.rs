//! The model of an API server. It stores Events and policies and answers writes. Within a period of failing writes, it or
//! the network fails as in production.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use sidewatch::{kubernetes::inputs::Input, kubernetes::watch::WatchEvent};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep},
};

use testkit::{api_server::failure, rng::Rng};

use crate::{
    compare::{self, StoredEvent},
    counts::Faults,
    plan::Plan,
    policies::StoredPolicy,
    reads::Reads,
};

/// A response whose body may be as long as a watch.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The path of the ConfigMap of [`testkit::api_server::checkpoint_location`].
const CHECKPOINT: &str = "/api/v1/namespaces/sidewatch-system/configmaps/sidewatch-checkpoint";

/// The API server. Clones share its state.
#[derive(Clone)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    plan: Plan,
    begin: Instant,
    events: BTreeMap<String, Value>,
    policies: BTreeMap<&'static str, StoredPolicy>,
    reads: Reads,
    /// The ConfigMap of the checkpoint.
    checkpoint: Option<Value>,
    requests: usize,
    watchers: Option<UnboundedSender<Input>>,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    is_done: bool,
    reply: Reply,
}

/// The reply of the API server to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// With its result.
    Result,
    /// With this code. 429 comes with `Retry-After`.
    Code(u16),
    /// Never.
    Never,
    /// Not at all: the connection breaks.
    Disconnect,
}

const fn outcome(is_done: bool, reply: Reply) -> Outcome {
    Outcome { is_done, reply }
}

/// The outcomes of writes within a period of failing writes.
#[rustfmt::skip]
const WRITE_FAULTS: [(&str, Outcome); 10] = [
    ("none", outcome(true, Reply::Result)),
    ("write refused with 429", outcome(false, Reply::Code(429))),
    ("write refused with 500", outcome(false, Reply::Code(500))),
    ("write refused with 503", outcome(false, Reply::Code(503))),
    ("write done but answered with 504", outcome(true, Reply::Code(504))),
    ("write done but answered with 500", outcome(true, Reply::Code(500))),
    ("write never answered", outcome(false, Reply::Never)),
    ("write done but never answered", outcome(true, Reply::Never)),
    ("connection broken", outcome(false, Reply::Disconnect)),
    ("connection broken after the write", outcome(true, Reply::Disconnect)),
];

impl ApiServer {
    pub(crate) fn new(plan: &Plan, rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            reads: Reads::new(rng.clone()),
            rng,
            plan: plan.clone(),
            begin: Instant::now(),
            events: BTreeMap::new(),
            policies: BTreeMap::new(),
            checkpoint: None,
            requests: 0,
            watchers: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client that works as long as this process exists.
    pub(crate) fn client(&self, process: &Arc<()>) -> Client {
        let (server, process) = (self.clone(), Arc::downgrade(process));
        let answer = move |request| server.clone().answer(request, process.clone());
        Client::new(tower::service_fn(answer), "default")
    }

    /// Accesses the lists and watches.
    pub(crate) fn reads<T>(&self, act: impl FnOnce(&mut Reads) -> T) -> T {
        act(&mut self.state().reads)
    }

    /// Sends the updates of policies to this channel from now on.
    pub(crate) fn watch(&self, watchers: Option<UnboundedSender<Input>>) {
        self.state().watchers = watchers;
    }

    /// Stores a policy. Keeps its status if the UID is the same.
    pub(crate) fn put(&self, mut policy: StoredPolicy) {
        let mut state = self.state();
        policy.version = state.reads.next_version();
        let before = state.policies.get(policy.name);
        policy.status = before
            .filter(|before| before.uid == policy.uid)
            .and_then(|before| before.status.clone());
        if let Some(before) = before.filter(|before| before.uid != policy.uid).cloned() {
            state.send(before.input(WatchEvent::Deleted));
            state.reads.delete(before.path(), &before.uid);
            policy.version = state.reads.next_version();
        }
        state.send(policy.input(WatchEvent::Applied));
        state.reads.put(policy.path(), policy.object());
        state.policies.insert(policy.name, policy);
    }

    /// The stored policies.
    pub(crate) fn policies(&self) -> Vec<StoredPolicy> {
        self.state().policies.values().cloned().collect()
    }

    /// The stored statuses by policy.
    pub(crate) fn statuses(&self) -> BTreeMap<&'static str, Value> {
        let state = self.state();
        let statuses = state.policies.values().map(|policy| {
            let status = policy
                .decoded_status()
                .unwrap_or_else(|| panic!("{} has no status", policy.name));
            (policy.name, compare::status(&status))
        });
        statuses.collect()
    }

    /// The stored Events by name.
    pub(crate) fn events(&self) -> BTreeMap<String, StoredEvent> {
        let state = self.state();
        state
            .events
            .iter()
            .map(|(name, event)| (name.clone(), StoredEvent::read(event)))
            .collect()
    }

    /// How often each fault occurred.
    pub(crate) fn faults(&self) -> Faults {
        self.state().reads.faults.clone()
    }

    /// The number of writes so far.
    pub(crate) fn requests(&self) -> usize {
        self.state().requests
    }

    async fn answer(self, request: Request<Body>, process: Weak<()>) -> Result<Answer, Error> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET && parts.uri.path() == CHECKPOINT {
            let stored = self.state().checkpoint.clone();
            return Ok(stored.map_or_else(|| refusal(404, "NotFound"), |object| answer(200, &object)));
        }
        if parts.method == Method::GET {
            return self.reads(|reads| reads.answer(&parts.uri));
        }
        let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        if process.strong_count() == 0 {
            return std::future::pending().await;
        }
        let (outcome, wait) = self.state().outcome();
        sleep(wait).await;
        if process.strong_count() == 0 {
            return std::future::pending().await;
        }
        let Outcome { is_done, reply } = outcome;
        let result = is_done.then(|| self.state().write(&parts.method, parts.uri.path(), &body));
        match (reply, result) {
            (Reply::Result, Some(result)) => Ok(result),
            (Reply::Code(code), _) => Ok(answer(code, &json!({}))),
            (Reply::Disconnect, _) => Err("connection reset".into()),
            (Reply::Result | Reply::Never, _) => std::future::pending().await,
        }
    }
}

pub(crate) fn answer(code: u16, body: &Value) -> Answer {
    let body = Full::from(body.to_string()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    if code == 429 {
        response.headers_mut().insert("retry-after", "3".parse().unwrap());
    }
    response
}

fn refusal(code: u16, reason: &str) -> Answer {
    answer(code, &failure(code, reason, "refused"))
}

impl State {
    fn outcome(&mut self) -> (Outcome, Duration) {
        self.requests += 1;
        let now = i64::try_from(self.begin.elapsed().as_secs()).unwrap();
        let outcome = if self.plan.writes_fail(now) {
            let (name, outcome) = self.rng.pick(&WRITE_FAULTS);
            if outcome.reply != Reply::Result {
                self.reads.faults.count(name);
            }
            outcome
        } else {
            outcome(true, Reply::Result)
        };
        let wait = u64::try_from(self.rng.between(1, 300)).unwrap();
        (outcome, Duration::from_millis(wait))
    }

    fn send(&self, input: Input) {
        if let Some(watchers) = &self.watchers {
            // An operator that has just ended has closed the channel.
            drop(watchers.send(input));
        }
    }

    fn write(&mut self, method: &Method, path: &str, body: &Value) -> Answer {
        if path == CHECKPOINT {
            assert_eq!(*method, Method::PATCH);
            return self.apply_checkpoint(body);
        }
        let parts: Vec<&str> = path.trim_start_matches("/apis/").split('/').collect();
        match *parts.as_slice() {
            ["events.k8s.io", "v1", "namespaces", namespace, "events"] if *method == Method::POST => {
                assert_eq!(body["metadata"]["namespace"], namespace, "{body}");
                let name = body["metadata"]["name"].as_str().unwrap();
                if self.events.contains_key(name) {
                    return refusal(409, "AlreadyExists");
                }
                self.events.insert(name.to_owned(), body.clone());
                answer(201, body)
            }
            ["events.k8s.io", "v1", "namespaces", _, "events", name] if *method == Method::PATCH => {
                let Some(event) = self.events.get_mut(name) else {
                    return refusal(404, "NotFound");
                };
                event["series"] = body["series"].clone();
                answer(200, event)
            }
            [
                "sidewatch.dev",
                "v1alpha1",
                "namespaces",
                "pay",
                "sidecarpolicies",
                name,
                "status",
            ]
            | [
                "sidewatch.dev",
                "v1alpha1",
                "clustersidecarpolicies",
                name,
                "status",
            ] => {
                assert_eq!(*method, Method::PATCH);
                self.apply_status(name, body)
            }
            _ => panic!("{method} {path}: the operator has no right to that"),
        }
    }

    /// An apply without content creates the ConfigMap, or changes nothing. One with content needs the version of the object.
    fn apply_checkpoint(&mut self, body: &Value) -> Answer {
        let applied = &body["metadata"];
        let stored = self.checkpoint.as_ref().map(|object| &object["metadata"]);
        let is_creation = applied.get("uid").is_none();
        if !is_creation && stored.is_none_or(|s| s["resourceVersion"] != applied["resourceVersion"]) {
            return refusal(409, "Conflict");
        }
        if !is_creation || stored.is_none() {
            let managers: &[Value] = if is_creation {
                &[]
            } else {
                &[json!({"manager": "sidewatch", "operation": "Apply"})]
            };
            let version = self.reads.next_version().to_string();
            let metadata =
                json!({"uid": "checkpoint", "resourceVersion": version, "managedFields": managers});
            self.checkpoint = Some(json!({"metadata": metadata, "binaryData": body["binaryData"]}));
        }
        let metadata = self.checkpoint.as_ref().map(|object| &object["metadata"]);
        answer(200, &json!({ "metadata": metadata }))
    }

    fn apply_status(&mut self, name: &str, body: &Value) -> Answer {
        let policy = self.policies.get_mut(name).unwrap();
        let expected = policy.version.to_string();
        if body["metadata"]["uid"] != *policy.uid || body["metadata"]["resourceVersion"] != *expected {
            return refusal(409, "Conflict");
        }
        if policy.status.as_ref() != Some(&body["status"]) {
            policy.version = self.reads.next_version();
            policy.status = Some(body["status"].clone());
            let event = policy.input(WatchEvent::Applied);
            self.reads.put(policy.path(), policy.object());
            self.send(event);
        }
        let policy = &self.policies[name];
        answer(
            200,
            &json!({"metadata": {"resourceVersion": policy.version.to_string()}}),
        )
    }
}
