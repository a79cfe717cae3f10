//! Watches that lose events, break, or hang.

use e2e::faults::proxy::{Fault, Point, Rule, Verb};
use futures::StreamExt;
use tokio::time::timeout;

use super::setup::{MAPS, SOON, Setup};

#[tokio::test]
async fn faults_apply_to_watches() {
    let setup = Setup::new().await;
    // The unit tests of the proxy have all faults; these are the ways to change a response.
    let table: [(&str, Fault, &[&str]); 4] = [
        ("drop", Fault::Drop(2..=2), &["1", "3", "silence"]),
        ("expire", Fault::error_event(1, 410), &["1", "error 410", "end"]),
        ("hang", Fault::Hang(Point::MidEvent(3)), &["1", "2", "silence"]),
        // the client of kube treats a closed connection as the end of a watch
        ("break", Fault::Close(Point::MidEvent(2)), &["1", "end"]),
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
