//! Unusual fields of a container status.

use serde_json::{Value, json};
use sidewatch::domain::observation::{Exit, Observation, State};

use super::{APP, Row, app, joined, status, time, unusual};

fn restarts(pod: &Observation) -> u32 {
    pod.statuses[APP].as_ref().unwrap().restart_count
}

fn state(pod: &Observation) -> &State {
    &pod.statuses[APP].as_ref().unwrap().state
}

fn last_exit(pod: &Observation) -> &Exit {
    pod.statuses[APP].as_ref().unwrap().last_exit.as_ref().unwrap()
}

#[rustfmt::skip]
pub(super) fn joins() -> Vec<Row> {
    let statuses = |init: Value, regular: Value| {
        unusual(json!({"status": {"initContainerStatuses": init, "containerStatuses": regular}}))
    };
    vec![
        (statuses(json!([status("proxy", 1), status("setup", 0)]), json!([status("log", 3), status("app", 2)])),
            |pod| joined(pod) == [Some(0), Some(1), Some(2), Some(3)] && pod.stray_statuses == 0,
            "statuses in another order"),
        (statuses(json!([status("proxy", 1)]), json!([status("log", 3)])),
            |pod| joined(pod) == [None, Some(1), None, Some(3)], "missing statuses"),
        (
            statuses(Value::Null, json!([null])),
            |pod| joined(pod) == [None; 4] && pod.stray_statuses == 0,
            "lists of statuses that are null or contain null",
        ),
        (statuses(json!([]), json!([status("app", 1), status("app", 5), status("app", 4)])),
            |pod| joined(pod)[APP] == Some(4) && pod.stray_statuses == 0, "the last status of a container applies"),
        (statuses(json!([status("stranger", 7)]), json!([status("other", 8), status("app", 2)])),
            |pod| joined(pod) == [None, None, Some(2), None] && pod.stray_statuses == 2,
            "statuses of unknown containers are counted"),
        (
            statuses(
                json!([{"restartCount": 7}]),
                json!([{"name": null}, {"name": ""}]),
            ),
            |pod| joined(pod) == [None; 4] && pod.stray_statuses == 3,
            "statuses without a name are of unknown containers",
        ),
        (statuses(json!([]), json!([status("setup", 0), status("proxy", 1), status("app", 2)])),
            |pod| joined(pod) == [Some(0), Some(1), Some(2), None],
            "a node agent reports init containers in containerStatuses"),
        (
            statuses(json!([]), Value::Array(vec![status("stranger", 0); 70_000])),
            |pod| pod.stray_statuses == u16::MAX,
            "more unknown statuses than the counter can hold",
        ),
    ]
}

/// A Pod with 1,000 containers, whose statuses have the opposite order.
pub(super) fn thousand() -> Row {
    let name = |i: u32| format!("container-{i}");
    let containers: Vec<_> = (0..1000)
        .map(|i| json!({"name": name(i), "image": "i"}))
        .collect();
    let statuses: Vec<_> = (0..1000).rev().map(|i| status(&name(i), i)).collect();
    (
        unusual(json!({
            "spec": {"initContainers": null, "containers": containers},
            "status": {"initContainerStatuses": null, "containerStatuses": statuses},
        })),
        |pod| joined(pod) == (0..1000).map(Some).collect::<Vec<_>>(),
        "1,000 containers",
    )
}

#[rustfmt::skip]
pub(super) fn statuses() -> Vec<Row> {
    vec![
        (app(json!({"restartCount": -3})), |pod| restarts(pod) == 0, "a negative restartCount"),
        (app(json!({"restartCount": 99_999_999_999_u64})), |pod| restarts(pod) == u32::MAX, "a huge restartCount"),
        (app(json!({"restartCount": null})), |pod| restarts(pod) == 0, "restartCount is null"),
        (
            app(json!({"ready": null, "started": null})),
            |pod| {
                let app = pod.statuses[APP].as_ref().unwrap();
                !app.ready && !app.started
            },
            "null ready and started are false",
        ),
        (app(json!({"containerID": null})), |pod| pod.statuses[APP].as_ref().unwrap().run == 0,
            "the containerID is null"),
        (app(json!({"containerID": ""})), |pod| pod.statuses[APP].as_ref().unwrap().run == 0,
            "the containerID is empty"),
        (app(json!({"containerID": "containerd://1"})),
            |pod| pod.statuses[APP].as_ref().unwrap().run == 0xd223_11c8_5e3e_ca33,
            "the hash of a containerID is stable across versions"),
        (app(json!({"state": null})), waits, "no state"),
        (app(json!({"state": {"running": null}})), waits, "a state without a member"),
        (app(json!({"state": {"running": null, "sleeping": {}}})), waits, "a state with an unknown member"),
        (app(json!({"state": {"running": null, "waiting": {"reason": null}}})), waits,
            "a waiting state without a reason"),
        (app(json!({"state": {"running": null, "waiting": {"reason": "SomethingNew", "message": "m"}}})),
            |pod| *state(pod) == State::Waiting("SomethingNew".into()), "an unknown reason"),
        (app(json!({"state": {"running": {}, "waiting": {}, "terminated": {}}})),
            |pod| *state(pod) == State::Running(None), "running has priority over waiting and terminated"),
        (app(json!({"state": {"running": null, "waiting": {}, "terminated": {"exitCode": 3}}})),
            |pod| matches!(state(pod), State::Terminated(exit) if exit.code == 3),
            "terminated has priority over waiting"),
        (app(json!({"state": {"running": {"startedAt": "2026-11-20T10:42:07Z"}}})),
            |pod| *state(pod) == State::Running(time()), "a start time"),
        (app(json!({"state": {"running": {"startedAt": null}}})), runs, "the start time is null"),
        (app(json!({"state": {"running": {"startedAt": "1970-01-01T00:00:00Z"}}})), runs, "the start time is in 1970"),
        (app(json!({"state": {"running": {"startedAt": "soon"}}})), runs, "the start time is invalid"),
    ]
}

#[rustfmt::skip]
pub(super) fn last_states() -> Vec<Row> {
    vec![
        (app(json!({"lastState": null})), |pod| pod.statuses[APP].as_ref().unwrap().last_exit.is_none(),
            "lastState is null"),
        (app(json!({"lastState": {"waiting": {}, "running": {}}})),
            |pod| pod.statuses[APP].as_ref().unwrap().last_exit.is_none(), "lastState is not an exit"),
        (app(json!({"lastState": {"terminated": {}}})),
            |pod| (last_exit(pod).code, &*last_exit(pod).reason, last_exit(pod).run) == (0, "", 0), "an empty exit"),
        (
            app(json!({"lastState": {"terminated": {
                "exitCode": 137, "reason": "RestartingAllContainers", "startedAt": null, "finishedAt": null,
            }}})),
            |pod| {
                (
                    last_exit(pod).code,
                    last_exit(pod).started_at,
                    last_exit(pod).finished_at,
                ) == (137, None, None)
            },
            "an exit with null times",
        ),
        (
            app(json!({"lastState": {"terminated": {
                "exitCode": 128, "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "2026-11-20T10:42:07Z",
            }}})),
            |pod| last_exit(pod).started_at.is_none() && last_exit(pod).finished_at == time(),
            "a startedAt in 1970 means that the run never started",
        ),
        (app(json!({"lastState": {"terminated": {"exitCode": 3_221_225_477_u32, "signal": 11}}})),
            |pod| last_exit(pod).code == i32::MAX, "an exit code that is too large"),
    ]
}

fn waits(pod: &Observation) -> bool {
    *state(pod) == State::Waiting("".into())
}

fn runs(pod: &Observation) -> bool {
    *state(pod) == State::Running(None)
}
