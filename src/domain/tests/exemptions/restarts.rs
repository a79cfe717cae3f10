//! Exemptions and the processes that follow.

use super::{bad, brief, failing, not_ready, pod_events, until};
use crate::domain::{
    exemption::{EXEMPTION_ENDED, ExemptionUpdate},
    index::Index,
    testing::{Harness, at, exemption, exemption_key, key},
};

/// A process that starts now, with this list of exemptions and without a list of Pods.
fn starting(before: &Harness, exemptions: impl IntoIterator<Item = ExemptionUpdate>) -> Harness {
    let mut harness = before.successor();
    let index = std::mem::replace(&mut harness.index, Index::new([None], false));
    harness.index = index.awaiting_exemptions();
    harness.index.begin_exemption_resync(&None);
    for exemption in exemptions {
        harness.exempt(exemption);
    }
    harness
}

#[test]
fn a_new_process_does_not_announce_what_is_exempt() {
    let mut before = failing(not_ready());
    before.at(100).exempt(exemption("snooze")).at(200);
    let checkpoint = before.checkpoint();
    for checkpoint in [None, Some(checkpoint)] {
        let mut harness = before.successor();
        harness.exempt(exemption("snooze"));
        if let Some(checkpoint) = checkpoint {
            harness.import(checkpoint);
        }
        harness
            .policy(not_ready())
            .resync([&bad().containers_unready_since(10)]);
        harness.at(999);
        assert_eq!(
            (pod_events(&mut harness), harness.firing()),
            (Vec::new(), Vec::new())
        );
        assert_eq!(harness.exempted(), 1);
        harness.at(1000);
        assert_eq!(pod_events(&mut harness).len(), 1);
        assert_eq!(harness.firing(), ["envoy NotReady"]);
    }
}

#[test]
fn the_pods_wait_for_the_first_list_of_exemptions() {
    let mut before = failing(not_ready());
    before.at(100);
    let mut harness = starting(&before, []);
    let pod = bad().starting("envoy", 10);
    harness.policy(not_ready()).resync([&pod]).at(120);
    assert_eq!((harness.events(), harness.firing()), (Vec::new(), Vec::new()));
    assert_eq!(harness.index.report(&key("mesh")), None, "nothing is evaluated");
    harness.hold().resume();
    assert_eq!(harness.events(), [], "a late wake does not end the wait");
    harness
        .exempt(exemption("snooze"))
        .finish_exemptions(&None)
        .at(130);
    assert_eq!(pod_events(&mut harness), []);
    assert_eq!((harness.firing(), harness.exempted()), (Vec::new(), 1));
    assert!(harness.index.report(&key("mesh")).is_some());
}

#[test]
fn the_pods_wait_for_thirty_seconds_at_most() {
    let mut before = failing(not_ready());
    before.at(100);
    let mut harness = starting(&before, []);
    let pod = bad().starting("envoy", 10);
    harness.policy(not_ready()).at(110).resync([&pod]).at(139);
    assert_eq!(harness.events(), []);
    harness.at(140).finish_work();
    assert_eq!(
        brief(&pod_events(&mut harness)),
        ["SidecarContainerNotReady Create"]
    );
}

#[test]
fn an_end_while_no_process_ran_is_announced_once() {
    for announced in [true, false] {
        let pod = bad().starting("envoy", 10);
        let mut before = Harness::with(not_ready());
        before.pod(&bad().ready("envoy")).pod_at(10, &pod);
        if announced {
            before.at(100);
        }
        before.exempt(exemption("snooze")).at(200);
        let checkpoint = before.checkpoint();
        let hid = ExemptionUpdate {
            hid: Some(key("mesh")),
            ..exemption("snooze")
        };
        before.now = at(1500);
        let mut harness = starting(&before, [hid.clone()]);
        harness.import(checkpoint).policy(not_ready());
        harness.finish_exemptions(&None).resync([&pod]).at(1501);
        let events = harness.events();
        let delivery = if announced { "CreateOrRaise(2)" } else { "Create" };
        let expected = [
            format!("{EXEMPTION_ENDED} Create"),
            format!("SidecarContainerNotReady {delivery}"),
        ];
        assert_eq!(brief(&events), expected);
        assert_eq!(harness.firing(), ["envoy NotReady"]);
        let checkpoint = harness.checkpoint();
        let mut next = starting(&harness, [hid]);
        next.import(checkpoint).policy(not_ready());
        next.finish_exemptions(&None).resync([&pod]).at(1600);
        let again = next.events();
        assert_eq!(again.len(), 1, "{again:?}");
        assert_eq!(
            again[0].name, events[0].name,
            "an Event that exists is not written again"
        );
    }
}

#[test]
fn a_new_process_does_not_repeat_the_event_of_an_active_exemption() {
    let before = failing(not_ready());
    let hid = ExemptionUpdate {
        hid: Some(key("mesh")),
        ..exemption("snooze")
    };
    let mut harness = starting(&before, [hid]);
    harness.policy(not_ready()).finish_exemptions(&None);
    harness.resync([&bad().containers_unready_since(10)]).at(500);
    assert_eq!((harness.events(), harness.exempted()), (Vec::new(), 1));
    harness.at(1000);
    assert_eq!(
        brief(&harness.events()),
        [
            format!("{EXEMPTION_ENDED} Create"),
            "SidecarContainerNotReady Create".to_owned()
        ]
    );
    harness.exempt(until("snooze", 2000)).at(1500);
    let state = harness.index.exemption_report(&exemption_key("snooze")).unwrap();
    assert_eq!(state.hides, 1);
}
