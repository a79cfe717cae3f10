//! Requests that the proxy stops, delays, drops or answers.

use std::time::{Duration, Instant};

use e2e::faults::proxy::{Fault, Point, Rule, Verb};
use kube::api::ListParams;
use tokio::time::timeout;

use super::setup::{MAPS, SOON, Setup, WHILE, code};

#[tokio::test]
async fn a_request_is_stopped_before_or_after_the_server() {
    let setup = Setup::new().await;
    let table = [
        ("close-before", Fault::Close(Point::Request), false),
        ("close-after", Fault::Close(Point::Answer), true),
        ("close-in-head", Fault::Close(Point::Body), true),
        ("close-in-body", Fault::Close(Point::Byte(20)), true),
    ];
    for (name, fault, committed) in table {
        let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, fault));
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
    let table = [
        ("hang-before", Fault::Hang(Point::Request), false),
        ("hang-after", Fault::Hang(Point::Answer), true),
        ("hang-in-head", Fault::Hang(Point::Body), true),
        ("hang-in-body", Fault::Hang(Point::Byte(20)), true),
    ];
    for (name, fault, committed) in table {
        let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, fault));
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
async fn answers_are_delayed_or_injected() {
    let setup = Setup::new().await;
    let busy = Fault::Answer {
        status: 429,
        retry_after: Some(3),
        after_commit: false,
    };
    let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, busy).calls(2..=2));
    setup.create("first").await.unwrap();
    assert_eq!(code(setup.create("second").await), 429);
    assert!(!setup.exists("second").await);
    setup.create("second").await.unwrap();
    rule.lift();

    let lost = Fault::Answer {
        status: 504,
        retry_after: None,
        after_commit: true,
    };
    let rule = setup.proxy.add(Rule::new(Verb::Create, MAPS, lost));
    assert_eq!(code(setup.create("third").await), 504);
    assert!(setup.exists("third").await, "it was committed");
    let call = setup.proxy.calls_of(Verb::Create, MAPS).pop().unwrap();
    assert_eq!(
        (call.server_status, call.status, call.faulted),
        (Some(201), Some(504), true)
    );
    rule.lift();

    let rule = setup.proxy.add(Rule::new(Verb::List, MAPS, Fault::Delay(WHILE)));
    let began = Instant::now();
    setup.maps.list(&ListParams::default()).await.unwrap();
    assert!(began.elapsed() >= WHILE, "{:?}", began.elapsed());
    rule.lift();

    let rule = setup
        .proxy
        .add(Rule::new(Verb::List, MAPS, Fault::Throttle(2000)));
    let began = Instant::now();
    let slow = setup.maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(slow.items.len(), 3, "slow and whole");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(300), "some 1000 bytes: {took:?}");
    rule.lift();

    let rule = setup
        .proxy
        .add(Rule::new(Verb::List, MAPS, Fault::Garble(30..=32)));
    let error = setup.maps.list(&ListParams::default()).await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "not readable: {error}");
    rule.lift();
    setup.maps.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_passed_to_the_client() {
    let setup = Setup::new().await;
    let busy = Fault::Answer {
        status: 503,
        retry_after: Some(7),
        after_commit: false,
    };
    let _rule = setup.proxy.add(Rule::new(Verb::Get, "/version", busy));
    let request = http::Request::get("/version")
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = setup.maps.clone().into_client().send(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
}
