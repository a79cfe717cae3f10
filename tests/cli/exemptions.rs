//! `explain` and `top` in a cluster with SidecarExemptions.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EXEMPTIONS, Exchange, NAMESPACES, PODS, POLICIES, in_pay, list, pod, policy,
};

use crate::{setup::Setup, support::Run};

const UNTIL: &str = "2126-11-20T10:00:00Z";
const CHECK: &str = "MainReadySidecarNotReady";

/// Returns an exemption of a Pod without an owner until this time.
fn exemption(name: &str, pod: &str, until: &str) -> Value {
    json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarExemption",
        "metadata": {
            "name": name, "namespace": "pay", "uid": format!("uid-{name}"), "resourceVersion": "4", "generation": 1,
            "creationTimestamp": "2026-11-20T09:00:00Z",
        },
        "spec": {"workload": {"kind": "Pod", "name": pod}, "reason": "vendor\u{1b}[31m", "until": until},
    })
}

/// The path of the objects in the namespace `pay`, and that of the objects in all namespaces.
fn both(path: &str) -> [String; 2] {
    [in_pay(path), path.to_owned()]
}

/// A cluster with these policies and the Pods `web-1` and `web-2`, whose sidecars are not ready, and `web-3`. `answer`
/// answers each list of exemptions.
async fn cluster(policies: &[Value], answer: impl Fn(Exchange) + Clone + Send + 'static) -> Setup {
    let server = ApiServer::default();
    let pay = json!({"metadata": {"name": "pay", "uid": "uid-pay", "resourceVersion": "1"}});
    server.serve_quietly("/api/v1/namespaces/pay", pay.clone());
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[pay]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    let pods =
        [("web-1", false), ("web-2", false), ("web-3", true)].map(|(name, ready)| pod(name, "5", ready));
    for path in both(POLICIES) {
        server.serve_quietly(&path, list("SidecarPolicy", "1", policies));
    }
    for path in both(PODS) {
        server.serve_quietly(&path, list("Pod", "7", &pods));
    }
    for path in both(EXEMPTIONS) {
        server.answer(Method::GET, &path, answer.clone());
    }
    Setup::new(server).await
}

/// Such a cluster with the policy `mesh` and these exemptions.
async fn cluster_with(exemptions: &[Value]) -> Setup {
    let listed = list("SidecarExemption", "4", exemptions);
    cluster(&[policy("mesh", "3")], move |request| {
        request.json(StatusCode::OK, &listed);
    })
    .await
}

/// Explains `web-1`.
async fn explain(setup: &Setup, more: &[&str]) -> Run {
    setup.run(&[&["explain", "web-1"], more].concat()).await
}

/// The row of the check that fails.
fn row(run: &Run) -> Value {
    let report = run.json();
    let rows = report[0]["checks"].as_array().unwrap();
    rows.iter().find(|row| row["check"] == CHECK).unwrap().clone()
}

/// The groups of `top`: `group firing pending hidden pods`.
fn groups(run: &Run) -> Vec<String> {
    let report = run.json();
    let groups = report["groups"].as_array().unwrap().iter();
    let text = |row: &Value| {
        let fields = ["group", "firing", "pending", "hidden", "pods"];
        fields
            .map(|field| row[field].to_string().replace('"', ""))
            .join(" ")
    };
    groups.map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn explain_names_the_exemption_that_hides_a_violation() {
    let setup = cluster_with(&[exemption("snooze", "web-1", UNTIL)]).await;
    let run = explain(&setup, &["-o", "json"]).await;
    assert_eq!(run.code, Some(0), "nothing is reported: {run:?}");
    let row = row(&run);
    assert_eq!(row["state"], "hidden", "{row:#}");
    let expected = json!({
        "exemption": "SidecarExemption pay/snooze", "until": UNTIL, "reason": "vendor\u{fffd}[31m",
    });
    assert_eq!(row["hiddenBy"], expected);
    assert!(row["firing"].is_string() && row["onset"].is_string(), "{row:#}");
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.ends_with("; ready: 'app'"), "only the cause: {reason}");
    let yaml = explain(&setup, &["-o", "yaml"]).await.stdout;
    assert!(
        yaml.contains("exemption: SidecarExemption pay/snooze\n"),
        "{yaml}"
    );
    let text = explain(&setup, &[]).await.stdout;
    let line = text.lines().find(|line| line.contains(CHECK)).unwrap();
    assert!(line.contains("   hidden   since "), "{line}");
    let end = format!("; SidecarExemption pay/snooze hides it until {UNTIL}: vendor\u{fffd}[31m");
    assert!(line.ends_with(&end), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn top_counts_hidden_violations_apart() {
    let setup = cluster_with(&[exemption("snooze", "web-1", UNTIL)]).await;
    let run = setup.run_on_all(&["top", "-o", "json"]).await;
    let expected = ["pay/Pod/web-2 proxy 1 0 0 1", "pay/Pod/web-1 proxy 0 0 1 1"];
    assert_eq!(
        (groups(&run), run.code),
        (expected.map(str::to_owned).to_vec(), Some(1))
    );
    let cause = &run.json()["groups"][1]["cause"];
    assert!(cause.as_str().unwrap().contains("ready: 'app'"), "{cause}");
    for (by, group) in [("image", "proxy"), ("policy", "SidecarPolicy pay/mesh")] {
        let run = setup.run_on_all(&["top", "--by", by, "-o", "json"]).await;
        assert_eq!(groups(&run), [format!("{group} 1 0 1 2")]);
    }
    let text = setup.run_on_all(&["top"]).await.stdout;
    let first = "3 Pods, 1 violations fire, 0 are pending, 1 are hidden\n";
    assert!(text.starts_with(first), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hidden_violations_are_no_findings() {
    let both = ["web-1", "web-2"].map(|name| exemption(name, name, UNTIL));
    let setup = cluster_with(&both).await;
    let run = setup.run_on_all(&["top", "-o", "json"]).await;
    let expected = ["pay/Pod/web-1 proxy 0 0 1 1", "pay/Pod/web-2 proxy 0 0 1 1"];
    let mut found = groups(&run);
    found.sort();
    assert_eq!((found, run.code), (expected.map(str::to_owned).to_vec(), Some(0)));
    assert_eq!(run.stderr, "");

    let run = setup
        .simulate(&json!({"checks": {"notReady": {"for": "0s"}}}), &[])
        .await;
    assert_eq!(run.code, Some(1), "simulate shows every violation: {run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_an_exemption_does_not_cover_is_reported() {
    let ended = exemption("ended", "web-1", "2026-11-20T10:00:00Z");
    let other = exemption("other", "web-2", UNTIL);
    let mut invalid = exemption("invalid", "web-1", UNTIL);
    invalid["spec"]["until"] = "tomorrow".into();
    let setup = cluster_with(&[ended, other, invalid]).await;
    let run = explain(&setup, &["-o", "json"]).await;
    let row = row(&run);
    assert_eq!(
        (row["state"].as_str(), run.code),
        (Some("firing"), Some(1)),
        "{row:#}"
    );
    assert_eq!(row["hiddenBy"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_the_oldest_exemptions_of_a_namespace_have_an_effect() {
    let mut exemptions: Vec<Value> = (0..101)
        .map(|n| exemption(&format!("e-{n}"), "other", UNTIL))
        .collect();
    for (name, hides) in [("e-100", false), ("e-99", true)] {
        let of_web = exemptions
            .iter_mut()
            .find(|of| of["metadata"]["name"] == name)
            .unwrap();
        of_web["spec"]["workload"]["name"] = "web-1".into();
        for (n, exemption) in exemptions.iter_mut().enumerate() {
            let created = format!("2026-11-20T09:{:02}:{:02}Z", n / 60, n % 60);
            exemption["metadata"]["creationTimestamp"] = created.into();
        }
        let setup = cluster_with(&exemptions).await;
        let run = explain(&setup, &["-o", "json"]).await;
        assert_eq!(row(&run)["state"] == "hidden", hides, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_page_of_exemptions_is_read() {
    let first = exemption("other", "web-2", UNTIL);
    let second = exemption("snooze", "web-1", UNTIL);
    let setup = cluster(&[policy("mesh", "3")], move |request| {
        assert_eq!(request.parameter("limit").as_deref(), Some("500"));
        let is_second = request.parameter("continue").as_deref() == Some("next");
        let item = if is_second { &second } else { &first };
        let mut page = list("SidecarExemption", "4", std::slice::from_ref(item));
        if !is_second {
            page["metadata"]["continue"] = "next".into();
        }
        request.json(StatusCode::OK, &page);
    })
    .await;
    let run = setup.run_on_all(&["top", "--by", "policy", "-o", "json"]).await;
    assert_eq!(groups(&run), ["SidecarPolicy pay/mesh 0 0 2 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_missing_right_is_a_note_and_a_missing_definition_is_not() {
    let table = [
        (
            403,
            "sidecarexemptions is forbidden: no role",
            "note: cannot list sidecarexemptions",
        ),
        (404, "404 page not found", ""),
    ];
    for (code, message, note) in table {
        let setup = cluster(&[policy("mesh", "3")], move |request| request.fail(code, message)).await;
        let run = setup.run_on_all(&["top", "-o", "json"]).await;
        assert_eq!((groups(&run).len(), run.code), (2, Some(1)), "{run:?}");
        let notes: Vec<&str> = run.stderr.lines().collect();
        assert_eq!(notes.len(), usize::from(code == 403), "{run:?}");
        let is_shown = "what exemptions hide is shown as if it were reported";
        assert!(
            notes
                .iter()
                .all(|text| text.starts_with(note) && text.ends_with(is_shown)),
            "{run:?}"
        );
        let run = explain(&setup, &["-o", "json"]).await;
        assert_eq!(
            (row(&run)["state"].as_str(), run.code),
            (Some("firing"), Some(1)),
            "{run:?}"
        );
        assert_eq!(run.stderr.contains(is_shown), code == 403, "{run:?}");
    }
    let setup = cluster(&[policy("mesh", "3")], |request| request.fail(500, "etcd")).await;
    let run = setup.run_on_all(&["top"]).await;
    run.assert_failed(&["cannot list sidecarexemptions", "etcd"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_policies_exemptions_are_not_read() {
    let setup = cluster(&[], |_| panic!("a request for exemptions")).await;
    let run = setup.run_on_all(&["top"]).await;
    assert!(run.stdout.contains("0 are hidden"), "{run:?}");
}
