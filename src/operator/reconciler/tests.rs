//! Inputs change the index, and deadlines act on time.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicI64, Ordering},
};

use crate::kubernetes::decode::custom::Checked;
use futures::channel::mpsc;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::SidecarPolicy,
    domain::{checkpoint::Checkpoint, index::Scope, observation::Observation, policy::PolicyKind},
    kubernetes::{
        decode::{
            intern::Interner,
            pod,
            policy::{self, status::ObservedStatus},
        },
        inputs::ObservedPolicy,
    },
};

mod late_wake;

const START: &str = "2026-11-20T10:00:00Z";

fn pod(name: &str, sidecar_ready: bool) -> Observation {
    let running = |name: &str, ready: bool| json!({"name": name, "ready": ready, "started": true, "state": {"running": {"startedAt": START}}});
    let pod = json!({
        "metadata": {"name": name, "namespace": "pay", "uid": name, "creationTimestamp": START},
        "spec": {
            "nodeName": "n",
            "initContainers": [{"name": "proxy", "restartPolicy": "Always", "readinessProbe": {}}],
            "containers": [{"name": "app"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Initialized", "status": "True"}],
            "initContainerStatuses": [running("proxy", sidecar_ready)],
            "containerStatuses": [running("app", true)],
        },
    });
    pod::observe(serde_json::from_value(pod).unwrap(), &mut Interner::default()).unwrap()
}

fn pods(event: WatchEvent<Observation>) -> Input {
    Input::Pod(None, event)
}

fn policies(kind: PolicyKind, event: WatchEvent<Box<ObservedPolicy>>) -> Input {
    Input::Policy(kind, None, event)
}

/// The policy `mesh`, whose check MainReadySidecarNotReady fires after 60 s.
fn mesh() -> Box<ObservedPolicy> {
    let object: Value = json!({
        "metadata": {"name": "mesh", "namespace": "pay", "uid": "mesh", "generation": 1},
        "spec": {"checks": {"mainReadySidecarNotReady": {"for": "60s"}, "notReady": {"mode": "Off"}}},
    });
    let object: Checked<SidecarPolicy> = serde_json::from_value(object).unwrap();
    Box::new(ObservedPolicy {
        update: policy::policy_update(&object).unwrap(),
        status: ObservedStatus {
            uid: "mesh".into(),
            version: 1,
            status: None,
        },
    })
}

fn restarted<T>() -> WatchEvent<T> {
    WatchEvent::Restarted {
        last_synced: Timestamp::MIN,
    }
}

#[test]
fn a_list_that_begins_again_ignores_the_incomplete_one() {
    let scope: Scope = None;
    let mut index = Index::new([scope], false);
    let now = START.parse().unwrap();
    let events = [
        (restarted(), 0, "no Pod yet"),
        (WatchEvent::Listed(pod("a", true)), 1, "an object of the list"),
        (WatchEvent::Listed(pod("b", true)), 2, "another"),
        (WatchEvent::Complete, 2, "both Pods stay"),
        (restarted(), 2, "no Pod is removed before a list is complete"),
        (restarted(), 2, "a list may start twice"),
        (WatchEvent::Listed(pod("a", true)), 2, "a known Pod"),
        (WatchEvent::Complete, 1, "b was not listed and is removed"),
        (WatchEvent::Applied(pod("c", true)), 2, "a new Pod"),
        (WatchEvent::Deleted(pod("a", true)), 1, "a deleted Pod"),
    ];
    for (event, tracked, why) in events {
        let _ = step(&mut index, pods(event), now);
        assert_eq!(index.tracked_pods(), tracked, "{why}");
    }
}

/// A running reconciler with the policy `mesh`, and the requests that its sinks send.
struct Rig {
    inputs: mpsc::UnboundedSender<Input>,
    requests: std::sync::mpsc::Receiver<Method>,
    index: Arc<Mutex<Index>>,
    work_queued: Arc<Notify>,
    /// The seconds by which the clock of the reconciler is ahead of that of tokio.
    ahead: Arc<AtomicI64>,
}

impl Rig {
    fn start() -> Self {
        let (sender, requests) = std::sync::mpsc::channel();
        let ahead = Arc::<AtomicI64>::default();
        let (origin, seconds) = (Instant::now(), Arc::clone(&ahead));
        let start: Timestamp = START.parse().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(move || {
            let ahead = jiff::SignedDuration::from_secs(seconds.load(Ordering::Relaxed));
            start + origin.elapsed() + ahead
        });
        let index = Arc::new(Mutex::new(Index::new([None], false)));
        let reconciler = Reconciler::new(
            Arc::clone(&index),
            Client::new(Recorder(sender), "default"),
            clock,
            Arc::new(Metrics::new().unwrap()),
            Arc::new(Health::new(Vec::new())),
            Fence::always(),
            Installation::on_host("test"),
        );
        let work_queued = Arc::clone(&reconciler.work_queued);
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        tokio::spawn(async move { tokio::join!(events.run(), status.run()) });
        let (inputs, stream) = mpsc::unbounded();
        tokio::spawn(async move { reconciler.run(stream, std::future::pending()).await });
        let rig = Self {
            inputs,
            requests,
            index,
            work_queued,
            ahead,
        };
        for kind in [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy] {
            rig.send(policies(kind, restarted()));
            if kind == PolicyKind::SidecarPolicy {
                rig.send(policies(kind, WatchEvent::Listed(mesh())));
            }
            rig.send(policies(kind, WatchEvent::Complete));
        }
        rig
    }

    fn send(&self, input: Input) {
        self.inputs.unbounded_send(input).unwrap();
    }

    /// Lists these Pods, with ready sidecars.
    fn list(&self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        self.send(pods(restarted()));
        for name in names {
            self.send(pods(WatchEvent::Listed(pod(name.as_ref(), true))));
        }
        self.send(pods(WatchEvent::Complete));
    }

    /// Changes a Pod.
    fn apply(&self, name: &str, sidecar_ready: bool) {
        self.send(pods(WatchEvent::Applied(pod(name, sidecar_ready))));
    }

    /// Sets the clock forward, as the wall clock after a suspended machine.
    fn set_forward(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The number of Events and of statuses that were written since the last call.
    fn written(&self) -> (usize, usize) {
        let (events, statuses): (Vec<_>, Vec<_>) = self
            .requests
            .try_iter()
            .partition(|method| *method == Method::POST);
        (events.len(), statuses.len())
    }

    /// The number of Events that were written since the last call.
    fn events(&self) -> usize {
        self.written().0
    }
}

/// Records the method of each request, and responds with an empty object.
#[derive(Clone)]
struct Recorder(std::sync::mpsc::Sender<Method>);

impl tower::Service<Request<Body>> for Recorder {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.send(request.method().clone()).unwrap();
        std::future::ready(Ok(Response::new(Full::from("{}"))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_acts_on_time_without_inputs() {
    let rig = Rig::start();
    rig.list(["web", "api"]);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.written(), (0, 1), "the first status");
    rig.apply("web", false);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(
        rig.written(),
        (0, 2),
        "the update of the Pod, and the violation that is visible"
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.written(), (1, 1), "firing after one minute");

    let last_synced = START.parse().unwrap();
    rig.apply("api", false);
    rig.send(pods(WatchEvent::Disconnected { last_synced }));
    sleep(Duration::from_mins(10)).await;
    assert_eq!(
        rig.events(),
        0,
        "deadlines are held while the watch is disconnected"
    );
    rig.send(pods(WatchEvent::Resumed));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.events(), 1, "the violation fires after the watch has resumed");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_joined_without_an_input() {
    let rig = Rig::start();
    rig.list(["web"]);
    sleep(Duration::from_secs(31)).await;
    rig.index
        .lock()
        .import(Checkpoint::default(), START.parse().unwrap());
    assert!(rig.index.lock().has_work());
    rig.work_queued.notify_one();
    sleep(Duration::from_millis(10)).await;
    assert!(!rig.index.lock().has_work());
}

#[tokio::test(start_paused = true)]
async fn inputs_are_applied_between_the_steps_of_long_work() {
    let rig = Rig::start();
    rig.list((0..100).map(|number| format!("web-{number}")));
    sleep(Duration::from_secs(1)).await;
    rig.index.lock().set_units_per_step(1);
    let deleted = mesh().update.key;
    for event in [restarted(), WatchEvent::Complete] {
        rig.send(policies(deleted.kind, event));
    }
    while rig.index.lock().report(&deleted).is_some() {
        yield_now().await;
    }
    rig.apply("new", true);
    while rig.index.lock().tracked_pods() == 100 {
        yield_now().await;
    }
    assert!(
        rig.index.lock().has_work(),
        "the Pod was applied before the last step"
    );
    let steps = async {
        while rig.index.lock().has_work() {
            yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), steps)
        .await
        .expect("the work ends without inputs");
}
