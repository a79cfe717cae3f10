//! The commands on a terminal: width, colours, progress, Ctrl-C.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{PODS, list, pod, policy};

use crate::{
    doctor::installation::Cluster,
    lint::BAD_JOB,
    pseudo_terminal::{Screen, Session, without_colors},
    setup::{Setup, kubeconfig, loopback},
    support::Directory,
};

const RECORDING: &str = "docs/examples/shop.jsonl";
/// Environment variables.
type Variables = &'static [(&'static str, &'static str)];

/// A Pod that fails in the recording.
const POD: &str = "checkout-5c4f7d8b9-q8wzt";

/// Commands that need no cluster and have findings of several styles.
fn local_commands(directory: &Directory) -> Vec<Vec<String>> {
    let manifest = directory.file("job.yaml", BAD_JOB);
    let policy = "docs/examples/policy.yaml";
    let args = [
        &["simulate", "-p", policy, "--record", RECORDING][..],
        &["explain", POD, "-p", policy, "--record", RECORDING],
        &["explain", "-f", "docs/quickstart.yaml"],
        &["versions", "-f", "docs/examples/fleet.yaml"],
        &["lint", &manifest],
    ];
    args.iter()
        .map(|args| args.iter().map(ToString::to_string).collect())
        .collect()
}

async fn run(args: &[&str], columns: u16, variables: &[(&str, &str)]) -> Screen {
    Session::start(args, columns, variables).end().await
}

/// Runs a command with colours and with `NO_COLOR`. Expects no line that is longer than the terminal is wide. Returns both
/// texts without colours.
async fn fits(args: &[&str], columns: u16) -> [String; 2] {
    let colored = run(args, columns, &[]).await;
    let uncolored = run(args, columns, &[("NO_COLOR", "1")]).await;
    let about = format!("{args:?} in {columns} columns: {colored:?} {uncolored:?}");
    let texts = [without_colors(&colored.text), uncolored.text];
    assert!(colored.text.contains("\x1b["), "{about}");
    assert!(matches!(colored.code, Some(0 | 1)), "{about}");
    for text in &texts {
        assert!(!text.contains('\x1b'), "{about}");
        assert!(text.trim_end().len() > 40, "{about}");
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest.unwrap() <= usize::from(columns), "{about}");
    }
    texts
}

#[tokio::test]
async fn results_fit_into_80_and_200_columns_with_and_without_colors() {
    let directory = Directory::new();
    for args in local_commands(&directory) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        for columns in [80, 200] {
            let [colored, uncolored] = fits(&args, columns).await;
            assert_eq!(uncolored, colored, "{args:?} in {columns} columns");
        }
    }
}

/// The texts contain ages, so two runs differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn results_of_a_cluster_fit_into_80_and_200_columns_with_and_without_colors() {
    let setup = Setup::with_pods(&[policy("mesh", "3")]).await;
    let unsupported = || Cluster::complete().changed("/version", "/minor", json!("31"));
    for columns in [80, 200] {
        fits(&["top", "-A", "--kubeconfig", &setup.kubeconfig], columns).await;
        for cluster in [Cluster::complete(), unsupported()] {
            let run =
                async |setup: &Setup| fits(&["doctor", "--kubeconfig", &setup.kubeconfig], columns).await;
            cluster.serving(run).await;
        }
    }
}

#[tokio::test]
async fn the_environment_and_the_flag_turn_colors_off_and_on() {
    let directory = Directory::new();
    let table: [(Variables, &str, bool); 7] = [
        (&[], "auto", true),
        (&[("NO_COLOR", "")], "auto", true),
        (&[("NO_COLOR", "1")], "auto", false),
        (&[("TERM", "dumb")], "auto", false),
        (&[], "never", false),
        (&[("NO_COLOR", "1")], "always", true),
        (&[("TERM", "dumb")], "always", true),
    ];
    for mut args in local_commands(&directory) {
        args.push(String::new());
        for (variables, when, expected) in table {
            *args.last_mut().unwrap() = format!("--color={when}");
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let screen = run(&args, 100, variables).await;
            assert_eq!(
                screen.text.contains("\x1b["),
                expected,
                "{args:?} {variables:?}: {screen:?}"
            );
        }
    }
}

/// Asserts the exit code, the settings of the terminal, and the last lines, of which the first begins where Ctrl-C was pressed.
#[track_caller]
fn assert_interrupted(screen: &Screen, code: i32, last: &[&str]) {
    assert_eq!(screen.code, Some(code), "{screen:?}");
    assert_eq!(screen.settings[0], screen.settings[1], "{screen:?}");
    assert!(screen.settings[0].contains(':'), "{screen:?}");
    assert!(
        !without_colors(&screen.text).contains('\x1b'),
        "only colours: {screen:?}"
    );
    let lines = screen.lines();
    let shown: Vec<&str> = lines.iter().map(|line| line.trim_start_matches("^C")).collect();
    assert!(shown.ends_with(last), "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("^C")), "{shown:#?}");
}

#[tokio::test]
async fn ctrl_c_ends_each_command_that_waits_for_the_api_server() {
    let directory = Directory::new();
    // The server accepts connections and does not answer.
    let (listener, url) = loopback().await;
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url));
    let policy = directory.policy("policy.json", &json!({}));
    let table: [&[&str]; 7] = [
        &["top", "-A"],
        &["versions", "-A"],
        &["simulate", "-A", "-p", &policy],
        &["simulate", "-A", "-p", &policy, "--for", "10m"],
        &["explain", "web-1"],
        &["lint", "--live", "-A"],
        &["doctor"],
    ];
    for args in table {
        let args = [args, &["--kubeconfig", &kubeconfig]].concat();
        let mut session = Session::start(&args, 80, &[]);
        let _connection = listener.accept().await.unwrap();
        session.interrupt();
        assert_interrupted(&session.end().await, 130, &["error: interrupted"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ctrl_c_during_a_list_removes_the_progress() {
    const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
    let directory = Directory::new();
    let candidate = directory.policy("policy.json", &json!({}));
    let pods: Vec<Value> = (0..500).map(|n| pod(&format!("web-{n}"), "5", true)).collect();
    let deployment = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}},
    });
    let table: [(&[&str], &str, &[Value], &str); 4] = [
        (&["top"], PODS, &pods, "500 Pods listed"),
        (&["versions"], PODS, &pods, "500 Pods listed"),
        (&["simulate", "-p", &candidate], PODS, &pods, "500 Pods listed"),
        (
            &["lint", "--live"],
            DEPLOYMENTS,
            &[deployment],
            "1 workloads examined",
        ),
    ];
    for (command, path, items, progress) in table {
        let setup = Setup::without_pods(&[policy("mesh", "3")]).await;
        let route = setup.server.route(Method::GET, path);
        let args = [command, &["-A", "--kubeconfig", &setup.kubeconfig]].concat();
        let mut session = Session::start(&args, 80, &[]);
        let kind = if path == PODS { "Pod" } else { "Deployment" };
        let mut page = list(kind, "7", items);
        page["metadata"]["continue"] = "next".into();
        route.next().await.json(StatusCode::OK, &page);
        session.shows(progress).await;
        // The second page does not come.
        let _request = route.next().await;
        session.interrupt();
        assert_interrupted(&session.end().await, 130, &["error: interrupted"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ctrl_c_ends_a_watch_with_what_it_has_seen() {
    let setup = Setup::with_pods(&[]).await;
    let candidate = setup
        .directory
        .policy("policy.json", &json!({"checks": {"notReady": {"for": "0s"}}}));
    let cluster = ["-A", "--kubeconfig", &setup.kubeconfig];
    let args = [
        &["simulate", "-p", &candidate, "--for", "10m", "-o", "json"],
        &cluster[..],
    ]
    .concat();
    let mut session = Session::start(&args, 80, &[]);
    session.shows("watching for 599 s more").await;
    session.interrupt();
    let screen = session.end().await;
    assert_interrupted(&screen, 1, &["}"]);
    assert!(screen.text.contains("\"check\": \"NotReady\""), "{screen:?}");
    assert!(
        !screen.lines().iter().any(|line| line.contains("watching")),
        "{screen:?}"
    );

    let file = setup.directory.path("pods.jsonl").display().to_string();
    let args = [&["record", "-o", &file], &cluster[..]].concat();
    let mut session = Session::start(&args, 80, &[]);
    session.shows("recording 2 Pods").await;
    session.interrupt();
    assert_interrupted(&session.end().await, 0, &["note: 3 lines, 2 Pods at the end"]);
}
