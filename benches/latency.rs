//! Latency from a change of a Pod's status to `/metrics`. The measurement starts when the API server sends the event.
//! It ends with the response to the first scrape that shows the change. It includes the whole operator and two loopback
//! connections. Scrapes follow each other without a pause, so the figure includes the last scrape.
//!
//! `make bench` measures. `cargo test` makes three changes and verifies that they arrive.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark of a broken program may panic"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidewatch::{
    clock::SystemClock,
    http::server::{Limits, Protection, listen, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use testkit::{
    api_server::{ApiServer, PODS as POD_LIST, list, policy, start_at},
    pods::meshed_pod,
};

/// The number of Pods in the cluster.
const PODS: u32 = 1_000;
/// The number of Pods that violate the policy during the whole benchmark.
const VIOLATING: u32 = 100;

fn main() {
    let measures = std::env::args().any(|argument| argument == "--bench");
    let changes = if measures { 2_000 } else { 3 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut times = runtime.block_on(measure(changes));
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!(
        "{changes} changes: median {:?}, 90% {:?}, 99% {:?}, most {:?}",
        at(500),
        at(900),
        at(990),
        at(1000)
    );
}

/// Returns a Pod whose native sidecar is ready or unready.
fn pod(number: u32, ready: bool) -> Value {
    let mut pod = meshed_pod(number);
    pod["status"]["initContainerStatuses"][1]["ready"] = json!(ready);
    pod
}

async fn measure(changes: u32) -> Vec<Duration> {
    let server = ApiServer::default();
    let listener = server.listen().await;
    let mut policy = policy("mesh", "3");
    policy["metadata"]["namespace"] = json!("shop");
    policy["spec"]["mode"] = json!("Observe");
    server.serve_all_but_pods(&[policy]);
    let listed: Vec<Value> = (0..PODS).map(|number| pod(number, number >= VIOLATING)).collect();
    let route = server.route(Method::GET, POD_LIST);
    let operator = start_at(listener.clients(), &[], Arc::new(SystemClock::default()));
    route
        .next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &listed));
    let watch = route.next().await.watch();
    operator.ready().await;
    let (listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let limits = Limits {
        page_age: Duration::ZERO,
        ..Limits::default()
    };
    let serving = tokio::spawn(serve(listener, operator.pages(), limits, Protection::default()));

    let mut times = Vec::new();
    for change in 0..changes {
        // The Pod becomes unready. The next change makes it ready again.
        let (number, ready) = (VIOLATING + change / 2 % (PODS - VIOLATING), change % 2 == 1);
        let event = watch.encode("MODIFIED", &pod(number, ready));
        let name = format!("pod=\"checkout-6d5f7c9b8d-{number:05x}\"");
        let begun = tokio::time::Instant::now();
        watch.raw(event);
        while scrape(address).await.contains(&name) == ready {}
        times.push(begun.elapsed());
        // Changes must not be in step with scrapes.
        tokio::time::sleep(Duration::from_micros(u64::from(change * 37 % 1_000))).await;
    }
    serving.abort();
    times
}

async fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    answer
}
