//! Commands on a cluster: a scripted API server on loopback, proxies, credentials, and servers that do not answer.

use std::fs;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, NAMESPACES, PODS, POLICIES, list, pod, policy, soon, until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    setup::{Setup, config, kubeconfig, loopback},
    support::{Directory, Run, command, finish, run_of, sidewatch},
};

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
        let run = setup.run_on_all(&[&["top", "-o", "json"], more].concat()).await;
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
    let table = setup.run_on_all(&["top"]).await;
    assert!(
        table
            .stdout
            .starts_with("2 Pods, 1 violations fire, 0 are pending, 0 are hidden\n"),
        "{table:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_onset_that_one_list_does_not_show_is_a_limit() {
    let setup = Setup::without_pods(&[]).await;
    let pods = [
        pod("web-1", "5", false),
        pod("web-2", "6", true),
        pod("web-3", "7", false),
    ];
    setup.server.serve_quietly(PODS, list("Pod", "8", &pods));
    let policy = setup
        .directory
        .policy("policy.json", &json!({"checks": {"notReady": {"for": "1h"}}}));
    let run = setup.run_on_all(&["top", "-p", &policy, "-o", "json"]).await;
    let output = run.json();
    let rows = output["groups"].as_array().unwrap();
    let not_ready: Vec<&Value> = rows.iter().filter(|row| row["check"] == "NotReady").collect();
    assert_eq!(not_ready.len(), 2, "{output:#}");
    for row in not_ready {
        assert_eq!(row["atMost"], true, "{row:#}");
        let since = &pods[0]["status"]["conditions"][0]["lastTransitionTime"];
        assert_eq!(row["oldest"], *since, "{row:#}");
    }
    let table = setup.run_on_all(&["top", "-p", &policy]).await;
    assert!(table.stdout.contains("   at most "), "{table:?}");
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
        server.answer(Method::GET, path, move |request| request.fail(code, message));
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
    setup.server.answer(Method::GET, PODS, |request| {
        request.fail(403, "pods is forbidden: no role");
    });
    let run = setup.simulate(&json!({}), &[]).await;
    run.assert_failed(&[
        "cannot list pods: forbidden: pods is forbidden: no role",
        &setup.url(),
    ]);
    let output = setup.directory.path("pods.jsonl").display().to_string();
    for args in [&["record", "-o", &output][..], &["top"], &["versions"]] {
        let run = setup.run_on_all(args).await;
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
    let (listener, url) = loopback().await;
    drop(listener);
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&url));
    let policy = directory.policy("policy.json", &json!({}));
    let output = directory.path("pods.jsonl").display().to_string();
    let table: [(&[&str], &str); 7] = [
        (&["simulate", "-p", &policy], "cannot list sidecarpolicies"),
        (&["record", "-o", &output], "cannot list pods"),
        (&["explain", "web-1"], "cannot list sidecarpolicies"),
        (&["top"], "cannot list sidecarpolicies"),
        (&["versions"], "cannot list sidecarpolicies"),
        (&["lint", "--live"], "cannot list deployments"),
        (&["doctor"], "cannot read /version"),
    ];
    for (args, problem) in table {
        let run = sidewatch(&[args, &["--kubeconfig", &kubeconfig]].concat()).await;
        run.assert_failed(&[problem, "Connection refused", &url, "--context"]);
    }
}

#[tokio::test]
async fn an_unusable_kubeconfig_is_an_error() {
    let directory = Directory::new();
    let good = directory.file("good", kubeconfig("http://127.0.0.1:1"));
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

/// Runs `simulate` with this kubeconfig and these environment variables. `listener` accepts one connection and answers 502.
/// Returns the result, and the head of the request.
async fn simulate_through(
    listener: TcpListener,
    kubeconfig: String,
    variables: &[(&str, &str)],
) -> (Run, String) {
    let head = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let kubeconfig = directory.file("kubeconfig", kubeconfig);
    let mut command = command(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig]);
    let run = finish(command.envs(variables.iter().copied())).await;
    (run, soon("a request", head).await.unwrap())
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_or_the_environment_is_used() {
    type Row = (bool, &'static [(&'static str, &'static str)], &'static str);
    // Whether the kubeconfig names the proxy, and the variables; PROXY and ADDRESS are those of the proxy.
    let table: [Row; 5] = [
        (true, &[], "proxy-url"),
        (
            true,
            &[("NO_PROXY", "*")],
            "NO_PROXY does not concern a proxy-url",
        ),
        (false, &[("HTTPS_PROXY", "PROXY")], "a variable"),
        (false, &[("https_proxy", "ADDRESS")], "lower case, and no scheme"),
        (
            false,
            &[
                ("HTTPS_PROXY", "PROXY"),
                ("NO_PROXY", "127.0.0.1, cluster.invalid:443 ,"),
            ],
            "NO_PROXY names the proxy and another port, with a comma at the end",
        ),
    ];
    for (is_in_kubeconfig, variables, why) in table {
        let (proxy, url) = loopback().await;
        let address = url.trim_start_matches("http://").to_owned();
        let mut cluster = json!({"server": "https://cluster.invalid:6443"});
        if is_in_kubeconfig {
            cluster["proxy-url"] = url.as_str().into();
        }
        let variables = variables.iter().map(|(name, value)| match *value {
            "PROXY" => (*name, url.as_str()),
            "ADDRESS" => (*name, address.as_str()),
            value => (*name, value),
        });
        let variables: Vec<_> = variables.collect();
        let kubeconfig = config(&cluster, &json!({"token": "t"}));
        let (run, head) = simulate_through(proxy, kubeconfig, &variables).await;
        run.assert_failed(&["https://cluster.invalid:6443"]);
        assert!(head.starts_with("CONNECT cluster.invalid:6443 "), "{why}: {head}");
    }
}

#[tokio::test]
async fn a_server_on_this_machine_is_reached_without_a_proxy() {
    let (_proxy, proxy_url) = loopback().await;
    let (server, url) = loopback().await;
    let variables = [
        ("HTTP_PROXY", proxy_url.as_str()),
        ("HTTPS_PROXY", proxy_url.as_str()),
    ];
    let (run, head) = simulate_through(server, kubeconfig(&url), &variables).await;
    run.assert_failed(&["cannot list"]);
    assert!(head.starts_with("GET /"), "{head}");
}

#[tokio::test]
async fn a_server_that_no_proxy_names_is_reached_without_the_proxy() {
    let (_proxy, proxy_url) = loopback().await;
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let cluster = json!({"server": "https://cluster.invalid:6443"});
    let kubeconfig = directory.file("kubeconfig", config(&cluster, &json!({"token": "t"})));
    let mut command = command(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig]);
    let variables = [("HTTPS_PROXY", proxy_url.as_str()), ("NO_PROXY", ".invalid,")];
    // The name has no address. Through the proxy, which does not answer, the command would wait for 30 s.
    let run = soon("the end", finish(command.envs(variables))).await;
    run.assert_failed(&["cannot list", "https://cluster.invalid:6443"]);
}

#[tokio::test]
async fn exec_credentials_of_a_kubeconfig_are_used() {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-exec"},
    });
    let user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/echo", "args": [credential.to_string()],
        "interactiveMode": "Never",
    }});
    let (server, url) = loopback().await;
    let (run, head) = simulate_through(server, config(&json!({"server": url}), &user), &[]).await;
    run.assert_failed(&["cannot list sidecarpolicies"]);
    let head = head.to_lowercase();
    assert!(head.contains("authorization: bearer from-exec\r\n"), "{head}");
}
