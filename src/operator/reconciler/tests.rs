//! Inputs change the index, and deadlines act on time.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicI64, Ordering},
};

use futures::channel::mpsc;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::{Client, client::Body, core::DeserializeGuard};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::{
    api::SidecarPolicy,
    domain::{checkpoint::Checkpoint, observation::Observation},
    kubernetes::decode::{intern::Interner, pod, policy},
    kubernetes::inputs::ObservedPolicy,
};
use crate::{
    domain::{index::Scope, policy::PolicyKind},
    kubernetes::decode::policy::status::ObservedStatus,
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

/// Complete lists of both kinds, with one policy whose check MainReadySidecarNotReady fires after 60 s.
fn policies() -> Vec<Input> {
    let object: Value = json!({
        "metadata": {"name": "mesh", "namespace": "pay", "uid": "mesh", "generation": 1},
        "spec": {"checks": {"mainReadySidecarNotReady": {"for": "60s"}, "notReady": {"mode": "Off"}}},
    });
    let object: DeserializeGuard<SidecarPolicy> = serde_json::from_value(object).unwrap();
    let observed = ObservedPolicy {
        update: policy::policy_update(&object).unwrap(),
        status: ObservedStatus {
            uid: "mesh".into(),
            version: 1,
            status: None,
            writers: Vec::new(),
        },
    };
    let mut inputs = Vec::new();
    let kinds = [
        (PolicyKind::SidecarPolicy, Some(observed)),
        (PolicyKind::ClusterSidecarPolicy, None),
    ];
    for (kind, observed) in kinds {
        let last_synced = Timestamp::MIN;
        inputs.push(Input::Policy(kind, None, WatchEvent::Restarted { last_synced }));
        inputs.extend(observed.map(|policy| Input::Policy(kind, None, WatchEvent::Listed(Box::new(policy)))));
        inputs.push(Input::Policy(kind, None, WatchEvent::Complete));
    }
    inputs
}

fn restarted() -> WatchEvent<Observation> {
    WatchEvent::Restarted {
        last_synced: Timestamp::MIN,
    }
}

#[test]
fn a_restarted_list_ignores_what_the_interrupted_list_contained() {
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

/// A reconciler on the clock of tokio, and the requests that its sinks send.
fn reconciler() -> (Reconciler, std::sync::mpsc::Receiver<String>) {
    reconciler_ahead_by(Arc::default())
}

/// A reconciler whose clock is ahead of tokio's by some seconds, and the requests that its sinks send.
fn reconciler_ahead_by(seconds: Arc<AtomicI64>) -> (Reconciler, std::sync::mpsc::Receiver<String>) {
    let (requests, received) = std::sync::mpsc::channel();
    let client = Client::new(Recorder(requests), "default");
    let origin = Instant::now();
    let start: Timestamp = START.parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(move || {
        let ahead = jiff::SignedDuration::from_secs(seconds.load(Ordering::Relaxed));
        start + origin.elapsed() + ahead
    });
    let metrics = Arc::new(Metrics::new().unwrap());
    let index = Arc::new(Mutex::new(Index::new([None], false)));
    let reconciler = Reconciler::new(
        index,
        client,
        clock,
        metrics,
        Arc::new(Health::new(Vec::new())),
        Fence::always(),
        Installation::on_host("test"),
    );
    (reconciler, received)
}

/// Records method and path of each request, and responds with an empty object.
#[derive(Clone)]
struct Recorder(std::sync::mpsc::Sender<String>);

impl tower::Service<Request<Body>> for Recorder {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let what = format!("{} {}", request.method(), request.uri().path());
        self.0.send(what).unwrap();
        std::future::ready(Ok(Response::new(Full::from("{}"))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_acts_on_time_without_inputs() {
    let (reconciler, requests) = reconciler();
    let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
    tokio::spawn(async move { tokio::join!(events.run(), status.run()) });
    let (inputs, stream) = mpsc::unbounded();
    let (_running, stop) = oneshot::channel::<()>();
    tokio::spawn(async move {
        reconciler
            .run(stream, async {
                let _stopped = stop.await;
            })
            .await;
    });
    let send = |input| inputs.unbounded_send(input).unwrap();
    let written = || {
        let requests: Vec<String> = requests.try_iter().collect();
        let events = requests
            .iter()
            .filter(|request| request.starts_with("POST"))
            .count();
        (events, requests.len() - events)
    };

    policies().into_iter().for_each(send);
    send(pods(restarted()));
    send(pods(WatchEvent::Listed(pod("web", true))));
    send(pods(WatchEvent::Listed(pod("api", true))));
    send(pods(WatchEvent::Complete));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(written(), (0, 1), "the first status");
    send(pods(WatchEvent::Applied(pod("web", false))));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(
        written(),
        (0, 2),
        "the update of the Pod, and the violation that is visible"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(written(), (1, 1), "firing after one minute");

    let last_synced = START.parse().unwrap();
    send(pods(WatchEvent::Applied(pod("api", false))));
    send(pods(WatchEvent::Disconnected { last_synced }));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(
        written().0,
        0,
        "deadlines are held while the watch is disconnected"
    );
    send(pods(WatchEvent::Resumed));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(written().0, 1, "the violation fires after the watch has resumed");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_joined_without_an_input() {
    let (reconciler, _requests) = reconciler();
    let (index, work_queued) = (Arc::clone(&reconciler.index), Arc::clone(&reconciler.work_queued));
    let (inputs, stream) = mpsc::unbounded();
    tokio::spawn(async move { reconciler.run(stream, std::future::pending()).await });
    for event in [
        restarted(),
        WatchEvent::Listed(pod("web", true)),
        WatchEvent::Complete,
    ] {
        inputs.unbounded_send(pods(event)).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    index.lock().import(Checkpoint::default(), START.parse().unwrap());
    assert!(index.lock().has_work());
    work_queued.notify_one();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!index.lock().has_work());
}

#[tokio::test(start_paused = true)]
async fn inputs_are_applied_between_the_steps_of_long_work() {
    let (reconciler, _requests) = reconciler();
    let index = Arc::clone(&reconciler.index);
    let (inputs, stream) = mpsc::unbounded();
    let send = |input| inputs.unbounded_send(input).unwrap();
    tokio::spawn(async move { reconciler.run(stream, std::future::pending()).await });
    policies().into_iter().for_each(send);
    send(pods(restarted()));
    for number in 0..100 {
        send(pods(WatchEvent::Listed(pod(&format!("web-{number}"), true))));
    }
    send(pods(WatchEvent::Complete));
    tokio::time::sleep(Duration::from_secs(1)).await;
    index.lock().set_units_per_step(1);
    let deleted = PolicyKey {
        kind: PolicyKind::SidecarPolicy,
        namespace: "pay".into(),
        name: "mesh".into(),
    };
    send(Input::Policy(
        PolicyKind::SidecarPolicy,
        None,
        WatchEvent::Restarted {
            last_synced: Timestamp::MIN,
        },
    ));
    send(Input::Policy(
        PolicyKind::SidecarPolicy,
        None,
        WatchEvent::Complete,
    ));
    while index.lock().report(&deleted).is_some() {
        tokio::task::yield_now().await;
    }
    send(pods(WatchEvent::Applied(pod("new", true))));
    while index.lock().tracked_pods() == 100 {
        tokio::task::yield_now().await;
    }
    assert!(
        index.lock().has_work(),
        "the Pod was applied before the last step"
    );
    let steps = async {
        while index.lock().has_work() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), steps)
        .await
        .expect("the work ends without inputs");
}
