//! Commands on a cluster: a scripted API server on loopback, proxies, credentials, and servers that do not answer.

use std::fs;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, Listener, NAMESPACES, PODS, POLICIES, Route, list, pod, policy, soon, until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Directory, Run, command, finish, run_of, sidewatch};

/// Returns a kubeconfig for a server, with this user.
pub(crate) fn kubeconfig(server: &str, user: &Value) -> String {
    config(&json!({"server": server}), user).to_string()
}

fn config(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "pay"}}],
    })
}

/// A scripted API server on loopback, and a directory with its kubeconfig.
pub(crate) struct Setup {
    pub(crate) server: ApiServer,
    listener: Listener,
    pub(crate) directory: Directory,
    pub(crate) kubeconfig: String,
}

impl Setup {
    pub(crate) async fn new(server: ApiServer) -> Self {
        let listener = server.listen().await;
        let directory = Directory::new();
        Self {
            kubeconfig: directory.file("kubeconfig", kubeconfig(&listener.url(), &json!({}))),
            server,
            listener,
            directory,
        }
    }

    /// A server with these policies. The test answers requests for Pods.
    pub(crate) async fn without_pods(policies: &[Value]) -> Self {
        let server = ApiServer::default();
        server.serve_all_but_pods(policies);
        Self::new(server).await
    }

    /// A server with two Pods, of which one has an unready sidecar, and these policies.
    pub(crate) async fn with_pods(policies: &[Value]) -> Self {
        let setup = Self::without_pods(policies).await;
        let pods = [pod("web-1", "5", false), pod("web-2", "6", true)];
        setup.server.serve_quietly(PODS, list("Pod", "7", &pods));
        setup
    }

    /// The requests for Pods.
    pub(crate) fn pods(&self) -> Route {
        self.server.route(Method::GET, PODS)
    }

    /// Runs a command on all namespaces of the cluster.
    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        let cluster = ["-A", "--kubeconfig", &self.kubeconfig];
        sidewatch(&[args, &cluster].concat()).await
    }

    /// Tries a SidecarPolicy with this spec on the cluster.
    pub(crate) async fn simulate(&self, spec: &Value, more: &[&str]) -> Run {
        let policy = self.directory.policy("policy.json", spec);
        self.run(&[&["simulate", "-p", &policy], more].concat()).await
    }

    /// Refuses the next request for Pods.
    fn forbid_pods(&self) {
        let pods = self.pods();
        tokio::spawn(async move { pods.next().await.fail(403, "pods is forbidden: no role") });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_policy_is_tried_on_the_pods_of_a_cluster() {
    let setup = Setup::with_pods(&[policy("other", "3")]).await;
    let spec = json!({"checks": {"notReady": {"for": "0s"}}});
    let run = setup.simulate(&spec, &["-o", "json"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let output = run.json();
    assert_eq!(output["pods"], 2, "{output:#}");
    let rows = output["violations"].as_array().unwrap();
    let is_expected = |row: &Value| row["pod"] == "web-1" && row["container"] == "proxy";
    assert!(rows.iter().all(is_expected), "{output:#}");
    let is_new = |row: &Value| row["check"] == "NotReady" && row["difference"] == "new";
    assert!(rows.iter().any(is_new), "{output:#}");
    assert!(
        run.stderr.contains("note: one list shows only the present"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn violations_are_grouped() {
    let setup = Setup::with_pods(&[policy("mesh", "3")]).await;
    let file = setup.directory.file(
        "policy.json",
        json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": "ClusterSidecarPolicy", "metadata": {"name": "all"},
            "spec": {"checks": {"notReady": {"for": "0s"}, "mainReadySidecarNotReady": {"mode": "Off"}}},
        })
        .to_string(),
    );
    let top = async |more: &[&str]| {
        let run = setup.run(&[&["top", "-o", "json"], more].concat()).await;
        let groups = run.json()["groups"].clone();
        let text = |row: &Value| {
            let [group, check, firing] = ["group", "check", "firing"].map(|field| row[field].to_string());
            format!("{group} {check} {firing}").replace('"', "")
        };
        (
            run.code,
            groups.as_array().unwrap().iter().map(text).collect::<Vec<_>>(),
        )
    };
    let (code, groups) = top(&[]).await;
    assert_eq!(groups, ["pay/Pod/web-1 proxy MainReadySidecarNotReady 1"]);
    assert_eq!(code, Some(1));
    let (_, groups) = top(&["--by", "policy"]).await;
    assert_eq!(groups, ["SidecarPolicy pay/mesh MainReadySidecarNotReady 1"]);
    let (_, groups) = top(&["--by", "image", "-p", &file]).await;
    assert_eq!(groups, ["proxy NotReady 1"]);
    let off = setup.directory.policy("off.json", &json!({"mode": "Off"}));
    let (code, groups) = top(&["-l", "app=web", "-p", &off]).await;
    assert_eq!((code, groups), (Some(0), Vec::new()));
    let table = setup.run(&["top"]).await;
    assert!(
        table
            .stdout
            .starts_with("2 Pods, 1 violations fire, 0 are pending, 0 are hidden\n"),
        "{table:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn missing_rights_and_missing_crds_are_notes() {
    let server = ApiServer::default();
    server.serve_quietly(PODS, list("Pod", "7", &[pod("web-2", "6", true)]));
    for (path, code, message) in [
        (POLICIES, 404, "not found"),
        (
            CLUSTER_POLICIES,
            403,
            "clustersidecarpolicies is forbidden: no role",
        ),
        (NAMESPACES, 403, "namespaces is forbidden: no role"),
    ] {
        let route = server.route(Method::GET, path);
        tokio::spawn(async move { route.next().await.fail(code, message) });
    }
    let setup = Setup::new(server).await;
    let run = setup.simulate(&json!({}), &[]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for expected in [
        "note: CRD sidecarpolicies.sidewatch.dev is not installed",
        "note: cannot list clustersidecarpolicies: forbidden",
        "note: cannot list namespaces: forbidden",
    ] {
        assert!(run.stderr.contains(expected), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_missing_right_to_list_pods_is_an_error() {
    let setup = Setup::without_pods(&[policy("mesh", "3")]).await;
    setup.forbid_pods();
    let run = setup.simulate(&json!({}), &[]).await;
    run.assert_failed(&[
        "cannot list pods: forbidden: pods is forbidden: no role",
        &setup.listener.url(),
    ]);
    let output = setup.directory.path("pods.jsonl").display().to_string();
    for args in [&["record", "-o", &output][..], &["top"], &["versions"]] {
        setup.forbid_pods();
        let run = setup.run(args).await;
        run.assert_failed(&["cannot list pods: forbidden: pods is forbidden: no role"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_label_selector_reaches_the_api_server() {
    let setup = Setup::without_pods(&[]).await;
    let pods = setup.pods();
    let spec = json!({});
    let answer = async {
        let request = pods.next().await;
        let selector = request.parameter("labelSelector");
        request.json(StatusCode::OK, &list("Pod", "7", &[]));
        selector
    };
    let (run, selector) = tokio::join!(setup.simulate(&spec, &["-l", "app=web"]), answer);
    assert_eq!(selector.as_deref(), Some("app=web"));
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recording_of_a_cluster_can_be_simulated() {
    let setup = Setup::without_pods(&[]).await;
    let pods = setup.pods();
    let output = setup.directory.path("pods.jsonl");
    let file = output.display().to_string();
    let child = command(&["record", "-A", "-o", &file, "--kubeconfig", &setup.kubeconfig])
        .spawn()
        .unwrap();
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "7", &[pod("web-1", "5", true)]));
    let watch = pods.next().await.watch();
    watch.event("MODIFIED", &pod("web-1", "8", false));
    until("the change is recorded", || {
        fs::read_to_string(&output).is_ok_and(|text| text.contains("MODIFIED"))
    })
    .await;
    let id = child.id().unwrap().to_string();
    tokio::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .await
        .unwrap();
    let run = run_of(&soon("it ends", child.wait_with_output()).await.unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("note: 3 lines, 1 Pods at the end"), "{run:?}");
    let policy = setup
        .directory
        .policy("policy.json", &json!({"checks": {"notReady": {"for": "0s"}}}));
    let run = sidewatch(&["simulate", "-p", &policy, "--record", &file, "-o", "json"]).await;
    assert_eq!(run.json()["violations"][0]["pod"], "web-1", "{run:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_an_error() {
    let directory = Directory::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url, &json!({})));
    let policy = directory.policy("policy.json", &json!({}));
    let output = directory.path("pods.jsonl").display().to_string();
    let table: [&[&str]; 7] = [
        &["simulate", "-p", &policy],
        &["record", "-o", &output],
        &["explain", "web-1"],
        &["top"],
        &["versions"],
        &["lint", "--live"],
        &["doctor"],
    ];
    for args in table {
        let run = sidewatch(&[args, &["--kubeconfig", &kubeconfig]].concat()).await;
        run.assert_failed(&["Connection refused", &url, "--context"]);
    }
}

#[tokio::test]
async fn an_unusable_kubeconfig_is_an_error() {
    let directory = Directory::new();
    let good = directory.file("good", kubeconfig("http://127.0.0.1:1", &json!({})));
    let bad = directory.file("bad", "clusters: [");
    let policy = directory.policy("policy.json", &json!({}));
    let table = [
        (
            vec!["--kubeconfig", "/missing"],
            "cannot use the kubeconfig /missing",
        ),
        (vec!["--kubeconfig", &bad], "cannot use the kubeconfig"),
        (vec!["--kubeconfig", &good, "--context", "prod"], "prod"),
        (vec![], "~/.kube/config"),
    ];
    for (args, expected) in table {
        let run = sidewatch(&[&["simulate", "-p", &policy][..], &args].concat()).await;
        run.assert_failed(&[expected]);
    }
}

/// Accepts one connection, answers 502, and returns the head of the request.
async fn head_of_request(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_or_the_environment_is_used() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    for from_environment in [false, true] {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
        let mut cluster = json!({"server": "https://cluster.invalid:6443"});
        if !from_environment {
            cluster["proxy-url"] = proxy_url.as_str().into();
        }
        let kubeconfig = directory.file("kubeconfig", config(&cluster, &json!({"token": "t"})).to_string());
        let head = tokio::spawn(head_of_request(proxy));
        let mut command = command(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig]);
        if from_environment {
            command.env("HTTPS_PROXY", &proxy_url);
        }
        let run = finish(&mut command).await;
        run.assert_failed(&["https://cluster.invalid:6443"]);
        let head = soon("a request", head).await.unwrap();
        assert!(head.starts_with("CONNECT cluster.invalid:6443 "), "{head}");
    }
}

#[tokio::test]
async fn no_proxy_of_the_environment_excludes_a_server() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url, &json!({})));
    let head = tokio::spawn(head_of_request(server));
    let mut command = command(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig]);
    command
        .env("HTTPS_PROXY", &proxy_url)
        .env("NO_PROXY", "127.0.0.1");
    let run = finish(&mut command).await;
    run.assert_failed(&["cannot list"]);
    let head = soon("a request", head).await.unwrap();
    assert!(head.starts_with("GET /"), "{head}");
}

#[tokio::test]
async fn exec_credentials_of_a_kubeconfig_are_used() {
    let directory = Directory::new();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-exec"},
    });
    let user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/echo", "args": [credential.to_string()],
        "interactiveMode": "Never",
    }});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url, &user));
    let policy = directory.policy("policy.json", &json!({}));
    let head = tokio::spawn(head_of_request(listener));
    let run = sidewatch(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig]).await;
    run.assert_failed(&["cannot list sidecarpolicies"]);
    let head = soon("a request", head).await.unwrap().to_lowercase();
    assert!(head.contains("authorization: bearer from-exec\r\n"), "{head}");
}
