//! How an Event is delivered: created, patched, repeated.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidewatch::{
    domain::{
        effects::{Delivery, Event, Regarding},
        policy::{PolicyKey, PolicyKind, Severity},
    },
    kubernetes::fence::Fence,
    sink::{Writer, events::EventSink},
    telemetry::metrics::Metrics,
};

use testkit::api_server::{ApiServer, EVENTS, soon, virtual_clock};

fn event(delivery: Delivery) -> Event {
    Event {
        name: "web-1.0a".to_owned(),
        policy: PolicyKey {
            kind: PolicyKind::SidecarPolicy,
            namespace: "pay".into(),
            name: "mesh".into(),
        },
        policy_uid: "uid-mesh".into(),
        namespace: "pay".into(),
        regarding: Regarding {
            kind: "Pod".into(),
            name: "web-1".into(),
            uid: "uid-web-1".into(),
            field_path: "spec.containers{agent}".to_owned(),
        },
        reason: "SidecarContainerNotReady",
        warning: true,
        severity: Severity::Warning,
        recovers: Vec::new(),
        note: "Sidecar 'agent' (classic) is not ready.".to_owned(),
        at: "2026-11-20T10:42:07Z".parse().unwrap(),
        delivery,
    }
}

/// The method and the body of each request of a delivery when the server answers with these codes.
async fn requests(delivery: Delivery, codes: &[u16]) -> Vec<(&'static str, Value)> {
    let server = ApiServer::default();
    let create = server.route(Method::POST, EVENTS);
    let patch = server.route(Method::PATCH, &format!("{EVENTS}/web-1.0a"));
    let metrics = Arc::new(Metrics::new().unwrap());
    let writer = Writer::new(server.clients().write, metrics, Fence::always());
    let sink = EventSink::new(writer, virtual_clock());
    sink.push(event(delivery));
    sink.close();
    let serve = async {
        let mut seen = Vec::new();
        for code in codes {
            let (method, exchange) = tokio::select! {
                exchange = create.next() => ("POST", exchange),
                exchange = patch.next() => ("PATCH", exchange),
            };
            if method == "PATCH" {
                assert_eq!(
                    exchange.content_type.as_deref(),
                    Some("application/merge-patch+json")
                );
            }
            seen.push((method, exchange.body.clone()));
            exchange.fail(*code, "as scripted");
        }
        seen
    };
    let ((), seen) = soon("the sink writes it and ends", async {
        tokio::join!(sink.run(), serve)
    })
    .await;
    seen
}

#[tokio::test(start_paused = true)]
async fn every_delivery_results_in_one_event() {
    let series =
        |count: u32| json!({"series": {"count": count, "lastObservedTime": "2026-11-20T10:42:07.000000Z"}});
    let ok = StatusCode::OK.as_u16();
    let table: [(Delivery, &[u16], &[&str], &str); 9] = [
        (Delivery::Create, &[201], &["POST"], "a new Event"),
        (Delivery::Create, &[409], &["POST"], "written before"),
        (
            Delivery::CreateOrRaise(2),
            &[201],
            &["POST"],
            "the old one has expired",
        ),
        (
            Delivery::CreateOrRaise(2),
            &[409, ok],
            &["POST", "PATCH"],
            "a new episode of the same name",
        ),
        (Delivery::Repeat(3), &[ok], &["PATCH"], "still firing"),
        (
            Delivery::Repeat(3),
            &[404, 201],
            &["PATCH", "POST"],
            "it has expired",
        ),
        (
            Delivery::Repeat(3),
            &[404, 409],
            &["PATCH", "POST"],
            "another replica was faster",
        ),
        (
            Delivery::Repeat(3),
            &[503, ok],
            &["PATCH", "PATCH"],
            "the server fails",
        ),
        (
            Delivery::Repeat(3),
            &[403, ok],
            &["PATCH", "PATCH"],
            "the permission to patch Events is missing for a while",
        ),
    ];
    for (delivery, codes, methods, why) in table {
        let seen = requests(delivery, codes).await;
        let seen_methods: Vec<_> = seen.iter().map(|(method, _)| *method).collect();
        assert_eq!(seen_methods, methods, "{why}");
        for (method, body) in &seen {
            match (*method, delivery) {
                ("PATCH", Delivery::CreateOrRaise(count) | Delivery::Repeat(count)) => {
                    assert_eq!(*body, series(count), "{why}: nothing else can be changed");
                }
                (_, Delivery::Repeat(count)) => assert_eq!(body["series"], series(count)["series"], "{why}"),
                _ => assert_eq!(body.get("series"), None, "{why}"),
            }
        }
    }
}
