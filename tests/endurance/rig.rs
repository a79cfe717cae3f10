//! The operator without its watches, from the reconciler to the API server, with all its queues. Input: watch events. Output:
//! requests.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, channel::mpsc};
use http::{Method, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use sidewatch::{
    clock::Clock,
    domain::{
        index::{Index, series::SeriesLimits},
        observation::Observation,
        policy::PolicyUpdate,
    },
    http::health::Health,
    http::metrics::MetricsPages,
    kubernetes::decode::policy::status::ObservedStatus,
    kubernetes::fence::Fence,
    kubernetes::inputs::{Input, ObservedPolicy},
    kubernetes::installation::Installation,
    kubernetes::watch::WatchEvent,
    operator::reconciler::Reconciler,
    sink::events::EventSink,
    telemetry::metrics::Metrics,
};
use tokio::time::{Instant, sleep};

use testkit::api_server::{ApiServer, Exchange, virtual_clock};

/// The path of Events in the namespace of the fleet.
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
/// The path of summary Events about cluster policies.
const SUMMARIES: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// The writes that the API server received.
#[derive(Default)]
pub(crate) struct Written {
    /// The time of each created Event, since the start.
    pub(crate) events: Vec<Duration>,
    /// The notes of the Events about policies.
    pub(crate) summaries: Vec<String>,
    /// The policy, time and content of each applied status.
    pub(crate) statuses: Vec<(String, Duration, Value)>,
}

/// An operator without watches, and the writes that it sends.
pub(crate) struct Rig {
    pub(crate) index: Arc<Mutex<Index>>,
    written: Arc<Mutex<Written>>,
    metrics: MetricsPages,
    events: Arc<EventSink>,
    clock: Arc<dyn Clock>,
    inputs: mpsc::Sender<Input>,
}

impl Rig {
    /// Starts a rig with these policies and without Pods. Without `answers` the API server accepts requests but does
    /// not answer.
    pub(crate) async fn start(policies: Vec<PolicyUpdate>, answers: bool) -> Self {
        let (server, clock, written) = (ApiServer::default(), virtual_clock(), Arc::default());
        if answers {
            answer(&server, &policies, &written);
        }
        let metrics = Arc::new(Metrics::new().unwrap());
        let index = Arc::new(Mutex::new(Index::new([None], false)));
        let health = Arc::new(Health::new(Vec::new()));
        let limits = SeriesLimits {
            pods: usize::MAX,
            ..SeriesLimits::default()
        };
        let pages = MetricsPages::new(
            &metrics,
            Arc::clone(&index),
            Arc::clone(&health),
            limits,
            Arc::clone(&clock),
        )
        .unwrap();
        let reconciler = Reconciler::new(
            Arc::clone(&index),
            server.clients().write,
            Arc::clone(&clock),
            metrics,
            health,
            Fence::always(),
            Installation::on_host("test"),
        );
        let (events, status) = (Arc::clone(&reconciler.events), Arc::clone(&reconciler.status));
        let (inputs, received) = mpsc::channel(16);
        tokio::spawn(async move { reconciler.run(received, std::future::pending()).await });
        tokio::spawn({
            let events = Arc::clone(&events);
            async move { events.run().await }
        });
        tokio::spawn(async move { status.run().await });
        let mut rig = Self {
            index,
            written,
            metrics: pages,
            events,
            clock,
            inputs,
        };
        for update in policies {
            let status = ObservedStatus {
                uid: Arc::clone(&update.uid),
                version: 1,
                status: None,
            };
            let kind = update.key.kind;
            let observed = Box::new(ObservedPolicy { update, status });
            rig.send(Input::Policy(kind, None, WatchEvent::Applied(observed)))
                .await;
        }
        rig
    }

    /// Starts a rig with these policies and a list of these Pods.
    pub(crate) async fn with(policies: Vec<PolicyUpdate>, answers: bool, pods: &[Observation]) -> Self {
        let mut rig = Self::start(policies, answers).await;
        rig.relist(pods).await;
        rig.pass(1).await;
        rig
    }

    async fn send(&mut self, input: Input) {
        self.inputs.send(input).await.unwrap();
    }

    /// Returns the number of firing violations.
    pub(crate) fn firing(&self) -> usize {
        let index = self.index.lock();
        index.violations().filter(|violation| violation.firing).count()
    }

    /// Delivers an update of a Pod.
    pub(crate) async fn apply(&mut self, pod: Observation) {
        self.send(Input::Pod(None, WatchEvent::Applied(pod))).await;
    }

    /// Delivers the deletion of a Pod.
    pub(crate) async fn delete(&mut self, pod: Observation) {
        self.send(Input::Pod(None, WatchEvent::Deleted(pod))).await;
    }

    /// Starts a list with these Pods, without its end.
    pub(crate) async fn begin_relist(&mut self, pods: &[Observation]) {
        let last_synced = self.clock.now();
        self.send(Input::Pod(None, WatchEvent::Restarted { last_synced }))
            .await;
        for pod in pods {
            self.send(Input::Pod(None, WatchEvent::Listed(pod.clone()))).await;
        }
    }

    /// Delivers a complete list.
    pub(crate) async fn relist(&mut self, pods: &[Observation]) {
        self.begin_relist(pods).await;
        self.send(Input::Pod(None, WatchEvent::Complete)).await;
    }

    /// Advances the clock by seconds.
    pub(crate) async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Returns the writes so far.
    pub(crate) fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock()
    }

    /// Returns the sum of the series of a metric whose labels contain this text.
    pub(crate) fn sum(&self, metric: &str, label: &str) -> u64 {
        let text = self.metrics.text().unwrap();
        let series = text
            .lines()
            .filter_map(|line| line.strip_prefix(metric)?.rsplit_once(' '));
        series
            .filter(|(labels, _)| labels.starts_with(['{', ' ']) || labels.is_empty())
            .filter(|(labels, _)| labels.contains(label))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum()
    }

    /// Returns the number of dropped Events, for all reasons.
    pub(crate) fn dropped(&self) -> u64 {
        self.sum("sidewatch_events_dropped_total", "")
    }

    /// Drops and counts the waiting Events, as at the end of the process.
    pub(crate) fn abandon(&self) {
        self.events.abandon();
    }
}

/// Accepts every write and records it in `written`.
fn answer(server: &ApiServer, policies: &[PolicyUpdate], written: &Arc<Mutex<Written>>) {
    let begun = Instant::now();
    serve(server, Method::POST, EVENTS, {
        let written = Arc::clone(written);
        move |_| written.lock().events.push(begun.elapsed())
    });
    serve(server, Method::POST, SUMMARIES, {
        let written = Arc::clone(written);
        move |exchange| {
            let note = exchange.body["note"].as_str().unwrap().to_owned();
            written.lock().summaries.push(note);
        }
    });
    for policy in policies {
        let name = policy.key.name.to_string();
        let path = format!("/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies/{name}/status");
        let written = Arc::clone(written);
        serve(server, Method::PATCH, &path, move |exchange| {
            let status = exchange.body["status"].clone();
            written
                .lock()
                .statuses
                .push((name.clone(), begun.elapsed(), status));
        });
    }
}

fn serve(server: &ApiServer, method: Method, path: &str, mut keep: impl FnMut(&Exchange) + Send + 'static) {
    let mut version = 1;
    server.answer(method, path, move |exchange| {
        version += 1;
        keep(&exchange);
        let answer = json!({"metadata": {"resourceVersion": version.to_string()}});
        exchange.json(StatusCode::OK, &answer);
    });
}
