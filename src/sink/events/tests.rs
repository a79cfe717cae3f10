//! The requests of each kind of delivery, and the age of a checkpoint.

use http::Method;
use serde_json::json;
use testkit::api_server::{ApiServer, EVENTS, soon};
use tokio::time::sleep;

use super::*;
use crate::{
    domain::testing::at, kubernetes::fence::Fence, sink::event_object::tests::example,
    telemetry::metrics::Metrics,
};

/// Delivers an Event. The server answers the requests with these codes. Returns the method and the body of each request,
/// and the counters of the metrics.
async fn deliver(delivery: Delivery, codes: &[u16]) -> (Vec<(&'static str, Value)>, Arc<Metrics>) {
    let server = ApiServer::default();
    let create = server.route(Method::POST, EVENTS);
    let patch = server.route(Method::PATCH, &format!("{EVENTS}/web-1.0a"));
    let metrics = Arc::new(Metrics::new().unwrap());
    let writer = Writer::new(server.clients().write, Arc::clone(&metrics), Fence::always());
    let sink = EventSink::new(writer, Arc::new(|| at(0)));
    sink.push(Event {
        delivery,
        ..example("web-1.0a", "pod-uid")
    });
    sink.close();
    let serve = async {
        let mut seen = Vec::new();
        for code in codes {
            let (method, exchange) = select! {
                exchange = create.next() => ("POST", exchange),
                exchange = patch.next() => ("PATCH", exchange),
            };
            if method == "PATCH" {
                let content_type = exchange.content_type.as_deref();
                assert_eq!(content_type, Some("application/merge-patch+json"));
            }
            seen.push((method, exchange.body.clone()));
            exchange.fail(*code, "as scripted");
        }
        seen
    };
    let both = async { tokio::join!(sink.run(), serve) };
    let ((), seen) = soon("the sink writes the Event and ends", both).await;
    (seen, metrics)
}

#[tokio::test(start_paused = true)]
async fn every_delivery_results_in_one_event() {
    let series =
        |count: u32| json!({"series": {"count": count, "lastObservedTime": "2026-11-20T10:42:07.500000Z"}});
    let (raise, repeat) = (Delivery::CreateOrRaise(2), Delivery::Repeat(3));
    #[rustfmt::skip]
    let table: [(Delivery, &[u16], &[&str], &str); 9] = [
        (Delivery::Create, &[201], &["POST"], "a new Event"),
        (Delivery::Create, &[409], &["POST"], "written before"),
        (raise, &[201], &["POST"], "the old one has expired"),
        (raise, &[409, 200], &["POST", "PATCH"], "a new episode of the same name"),
        (repeat, &[200], &["PATCH"], "still firing"),
        (repeat, &[404, 201], &["PATCH", "POST"], "it has expired"),
        (repeat, &[404, 409], &["PATCH", "POST"], "another replica was faster"),
        (repeat, &[503, 200], &["PATCH", "PATCH"], "the server fails"),
        (repeat, &[403, 200], &["PATCH", "PATCH"], "the permission to patch Events is missing for a while"),
    ];
    for (delivery, codes, methods, why) in table {
        let (seen, metrics) = deliver(delivery, codes).await;
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
        let writes = ["ok", "error"].map(|outcome| {
            metrics.counter(&format!(
                r#"sidewatch_api_writes_total{{kind="event",outcome="{outcome}"}}"#
            ))
        });
        let errors = u64::from(codes.iter().any(|code| [403, 503].contains(code)));
        assert_eq!(writes, [codes.len() as u64 - errors, errors], "{why}");
    }
}

/// How long the Event of the namespace `quiet` waits, while the API server refuses those of `noisy` after this time.
async fn delay_of_a_quiet_namespace(refusal: Duration) -> Duration {
    let server = ApiServer::default();
    let path = |namespace: &str| EVENTS.replace("/pay/", &format!("/{namespace}/"));
    server.answer(Method::POST, &path("noisy"), move |exchange| {
        tokio::spawn(async move {
            sleep(refusal).await;
            exchange.fail(403, "exceeded quota: events");
        });
    });
    let quiet = server.route(Method::POST, &path("quiet"));
    let metrics = Arc::new(Metrics::new().unwrap());
    let writer = Writer::new(server.clients().write, metrics, Fence::always());
    let sink = Arc::new(EventSink::new(writer, Arc::new(|| at(0))));
    let push = |namespace: &str, n: u32| {
        sink.push(Event {
            namespace: namespace.into(),
            ..example(&format!("{namespace}-{n}"), &format!("{namespace}-{n}"))
        });
    };
    let writing = tokio::spawn({
        let sink = Arc::clone(&sink);
        async move { sink.run().await }
    });
    for n in 0..600 {
        push("noisy", n);
        sleep(Duration::from_millis(50)).await;
    }
    let start = Instant::now();
    push("quiet", 0);
    soon("the Event of the quiet namespace", quiet.next())
        .await
        .json(StatusCode::CREATED, &json!({}));
    let delay = start.elapsed();
    writing.abort();
    delay
}

#[tokio::test(start_paused = true)]
async fn refused_events_of_one_namespace_do_not_delay_those_of_another() {
    for refusal in [0, 500, 3900, 30_000].map(Duration::from_millis) {
        let delay = delay_of_a_quiet_namespace(refusal).await;
        assert!(
            delay < Duration::from_secs(2),
            "{delay:?} with refusals after {refusal:?}"
        );
    }
}

#[test]
fn the_age_of_a_checkpoint_is_that_of_its_state() {
    let arrived = Instant::now() + Duration::from_hours(1);
    let written = |as_of| written_at(arrived, at(100), as_of);
    assert_eq!(written(at(99)), arrived.checked_sub(Duration::from_secs(1)));
    assert_eq!(written(at(75)), arrived.checked_sub(Duration::from_secs(25)));
    assert_eq!(
        written(at(400)),
        Some(arrived),
        "the clock of the writer is ahead"
    );
}
