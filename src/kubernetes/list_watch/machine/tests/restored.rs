//! A restore of etcd sets the versions back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_only_if_the_version_has_not_gone_back() {
    let table = [
        ("5", watch("5")),
        ("17", watch("5")),
        ("opaque", watch("5")),
        ("4", STREAMING_LIST),
    ];
    for (current, expected) in table {
        let mut rig = Rig::watching();
        rig.fail(broken());
        assert_eq!(rig.step(Input::Ready), (None, check("5")));
        rig.step(Input::Accepted);
        assert_eq!(rig.machine.settled_at(), None, "the watch is not answered");
        assert_eq!(rig.step(Input::Item("a")), (None, Next::Read), "it is not listed");
        let end = page_end(current, "more");
        let next = if expected == STREAMING_LIST {
            rig.fail(end);
            rig.step(Input::Ready).1
        } else {
            rig.step(end).1
        };
        assert_eq!(next, expected, "{current}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_version_that_fails_is_repeated() {
    for failure in [refused(503), broken(), Input::Ended, Input::CutOff] {
        let mut rig = Rig::watching();
        rig.fail(broken());
        rig.step(Input::Ready);
        if !matches!(failure, Input::Refused(_)) {
            rig.step(Input::Accepted);
        }
        rig.fail(failure);
        assert_eq!(rig.step(Input::Ready), (None, check("5")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_off_continues_in_sync_only_if_the_version_has_not_gone_back() {
    let mut rig = Rig::watching();
    assert_eq!(rig.step(Input::CutOff), (None, check("5")));
    rig.step(Input::Accepted);
    assert_eq!(rig.step(page_end("5", "")), (None, watch("5")));
    rig.step(Input::Accepted);
    assert_eq!(rig.machine.settled_at(), None, "the watch was not broken");
    assert!(rig.monitor.is_in_sync());
    advance(Duration::from_mins(1)).await;

    assert_eq!(rig.step(Input::CutOff), (None, check("5")));
    rig.step(Input::Accepted);
    rig.fail(page_end("4", ""));
    assert!(!rig.monitor.is_in_sync());
    assert_eq!(rig.step(Input::Ready).1, STREAMING_LIST);
}

#[tokio::test(start_paused = true)]
async fn the_response_of_a_check_is_no_activity_of_the_watch() {
    let mut rig = Rig::watching();
    assert!(rig.machine.is_activity(&event(EventKind::Applied, "a", "6")));
    assert!(rig.machine.is_activity(&end_of_list("6")));
    assert!(
        rig.machine.is_activity::<&str>(&Input::Ended),
        "it reached its timeout"
    );
    assert!(!rig.machine.is_activity::<&str>(&Input::CutOff));
    rig.step(Input::CutOff);
    rig.step(Input::Accepted);
    for input in [Input::Item("a"), page_end("5", ""), Input::Ended] {
        assert!(!rig.machine.is_activity(&input), "{input:?}");
    }
}
