//! `sidewatch lint --live` on a scripted API server.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::ApiServer;

use crate::{setup::Setup, support::sidewatch};

/// The paths of all kinds in all namespaces, in the order of the requests.
const LISTS: [&str; 7] = [
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/replicasets",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
    "/api/v1/pods",
];
const DEPLOYMENTS: &str = LISTS[0];
const REPLICA_SETS: &str = LISTS[3];
const PODS: &str = LISTS[6];

/// A Pod spec with one finding: SC011, at `containers[1].image`.
fn spec() -> Value {
    let resources = json!({"requests": {"cpu": "50m"}, "limits": {"memory": "128Mi"}});
    json!({"containers": [
        {"name": "app"},
        {"name": "fluent-bit", "image": "fluent/fluent-bit", "readinessProbe": {}, "resources": resources},
    ]})
}

fn workload(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"template": {"spec": spec()}}})
}

fn page(next: &str, items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": next}, "items": items})
}

/// Answers lists of these kinds without objects.
fn serve_nothing(server: &ApiServer, paths: &[&str]) {
    for path in paths {
        server.serve_quietly(path, page("", &[]));
    }
}

/// Refuses the lists of a kind.
fn forbid(server: &ApiServer, path: &str, resource: &'static str) {
    server.answer(Method::GET, path, move |request| {
        request.fail(403, &format!("{resource} is forbidden: no role"));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn workloads_are_listed_in_pages_and_named() {
    let server = ApiServer::default();
    serve_nothing(&server, &LISTS[1..6]);
    let (deployments, pods) = (
        server.route(Method::GET, DEPLOYMENTS),
        server.route(Method::GET, PODS),
    );
    let setup = Setup::new(server).await;
    let answers = async {
        let request = deployments.next().await;
        let parameters = ["limit", "continue", "labelSelector"].map(|name| request.parameter(name));
        request.json(StatusCode::OK, &page("token", &[workload("web")]));
        let request = deployments.next().await;
        let token = request.parameter("continue");
        request.json(StatusCode::OK, &page("", &[workload("cart")]));
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true});
        let pod = |name: &str, owners: Value| json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": owners}, "spec": spec()});
        let request = pods.next().await;
        let fields = request.parameter("fieldSelector");
        request.as_json().json(
            StatusCode::OK,
            &page("", &[pod("web-1", json!([owner])), pod("debug", json!([]))]),
        );
        (parameters, token, fields)
    };
    let args = ["lint", "--live", "-l", "app=web", "-o", "json"];
    let (run, (parameters, token, fields)) = tokio::join!(setup.run_on_all(&args), answers);
    assert_eq!(
        parameters,
        [Some("100".to_owned()), None, Some("app=web".to_owned())]
    );
    assert_eq!(token.as_deref(), Some("token"));
    assert!(fields.unwrap().contains("status.phase!=Succeeded"));
    assert_eq!(run.code, Some(1), "{run:?}");
    let output = run.json();
    let found: Vec<_> = output["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            ["code", "kind", "namespace", "name", "path"]
                .map(|key| f[key].as_str().unwrap())
                .join(" ")
        })
        .collect();
    assert_eq!(
        found,
        [
            "SC011 Deployment shop web spec.template.spec.containers[1].image",
            "SC011 Deployment shop cart spec.template.spec.containers[1].image",
            "SC011 Pod shop debug spec.containers[1].image",
        ],
        "a Pod of a ReplicaSet is not examined"
    );
    assert_eq!(output["templates"], 3);
    for field in ["file", "line", "column"] {
        assert!(output["findings"][0].get(field).is_none(), "{output:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_format_names_the_workload_instead_of_a_line() {
    let server = ApiServer::default();
    serve_nothing(&server, &LISTS[1..]);
    server.serve_quietly(DEPLOYMENTS, page("", &[workload("web")]));
    let setup = Setup::new(server).await;
    let run = async |format: &str| setup.run_on_all(&["lint", "--live", "-o", format]).await;
    let text = "\
warning[SC011]: the image of sidecar fluent-bit has no tag and no digest: two Pods can run two versions
--> spec.template.spec.containers[1].image of Deployment/web in shop
 = help: use a tag with a version, or a digest

1 Pod template: 0 Error, 1 Warning, 0 Info
";
    assert_eq!(run("text").await.stdout, text);
    let github = run("github").await.stdout;
    assert!(
        github.starts_with("::warning title=SC011::the image of sidecar"),
        "{github}"
    );
    assert!(
        github.contains("(spec.template.spec.containers[1].image of Deployment/web in shop)"),
        "{github}"
    );
    let sarif = run("sarif").await.json();
    let location = &sarif["runs"][0]["results"][0]["locations"][0];
    let name = "Deployment/shop/web/spec.template.spec.containers[1].image";
    assert_eq!(
        *location,
        json!({"logicalLocations": [{"fullyQualifiedName": name}]})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_kind_that_may_not_be_listed_is_a_note() {
    let server = ApiServer::default();
    serve_nothing(&server, &[LISTS[1], LISTS[2], LISTS[4], LISTS[5], PODS]);
    server.serve_quietly(DEPLOYMENTS, page("", &[workload("web")]));
    forbid(&server, REPLICA_SETS, "replicasets.apps");
    let setup = Setup::new(server).await;
    let run = setup.run_on_all(&["lint", "--live"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(
        run.stderr,
        "note: cannot list replicasets: forbidden: replicasets.apps is forbidden: no role\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn if_nothing_may_be_listed_the_command_fails() {
    let server = ApiServer::default();
    for path in LISTS {
        forbid(&server, &path.replace("/v1/", "/v1/namespaces/shop/"), "x");
    }
    let setup = Setup::new(server).await;
    let run = setup.run(&["lint", "--live", "-n", "shop"]).await;
    run.assert_failed(&[
        "no workload can be read: cannot list deployments in namespace shop: forbidden",
        &setup.url(),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_list_that_breaks_off_is_an_error() {
    let server = ApiServer::default();
    let deployments = server.route(Method::GET, DEPLOYMENTS);
    let setup = Setup::new(server).await;
    let answers = async {
        deployments
            .next()
            .await
            .json(StatusCode::OK, &page("token", &[workload("web")]));
        deployments
            .next()
            .await
            .fail(410, "the continue token has expired");
    };
    let (run, ()) = tokio::join!(setup.run_on_all(&["lint", "--live", "-o", "json"]), answers);
    run.assert_failed(&[
        "cannot list deployments: the continue token has expired",
        &setup.url(),
    ]);
}

#[tokio::test]
async fn flags_of_the_cluster_need_live() {
    for args in [
        &["lint", "-n", "shop", "-"][..],
        &["lint", "--live", "docs"],
        &["lint", "--live", "-f", "docs"],
        &["lint"],
    ] {
        let run = sidewatch(args).await;
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.stderr.contains("--live"), "{args:?}: {run:?}");
    }
}
