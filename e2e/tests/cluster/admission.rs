//! The ValidatingAdmissionPolicies of `config/admission` on a real API server, with the Pod specs of the lint rules.

use std::time::Duration;

use anyhow::ensure;
use e2e::{ControlPlane, compat::RESTART_RULES, poll::eventually, project::repository};
use http::{Method, Request, StatusCode, header};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use testkit::lint_fixtures::{CLASSIC_IN_JOB, ENDLESS_INIT, PORT_CONFLICT, object};

/// Returns an object that the API server accepts: containers have an image, and workloads a selector.
fn complete(kind: &str, spec: &str) -> Value {
    let mut object: Value = serde_saphyr::from_str(&object(kind, spec)).unwrap();
    object["metadata"]["namespace"] = json!("default");
    let template = match kind {
        "Pod" => &mut object,
        "CronJob" => &mut object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &mut object["spec"]["template"],
    };
    let spec = &mut template["spec"];
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container.get("image").is_none() {
                container["image"] = json!("app");
            }
        }
    }
    if spec.get("initContainers").is_some_and(Value::is_null) {
        spec.as_object_mut().unwrap().remove("initContainers");
    }
    let labels = json!({"app": "web"});
    match kind {
        "Pod" => object["apiVersion"] = json!("v1"),
        "Deployment" => {
            template["metadata"] = json!({"labels": labels});
            object["spec"]["selector"] = json!({"matchLabels": labels});
            object["apiVersion"] = json!("apps/v1");
        }
        _ => {
            spec["restartPolicy"] = json!("Never");
            if kind == "CronJob" {
                object["spec"]["schedule"] = json!("* * * * *");
            }
            object["apiVersion"] = json!("batch/v1");
        }
    }
    object
}

/// Reports whether a main container has its own restart policy.
fn has_restart_rules(object: &Value) -> bool {
    let template = match object["kind"].as_str() {
        Some("Pod") => object,
        Some("CronJob") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    let containers = template["spec"]["containers"].as_array();
    containers
        .into_iter()
        .flatten()
        .any(|container| container.get("restartPolicy").is_some())
}

/// Writes an object, and returns the warnings of the policies.
async fn warnings(
    client: &Client,
    method: Method,
    object: &Value,
    query: &str,
) -> anyhow::Result<Vec<String>> {
    let (api, plural) = match object["kind"].as_str().unwrap() {
        "Pod" => ("api/v1", "pods"),
        "Deployment" => ("apis/apps/v1", "deployments"),
        "Job" => ("apis/batch/v1", "jobs"),
        "CronJob" => ("apis/batch/v1", "cronjobs"),
        other => panic!("{other}"),
    };
    let name = if method == Method::PUT { "/web" } else { "" };
    let request = Request::builder()
        .method(method)
        .uri(format!(
            "/{api}/namespaces/default/{plural}{name}?fieldValidation=Strict{query}"
        ))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(object.to_string().into_bytes()))?;
    let response = client.send(request).await?;
    let status = response.status();
    let headers = response.headers().get_all(header::WARNING).iter();
    let warnings: Vec<_> = headers.map(|value| value.to_str().unwrap().to_owned()).collect();
    if ![StatusCode::CREATED, StatusCode::OK].contains(&status) {
        let body = response.into_body().collect_bytes().await?;
        anyhow::bail!("{status}: {}\n{object:#}", String::from_utf8_lossy(&body));
    }
    Ok(warnings
        .into_iter()
        .filter(|text| text.contains("ValidatingAdmissionPolicy"))
        .collect())
}

async fn plane() -> (ControlPlane, Client) {
    let plane = ControlPlane::start().await.unwrap();
    let directory = repository().join("config/admission");
    plane
        .kubectl(["apply", "-k", directory.to_str().unwrap()])
        .await
        .unwrap();
    let client = plane.client().await.unwrap();
    // The API server reads policies by a watch.
    for fixtures in [ENDLESS_INIT, CLASSIC_IN_JOB, PORT_CONFLICT] {
        let object = complete(fixtures.kinds[0], fixtures.bad[0].0);
        eventually(Duration::from_secs(30), || async {
            let warnings = warnings(&client, Method::POST, &object, "&dryRun=All").await?;
            ensure!(!warnings.is_empty(), "no warning of {}", fixtures.code);
            Ok(())
        })
        .await
        .unwrap();
    }
    (plane, client)
}

#[tokio::test]
async fn policies_warn_where_lint_finds_the_fault() {
    let (_plane, client) = plane().await;
    for fixtures in [ENDLESS_INIT, CLASSIC_IN_JOB, PORT_CONFLICT] {
        for kind in fixtures.kinds {
            let bad = fixtures.bad.iter().map(|(spec, _)| (*spec, 1));
            let good = fixtures.good.iter().map(|spec| (*spec, 0));
            for (spec, expected) in bad.chain(good) {
                let object = complete(kind, spec);
                if has_restart_rules(&object) && !RESTART_RULES.is_selected().unwrap() {
                    continue;
                }
                let warnings = warnings(&client, Method::POST, &object, "&dryRun=All")
                    .await
                    .unwrap();
                let of_rule = warnings
                    .iter()
                    .filter(|text| text.contains(fixtures.code))
                    .count();
                assert_eq!(
                    of_rule, expected,
                    "{} in {kind} {spec}: {warnings:?}",
                    fixtures.code
                );
            }
        }
    }
    a_warning_is_not_repeated(&client).await;
}

async fn a_warning_is_not_repeated(client: &Client) {
    let write =
        async |method, object: &Value, query: &str| warnings(client, method, object, query).await.unwrap();
    let mut pod = complete("Pod", PORT_CONFLICT.bad[0].0);
    pod["metadata"]["annotations"] =
        json!({"sidewatch.dev/ignore": "SC010: x\nSC012/b: started one after the other"});
    assert_eq!(
        write(Method::POST, &pod, "&dryRun=All").await,
        [""; 0],
        "suppressed"
    );
    pod["metadata"]["annotations"] = json!({"sidewatch.dev/ignore": "SC012/a: the other container"});
    let warnings = write(Method::POST, &pod, "&dryRun=All").await;
    let expected = "SC012: containers that declare a port of a container that runs at the same time: b; ";
    assert!(
        warnings.len() == 1 && warnings[0].contains(expected),
        "{warnings:?}"
    );
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true}]);
    assert_eq!(
        write(Method::POST, &pod, "&dryRun=All").await,
        [""; 0],
        "controlled"
    );

    let mut deployment = complete("Deployment", ENDLESS_INIT.bad[0].0);
    assert_eq!(write(Method::POST, &deployment, "").await.len(), 1);
    deployment["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(
        write(Method::PUT, &deployment, "").await,
        [""; 0],
        "the spec has not changed"
    );
    deployment["spec"]["paused"] = json!(true);
    assert_eq!(write(Method::PUT, &deployment, "").await.len(), 1);
}
