//! What `explain` says of a Pod: each statement is true of that Pod.

use serde_json::{Value, json};

use crate::support::{Directory, Run, sidewatch};

/// Explains a Pod or a workload in a file.
async fn explain(object: &Value) -> Run {
    let directory = Directory::new();
    let file = directory.file("pod.json", object.to_string());
    let run = sidewatch(&["explain", "-f", &file]).await;
    assert!(run.code.is_some_and(|code| code < 2), "{run:?}");
    run
}

fn pod(spec: &Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
}

fn job(spec: &Value) -> Value {
    let template = json!({"spec": spec});
    json!({"kind": "Job", "metadata": {"name": "sync"}, "spec": {"template": template}})
}

/// Asserts which texts the output contains, and which not.
#[track_caller]
fn assert_says(run: &Run, says: &[&str], says_not: &[&str]) {
    for text in says {
        assert!(run.stdout.contains(text), "no {text:?} in {}", run.stdout);
    }
    for text in says_not {
        assert!(!run.stdout.contains(text), "{text:?} in {}", run.stdout);
    }
}

const RESTARTS: &str = "the kubelet kills and restarts it";
const NEVER: &str = "the kubelet kills it and does not restart it (restartPolicy Never)";

#[tokio::test]
async fn a_failure_of_a_regular_container_has_the_effect_of_its_restart_policy() {
    let probe = json!({"httpGet": {"port": 1}});
    let with = |policy: &str, own: &Value| {
        let mut spec = json!({"restartPolicy": policy, "containers": [
            {"name": "app", "image": "a", "livenessProbe": probe, "lifecycle": {"postStart": {"exec": {}}}},
        ]});
        for (key, value) in own.as_object().unwrap() {
            spec["containers"][0][key] = value.clone();
        }
        spec
    };
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let by_rules = json!({"restartPolicy": "Never", "restartPolicyRules": rules});
    let table = [
        (
            with("Always", &json!({})),
            vec![RESTARTS, "with any exit code"],
            NEVER,
        ),
        (
            with("OnFailure", &json!({})),
            vec![
                RESTARTS,
                "it exits with code 0",
                "not restarted (restartPolicy OnFailure)",
            ],
            "with any exit code",
        ),
        (
            with("Never", &json!({})),
            vec![NEVER, "it is not restarted, with any exit code"],
            RESTARTS,
        ),
        (
            with("Never", &json!({"restartPolicy": "Always"})),
            vec![RESTARTS],
            NEVER,
        ),
        (
            with("Never", &by_rules),
            vec!["its restartPolicyRules decide", "otherwise it is not restarted"],
            RESTARTS,
        ),
    ];
    for (spec, says, says_not) in table {
        let run = explain(&job(&spec)).await;
        assert_says(&run, &says, &[says_not, "if its restart policy allows it"]);
        assert_says(
            &run,
            &["its liveness probe fails", "its postStart hook fails"],
            &["Services"],
        );
    }
}

#[tokio::test]
async fn a_classic_sidecar_of_a_pod_that_ends_holds_it_open() {
    let containers = json!([{"name": "app", "image": "a"}, {"name": "cloud-sql-proxy", "image": "b"}]);
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let text = "it runs on after the app has ended";
    let run = explain(&job(&spec)).await;
    assert_says(&run, &[text, "its Job does not complete"], &[]);
    assert_eq!(run.stdout.matches(text).count(), 1, "only the sidecar: {run:?}");
    assert_says(
        &explain(&pod(&spec)).await,
        &[text, "the Pod does not end:"],
        &["Job"],
    );
    let always = explain(&pod(&json!({"containers": containers}))).await;
    assert_says(&always, &[], &[text]);
    let native = json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "a"}], "initContainers": [
        {"name": "cloud-sql-proxy", "image": "b", "restartPolicy": "Always", "readinessProbe": {"exec": {}}},
    ]});
    let run = explain(&job(&native)).await;
    assert_says(
        &run,
        &["the kubelet stops it, and the Pod ends"],
        &[text, "leaves its Services"],
    );
}

#[tokio::test]
async fn a_plain_init_container_with_the_image_of_a_sidecar_is_not_the_sidecar() {
    let hooks = json!({"postStart": {"exec": {}}, "preStop": {"exec": {}}});
    let with = |name: &str| {
        pod(&json!({
            "initContainers": [{"name": name, "image": "istio/proxyv2:1.27", "lifecycle": hooks}],
            "containers": [{"name": "app", "image": "a"}],
        }))
    };
    let run = explain(&with("istio-init")).await;
    assert_says(
        &run,
        &["init container"],
        &["Istio", "connections through it fail", "hook"],
    );
    let run = explain(&with("istio-proxy")).await;
    let misplaced = "a sidecar that does not exit: without restartPolicy: Always";
    assert_says(
        &run,
        &["Istio proxy (mesh proxy)", misplaced],
        &["hook", "connections through it fail"],
    );
    let never = json!({"restartPolicy": "Never", "initContainers": [{"name": "setup"}], "containers": [{"name": "app"}]});
    assert_says(
        &explain(&pod(&never)).await,
        &["and the Pod fails"],
        &["the kubelet restarts it"],
    );
}

#[tokio::test]
async fn a_proxy_that_is_the_app_is_not_described_as_a_helper() {
    let gateway = pod(&json!({"containers": [{"name": "istio-proxy", "image": "istio/proxyv2:1.27"}]}));
    let run = explain(&gateway).await;
    assert_says(
        &run,
        &["Istio proxy (mesh proxy)", "the app of this Pod"],
        &["connections through it"],
    );
}

fn unready() -> Value {
    let mut pod = pod(&json!({"nodeName": "n", "containers": [
        {"name": "app", "image": "a"}, {"name": "istio-proxy", "image": "istio/proxyv2:1.27", "readinessProbe": {}},
    ]}));
    let running = |name: &str, ready: bool| {
        json!({"name": name, "ready": ready, "started": true, "restartCount": 0, "containerID": name,
            "state": {"running": {"startedAt": "2026-11-20T10:00:00Z"}}})
    };
    pod["status"] = json!({
        "phase": "Running",
        "conditions": [
            {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-20T10:00:00Z"},
            {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2026-11-20T10:00:00Z"},
        ],
        "containerStatuses": [running("app", true), running("istio-proxy", false)],
    });
    pod
}

#[tokio::test]
async fn a_dump_is_evaluated_at_its_newest_time() {
    let run = explain(&unready()).await;
    assert_says(&run, &["since 10:00:00Z, fires at 10:05:00Z"], &["firing"]);
    assert!(
        run.stderr
            .contains("the state at 2026-11-20T10:00:00Z, the newest time"),
        "{run:?}"
    );
    let mut written = unready();
    written["metadata"]["managedFields"] = json!([{"manager": "kubelet", "time": "2026-11-21T10:06:00Z"}]);
    let run = explain(&written).await;
    let undated = "pending          unready, at most since 2026-11-20 10:00:00Z: its readiness probe fails";
    assert_says(&run, &[undated], &["firing", "fires at"]);
    // The Pods of one dump were read at the same time.
    let mut late = unready();
    late["metadata"]["name"] = json!("web-2");
    late["status"]["startTime"] = json!("2026-11-20T10:06:00Z");
    let run = explain(&json!({"kind": "List", "items": [unready(), late]})).await;
    assert_eq!(
        run.stdout
            .matches("unready, at most since 10:00:00Z: its readiness probe fails")
            .count(),
        4,
        "NotReady and MainReadySidecarNotReady of both Pods: {run:?}"
    );
}

#[tokio::test]
async fn a_pod_that_is_ending_is_explained_as_such() {
    let mut deleted = unready();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-20T10:07:00Z");
    let run = explain(&deleted).await;
    let being_deleted = "The Pod is being deleted: no container starts or restarts.";
    let killed = "what still runs at 2026-11-20T10:07:00Z is killed";
    assert_says(
        &run,
        &[being_deleted, killed, "not evaluated"],
        &["START", "it exits", "pending", "firing"],
    );
    let mut failed = unready();
    failed["status"]["phase"] = json!("Failed");
    assert_says(
        &explain(&failed).await,
        &["The Pod has failed.", "not evaluated"],
        &["START", "STOP", "it exits"],
    );
}

#[tokio::test]
async fn a_pod_that_was_deleted_in_a_recording_is_gone() {
    let directory = Directory::new();
    let line = |t: u32, kind: &str, uid: &str| {
        let mut pod = unready();
        pod["metadata"]["uid"] = json!(uid);
        let wall = format!("2026-11-20T10:{:02}:00Z", t / 60);
        json!({"t": t, "wall": wall, "type": kind, "object": pod}).to_string() + "\n"
    };
    let first = line(0, "ADDED", "1") + &line(600, "DELETED", "1");
    let file = directory.file("pods.jsonl", &first);
    let run = sidewatch(&["explain", "web", "--record", &file]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let gone = ["The Pod was deleted at 2026-11-20T10:10:00Z.", "The Pod is gone"];
    assert_says(&run, &gone, &["No policy selects", "START", "STOP", "it exits"]);
    // A Pod with the same name that exists is the one that is meant.
    let file = directory.file(
        "pods.jsonl",
        first + &line(660, "ADDED", "2") + &line(1020, "MODIFIED", "2"),
    );
    let run = sidewatch(&["explain", "web", "--record", &file]).await;
    assert_says(&run, &["START", "firing"], &["gone"]);
}
