//! A restore of etcd sets the versions back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_only_if_the_version_has_not_gone_back() {
    let table = [
        ("5", watch("5")),
        ("17", watch("5")),
        ("opaque", watch("5")),
        ("4", Next::Send(Request::StreamingList)),
    ];
    for (current, expected) in table {
        let mut rig = Rig::watching();
        rig.fail(broken());
        assert_eq!(rig.step(Input::Ready), (None, check("5")));
        rig.step(Input::Accepted);
        assert_eq!(rig.machine.settled_at(), None, "the watch is not answered");
        assert_eq!(rig.step(Input::Item("a")), (None, Next::Read), "it is not listed");
        let next = match rig.step(page_end(current, "more")) {
            (Some(WatchEvent::Disconnected { .. }), Next::Wait(_)) => rig.step(Input::Ready).1,
            (None, next) => next,
            other => panic!("{current}: {other:?}"),
        };
        assert_eq!(next, expected, "{current}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_version_that_fails_is_repeated() {
    for failure in [refused(503), broken(), Input::Ended] {
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
