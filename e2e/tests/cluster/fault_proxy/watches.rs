//! Watches that lose events, break, or hang.

use e2e::faults::proxy::{Fault, Point, Rule, Verb};
use futures::StreamExt;
use tokio::time::timeout;

use super::setup::{MAPS, SOON, Setup, WHILE, create, describe};

#[tokio::test]
async fn faults_apply_to_watches() {
    let setup = Setup::new().await;
    let endless = u64::MAX;
    let table: [(&str, Fault, &[&str]); 10] = [
        ("drop", Fault::Drop(2..=2), &["1", "3", "silence"]),
        (
            "repeat",
            Fault::Repeat(1..=2),
            &["1", "1", "2", "2", "3", "silence"],
        ),
        ("lose-all", Fault::Drop(1..=endless), &["silence"]),
        ("stop", Fault::End(2), &["1", "2", "end"]),
        ("expire", Fault::error_event(1, 410), &["1", "error 410", "end"]),
        ("fail", Fault::error_event(0, 500), &["error 500", "end"]),
        ("hold", Fault::Hang(Point::BeforeEvent(2)), &["1", "silence"]),
        ("hang", Fault::Hang(Point::MidEvent(3)), &["1", "2", "silence"]),
        // the client of kube treats a closed connection as the end of a watch
        ("break", Fault::Close(Point::MidEvent(2)), &["1", "end"]),
        (
            "break-between",
            Fault::Close(Point::BeforeEvent(3)),
            &["1", "2", "end"],
        ),
    ];
    for (name, fault, expected) in table {
        let rule = setup.proxy.add(Rule::new(Verb::Watch, MAPS, fault));
        let names: Vec<String> = ["1", "2", "3"].iter().map(|n| format!("{name}-{n}")).collect();
        let events = setup.watched(&names, expected).await;
        let events: Vec<&str> = events
            .iter()
            .map(|event| event.trim_start_matches(name).trim_start_matches('-'))
            .collect();
        assert_eq!(events, expected, "{name}");
        rule.lift();
    }
}

#[tokio::test]
async fn delayed_events_arrive_when_the_rule_is_lifted() {
    let setup = Setup::new().await;
    for (name, point) in [("whole", Point::BeforeEvent(1)), ("half", Point::MidEvent(1))] {
        let rule = setup.proxy.add(Rule::new(Verb::Watch, MAPS, Fault::Hang(point)));
        let mut watch = setup.watch().await;
        create(&setup.direct, name).await.unwrap();
        assert!(timeout(WHILE, watch.next()).await.is_err(), "{name}: held back");
        rule.lift();
        let event = timeout(SOON, watch.next()).await.expect(name).expect(name);
        assert_eq!(describe(&event), name);
    }
}

#[tokio::test]
async fn active_requests_can_be_closed() {
    let setup = Setup::new().await;
    let mut watch = setup.watch().await;
    assert_eq!(setup.proxy.cut(Verb::Watch, "*/secrets"), 0, "no other request");
    assert_eq!(setup.proxy.cut(Verb::Watch, MAPS), 1);
    let event = timeout(SOON, watch.next()).await.expect("at once");
    assert!(!matches!(event, Some(Ok(_))), "{event:?}");
    setup
        .proxy
        .wait_for_call(Verb::Watch, MAPS, 1, SOON)
        .await
        .unwrap()
        .ended
        .expect("it has ended");
    assert_eq!(setup.proxy.cut(None, "*"), 0, "no active request");
}
