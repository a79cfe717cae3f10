use super::*;
use crate::domain::testing::{at, seconds, web};

#[test]
fn an_entry_as_old_as_the_window_does_not_count() {
    let history = ContainerHistory {
        restarts: [(at(0), 1), (at(1), 2)].into(),
        flaps: [at(0), at(1)].into(),
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
    History::note_oom_kill(&mut history, &killed, container_idx, status, |_| None);
    let container = history.unwrap().container(container_idx).cloned().unwrap();
    assert!(container.oom.is_some(), "known from now on");
    assert_eq!(container.oom_killed_at(), None, "but it does not count");
}
