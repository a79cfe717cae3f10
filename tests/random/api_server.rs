//! An API server in memory. Writes of Events and of the statuses of policies are here, with the answers that a real one
//! gives; and, while it is ill, with what networks and busy servers make of them.

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
use sidewatch::{api::PolicyStatus, kubernetes::inputs::Input, kubernetes::watch::WatchEvent};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep},
};

use testkit::rng::Rng;

use crate::{
    compare::{self, Told},
    plan::Plan,
    policies::Stored,
    reads::Reads,
    tally::Faults,
};

/// An answer, with a body that may go on for as long as a watch.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    plan: Plan,
    begin: Instant,
    events: BTreeMap<String, Value>,
    policies: BTreeMap<&'static str, Stored>,
    reads: Reads,
    requests: usize,
    watchers: Option<UnboundedSender<Input>>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is answered.
    Answered,
    /// It is answered with this code and not done; 429 asks to wait.
    Refused(u16),
    /// It is done, and the answer is this code.
    DoneBut(u16),
    /// It gets no answer, done or not.
    Unanswered { done: bool },
    /// The connection breaks, before it is done or after.
    Disconnected { done: bool },
}

/// What an ill server and its network make of writes.
const ILLS: [(&str, Fate); 10] = [
    ("none", Fate::Answered),
    ("write refused with 429", Fate::Refused(429)),
    ("write refused with 500", Fate::Refused(500)),
    ("write refused with 503", Fate::Refused(503)),
    ("write done but answered with 504", Fate::DoneBut(504)),
    ("write done but answered with 500", Fate::DoneBut(500)),
    ("write never answered", Fate::Unanswered { done: false }),
    ("write done but never answered", Fate::Unanswered { done: true }),
    ("connection broken", Fate::Disconnected { done: false }),
    (
        "connection broken after the write",
        Fate::Disconnected { done: true },
    ),
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
            requests: 0,
            watchers: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client of it, for as long as the process lives.
    pub(crate) fn client(&self, process: &Arc<()>) -> Client {
        let (server, process) = (self.clone(), Arc::downgrade(process));
        let answer = move |request| server.clone().answer(request, process.clone());
        Client::new(tower::service_fn(answer), "default")
    }

    /// The lists and watches of it.
    pub(crate) fn reads<T>(&self, act: impl FnOnce(&mut Reads) -> T) -> T {
        act(&mut self.state().reads)
    }

    /// Tells of policies here from now on.
    pub(crate) fn watch(&self, watchers: Option<UnboundedSender<Input>>) {
        self.state().watchers = watchers;
    }

    /// Stores a policy. Its status stays, unless it is another object.
    pub(crate) fn put(&self, mut policy: Stored) {
        let mut state = self.state();
        policy.version = state.reads.next_version();
        let before = state.policies.get(policy.name);
        policy.status = before
            .filter(|before| before.uid == policy.uid)
            .and_then(|before| before.status.clone());
        if let Some(before) = before.filter(|before| before.uid != policy.uid).cloned() {
            state.tell(before.tell(WatchEvent::Deleted));
            state.reads.delete(before.path(), &before.uid);
            policy.version = state.reads.next_version();
        }
        state.tell(policy.tell(WatchEvent::Applied));
        state.reads.put(policy.path(), policy.object());
        state.policies.insert(policy.name, policy);
    }

    /// The policies that it stores.
    pub(crate) fn policies(&self) -> Vec<Stored> {
        self.state().policies.values().cloned().collect()
    }

    /// The statuses that it stores.
    pub(crate) fn statuses(&self) -> BTreeMap<&'static str, Value> {
        let state = self.state();
        let statuses = state.policies.values().map(|policy| {
            let status = policy
                .shown()
                .unwrap_or_else(|| panic!("{} has no status", policy.name));
            (policy.name, compare::status(&status))
        });
        statuses.collect()
    }

    /// The Events that it stores.
    pub(crate) fn events(&self) -> BTreeMap<String, Told> {
        let state = self.state();
        state
            .events
            .iter()
            .map(|(name, event)| (name.clone(), Told::read(event)))
            .collect()
    }

    /// How often each fault came.
    pub(crate) fn faults(&self) -> Faults {
        self.state().reads.faults.clone()
    }

    /// How many writes have come.
    pub(crate) fn requests(&self) -> usize {
        self.state().requests
    }

    async fn answer(self, request: Request<Body>, process: Weak<()>) -> Result<Answer, Error> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::GET {
            return self.reads(|reads| reads.answer(&parts.uri));
        }
        let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        if process.strong_count() == 0 {
            return std::future::pending().await;
        }
        let (fate, wait) = self.state().fate();
        sleep(wait).await;
        if process.strong_count() == 0 {
            return std::future::pending().await;
        }
        let done = || self.state().write(&parts.method, parts.uri.path(), &body);
        match fate {
            Fate::Answered => Ok(done()),
            Fate::Refused(code) => Ok(answer(code, &json!({}))),
            Fate::DoneBut(code) => {
                drop(done());
                Ok(answer(code, &json!({})))
            }
            Fate::Unanswered { done: is_done } => {
                if is_done {
                    drop(done());
                }
                std::future::pending().await
            }
            Fate::Disconnected { done: is_done } => {
                if is_done {
                    drop(done());
                }
                Err("connection reset".into())
            }
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

impl State {
    fn fate(&mut self) -> (Fate, Duration) {
        self.requests += 1;
        let now = i64::try_from(self.begin.elapsed().as_secs()).unwrap();
        let fate = if self.plan.is_ill(now) {
            let (name, fate) = self.rng.pick(&ILLS);
            if fate != Fate::Answered {
                *self.reads.faults.entry(name).or_default() += 1;
            }
            fate
        } else {
            Fate::Answered
        };
        (
            fate,
            Duration::from_millis(u64::try_from(self.rng.between(1, 300)).unwrap()),
        )
    }

    fn tell(&self, input: Input) {
        if let Some(watchers) = &self.watchers {
            // An operator that has just ended does not listen any more.
            drop(watchers.send(input));
        }
    }

    fn write(&mut self, method: &Method, path: &str, body: &Value) -> Answer {
        let parts: Vec<&str> = path.trim_start_matches("/apis/").split('/').collect();
        match *parts.as_slice() {
            ["events.k8s.io", "v1", "namespaces", namespace, "events"] if *method == Method::POST => {
                assert_eq!(body["metadata"]["namespace"], namespace, "{body}");
                let name = body["metadata"]["name"].as_str().unwrap();
                if self.events.contains_key(name) {
                    return answer(
                        409,
                        &json!({"kind": "Status", "code": 409, "reason": "AlreadyExists"}),
                    );
                }
                self.events.insert(name.to_owned(), body.clone());
                answer(201, body)
            }
            ["events.k8s.io", "v1", "namespaces", _, "events", name] if *method == Method::PATCH => {
                let Some(event) = self.events.get_mut(name) else {
                    return answer(404, &json!({"kind": "Status", "code": 404, "reason": "NotFound"}));
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

    fn apply_status(&mut self, name: &str, body: &Value) -> Answer {
        let policy = self.policies.get_mut(name).unwrap();
        if body["metadata"]["uid"] != *policy.uid {
            return answer(409, &json!({"kind": "Status", "code": 409, "reason": "Conflict"}));
        }
        let status: PolicyStatus = serde_json::from_value(body["status"].clone()).unwrap();
        if policy.shown().as_ref() != Some(&status) {
            policy.version = self.reads.next_version();
            policy.status = Some(body["status"].clone());
            let told = policy.tell(WatchEvent::Applied);
            self.reads.put(policy.path(), policy.object());
            self.tell(told);
        }
        let policy = &self.policies[name];
        answer(
            200,
            &json!({"metadata": {"resourceVersion": policy.version.to_string()}}),
        )
    }
}
