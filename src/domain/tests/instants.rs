//! OOMKilled and Flapping: faults that the current status no longer shows.

use crate::domain::{
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, one_of, policy, seconds, web},
};

fn oom() -> Policy {
    policy().only(Check::OOMKilled)
}

fn killed(pod: &Pod, second: i64) -> Pod {
    pod.clone().oom_killed("envoy", second)
}

#[test]
fn an_oom_kill_fires_at_once_and_lasts_for_keep_firing_for() {
    type Kill = fn(Pod) -> Pod;
    let shown: [(&str, Kill); 4] = [
        ("state", |pod| pod.oom_killed("envoy", 9)),
        ("lastState", |pod| {
            pod.oom_killed("envoy", 9).restarted("envoy", 10)
        }),
        (
            "a child process is killed, and the main process exits with its own code",
            |pod| pod.exits_with("envoy", 3, "OOMKilled", 9),
        ),
        ("without times or a containerID", |pod| {
            pod.oom_killed("envoy", 9)
                .restarted("envoy", 10)
                .status("envoy", |s| {
                    let exit = s.last_exit.as_mut().unwrap();
                    (exit.run, exit.started_at, exit.finished_at) = (0, None, None);
                })
        }),
    ];
    for (why, kill) in shown {
        let mut harness = Harness::with(oom());
        harness.pod(&web()).pod_at(10, &kill(web())).at(1000);
        assert_eq!(
            harness.log(),
            ["10 firing envoy OOMKilled", "610 resolved envoy OOMKilled"],
            "{why}"
        );
    }
    let mut harness = Harness::with(oom());
    harness.pod(&web()).pod_at(10, &web().exits("envoy", 137, 9));
    assert_eq!(
        harness.log(),
        [""; 0],
        "exit code 137 alone does not prove an OOM kill"
    );
    harness.pod_at(20, &web().oom_killed("app", 19));
    assert_eq!(
        harness.log(),
        [""; 0],
        "an OOM kill of a main container has no violation"
    );
}

#[test]
fn an_exit_counts_once_while_the_status_shows_it() {
    let dead = killed(&web(), 10);
    let up = dead.clone().restarted("envoy", 12);
    let mut harness = Harness::with(oom());
    harness.pod(&web()).pod_at(10, &dead).pod_at(12, &up);
    // The exit remains in lastState for hours.
    for second in (60..2000).step_by(60) {
        let flip = if second % 120 == 0 {
            up.clone()
        } else {
            up.clone().unready("app")
        };
        harness.pod_at(second, &flip);
    }
    assert_eq!(
        harness.log(),
        ["10 firing envoy OOMKilled", "610 resolved envoy OOMKilled"]
    );
}

#[test]
fn each_new_oom_kill_restarts_keep_firing_for() {
    let first = killed(&web(), 10).restarted("envoy", 11);
    let second = killed(&first, 500);
    let mut harness = Harness::with(oom());
    harness.pod(&web()).pod_at(11, &first).pod_at(500, &second);
    harness.pod_at(505, &second.clone().backs_off("envoy"));
    harness.at(3000);
    assert_eq!(
        harness.log(),
        ["11 firing envoy OOMKilled", "1100 resolved envoy OOMKilled"],
        "one violation lasts until ten minutes after the last kill"
    );
    let mut harness = Harness::with(oom());
    let blind = |pod: &Pod, second| {
        killed(pod, second)
            .restarted("envoy", second + 1)
            .status("envoy", |s| {
                s.last_exit.as_mut().unwrap().run = 0;
            })
    };
    harness
        .pod(&web())
        .pod_at(11, &blind(&web(), 10))
        .pod_at(500, &blind(&web(), 499))
        .at(3000);
    assert_eq!(
        harness.log(),
        ["11 firing envoy OOMKilled", "1100 resolved envoy OOMKilled"],
        "without a containerID a new finishedAt is a new kill"
    );
}

#[test]
fn a_status_can_show_two_oom_kills() {
    let twice = killed(&killed(&web(), 10).restarted("envoy", 11), 12);
    let mut harness = Harness::with(oom());
    harness
        .pod(&web())
        .pod_at(20, &twice)
        .pod_at(30, &twice.clone().unready("app"))
        .at(2000);
    assert_eq!(
        harness.log(),
        ["20 firing envoy OOMKilled", "620 resolved envoy OOMKilled"]
    );
    let mut harness = Harness::with(oom());
    harness
        .pod_at(300, &twice)
        .pod_at(310, &twice.unready("app"))
        .at(2000);
    assert_eq!(harness.onset("envoy", Check::OOMKilled), None);
    assert_eq!(
        harness.log(),
        ["300 firing envoy OOMKilled", "612 resolved envoy OOMKilled"],
        "at the first observation the later kill counts"
    );
}

#[test]
fn an_oom_kill_fires_also_with_a_keep_firing_for_of_zero() {
    let keep_nothing = oom().check(Check::OOMKilled, |c| c.keep_firing_for = seconds(0));
    let mut harness = Harness::with(keep_nothing);
    let first = killed(&web(), 10).restarted("envoy", 11);
    harness
        .pod(&web())
        .pod_at(11, &first)
        .pod_at(20, &killed(&first, 20))
        .at(30);
    assert_eq!(
        harness.log(),
        [
            "11 firing envoy OOMKilled",
            "11.001 resolved envoy OOMKilled",
            "20 firing envoy OOMKilled",
            "20.001 resolved envoy OOMKilled"
        ],
        "each kill fires once"
    );
    assert_eq!(harness.events().len(), 4);
    assert_eq!(harness.index.next_deadline(), None);
}

#[test]
fn flapping_fires_at_count_and_ends_as_flaps_leave_the_window() {
    let flap = |harness: &mut Harness, second: i64| {
        harness
            .pod_at(second, &web().unready("envoy"))
            .pod_at(second + 5, &web());
    };
    let mut harness = Harness::with(policy().only(Check::Flapping));
    harness.pod(&web());
    for second in [10, 20, 30, 40, 50] {
        flap(&mut harness, second);
    }
    assert_eq!(harness.log(), [""; 0], "five flaps are below the limit of six");
    flap(&mut harness, 60);
    harness.at(9000);
    assert_eq!(
        harness.log(),
        ["60 firing envoy Flapping", "1930 resolved envoy Flapping"],
        "the first flap leaves the window after 30 minutes, then keepFiringFor passes"
    );
    assert_eq!(harness.index.next_deadline(), None);
}

#[test]
fn flapping_counts_the_changes_of_sidecars() {
    let quick = policy().only(Check::Flapping).check(Check::Flapping, |c| {
        (c.count, c.window) = (2, minutes(1));
    });
    let mut harness = Harness::with(quick);
    let pod = || {
        web()
            .regular("istio-proxy")
            .spec("istio-proxy", |c| c.probes.readiness = false)
    };
    harness.pod(&pod());
    for second in [10, 20] {
        harness
            .pod_at(second, &pod().unready("app").unready("istio-proxy"))
            .pod_at(second + 5, &pod());
    }
    assert_eq!(
        harness.firing(),
        ["istio-proxy Flapping"],
        "native and classic sidecars, but not the main container"
    );
    assert_eq!(
        harness.detail(),
        "ready to unready at least 2 times within 1m without a restart"
    );
}

#[test]
fn an_oom_kill_keeps_its_time_under_a_later_policy() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness
        .pod(&web())
        .pod_at(10, &killed(&web(), 7))
        .at(100)
        .policy(oom());
    assert_eq!(
        harness.onset("envoy", Check::OOMKilled),
        Some(10.0),
        "the kill is observed at 10, and the check is enabled at 100"
    );
}

#[test]
fn a_gap_does_not_change_the_time_of_an_oom_kill() {
    let with_label = |value| killed(&web(), 7).labels(&[("mesh", value)]);
    let mut harness = Harness::with(oom().with(|p| p.pods = one_of("mesh", "on")));
    harness.pod(&web()).pod_at(10, &with_label("off"));
    harness.at(20).hold().at(30).resync([&with_label("on")]);
    assert_eq!(harness.onset("envoy", Check::OOMKilled), Some(10.0));
}

#[test]
fn the_detail_of_an_oom_kill_has_the_limit() {
    let limited = web().spec("envoy", |container| container.memory_limit = Some("64Mi".into()));
    let mut harness = Harness::with(oom());
    harness.pod(&limited).pod_at(10, &killed(&limited, 9));
    assert_eq!(harness.detail(), "OOM-killed (limit 64Mi)");
}
