//! Requests that the proxy stops, delays, drops or answers.

use std::time::{Duration, Instant};

use e2e::faults::proxy::{Fault, Point, Rule, Verb};
use kube::api::ListParams;
use kube::client::Body;
use tokio::time::timeout;

use super::setup::{MAPS, SOON, Setup, WHILE, code};

/// Names of objects, the points at which their creation stops, and whether the API server has committed it by then.
const POINTS: [(&str, Point, bool); 4] = [
    ("before", Point::Request, false),
    ("after", Point::Answer, true),
    ("in-head", Point::Body, true),
    ("in-body", Point::Byte(20), true),
];

#[tokio::test]
async fn a_request_is_stopped_before_or_after_the_server() {
    let setup = Setup::new().await;
    for (name, point, committed) in POINTS {
        let rule = setup
            .proxy
            .add(Rule::new(Verb::Create, MAPS, Fault::Close(point)));
        let error = timeout(SOON, setup.create(name)).await.unwrap().unwrap_err();
        assert!(!matches!(error, kube::Error::Api(_)), "{name}: {error}");
        assert_eq!(rule.hits(), 1, "{name}");
        rule.lift();
        let call = setup.proxy.calls_of(Verb::Create, MAPS).pop().unwrap();
        assert_eq!(call.server_status.is_some(), committed, "{name}");
        assert_eq!(setup.exists(name).await, committed, "{name}");
    }
    setup.create("after-all").await.unwrap();
}

#[tokio::test]
async fn a_request_hangs_until_the_rule_is_lifted() {
    let setup = Setup::new().await;
    for (name, point, committed) in POINTS {
        let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, Fault::Hang(point)));
        let creating = setup.create(name);
        tokio::pin!(creating);
        if committed {
            let committed = async { tokio::join!(setup.committed(name), tokio::time::sleep(WHILE)) };
            tokio::select! {
                result = &mut creating => panic!("{name} does not hang: {result:?}"),
                _ = committed => {}
            }
        } else {
            assert!(timeout(WHILE, &mut creating).await.is_err(), "{name}: it hangs");
            assert!(!setup.exists(name).await, "{name}");
        }
        rule.lift();
        timeout(SOON, creating).await.expect(name).expect(name);
        assert!(setup.exists(name).await, "{name}");
    }
}

#[tokio::test]
async fn answers_are_injected() {
    let setup = Setup::new().await;
    let busy = Rule::new(Verb::Create, MAPS, Fault::busy(429, 3)).calls(2..=2);
    let rule = setup.proxy.add(busy);
    setup.create("first").await.unwrap();
    assert_eq!(code(setup.create("second").await), 429);
    assert!(!setup.exists("second").await);
    setup.create("second").await.unwrap();
    rule.lift();

    let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, Fault::lost(504)));
    assert_eq!(code(setup.create("third").await), 504);
    assert!(setup.exists("third").await, "it was committed");
    let call = setup.proxy.calls_of(Verb::Create, MAPS).pop().unwrap();
    assert_eq!(
        (call.server_status, call.status, call.faulted),
        (Some(201), Some(504), true)
    );
    rule.lift();

    let _rule = setup
        .proxy
        .add(Rule::new(Verb::Get, "/version", Fault::busy(503, 7)));
    let request = http::Request::get("/version").body(Body::empty()).unwrap();
    let answer = setup.maps.clone().into_client().send(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn answers_are_delayed_slow_or_garbled() {
    let setup = Setup::new().await;
    for name in ["first", "second", "third"] {
        setup.create(name).await.unwrap();
    }
    let listed = async |fault| {
        let rule = setup.proxy.add(Rule::new(Verb::List, MAPS, fault));
        let began = Instant::now();
        let result = setup.maps.list(&ListParams::default()).await;
        rule.lift();
        (result.map(|list| list.items.len()), began.elapsed())
    };
    let (_, took) = listed(Fault::Delay(WHILE)).await;
    assert!(took >= WHILE, "{took:?}");
    let (slow, took) = listed(Fault::Throttle(2000)).await;
    assert_eq!(slow.unwrap(), 3, "slow and whole");
    assert!(took > Duration::from_millis(300), "some 1000 bytes: {took:?}");
    let (garbled, _) = listed(Fault::Garble(30..=32)).await;
    let error = garbled.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "not readable: {error}");
    setup.maps.list(&ListParams::default()).await.unwrap();
}
