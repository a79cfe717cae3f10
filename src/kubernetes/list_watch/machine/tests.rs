mod restored;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::advance;

use super::*;
use crate::{
    clock::Clock,
    telemetry::{
        metrics::Metrics,
        monitor::{Monitor, Resource},
    },
};

/// A list-watch of strings.
struct Rig {
    machine: ListWatch,
    monitor: Arc<Monitor>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Mode {
            streaming: true,
            optional: false,
        })
    }

    fn with(mode: Mode) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::UNIX_EPOCH);
        let monitor = Arc::new(Monitor::new(Resource::Pods, None, clock));
        let metrics = Arc::new(Metrics::new().unwrap());
        let machine = ListWatch::new(mode, Recovery::new(Arc::clone(&monitor), metrics));
        Self { machine, monitor }
    }

    fn step(&mut self, input: Input<&'static str>) -> (Option<WatchEvent<&'static str>>, Next) {
        let Step { event, next } = self.machine.step(input);
        (event, next)
    }

    /// Passes an input that is a failure. Returns the wait before the next request.
    fn fail(&mut self, input: Input<&'static str>) -> Duration {
        match self.step(input) {
            (event, Next::Wait(until)) if event == DISCONNECTED => until - Instant::now(),
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// A list-watch whose list is complete at version 5 and whose watch is accepted.
    fn watching() -> Self {
        let mut rig = Self::new();
        rig.step(Input::Ready);
        rig.step(Input::Accepted);
        assert_eq!(
            rig.step(end_of_list("5")),
            (Some(WatchEvent::Complete), Next::Read)
        );
        rig
    }

    /// Resumes the watch of version 5 or 6: the version has not gone back, and the API server accepts the watch.
    fn resume(&mut self) {
        self.step(Input::Ready);
        self.step(Input::Accepted);
        let (event, next) = self.step(page_end("6", ""));
        assert!(
            matches!((&event, &next), (None, Next::Send(Request::Watch { .. }))),
            "{event:?}, {next:?}"
        );
        self.step(Input::Accepted);
    }
}

const RESTARTED: Option<WatchEvent<&str>> = Some(WatchEvent::Restarted {
    last_synced: Timestamp::MIN,
});
const DISCONNECTED: Option<WatchEvent<&str>> = Some(WatchEvent::Disconnected {
    last_synced: Timestamp::MIN,
});
const STREAMING_LIST: Next = Next::Send(Request::StreamingList);

fn end_of_list(version: &str) -> Input<&'static str> {
    Input::Bookmark {
        version: version.to_owned(),
        ends_initial_events: true,
    }
}

fn page_end(version: &str, continue_token: &str) -> Input<&'static str> {
    Input::PageEnd {
        version: version.to_owned(),
        continue_token: continue_token.to_owned(),
    }
}

fn event(kind: EventKind, object: &'static str, version: &str) -> Input<&'static str> {
    Input::Event(kind, object, version.to_owned())
}

fn status(code: u16) -> Box<Status> {
    Status::failure("no", "").with_code(code).boxed()
}

fn refused(code: u16) -> Input<&'static str> {
    Input::Refused(kube::Error::Api(status(code)).into())
}

fn error_event(code: u16) -> Input<&'static str> {
    Input::Error(Refusal {
        status: status(code),
        retry_after: None,
    })
}

fn broken() -> Input<&'static str> {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Input::Broken(kube::Error::ReadEvents(error).into())
}

fn undecodable() -> Input<&'static str> {
    Input::Broken(kube::Error::SerdeError(serde_json::Error::custom("bad")).into())
}

fn page(continue_token: Option<&str>) -> Next {
    Next::Send(Request::Page {
        continue_token: continue_token.map(str::to_owned),
    })
}

fn watch(version: &str) -> Next {
    let version = version.to_owned();
    Next::Send(Request::Watch { version })
}

fn check(version: &str) -> Next {
    let version = version.to_owned();
    Next::Send(Request::Check { version })
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_continues_as_a_watch() {
    let mut rig = Rig::new();
    assert_eq!(rig.step(Input::Ready), (RESTARTED, STREAMING_LIST));
    assert_eq!(rig.step(Input::Accepted), (None, Next::Read));
    let listed = rig.step(event(EventKind::Applied, "a", "3"));
    assert_eq!(listed, (Some(WatchEvent::Listed("a")), Next::Read));
    let deleted = rig.step(event(EventKind::Deleted, "a", "4"));
    assert_eq!(
        deleted,
        (Some(WatchEvent::Deleted("a")), Next::Read),
        "a change before the end of the list"
    );
    let bookmark = Input::Bookmark {
        version: "4".to_owned(),
        ends_initial_events: false,
    };
    assert_eq!(
        rig.step(bookmark),
        (None, Next::Read),
        "another bookmark is not the end"
    );
    assert!(!rig.monitor.is_in_sync());
    assert_eq!(
        rig.step(end_of_list("5")),
        (Some(WatchEvent::Complete), Next::Read)
    );
    assert!(rig.monitor.is_in_sync());
    let applied = rig.step(event(EventKind::Applied, "b", "6"));
    assert_eq!(applied, (Some(WatchEvent::Applied("b")), Next::Read));
    assert_eq!(rig.step(Input::Ended), (None, watch("6")), "from the last event");
}

#[tokio::test(start_paused = true)]
async fn a_refused_streaming_list_becomes_a_paged_one_and_is_tried_again_at_the_next_list() {
    let mut rig = Rig::new();
    rig.step(Input::Ready);
    assert_eq!(
        rig.step(refused(422)),
        (None, page(None)),
        "at once, without an error"
    );
    rig.step(Input::Accepted);
    assert_eq!(
        rig.step(Input::Item("a")),
        (Some(WatchEvent::Listed("a")), Next::Read)
    );
    assert_eq!(rig.step(page_end("5", "more")), (None, page(Some("more"))));
    rig.step(Input::Accepted);
    assert_eq!(
        rig.step(page_end("5", "")),
        (Some(WatchEvent::Complete), watch("5"))
    );
    rig.step(Input::Accepted);
    rig.fail(error_event(410));
    assert_eq!(rig.step(Input::Ready), (RESTARTED, STREAMING_LIST));
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_that_breaks_off_is_followed_by_a_paged_one() {
    for end in [
        Input::Ended,
        Input::CutOff,
        broken(),
        undecodable(),
        error_event(500),
    ] {
        let mut rig = Rig::new();
        rig.step(Input::Ready);
        rig.step(Input::Accepted);
        rig.step(event(EventKind::Applied, "a", "3"));
        rig.fail(end);
        assert_eq!(rig.step(Input::Ready), (RESTARTED, page(None)));
        rig.fail(refused(500));
        assert_eq!(rig.step(Input::Ready).1, STREAMING_LIST, "a failed page");
    }
    let mut rig = Rig::new();
    rig.step(Input::Ready);
    rig.fail(refused(503));
    assert_eq!(
        rig.step(Input::Ready).1,
        STREAMING_LIST,
        "a server that is starting may support streaming lists"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_watch_resumes_unless_an_event_may_be_lost() {
    let no_version = event(EventKind::Applied, "a", "");
    let table = [
        (refused(503), check("5"), "the server is starting"),
        (refused(429), check("5"), "too many requests"),
        (
            refused(410),
            STREAMING_LIST,
            "the server no longer has the version",
        ),
        (
            error_event(410),
            STREAMING_LIST,
            "the server no longer has the version",
        ),
        (error_event(500), STREAMING_LIST, "an error of the server"),
        (broken(), check("5"), "the connection broke"),
        (undecodable(), STREAMING_LIST, "an event that does not decode"),
        (no_version, STREAMING_LIST, "an event without a version"),
    ];
    for (input, expected, why) in table {
        let mut rig = Rig::watching();
        rig.fail(input);
        assert!(!rig.monitor.is_in_sync(), "{why}");
        assert_eq!(rig.step(Input::Ready).1, expected, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_has_caught_up_after_half_a_second_of_silence() {
    let mut rig = Rig::watching();
    rig.fail(broken());
    assert_eq!(rig.machine.settled_at(), None, "not yet answered");
    rig.resume();
    let answered = Instant::now();
    let settled = |rig: &Rig| rig.machine.settled_at().map(|at| at - answered);
    assert_eq!(settled(&rig), Some(Duration::from_millis(500)));
    advance(Duration::from_millis(400)).await;
    rig.step(event(EventKind::Applied, "a", "6"));
    assert_eq!(
        settled(&rig),
        Some(Duration::from_millis(900)),
        "silence since the event"
    );
    advance(Duration::from_millis(2400)).await;
    rig.step(event(EventKind::Applied, "a", "7"));
    assert_eq!(
        settled(&rig),
        Some(Duration::from_secs(3)),
        "at most three seconds"
    );
    assert!(!rig.monitor.is_in_sync());
    assert_eq!(rig.step(Input::Settled), (Some(WatchEvent::Resumed), Next::Read));
    assert!(rig.monitor.is_in_sync());
    assert_eq!(rig.machine.settled_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_waits_again_after_a_stall_of_the_process() {
    let mut rig = Rig::watching();
    rig.fail(broken());
    rig.resume();
    advance(Duration::from_secs(10)).await;
    assert_eq!(
        rig.step(Input::Settled),
        (None, Next::Read),
        "events may have arrived during the stall"
    );
    let settled_at = rig.machine.settled_at().unwrap();
    assert_eq!(settled_at - Instant::now(), Duration::from_millis(500));
    advance(Duration::from_millis(501)).await;
    assert_eq!(rig.step(Input::Settled), (Some(WatchEvent::Resumed), Next::Read));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_that_ends_must_be_answered_again() {
    let mut rig = Rig::watching();
    rig.fail(broken());
    rig.resume();
    rig.step(event(EventKind::Applied, "a", "6"));
    assert_eq!(rig.step(Input::Ended), (None, watch("6")));
    assert_eq!(rig.machine.settled_at(), None, "the new request is not answered");
    rig.step(Input::Accepted);
    assert!(rig.machine.settled_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_without_an_event_is_a_failure() {
    let mut rig = Rig::watching();
    assert_eq!(rig.step(Input::Ended), (None, watch("5")), "after a bookmark");
    rig.step(Input::Accepted);
    assert!(!rig.machine.is_activity::<&str>(&Input::Ended));
    let wait = rig.fail(Input::Ended);
    assert!(wait >= Duration::from_millis(400), "{wait:?}");
    rig.resume();
    let wait = rig.fail(Input::CutOff);
    assert!(wait >= Duration::from_millis(400), "cut off: {wait:?}");
    rig.resume();
    advance(Duration::from_secs(1)).await;
    assert_eq!(rig.step(Input::Ended).1, watch("5"), "it lasted long enough");
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_are_not_shorter_than_the_server_requests() {
    let mut rig = Rig::watching();
    let throttled = Input::Refused(Failure {
        error: kube::Error::Api(status(429)),
        retry_after: Some(Duration::from_secs(7)),
    });
    assert_eq!(rig.fail(throttled), Duration::from_secs(7));
    let mut waits = Vec::new();
    for _ in 0..8 {
        rig.step(Input::Ready);
        waits.push(rig.fail(refused(503)));
    }
    assert_eq!(waits.last(), Some(&Duration::from_secs(30)), "{waits:?}");
    rig.step(Input::Ready);
    rig.step(Input::Accepted);
    let wait = rig.fail(error_event(410));
    assert!(
        wait < Duration::from_secs(1),
        "a server that answers 410 is available again: {wait:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_complete_begins_again() {
    let mut rig = Rig::new();
    rig.step(Input::Ready);
    rig.step(refused(422));
    rig.step(Input::Accepted);
    rig.step(page_end("5", "more"));
    rig.fail(refused(500));
    assert_eq!(rig.step(Input::Ready), (RESTARTED, STREAMING_LIST));
    for incomplete in [Input::Ended, page_end("", "")] {
        rig.step(refused(422));
        rig.step(Input::Accepted);
        rig.fail(incomplete);
        assert_eq!(rig.step(Input::Ready).0, RESTARTED);
    }
}

fn throttled(code: u16, seconds: u64) -> Input<&'static str> {
    Input::Refused(Failure {
        error: kube::Error::Api(status(code)),
        retry_after: Some(Duration::from_secs(seconds)),
    })
}

/// A list-watch whose second page is requested.
fn at_second_page() -> Rig {
    let mut rig = Rig::with(Mode {
        streaming: false,
        optional: false,
    });
    assert_eq!(rig.step(Input::Ready), (RESTARTED, page(None)));
    rig.step(Input::Accepted);
    assert_eq!(rig.step(page_end("5", "second")), (None, page(Some("second"))));
    rig
}

#[tokio::test(start_paused = true)]
async fn a_page_is_repeated_as_long_as_the_server_requests() {
    for code in [429, 500, 503, 504] {
        let mut rig = at_second_page();
        for repetition in 0..10 {
            let (event, next) = rig.step(throttled(code, 7));
            let until = Instant::now() + Duration::from_secs(7);
            assert_eq!((event, next), (None, Next::Wait(until)), "{code}, {repetition}");
            assert_eq!(rig.step(Input::Ready), (None, page(Some("second"))), "{code}");
        }
        assert!(
            rig.fail(throttled(code, 7)) >= Duration::from_secs(7),
            "the limit"
        );
        assert_eq!(
            rig.step(Input::Ready),
            (RESTARTED, page(None)),
            "{code}: the list starts over"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_repetitions_is_for_one_page() {
    let mut rig = at_second_page();
    for _ in 0..10 {
        rig.step(throttled(429, 1));
        rig.step(Input::Ready);
    }
    rig.step(Input::Accepted);
    assert_eq!(rig.step(page_end("5", "third")), (None, page(Some("third"))));
    assert!(matches!(rig.step(throttled(429, 1)), (None, Next::Wait(_))));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_refused_otherwise_is_not_repeated() {
    for input in [refused(500), throttled(403, 1), throttled(404, 1), broken()] {
        let mut rig = at_second_page();
        rig.fail(input);
        assert_eq!(rig.step(Input::Ready), (RESTARTED, page(None)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_leads_to_one_whole_list() {
    let mut rig = at_second_page();
    let whole = Next::Send(Request::WholeList);
    assert_eq!(rig.step(refused(410)), (RESTARTED, whole), "without a wait");
    rig.step(Input::Accepted);
    assert_eq!(rig.step(Input::Item("a")).0, Some(WatchEvent::Listed("a")));
    assert_eq!(
        rig.step(page_end("9", "")),
        (Some(WatchEvent::Complete), watch("9"))
    );

    let mut rig = at_second_page();
    rig.step(refused(410));
    rig.fail(refused(410));
    assert_eq!(rig.step(Input::Ready), (RESTARTED, page(None)), "it can fail too");
}

#[tokio::test(start_paused = true)]
async fn a_missing_optional_resource_is_an_empty_list() {
    let mut rig = Rig::with(Mode {
        streaming: false,
        optional: true,
    });
    rig.step(Input::Ready);
    let (event, next) = rig.step(refused(404));
    assert!(matches!(
        (event, next),
        (Some(WatchEvent::Complete), Next::Wait(_))
    ));
    rig.step(Input::Ready);
    rig.fail(refused(404));
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_is_requested_at_once() {
    let mut rig = Rig::watching();
    assert_eq!(rig.step(Input::Stale), (RESTARTED, STREAMING_LIST));
}
