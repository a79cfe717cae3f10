//! Replays recordings of a real kubelet through the complete operator. The API server lists no Pods and then sends the
//! recorded watch events at their times, on virtual time. The same violations must fire, and each must have one Event for
//! the right container. One test per recording and policy.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test without the standard harness, which clippy does not see as one"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::Timestamp;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use testkit::{
    api_server::{
        self, ApiServer, CLUSTER_POLICIES, EXEMPTIONS, NAMESPACES, PODS, POLICIES, Running, WatchStream,
        list, paused_runtime, start_at, until, virtual_clock_from,
    },
    recordings::{self, Recording, Violation},
};
use tokio::time::Instant;

/// The period of the bookmarks of the API server. A watch without data ends after one minute.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(30);

/// The check of each Event reason.
const REASONS: [(&str, &str); 7] = [
    ("SidecarContainerNotReady", "NotReady"),
    ("MainContainerReadyButSidecarNot", "MainReadySidecarNotReady"),
    ("SidecarRestartingFrequently", "FrequentRestarts"),
    ("SidecarBlocksStartup", "StartupBlocked"),
    ("SidecarHoldsJobOpen", "JobHeldOpen"),
    ("SidecarOOMKilled", "OOMKilled"),
    ("SidecarFlapping", "Flapping"),
];

fn main() {
    let arguments = Arguments::from_args();
    let trial = |recording: Recording| {
        Trial::test(format!("{} {}", recording.name, recording.policy), move || {
            // One thread: the operator has evaluated what it counts as received before the test can read the counter.
            let differences = paused_runtime().block_on(play(&recording));
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(differences.join("\n")))
            }
        })
    };
    libtest_mimic::run(&arguments, recordings::all().into_iter().map(trial).collect()).exit();
}

/// Replays a recording to its end, and returns the differences.
async fn play(recording: &Recording) -> Vec<String> {
    let (start, lines) = recording.lines();
    let begun = Instant::now();
    let at = |t: f64| begun + Duration::from_secs_f64(t);
    let namespace = lines[0].object["metadata"]["namespace"]
        .as_str()
        .unwrap()
        .to_owned();
    let containers = containers(lines.iter().map(|line| &line.object));
    let server = ApiServer::default();
    let written = serve(&server, &namespace, &recording.spec);
    let operator = start_at(server.clients(), &[], virtual_clock_from(start));
    let pods = server.route(Method::GET, PODS);
    pods.next().await.json(StatusCode::OK, &list("Pod", "1", &[]));
    let watch = pods.next().await.watch();
    operator.ready().await;

    let before = received(&operator);
    let mut sent = 0;
    for line in lines {
        sleep_until(at(line.t), &watch).await;
        // The field selector excludes finished Pods: the watch reports their end as a deletion.
        let finished = matches!(
            line.object["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        );
        watch.event(if finished { "DELETED" } else { &line.kind }, &line.object);
        sent += 1;
        until("the operator receives the event", || {
            received(&operator) >= before + sent
        })
        .await;
    }
    sleep_until(at(recording.end), &watch).await;
    // No policy selects this Pod. When the operator has received it, it has handled all earlier deadlines.
    watch.event("ADDED", &api_server::pod("elsewhere", "999999999", true));
    until("the operator receives the event", || {
        received(&operator) > before + sent
    })
    .await;
    let firing = firing(&operator);
    let counted = sum(&operator, "sidewatch_violations_total");
    let dropped = sum(&operator, "sidewatch_events_dropped_total");
    operator.stop().await;

    let mut wrong = Vec::new();
    let optional = recording.violations.iter().filter(|v| v.optional).count();
    let expected = recording.violations.len();
    if counted > expected || counted + optional < expected {
        wrong.push(format!(
            "{counted} violations were counted, {expected} expected, {optional} of them optional"
        ));
    }
    wrong.extend(compare_firing(recording, &firing));
    wrong.extend(compare_events(
        recording,
        &written.lock().unwrap(),
        &containers,
        start,
        dropped,
    ));
    wrong
}

/// Sleeps until this time, and sends bookmarks. The operator has then handled the deadlines up to this time.
async fn sleep_until(time: Instant, watch: &WatchStream) {
    loop {
        let next = Instant::now() + BOOKMARK_PERIOD;
        tokio::time::sleep_until(time.min(next)).await;
        if time <= next {
            return;
        }
        watch.bookmark("Pod", "1");
    }
}

/// Each Event as first written, with its time. A later occurrence, which raises the series of the Event, adds it again.
type Written = Arc<Mutex<Vec<(Value, Timestamp)>>>;

/// Answers all requests except those for Pods, and stores Events as the API server does: one object per name.
fn serve(server: &ApiServer, namespace: &str, spec: &Value) -> Written {
    let object = json!({"metadata": {"name": namespace, "uid": namespace, "resourceVersion": "1"}});
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[object]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    server.serve_quietly(EXEMPTIONS, list("SidecarExemption", "1", &[]));
    let policy = json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy", "spec": spec,
        "metadata": {"name": "p", "namespace": namespace, "uid": "uid-p", "resourceVersion": "1", "generation": 1},
    });
    server.serve_quietly(
        POLICIES,
        list("SidecarPolicy", "1", std::slice::from_ref(&policy)),
    );
    let path = format!("/apis/sidewatch.dev/v1alpha1/namespaces/{namespace}/sidecarpolicies/p/status");
    let mut version = 1;
    server.answer(Method::PATCH, &path, move |exchange| {
        version += 1;
        let mut answer = policy.clone();
        answer["status"] = exchange.body["status"].clone();
        answer["metadata"]["resourceVersion"] = json!(version.to_string());
        exchange.json(StatusCode::OK, &answer);
    });
    let written = Written::default();
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let (events, patched) = (Arc::clone(&written), server.clone());
    let mut names = BTreeSet::new();
    server.answer(Method::POST, &path.clone(), move |exchange| {
        let event = exchange.body.clone();
        let name = event["metadata"]["name"].as_str().unwrap().to_owned();
        if !names.insert(name.clone()) {
            return exchange.fail(409, "already exists");
        }
        let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
        events
            .lock()
            .unwrap()
            .push((event.clone(), time(&event["eventTime"])));
        exchange.json(StatusCode::CREATED, &event);
        // A later occurrence of the same name raises the series of the stored Event.
        let events = Arc::clone(&events);
        patched.answer(Method::PATCH, &format!("{path}/{name}"), move |exchange| {
            let at = time(&exchange.body["series"]["lastObservedTime"]);
            events.lock().unwrap().push((event.clone(), at));
            exchange.json(StatusCode::OK, &event);
        });
    });
    written
}

/// The field path of each container, by Pod and name.
fn containers<'a>(pods: impl Iterator<Item = &'a Value>) -> BTreeMap<(String, String), String> {
    let mut paths = BTreeMap::new();
    for pod in pods {
        for list in ["initContainers", "containers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let name = text(&container["name"]);
                paths.insert(
                    (text(&pod["metadata"]["name"]), name.clone()),
                    format!("spec.{list}{{{name}}}"),
                );
            }
        }
    }
    paths
}

/// Compares the Events with the violations: one when each fires, one when each resolves. The limit of a Pod may drop
/// some, which the operator counts.
fn compare_events(
    recording: &Recording,
    written: &[(Value, Timestamp)],
    paths: &BTreeMap<(String, String), String>,
    start: Timestamp,
    dropped: usize,
) -> Vec<String> {
    let close =
        |a: f64, at: Timestamp| (a - at.duration_since(start).as_secs_f64()).abs() <= recording.tolerance;
    let is_about = |violation: &Violation, event: &Value| {
        let (pod, container) = (violation.pod.clone(), violation.container.clone());
        event["regarding"]["name"] == *pod
            && event["regarding"]["fieldPath"].as_str() == paths.get(&(pod, container)).map(String::as_str)
    };
    let mut wrong = Vec::new();
    let mut missing: Vec<&Violation> = recording.violations.iter().collect();
    let mut recoveries: Vec<&Violation> = missing.iter().copied().filter(|v| v.resolved.is_some()).collect();
    for (event, at) in written {
        let reason = event["reason"].as_str().unwrap();
        if reason == "SidecarEventsDropped" && dropped > 0 {
            continue;
        }
        let check = REASONS
            .iter()
            .find(|(known, _)| *known == reason)
            .map(|(_, check)| *check);
        let found = if let Some(check) = check {
            let is = |v: &&Violation| v.check == check && is_about(v, event) && close(v.firing, *at);
            missing.iter().position(is).map(|index| missing.remove(index))
        } else {
            let note = event["note"].as_str().unwrap();
            let is = |v: &&Violation| {
                note.contains(&format!("({} under", v.check))
                    && is_about(v, event)
                    && close(v.resolved.unwrap(), *at)
            };
            recoveries
                .iter()
                .position(is)
                .map(|index| recoveries.remove(index))
        };
        if found.is_none() {
            wrong.push(format!(
                "not expected: {reason} {} at {at}: {}",
                event["regarding"], event["note"]
            ));
        }
    }
    missing.retain(|violation| !violation.optional);
    if missing.len() > dropped {
        wrong.push(format!("no Event, while {dropped} were dropped: {missing:?}"));
    }
    wrong
}

/// Compares the series at the end with the violations that still fire.
fn compare_firing(recording: &Recording, series: &[String]) -> Vec<String> {
    let matches = |violation: &Violation, line: &str| {
        [
            ("pod", &violation.pod),
            ("container", &violation.container),
            ("check", &violation.check),
        ]
        .iter()
        .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    };
    let lasting = recording
        .violations
        .iter()
        .filter(|violation| violation.resolved.is_none());
    let missing = lasting
        .clone()
        .filter(|violation| !violation.optional && !series.iter().any(|line| matches(violation, line)))
        .map(|violation| format!("no series of {violation:?}"));
    let unexpected = series
        .iter()
        .filter(|line| !lasting.clone().any(|violation| matches(violation, line)))
        .map(|line| format!("an unexpected series: {line}"));
    missing.chain(unexpected).collect()
}

/// The sum of the series of a counter.
fn sum(operator: &Running, metric: &str) -> usize {
    let value = |line: &String| -> usize { line.rsplit(' ').next().unwrap().parse().unwrap() };
    operator.series(metric).iter().map(value).sum()
}

fn received(operator: &Running) -> usize {
    sum(operator, "sidewatch_watch_events_total")
}

fn firing(operator: &Running) -> Vec<String> {
    let mut series = operator.series("sidewatch_violation");
    series.retain(|line| line.contains("state=\"firing\""));
    series
}
