//! The ValidatingAdmissionPolicies of `config/admission` on a real API server, with the Pod specs of the lint rules.

use std::time::Duration;

use anyhow::ensure;
use e2e::{ControlPlane, compat::RESTART_RULES, poll::eventually};
use http::{Method, Request, StatusCode, header};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use testkit::lint_fixtures::{CLASSIC_IN_JOB, ENDLESS_INIT, PORT_CONFLICT, object};

/// The Pod, or the template of the Pods of a workload.
fn template(object: &mut Value) -> &mut Value {
    match object["kind"].as_str() {
        Some("Pod") => object,
        Some("CronJob") => &mut object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &mut object["spec"]["template"],
    }
}

/// Returns an object that the API server accepts: containers have an image, and workloads a selector.
fn complete(kind: &str, spec: &str) -> Value {
    let mut object: Value = serde_saphyr::from_str(&object(kind, spec)).unwrap();
    object["metadata"]["namespace"] = json!("default");
    let template = template(&mut object);
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
    if kind.ends_with("Job") {
        spec["restartPolicy"] = json!("Never");
    }
    let labels = json!({"app": "web"});
    if kind == "Deployment" {
        template["metadata"] = json!({"labels": labels});
        object["spec"]["selector"] = json!({"matchLabels": labels});
    }
    if kind == "CronJob" {
        object["spec"]["schedule"] = json!("* * * * *");
    }
    object["apiVersion"] = json!(match kind {
        "Pod" => "v1",
        "Deployment" => "apps/v1",
        _ => "batch/v1",
    });
    object
}

/// Reports whether a main container has its own restart policy.
fn has_restart_rules(mut object: Value) -> bool {
    let containers = template(&mut object)["spec"]["containers"].as_array();
    let mut containers = containers.into_iter().flatten();
    containers.any(|container| container.get("restartPolicy").is_some())
}

/// Writes an object, and returns the warnings of the policies.
async fn warnings(
    client: &Client,
    method: Method,
    object: &Value,
    query: &str,
) -> anyhow::Result<Vec<String>> {
    let (version, kind) = (
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    );
    let api = if version == "v1" { "api" } else { "apis" };
    let plural = format!("{}s", kind.to_lowercase());
    let name = if method == Method::PUT { "/web" } else { "" };
    let request = Request::builder()
        .method(method)
        .uri(format!(
            "/{api}/{version}/namespaces/default/{plural}{name}?fieldValidation=Strict{query}"
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
    plane.kubectl_line("apply -k config/admission").await.unwrap();
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
                if has_restart_rules(object.clone()) && !RESTART_RULES.is_selected().unwrap() {
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
    let write = async |method, object: &Value, query| warnings(client, method, object, query).await.unwrap();
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
