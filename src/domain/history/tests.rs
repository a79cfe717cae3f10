use super::*;
use crate::domain::testing::{at, seconds, web};

#[test]
fn an_entry_as_old_as_the_window_does_not_count() {
    let restart = |second, count| Restart {
        at: at(second),
        count,
        total: 0,
        after: false,
    };
    let flap = |second| Flap {
        at: at(second),
        id: FlapId { run: 1, second },
        joined: false,
    };
    let history = ContainerHistory {
        restarts: [restart(0, 1), restart(1, 2)].into(),
        flaps: [flap(0), flap(1)].into(),
        ..ContainerHistory::default()
    };
    assert_eq!(history.restarts_within(seconds(10), at(10)), 2);
    assert_eq!(history.flaps_within(seconds(10), at(10)), 1);
}

#[test]
fn the_first_observation_adds_only_restarts_and_oom_kills() {
    let mut history = None;
    History::begin(&mut history, &web().exits("envoy", 1, 5).0, at(10));
    assert!(history.is_none(), "the end of the first run is not a restart");
    let killed = web().oom_killed("envoy", 5).0;
    let mut containers = killed.shape.containers.iter();
    let container_idx = containers
        .position(|container| &*container.name == "envoy")
        .unwrap();
    let status = killed.statuses[container_idx].as_ref().unwrap();
    let mut container = ContainerHistory::default();
    container.note_oom_kill(status, |_| None);
    assert!(container.oom.is_some(), "known from now on");
    assert_eq!(container.oom_killed_at(), None, "but it does not count");
}
