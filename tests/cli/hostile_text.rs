//! No command writes a character that controls a terminal, whatever a cluster, a file or a command line contains.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EXEMPTIONS, NAMESPACES, PODS, POLICIES, in_pay, list, pod, policy,
    status_error,
};

use crate::{
    setup::Setup,
    support::{Directory, Run, sidewatch},
};

/// A title, a cleared screen, a control of eight bits, a carriage return, a mark of direction and a colour.
const HOSTILE: &str = "x\x1b]0;x\x07\x1b[2J\u{9b}2J\r\u{202e}\x1b[31my";
/// The styles of the commands.
const STYLES: [&str; 6] = [
    "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m",
];

#[track_caller]
fn assert_safe(run: &Run, about: &str) {
    for text in [&run.stdout, &run.stderr] {
        let is_hostile = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(is_hostile), "{about}: {run:?}");
    }
    assert!(!run.stderr.contains("panicked"), "{about}: {run:?}");
}

/// A Pod with hostile text in every field that the API server does not validate, and in its names, as a file can have it.
fn hostile_pod(name: &str) -> Value {
    let mut pod = pod(name, "5", false);
    pod["metadata"]["labels"] = json!({"app": HOSTILE});
    pod["metadata"]["annotations"] = json!({"note": HOSTILE, "linkerd.io/inject": HOSTILE});
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "x/v1", "kind": HOSTILE, "name": HOSTILE, "uid": "u", "controller": true}]);
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["image"] = json!(format!("{HOSTILE}:1"));
            container["command"] = json!([HOSTILE]);
        }
    }
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod["status"][list].as_array_mut().into_iter().flatten() {
            status["lastState"] =
                json!({"terminated": {"exitCode": 1, "reason": HOSTILE, "message": HOSTILE}});
        }
    }
    pod
}

async fn cluster() -> Setup {
    let server = ApiServer::default();
    let mut mesh = policy("mesh", "3");
    mesh["status"] = json!({"conditions": [{"type": "Ready", "status": "False", "message": HOSTILE}]});
    let mut invalid = policy("invalid", "3");
    invalid["spec"] = json!({"checks": {"notReady": {"for": HOSTILE}}});
    for (path, objects) in [
        (PODS, list("Pod", "7", &[hostile_pod("web-1")])),
        (POLICIES, list("SidecarPolicy", "1", &[mesh, invalid])),
    ] {
        server.serve_quietly(&in_pay(path), objects.clone());
        server.serve_quietly(path, objects);
    }
    let pay = json!({"metadata": {"name": "pay", "uid": "uid-pay", "resourceVersion": "1"}});
    server.serve_quietly("/api/v1/namespaces/pay", pay.clone());
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[pay]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    for path in [EXEMPTIONS.to_owned(), in_pay(EXEMPTIONS)] {
        for method in [Method::GET, Method::POST] {
            server.answer(method, &path, |request| {
                request.json(StatusCode::FORBIDDEN, &status_error(403, HOSTILE));
            });
        }
    }
    Setup::new(server).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn text_of_a_cluster_cannot_control_the_terminal() {
    let setup = cluster().await;
    let commands: [&[&str]; 6] = [
        &["explain", "web-1"],
        &["top"],
        &["top", "--by", "image"],
        &["versions"],
        &["snooze", "web-1", "--for", "1h", "--reason", HOSTILE],
        &["explain", HOSTILE],
    ];
    for command in commands {
        for format in ["table", "json", "yaml"] {
            let run = setup.run(&[command, &["-o", format]].concat()).await;
            assert_safe(&run, &format!("{command:?} {format}"));
            assert!(!(run.stdout.is_empty() && run.stderr.is_empty()), "{command:?}");
        }
        let mut colored = setup.run(&[command, &["--color", "always"]].concat()).await;
        for style in STYLES {
            colored.stdout = colored.stdout.replace(style, "");
        }
        if command[0] != "snooze" {
            assert_safe(&colored, &format!("{command:?} with colours"));
        }
    }
    let run = setup.run(&["explain", "web-1", "--color", "always"]).await;
    assert!(run.stdout.contains(STYLES[1]), "own styles stay: {run:?}");
    assert!(
        run.stdout.matches("\x1b[31m").count() < 20 && !run.stdout.contains("\x1b[31my"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn text_of_files_and_flags_cannot_control_the_terminal() {
    let directory = Directory::new();
    let mut named = hostile_pod(HOSTILE);
    named["spec"]["containers"][0]["name"] = json!(HOSTILE);
    let pod = directory.file(&format!("{}.yaml", HOSTILE.replace('/', "")), named.to_string());
    let broken = directory.file("broken.yaml", format!("\"{HOSTILE}\": [1\n\"{HOSTILE}"));
    let kubeconfig = directory.file(
        "kubeconfig",
        format!("apiVersion: v1\nkind: Config\ncurrent-context: \"x\u{202e}\"\n{HOSTILE}"),
    );
    let commands: [&[&str]; 12] = [
        &["lint", "-f", &pod],
        &["lint", "-f", &pod, "-o", "json"],
        &["lint", "-f", &pod, "-o", "sarif"],
        &["lint", "-f", &pod, "-o", "github"],
        &["lint", "-f", &broken],
        &["lint", "-f", HOSTILE],
        &["explain", "-f", &pod],
        &["explain", "-f", &pod, "-o", "json"],
        &["explain", "-f", &pod, "-o", "yaml"],
        &["explain", HOSTILE, "--kubeconfig", &kubeconfig],
        &["top", "--record", HOSTILE],
        &["explain", "--bogus", HOSTILE],
    ];
    for command in commands {
        let run = sidewatch(command).await;
        assert_safe(&run, &format!("{command:?}"));
        assert!(!(run.stdout.is_empty() && run.stderr.is_empty()), "{command:?}");
    }
}
