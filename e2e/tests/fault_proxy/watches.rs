//! Watches that lose events, break, and fall silent.

use e2e::fault_proxy::{Fault, Point, Rule, Verb};
use futures::StreamExt;
use tokio::time::timeout;

use crate::bench::{Bench, MAPS, SOON, WHILE, create, describe};

#[tokio::test]
async fn watches_go_wrong_as_told() {
    let bench = Bench::new().await;
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
        // kube's client takes a connection that breaks for the end of a watch
        ("break", Fault::Close(Point::MidEvent(2)), &["1", "end"]),
        (
            "break-between",
            Fault::Close(Point::BeforeEvent(3)),
            &["1", "2", "end"],
        ),
    ];
    for (name, fault, expected) in table {
        let rule = bench.proxy.add(Rule::new(Verb::Watch, MAPS, fault));
        let names: Vec<String> = ["1", "2", "3"].iter().map(|n| format!("{name}-{n}")).collect();
        let said = bench.watched(&names, expected).await;
        let said: Vec<&str> = said
            .iter()
            .map(|event| event.trim_start_matches(name).trim_start_matches('-'))
            .collect();
        assert_eq!(said, expected, "{name}");
        rule.lift();
    }
}

#[tokio::test]
async fn events_that_were_held_back_come_when_the_rule_is_lifted() {
    let bench = Bench::new().await;
    for (name, point) in [("whole", Point::BeforeEvent(1)), ("half", Point::MidEvent(1))] {
        let rule = bench.proxy.add(Rule::new(Verb::Watch, MAPS, Fault::Hang(point)));
        let mut watch = bench.watch().await;
        create(&bench.direct, name).await.unwrap();
        assert!(timeout(WHILE, watch.next()).await.is_err(), "{name}: held back");
        rule.lift();
        let event = timeout(SOON, watch.next()).await.expect(name).expect(name);
        assert_eq!(describe(&event), name);
    }
}

#[tokio::test]
async fn exchanges_can_be_cut() {
    let bench = Bench::new().await;
    let mut watch = bench.watch().await;
    assert_eq!(
        bench.proxy.cut(Verb::Watch, "*/secrets"),
        0,
        "others are left alone"
    );
    assert_eq!(bench.proxy.cut(Verb::Watch, MAPS), 1);
    let event = timeout(SOON, watch.next()).await.expect("at once");
    assert!(!matches!(event, Some(Ok(_))), "{event:?}");
    bench
        .proxy
        .wait_for_call(Verb::Watch, MAPS, 1, SOON)
        .await
        .unwrap()
        .ended
        .expect("it is over");
    assert_eq!(bench.proxy.cut(None, "*"), 0, "nothing goes on");
}
