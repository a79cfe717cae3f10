//! Counts of restarts and flaps, and which restarts the Pod itself causes.

use crate::domain::{
    observation::State,
    policy::{Check, Policy},
    testing::{Harness, Pod, Step, policy, web, web_named},
};

fn restarts_only() -> Policy {
    policy().only(Check::FrequentRestarts)
}

/// Returns the number of restarts of envoy in the series.
fn counted(harness: &Harness) -> u64 {
    let of_envoy = harness.index.restarts().filter(|r| r.container == "envoy");
    of_envoy.map(|r| r.count).sum()
}

fn jump(pod: &Pod, to: u32) -> Pod {
    pod.clone().status("envoy", |status| {
        status.restart_count = to;
        status.run += 1;
    })
}

#[test]
fn positive_deltas_count_and_a_decrease_is_a_reset() {
    let table: [(&[u32], u64, &str); 5] = [
        (&[0, 1, 2], 2, "each increase by one is one restart"),
        (&[3, 5], 2, "a jump from 3 to 5 is two restarts"),
        (&[5, 0, 1], 1, "a decrease is a reset, and later increases count"),
        (&[5, 2, 2], 0, "a decrease is not a restart"),
        (
            &[4, 4],
            0,
            "the count at the first observation is not an increase",
        ),
    ];
    for (counts, expected, why) in table {
        let mut harness = Harness::with(restarts_only());
        for (second, count) in (0..).zip(counts) {
            harness.pod_at(10 * second, &jump(&web(), *count));
        }
        assert_eq!(counted(&harness), expected, "{why}");
    }
    let mut harness = Harness::with(restarts_only());
    harness.pod(&web()).pod_at(10, &jump(&web(), 3));
    assert_eq!(
        harness.log(),
        ["10 firing envoy FrequentRestarts"],
        "a jump of three reaches the limit at once"
    );
}

#[test]
fn a_restart_without_a_status_in_between_counts() {
    let table: [(&str, Step); 3] = [
        ("with the end of the run in lastState", |pod| pod),
        ("with an empty lastState", |pod| {
            pod.status("envoy", |s| s.last_exit = None)
        }),
        ("with null times in lastState", |pod| {
            pod.status("envoy", |s| {
                let exit = s.last_exit.as_mut().unwrap();
                (exit.started_at, exit.finished_at) = (None, None);
            })
        }),
    ];
    for (why, seen) in table {
        let mut pod = web();
        let mut harness = Harness::with(restarts_only());
        harness.pod(&pod);
        for second in [10, 20, 30] {
            pod = seen(pod.restarted("envoy", second));
            harness.pod_at(second, &pod);
        }
        assert_eq!(harness.log(), ["30 firing envoy FrequentRestarts"], "{why}");
    }
}

#[test]
fn counts_belong_to_a_pod_and_a_container() {
    let pod = || web().native("vault-agent");
    let mut harness = Harness::with(restarts_only());
    let mut first = pod();
    harness.pod(&first);
    first = harness.restarts(first, "envoy", [10, 20]);
    first = first.restarted("vault-agent", 30);
    harness.pod_at(30, &first);
    let second = web_named("web-2");
    harness.pod(&second).pod_at(40, &second.restarted("envoy", 40));
    assert_eq!(
        harness.log(),
        [""; 0],
        "no container of a Pod reaches three restarts"
    );
}

fn generation(second: i64) -> u32 {
    u32::try_from(second).unwrap()
}

#[test]
fn restarts_that_the_pod_causes_do_not_count() {
    type StepAt = fn(Pod, i64) -> Pod;
    #[rustfmt::skip]
    let own: [(&str, bool, StepAt, StepAt); 10] = [
        ("an ordinary restart", false, |p, _| p, |p, t| p.restarted("envoy", t)),
        ("PodResizeInProgress now, with a new generation each time", true, |p, _| p.restarts_on_resize("envoy"),
            |p, t| p.restarted("envoy", t).resizing(generation(t))),
        ("PodResizeInProgress just before", true, |p, t| p.restarts_on_resize("envoy").resizing(generation(t)),
            |p, t| p.restarted("envoy", t).resized()),
        ("PodResizeInProgress, but a resize does not restart the container", false, |p, t| p.resizing(generation(t)),
            |p, t| p.restarted("envoy", t)),
        ("AllContainersRestarting just before", true, |p, _| p.conditions(|c| c.all_containers_restarting = true),
            |p, t| p.restarted("envoy", t).conditions(|c| c.all_containers_restarting = false)),
        (
            "exit reason RestartingAllContainers",
            true,
            |p, _| p,
            |p, t| {
                p.restarted("envoy", t).status("envoy", |s| {
                    let exit = s.last_exit.as_mut().unwrap();
                    exit.reason = "RestartingAllContainers".into();
                    (exit.started_at, exit.finished_at) = (None, None);
                })
            },
        ),
        ("a sandbox younger than the run that ended", true, |p, _| p,
            |p, t| p.restarted("envoy", t).sandbox(true, t)),
        ("a sandbox that a slow kubelet reports after the start of the run", false, |p, _| p,
            |p, t| p.restarted("envoy", t).sandbox(true, t - 5)),
        ("a younger sandbox, without lastState", true, |p, _| p,
            |p, t| p.restarted("envoy", t).sandbox(true, t).status("envoy", |s| s.last_exit = None)),
        (
            "a younger sandbox, but the ended run has no start time",
            false,
            |p, _| p,
            |p, t| {
                p.restarted("envoy", t)
                    .sandbox(true, t)
                    .status("envoy", |s| s.last_exit.as_mut().unwrap().started_at = None)
            },
        ),
    ];
    for (why, is_own, before, after) in own {
        let mut harness = Harness::with(restarts_only());
        let mut pod = web();
        harness.pod(&pod);
        for second in [10, 20, 30] {
            pod = before(pod, second);
            harness.pod_at(second, &pod);
            pod = after(pod, second + 1);
            harness.pod_at(second + 1, &pod);
        }
        harness.at(50);
        assert_eq!(harness.firing().is_empty(), is_own, "{why}: the window");
        assert_eq!(counted(&harness), if is_own { 0 } else { 3 }, "{why}: the series");
    }
}

#[test]
fn a_restart_that_the_pod_causes_moves_only_the_baseline() {
    let mut pod = web().restarts_on_resize("envoy");
    let mut harness = Harness::with(restarts_only());
    harness.pod(&pod).at(10);
    pod = pod.restarted("envoy", 10).resizing(2);
    harness.pod(&pod).at(20);
    pod = pod.resized();
    harness.pod(&pod);
    harness.restarts(pod, "envoy", [30, 40]);
    assert_eq!(
        (counted(&harness), harness.firing().len()),
        (2, 0),
        "the first restart does not count later"
    );
}

#[test]
fn a_resize_that_stays_in_progress_excuses_one_restart() {
    let mut pod = web().restarts_on_resize("envoy");
    let mut harness = Harness::with(restarts_only());
    harness.pod(&pod);
    pod = pod.resizing(2);
    harness.restarts(pod, "envoy", [10, 20, 30, 40]);
    assert_eq!(counted(&harness), 3, "the first restart belongs to the resize");
    assert_eq!(harness.log(), ["40 firing envoy FrequentRestarts"]);
}

#[test]
fn each_resize_excuses_one_restart() {
    let base = web().restarts_on_resize("envoy");
    #[rustfmt::skip]
    let table: [(&str, u64, Vec<Pod>); 3] = [
        ("a jump by three during one resize", 2, vec![jump(&base, 3).resizing(2)]),
        ("a jump by two between two resizes", 0, vec![base.clone().resizing(2), jump(&base, 2).resizing(3)]),
        ("the second restart follows the second resize", 0,
            vec![base.clone().resizing(2), jump(&base, 1).resizing(3), jump(&base, 2).resizing(3)]),
    ];
    for (why, expected, pods) in table {
        let mut harness = Harness::with(restarts_only());
        harness.pod(&base);
        for (second, pod) in (1..).zip(&pods) {
            harness.pod_at(10 * second, pod);
        }
        assert_eq!(counted(&harness), expected, "{why}");
    }
}

#[test]
fn a_restart_in_a_new_sandbox_does_not_count_for_a_container_that_was_down() {
    let down = web().exits("envoy", 1, 10);
    let mut harness = Harness::with(restarts_only());
    harness.pod(&web()).pod_at(10, &down);
    let fresh = down
        .restarted("envoy", 20)
        .sandbox(true, 15)
        .status("envoy", |s| s.last_exit = None);
    harness.pod_at(20, &fresh);
    assert_eq!(counted(&harness), 0, "the ended run started before the sandbox");
}

/// Before Kubernetes 1.36 the kubelet reports the sandbox as ready only after it has started the first containers. Their first
/// run can have ended by then.
#[test]
fn a_restart_counts_if_the_run_was_seen_in_the_sandbox() {
    let runs = |sandbox: bool, since| web().starting("envoy", 9).sandbox(sandbox, since);
    let ends = runs(true, 10).exits("envoy", 1, 10);
    let lost = runs(true, 5).exits("envoy", 1, 10);
    #[rustfmt::skip]
    let table = [
        ("seen to run and to end", vec![runs(true, 10), ends.clone()], 1),
        ("seen to run", vec![runs(true, 10)], 1),
        ("not seen to run in it", vec![ends.clone()], 0),
        ("ends without its sandbox", vec![lost.clone(), lost.sandbox(true, 10)], 0),
        ("shown in the next sandbox", vec![runs(true, 9), runs(true, 10)], 0),
        (
            "shown without a sandbox and in the next one",
            vec![runs(true, 9), runs(false, 10), runs(true, 10), ends.clone()],
            0,
        ),
    ];
    for (why, before, expected) in table {
        let mut harness = Harness::with(restarts_only());
        for (second, pod) in (10..).zip(&before) {
            harness.pod_at(second, pod);
        }
        harness.pod_at(20, &ends.clone().restarted("envoy", 11));
        assert_eq!(counted(&harness), expected, "{why}");
    }
}

/// A restart in a gap counts when the next list shows it. Its time is the one that the kubelet reports.
#[test]
fn restarts_in_a_gap_of_the_watch_count_at_the_time_that_the_kubelet_gives() {
    let crashed = |from: i64| (0..3).fold(web(), |pod, n| pod.restarted("envoy", from + 10 * n));
    let mut harness = Harness::with(restarts_only());
    harness.pod(&web()).at(100).hold().at(600).resync([&crashed(200)]);
    assert_eq!(harness.log(), ["600 firing envoy FrequentRestarts"]);
    assert_eq!(counted(&harness), 3);
    harness.at(220 + 15 * 60);
    assert_eq!(
        harness.index.violations().count(),
        1,
        "it fires until keepFiringFor has passed"
    );
    harness.at(220 + 15 * 60 + 10 * 60);
    assert_eq!(
        harness.log(),
        ["1600 resolved envoy FrequentRestarts"],
        "only the last one has a time; the others have the beginning of the gap"
    );

    let mut harness = Harness::with(restarts_only());
    harness
        .pod(&web())
        .at(100)
        .hold()
        .at(4000)
        .resync([&crashed(200)]);
    assert_eq!(harness.log(), [""; 0], "the window ends within a long gap");
    let mut harness = Harness::with(restarts_only());
    harness.pod(&web()).at(100).hold().at(110).resync([&crashed(10)]);
    harness.at(100 + 15 * 60);
    assert_eq!(
        harness.firing().len(),
        1,
        "the restart is not before the last sync"
    );
}

/// Of several restarts in one update only the last one has a time. The others count from the beginning of the time in which they
/// happened, so that no limit is reached by restarts that may be older than its window.
#[test]
fn of_several_restarts_in_one_update_only_the_last_has_a_time() {
    let restarted = |times: &[i64]| {
        let mut pod = web();
        for second in times {
            pod = pod.restarted("envoy", *second);
        }
        pod
    };
    let day: &[i64] = &[86_000, 86_100, 86_200];
    #[rustfmt::skip]
    let table: [(&str, Pod, i64, &[i64], usize); 5] = [
        ("in the window with the run before them", web(), 300, &[100, 200, 300], 1),
        ("after a run of a day", web(), 86_200, day, 0),
        ("after an exit a day before", web().exits("envoy", 1, 10), 86_200, day, 0),
        ("after a restart a moment before", restarted(&[86_100]), 86_300, &[86_100, 86_200, 86_250, 86_300], 1),
        ("after a Pod's creation, without a time", web().waiting("envoy", "ImagePullBackOff"), 86_200, day, 0),
    ];
    for (why, before, second, restarts, firing) in table {
        let mut harness = Harness::with(restarts_only());
        harness.pod_at(0, &before).pod_at(second, &restarted(restarts));
        assert_eq!(harness.firing().len(), firing, "{why}");
        let new = restarts.len() as u64 - u64::from(before.0.statuses[0].as_ref().unwrap().restart_count);
        assert_eq!(counted(&harness), new, "{why}: the series has them all");
    }
    // The clock of this process is five minutes ahead of the node's.
    let mut harness = Harness::with(restarts_only());
    harness
        .pod_at(300, &web())
        .pod_at(1300, &restarted(&[900, 950, 1000]));
    assert_eq!(
        harness.firing().len(),
        0,
        "the first run has lasted longer than the window"
    );
    let mut harness = Harness::with(restarts_only());
    harness
        .pod_at(300, &web())
        .pod_at(1100, &restarted(&[700, 750, 800]));
    assert_eq!(harness.firing().len(), 1, "only the duration of the run counts");
    for (as_of, firing) in [(500, 1), (10, 0)] {
        let mut harness = Harness::with(restarts_only());
        harness
            .pod_at(0, &web().exits("envoy", 1, 0))
            .pod_at(5, &restarted(&[5]))
            .at(as_of);
        let checkpoint = harness.checkpoint();
        let crashed = restarted(&[5, 1000, 1010, 1020]);
        let harness = Harness::restarted(1030, restarts_only(), (Vec::new(), Some(checkpoint)), [&crashed]);
        assert_eq!(harness.firing().len(), firing, "a checkpoint of second {as_of}");
    }
}

/// A replica that has observed the restarts one by one knows their times.
#[test]
fn a_checkpoint_adds_the_times_of_restarts_that_were_seen_in_one_update() {
    let runs = (1..4).scan(web(), |pod, n| {
        *pod = pod.clone().restarted("envoy", 1000 + 10 * n);
        Some(pod.clone())
    });
    let runs: Vec<Pod> = runs.collect();
    let mut leader = Harness::with(restarts_only());
    leader.pod(&web());
    for (second, pod) in (1010..).step_by(10).zip(&runs) {
        leader.pod_at(second, pod);
    }
    let mut standby = Harness::with(restarts_only());
    standby.pod(&web()).pod_at(1030, &runs[2]);
    assert_eq!(standby.firing().len(), 0);
    let (of_leader, of_standby) = (leader.at(1040).checkpoint(), standby.at(1040).checkpoint());
    standby.import(of_leader).at(1041);
    assert_eq!(standby.firing(), leader.firing());
    leader.import(of_standby).at(1900);
    assert_eq!(leader.firing().len(), 1, "a time is better than a bound");
}

#[test]
fn the_first_start_in_a_new_sandbox_does_not_count_after_a_restart_of_the_operator() {
    let before = web().restarted("envoy", 50);
    let lost = before
        .clone()
        .exits("envoy", 255, 200)
        .sandbox(true, 210)
        .restarted("envoy", 210);
    let crashed = lost.clone().restarted("envoy", 300);
    for (pod, expected) in [(before.clone(), 0), (lost, 0), (crashed, 1)] {
        let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
        harness.pod(&web()).pod_at(50, &before).at(100);
        let checkpoint = harness.checkpoint();
        let harness = Harness::restarted(400, restarts_only(), (Vec::new(), Some(checkpoint)), [&pod]);
        let stored = harness.checkpoint();
        let of_envoy = stored
            .pods
            .values()
            .flat_map(|pod| pod.containers.iter())
            .find(|(name, _)| &***name == "envoy");
        let restarts = of_envoy.map_or(0, |(_, state)| {
            state.restarts.in_order().len() + state.restarts_after.in_order().len()
        });
        assert_eq!(restarts, 1 + expected, "and the one before the checkpoint");
    }
}

#[test]
fn a_container_without_an_earlier_status_is_new() {
    let looping = (0..4).fold(web(), |pod, n| pod.restarted("envoy", 200 + 10 * n));
    let looping = looping.exits("envoy", 1, 240).backs_off("envoy");
    for (why, before) in [
        (
            "not scheduled",
            web()
                .unreported("envoy")
                .unreported("app")
                .with(|pod| pod.scheduled = false),
        ),
        (
            "scheduled, without a status",
            web().unreported("envoy").unreported("app"),
        ),
    ] {
        let mut harness = Harness::with(restarts_only());
        harness.pod(&before).at(100).hold().at(300).resync([&looping]);
        assert_eq!(
            harness.log(),
            ["300 firing envoy FrequentRestarts"],
            "{why}: the full restartCount counts"
        );
    }
    let mut harness = Harness::with(restarts_only());
    harness.pod(&web().unreported("envoy")).pod_at(100, &looping);
    assert_eq!(
        harness.log(),
        [""; 0],
        "a status of another container shows that the container is not new"
    );
}

/// The kubelet writes this exit for a run that it has lost with the sandbox, without times.
#[test]
fn a_lost_run_is_no_restart_of_the_container() {
    let mut pod = web();
    let mut harness = Harness::with(restarts_only());
    harness.pod(&pod);
    for second in [10, 20, 30] {
        pod = pod
            .exits_with("envoy", 137, "ContainerStatusUnknown", second)
            .status("envoy", |s| {
                let State::Terminated(exit) = &mut s.state else {
                    unreachable!()
                };
                (exit.started_at, exit.finished_at) = (None, None);
            });
        pod = pod.restarted("envoy", second);
        harness.pod_at(second, &pod);
    }
    assert_eq!(harness.log(), [""; 0]);
    assert_eq!(counted(&harness), 0);
}
