//! Which exits are final, and what counts as one run of a container.

use crate::domain::{
    observation::{RestartPolicy, RestartRule, State},
    policy::{Check, Policy},
    testing::{Harness, Pod, Step, at, minutes, policy, web},
};

#[test]
fn restart_policies_decide_which_exits_are_final() {
    use RestartPolicy::{Always, Never, OnFailure};
    let pod = |policy| {
        Pod::named("p")
            .init("init")
            .native("native")
            .regular("app")
            .restart_policy(policy)
    };
    let rule = |is_in| RestartRule {
        is_in,
        exit_codes: [42].into(),
    };
    let own = |own| pod(Always).restarts_container("app", own);
    let with_rule = |policy, is_in| pod(policy).spec("app", |c| c.restart_rules = [rule(is_in)].into());
    #[rustfmt::skip]
    let table = [
        (pod(Always), "app", 0, false, "Always restarts after success"),
        (pod(Always), "app", 1, false, "Always restarts after failure"),
        (pod(OnFailure), "app", 0, true, "OnFailure ends after success"),
        (pod(OnFailure), "app", 1, false, "OnFailure restarts failures"),
        (pod(Never), "app", 0, true, "Never does not restart after success"),
        (pod(Never), "app", 1, true, "Never does not restart after failure"),
        (own(Never), "app", 1, true, "the container's own policy"),
        (own(OnFailure), "app", 0, true, "its own OnFailure policy"),
        (pod(Never).restarts_container("app", Always), "app", 0, false, "the container's policy is Always"),
        (with_rule(Never, true), "app", 42, false, "a rule restarts that exit code"),
        (with_rule(Never, true), "app", 7, true, "other exit codes"),
        (with_rule(Never, false), "app", 42, true, "NotIn: a listed code"),
        (with_rule(Never, false), "app", 7, false, "NotIn: another code"),
        (pod(Never), "native", 0, false, "a native sidecar is always restarted"),
        (pod(Always), "init", 0, true, "a completed init container is final under any policy"),
        (pod(Always), "init", 1, false, "a failed init container restarts"),
        (pod(Never), "init", 1, true, "a failed init container is final under Never"),
    ];
    for (pod, name, code, expected, why) in table {
        let place = ["init", "native", "app"].iter().position(|n| *n == name).unwrap();
        let pod = pod
            .status(name, |s| s.state = State::Running(Some(at(0))))
            .exits(name, code, 10);
        assert_eq!(pod.0.finished(place).is_some(), expected, "{why}");
        assert!(
            pod.restarted(name, 20).0.finished(place).is_none(),
            "{why}: a running container is not finished"
        );
    }
}

#[test]
fn flaps_are_counted_within_one_run() {
    let flapping = |policy: Policy| {
        policy
            .only(Check::Flapping)
            .check(Check::Flapping, |c| c.count = 2)
    };
    let flap = |harness: &mut Harness, pod: &Pod, second: i64| {
        harness.pod_at(second, &pod.clone().unready("envoy"));
        harness.pod_at(second + 1, pod);
    };
    let mut harness = Harness::with(flapping(policy()));
    harness.pod(&web());
    flap(&mut harness, &web(), 10);
    flap(&mut harness, &web(), 20);
    assert_eq!(
        harness.log(),
        ["20 firing envoy Flapping"],
        "each change from ready to unready is a flap"
    );

    #[rustfmt::skip]
    let explained: [(&str, Step); 4] = [
        ("the container exits", |pod| pod.exits("envoy", 1, 10)),
        ("a new run, by restartCount", |pod| pod.unready("envoy").status("envoy", |s| s.restart_count += 1)),
        ("a new run, by containerID", |pod| pod.unready("envoy").status("envoy", |s| s.run += 7)),
        ("a new run, by startedAt",
            |pod| pod.unready("envoy").status("envoy", |s| s.state = State::Running(Some(at(9))))),
    ];
    for (why, change) in explained {
        let mut harness = Harness::with(flapping(policy()));
        for second in [10, 20, 30] {
            harness.pod_at(second, &web()).pod_at(second + 1, &change(web()));
        }
        assert_eq!(harness.log(), [""; 0], "{why}: a restart is not a flap");
    }
    let mut harness = Harness::with(flapping(policy()).check(Check::Flapping, |c| c.window = minutes(1)));
    harness.pod(&web());
    flap(&mut harness, &web(), 10);
    flap(&mut harness, &web(), 71);
    assert_eq!(harness.log(), [""; 0], "the first flap has left the window");
}
