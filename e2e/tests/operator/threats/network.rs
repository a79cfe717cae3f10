//! Threats by clients of the two ports.

use std::net::SocketAddr;
use std::time::Instant;

use e2e::metrics::value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::threatened;
use crate::protected_metrics::Setup;

/// Another client: limits are per address.
const ATTACKER: &str = "127.0.0.2:0";
/// Bound of the growth for any behaviour of clients, in MB.
const MAX_GROWTH: f64 = 20.0;

#[tokio::test]
async fn half_open_connections() {
    let cluster = threatened().await;
    let operator = &cluster.operator;
    let mut open: Vec<TcpStream> = Vec::new();
    for address in [operator.metrics_address(), operator.health_address()] {
        let address: SocketAddr = address.parse().unwrap();
        for beginning in ["", "GET", "GET /metrics HTTP/1.1\r\nhost: x\r\n"] {
            for _ in 0..100 {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(ATTACKER.parse().unwrap()).unwrap();
                let mut stream = socket.connect(address).await.unwrap();
                // The server may close the connection before.
                let _closed = stream.write_all(beginning.as_bytes()).await;
                open.push(stream);
            }
        }
    }
    assert!(operator.metrics().await.unwrap().contains("sidewatch_build_info"));
    assert_eq!(operator.livez().await.unwrap().status, 200);
    assert_eq!(operator.readyz().await.unwrap().status, 200);
    cluster.others_are_served().await;
    drop(open);
}

#[tokio::test]
async fn handshakes_and_tokens() {
    let setup = Setup::start().await;
    setup.add_roles().await;
    let token = setup.token("prometheus").await;
    setup.until_status(Some(&token), 200).await;
    let before = setup.operator.resident_mb().unwrap();
    let mut most = before;

    let mut open = Vec::new();
    for n in 0..600 {
        let mut stream = setup.connect(ATTACKER).await.unwrap();
        // The beginning of a ClientHello. The server may close the connection before.
        let _closed = stream
            .write_all(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")
            .await;
        let _closed = stream.write_all(&vec![0; 8000]).await;
        open.push(stream);
        if n % 50 == 0 {
            most = most.max(setup.operator.resident_mb().unwrap());
        }
    }
    drop(open);
    // More guesses than connections: the server closes the oldest ones.
    let begun = Instant::now();
    let mut unread = Vec::new();
    for n in 0..200 {
        let guess = format!("{n}-{}", "x".repeat(8000));
        unread.extend(setup.request(ATTACKER, Some(&guess)).await.ok());
        if n % 50 == 0 {
            most = most.max(setup.operator.resident_mb().unwrap());
        }
    }
    let mut limited = 0;
    for n in 0..50 {
        let (status, body) = setup
            .response(ATTACKER, Some(&format!("guess {n}")))
            .await
            .unwrap();
        assert!([401, 429].contains(&status), "{status} {body}");
        limited += usize::from(status == 429);
    }
    let page = setup.until_status(Some(&token), 200).await;
    most = most.max(setup.operator.resident_mb().unwrap());
    let growth = most - before;
    println!("resident memory: {before:.1} MB before, {most:.1} MB at most; {limited} of 50 guesses limited");
    assert!(growth < MAX_GROWTH, "grew by {growth:.1} MB");

    let reviewed = value(
        &page,
        "sidewatch_metrics_reviews_total",
        &[("outcome", "unauthenticated")],
    );
    let most_reviews = 6.0 + begun.elapsed().as_secs_f64();
    let reviewed = reviewed.unwrap().unwrap();
    assert!(reviewed <= most_reviews, "{reviewed} reviews, not {most_reviews}");
}
