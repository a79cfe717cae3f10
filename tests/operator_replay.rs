//! Plays recordings of a real kubelet to the whole operator: an API server that lists nothing and then tells what a
//! real one told, as fast as the operator takes it, on a clock that the test moves. The same violations must fire, and
//! each must be told in one Event that names the right container. A test per recording and policy.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test without the standard harness, which clippy does not see as one"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use testkit::{
    api_server::{
        self, CLUSTER_POLICIES, NAMESPACES, POLICIES, Running, Server, list, pods, start_at, until,
    },
    recordings::{self, Recording, Violation},
};

/// Which reason tells of which check.
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
            // One thread: what the operator counts as received it has also judged when anybody else looks.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let differences = runtime.block_on(play(&recording));
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(differences.join("\n")))
            }
        })
    };
    libtest_mimic::run(&arguments, recordings::all().into_iter().map(trial).collect()).exit();
}

/// Plays a recording to its end, and returns what is wrong.
async fn play(recording: &Recording) -> Vec<String> {
    let (start, lines) = recording.lines();
    let at = |t: f64| start + SignedDuration::from_secs_f64(t);
    let namespace = lines[0].object["metadata"]["namespace"]
        .as_str()
        .unwrap()
        .to_owned();
    let containers = containers(lines.iter().map(|line| &line.object));
    let server = Server::start().await;
    let told = serve(&server, &namespace, &recording.spec);
    let now = Arc::new(Mutex::new(start));
    let clock = {
        let now = Arc::clone(&now);
        move || *now.lock().unwrap()
    };
    let operator = start_at(&server, &[], Arc::new(clock));
    let pods = pods(&server);
    pods.next().await.json(StatusCode::OK, &list("Pod", "1", &[]));
    let watch = pods.next().await.watch();
    operator.ready().await;

    let already = received(&operator);
    let mut sent = 0;
    for line in lines {
        *now.lock().unwrap() = at(line.t);
        // The operator asks for Pods that are not done: one that is leaves its view.
        let done = matches!(
            line.object["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        );
        watch.event(if done { "DELETED" } else { &line.kind }, &line.object);
        sent += 1;
        until("the operator has taken it", || {
            received(&operator) >= already + sent
        })
        .await;
    }
    *now.lock().unwrap() = at(recording.end);
    // A Pod that no policy sees: time has passed when it is taken.
    watch.event("ADDED", &api_server::pod("elsewhere", "999999999", true));
    until("the operator has taken it", || {
        received(&operator) > already + sent
    })
    .await;
    let (counted, firing, dropped) = (fired(&operator), firing(&operator), dropped(&operator));
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
        &told.lock().unwrap(),
        &containers,
        start,
        dropped,
    ));
    wrong
}

/// One pending_events of a violation: the Event as first written, and when.
type Told = Arc<Mutex<Vec<(Value, Timestamp)>>>;

/// Answers for everything but Pods, and keeps Events as the API server would: one object per name.
fn serve(server: &Server, namespace: &str, spec: &Value) -> Told {
    let object = json!({"metadata": {"name": namespace, "uid": namespace, "resourceVersion": "1"}});
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[object]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    let policy = json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy", "spec": spec,
        "metadata": {"name": "p", "namespace": namespace, "uid": "uid-p", "resourceVersion": "1", "generation": 1},
    });
    server.serve_quietly(
        POLICIES,
        list("SidecarPolicy", "1", std::slice::from_ref(&policy)),
    );
    let path = format!("/apis/sidewatch.dev/v1alpha1/namespaces/{namespace}/sidecarpolicies/p/status");
    let statuses = server.route(Method::PATCH, &path);
    tokio::spawn(async move {
        for version in 2.. {
            let exchange = statuses.any().await;
            let mut answer = policy.clone();
            answer["status"] = exchange.body["status"].clone();
            answer["metadata"]["resourceVersion"] = json!(version.to_string());
            exchange.json(StatusCode::OK, &answer);
        }
    });
    let told = Told::default();
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let created = server.route(Method::POST, &path);
    let server = server.handle();
    tokio::spawn({
        let told = Arc::clone(&told);
        async move {
            let mut kept: BTreeMap<String, Value> = BTreeMap::new();
            loop {
                let exchange = created.any().await;
                let event = exchange.body.clone();
                let name = event["metadata"]["name"].as_str().unwrap().to_owned();
                let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
                if let Some(known) = kept.get(&name) {
                    // A new episode under an old name is told by the series of the Event that is there.
                    let raised = server.route(Method::PATCH, &format!("{path}/{name}"));
                    let (known, told) = (known.clone(), Arc::clone(&told));
                    tokio::spawn(async move {
                        let exchange = raised.any().await;
                        let at = time(&exchange.body["series"]["lastObservedTime"]);
                        told.lock().unwrap().push((known.clone(), at));
                        exchange.json(StatusCode::OK, &known);
                    });
                    exchange.fail(409, "already exists");
                } else {
                    told.lock()
                        .unwrap()
                        .push((event.clone(), time(&event["eventTime"])));
                    kept.insert(name, event.clone());
                    exchange.json(StatusCode::CREATED, &event);
                }
            }
        }
    });
    told
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

/// Each violation must have been told once, when it fired; each recovery when it resolved. A Pod's Events have a
/// budget: what it swallowed is counted.
fn compare_events(
    recording: &Recording,
    told: &[(Value, Timestamp)],
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
    let mut untold: Vec<&Violation> = recording.violations.iter().collect();
    let mut recoveries: Vec<&Violation> = untold.iter().copied().filter(|v| v.resolved.is_some()).collect();
    for (event, at) in told {
        let reason = event["reason"].as_str().unwrap();
        let check = REASONS
            .iter()
            .find(|(known, _)| *known == reason)
            .map(|(_, check)| *check);
        let found = if let Some(check) = check {
            let is = |v: &&Violation| v.check == check && is_about(v, event) && close(v.firing, *at);
            untold.iter().position(is).map(|place| untold.remove(place))
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
                .map(|place| recoveries.remove(place))
        };
        if found.is_none() {
            wrong.push(format!(
                "not expected: {reason} {} at {at}: {}",
                event["regarding"], event["note"]
            ));
        }
    }
    untold.retain(|violation| !violation.optional);
    if untold.len() > dropped {
        wrong.push(format!("not told, while {dropped} were dropped: {untold:?}"));
    }
    wrong
}

/// The series at the end must be those of the violations that still fire.
fn compare_firing(recording: &Recording, series: &[String]) -> Vec<String> {
    let is_of = |violation: &Violation, line: &str| {
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
        .filter(|violation| !violation.optional && !series.iter().any(|line| is_of(violation, line)))
        .map(|violation| format!("no series of {violation:?}"));
    let foreign = series
        .iter()
        .filter(|line| !lasting.clone().any(|violation| is_of(violation, line)))
        .map(|line| format!("a series that should not be there: {line}"));
    missing.chain(foreign).collect()
}

/// The value at the end of a line of the metrics.
fn value(line: &str) -> usize {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn received(operator: &Running) -> usize {
    operator
        .series("sidewatch_watch_events_total")
        .iter()
        .map(|line| value(line))
        .sum()
}

fn fired(operator: &Running) -> usize {
    operator
        .series("sidewatch_violations_total")
        .iter()
        .map(|line| value(line))
        .sum()
}

fn dropped(operator: &Running) -> usize {
    operator
        .series("sidewatch_events_dropped_total")
        .iter()
        .map(|line| value(line))
        .sum()
}

fn firing(operator: &Running) -> Vec<String> {
    let mut series = operator.series("sidewatch_violation");
    series.retain(|line| line.contains("state=\"firing\""));
    series
}
