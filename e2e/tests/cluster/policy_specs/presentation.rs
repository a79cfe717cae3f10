//! Policies in kubectl: columns, names, explanations.

use super::plane;
use e2e::ControlPlane;
use e2e::compat::SELECTABLE_FIELDS;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sidewatch::api::{ClusterSidecarPolicy, Mode, SidecarPolicy, SidecarPolicySpec, crds};
use std::fs;

async fn policy(client: &Client, namespace: &str, name: &str, spec: SidecarPolicySpec) -> Api<SidecarPolicy> {
    let api = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &SidecarPolicy::new(name, spec))
        .await
        .unwrap();
    api
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    })
}

/// Words of each line.
fn words(printed: &str) -> Vec<Vec<&str>> {
    printed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// kubectl parses the files with another YAML library.
#[tokio::test]
async fn the_files_in_crds_equal_the_types() {
    let (_, client) = plane().await;
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for definition in crds::definitions() {
        let stored = api.get(&definition.name_any()).await.unwrap().spec;
        let mut versions = definition.spec.versions;
        if !SELECTABLE_FIELDS.is_selected().unwrap() {
            versions[0].selectable_fields = None;
        }
        assert_eq!(stored.versions, versions);
        assert_eq!(stored.names.categories, definition.spec.names.categories);
        assert_eq!(stored.names.short_names, definition.spec.names.short_names);
        assert_eq!(stored.scope, definition.spec.scope);
    }
}

#[tokio::test]
async fn kubectl_shows_readiness_health_and_counts() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("columns").await.unwrap();
    let api = policy(&client, &namespace, "mesh", SidecarPolicySpec::default()).await;

    let get = async |args: &[&str]| {
        let all = [["get", "--namespace", &namespace].as_slice(), args].concat();
        plane.kubectl(all).await.unwrap()
    };
    let header = [
        "NAME", "READY", "HEALTHY", "MODE", "PODS", "SIDECARS", "FIRING", "AGE",
    ];
    let printed = get(&["scpol"]).await;
    assert_eq!(words(&printed)[0], header, "{printed}");
    assert_eq!(
        words(&printed)[1][..2],
        ["mesh", "Alert"],
        "unknown values are empty: {printed}"
    );

    let status = json!({ "status": {
        "conditions": [
            condition("Ready", "True", "Evaluating"),
            condition("SidecarsHealthy", "False", "2 of 44 sidecars in 2 of 42 Pods fail"),
        ],
        "summary": {
            "pods": 42, "sidecars": 44, "mains": 43, "firing": 2, "pending": 1, "withoutReadinessProbe": 3,
        },
    }});
    api.patch_status("mesh", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let printed = get(&["sidecarpolicies"]).await;
    assert_eq!(words(&printed)[0], header, "{printed}");
    assert_eq!(
        words(&printed)[1][..7],
        ["mesh", "True", "False", "Alert", "42", "44", "2"],
        "{printed}"
    );

    let printed = get(&["scpol", "--output=wide"]).await;
    assert_eq!(words(&printed)[0][8..], ["PENDING", "MESSAGE"], "{printed}");
    assert_eq!(words(&printed)[1][8], "1", "{printed}");
    assert!(
        printed
            .trim_end()
            .ends_with("2 of 44 sidecars in 2 of 42 Pods fail"),
        "{printed}"
    );
}

/// The names that `kubectl get` prints.
async fn names(plane: &ControlPlane, namespace: &str, args: &[&str]) -> Vec<String> {
    let get = ["get", "--output=name", "--namespace", namespace];
    let printed = plane.kubectl([&get[..], args].concat()).await.unwrap();
    printed.lines().map(ToString::to_string).collect()
}

#[tokio::test]
async fn kubectl_finds_policies_by_short_name_and_category() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("names").await.unwrap();
    policy(&client, &namespace, "loud", SidecarPolicySpec::default()).await;
    policy(&client, &namespace, "quiet", SidecarPolicySpec::default()).await;
    let clusters: Api<ClusterSidecarPolicy> = Api::all(client);
    let everywhere =
        ClusterSidecarPolicy::new("names-everywhere", serde_json::from_value(json!({})).unwrap());
    clusters
        .create(&PostParams::default(), &everywhere)
        .await
        .unwrap();

    let names = async |args: &[&str]| names(plane, &namespace, args).await;
    let of = |name: &str| format!("sidecarpolicy.sidewatch.dev/{name}");
    let everywhere = "clustersidecarpolicy.sidewatch.dev/names-everywhere".to_string();
    assert_eq!(names(&["scpol"]).await, [of("loud"), of("quiet")]);
    assert!(names(&["cscpol"]).await.contains(&everywhere));
    let category = names(&["sidecars"]).await;
    for name in [of("loud"), of("quiet"), everywhere] {
        assert!(
            category.contains(&name),
            "`kubectl get sidecars` shows both kinds: {category:?}"
        );
    }

    clusters
        .delete("names-everywhere", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn kubectl_selects_policies_by_mode() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("modes").await.unwrap();
    let off = SidecarPolicySpec {
        mode: Mode::Off,
        ..SidecarPolicySpec::default()
    };
    policy(&client, &namespace, "loud", SidecarPolicySpec::default()).await;
    policy(&client, &namespace, "quiet", off).await;
    let of_mode = async |kind: &str, mode: &str| {
        let selector = format!("--field-selector=spec.mode={mode}");
        names(plane, &namespace, &[kind, &selector]).await
    };
    assert_eq!(
        of_mode("scpol", "Off").await,
        ["sidecarpolicy.sidewatch.dev/quiet"]
    );
    assert_eq!(
        of_mode("scpol", "Alert").await,
        ["sidecarpolicy.sidewatch.dev/loud"],
        "also where it is a default"
    );
    assert_eq!(of_mode("cscpol", "Observe").await, [""; 0]);
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let (plane, _) = plane().await;
    let explain = async |path: &str| plane.kubectl(["explain", path]).await.unwrap();
    for (path, says) in [
        ("scpol", "watches the sidecars of the Pods in its own namespace"),
        (
            "cscpol.spec.namespaceSelector",
            "Selects namespaces by their labels. Empty selects all.",
        ),
        ("scpol.spec.checks.notReady.for", "Between 0s (at once) and"),
        ("scpol.spec.mode", "Quote \"Off\""),
        (
            "scpol.spec.podSelector.matchExpressions.values",
            "at least one and at most 64",
        ),
        (
            "scpol.status.conditions.message",
            "The human-readable reason for the status.",
        ),
        ("cscpol.status.violations.workload", "such as Deployment/web"),
    ] {
        let printed = explain(path)
            .await
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(printed.contains(says), "{path}: {printed}");
    }
    let printed = explain("scpol.spec.mode")
        .await
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        printed.contains("ENUM: Alert Observe Off"),
        "the values are listed: {printed}"
    );
    let printed = explain("scpol").await;
    assert!(
        printed.contains("spec\t<Object>\n") && !printed.contains("-required-"),
        "no field is required: {printed}"
    );
}

#[tokio::test]
async fn an_empty_spec_can_be_applied_again_in_every_way() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("empty").await.unwrap();
    let manifest = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {{name: {name}}}{spec}}}"
        )
    };
    let api: Api<SidecarPolicy> = Api::namespaced(client, &namespace);
    for (name, flags) in [("client", &[][..]), ("server", &["--server-side"])] {
        let mut generations = Vec::new();
        for spec in [", spec: {}", ", spec: {}", "", ", spec: {}"] {
            let args = [&["apply", "--namespace", &namespace, "--filename=-"], flags].concat();
            let applied = plane.kubectl_with_input(args, &manifest(name, spec)).await;
            applied.unwrap_or_else(|error| panic!("{name} {spec:?} after {generations:?}: {error}"));
            let policy = api.get(name).await.unwrap();
            assert_eq!(policy.spec, SidecarPolicySpec::default(), "{name} {spec:?}");
            generations.push(policy.metadata.generation);
        }
        assert_eq!(generations, [Some(1); 4], "{name}: nothing changes");
    }
}

#[tokio::test]
async fn an_unquoted_off_is_rejected_with_its_field() {
    let (plane, _) = plane().await;
    let namespace = plane.namespace("off").await.unwrap();
    let file = plane.dir().join("bare-off.yaml");
    let apply = async |mode: &str| {
        let policy = format!(
            "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarPolicy\nmetadata: {{name: mesh}}\nspec: {{mode: {mode}}}\n"
        );
        fs::write(&file, policy).unwrap();
        plane
            .kubectl([
                "apply",
                "--namespace",
                &namespace,
                "--filename",
                file.to_str().unwrap(),
            ])
            .await
    };
    let error = apply("Off").await.unwrap_err().to_string();
    assert!(
        error.contains("spec.mode in body must be of type string: \"boolean\""),
        "{error}"
    );
    apply("\"Off\"").await.unwrap();
}

#[tokio::test]
async fn an_edit_with_kubectl_keeps_the_rest() {
    let (plane, client) = plane().await;
    let namespace = plane.namespace("edit").await.unwrap();
    let spec =
        serde_json::from_value(json!({ "sidecars": { "namePattern": r"a\.b\d+", "names": ["agent"] } }))
            .unwrap();
    let api = policy(&client, &namespace, "mesh", spec).await;
    let edit = |plane: &'static ControlPlane| {
        let patch = r#"{"spec": {"checks": {"notReady": {"for": "60m"}}}}"#;
        plane.kubectl([
            "patch",
            "scpol",
            "mesh",
            "--type=merge",
            "--patch",
            patch,
            "--namespace",
            &namespace,
        ])
    };
    let before = api.get("mesh").await.unwrap();
    edit(plane).await.unwrap();
    let after = api.get("mesh").await.unwrap();
    assert_eq!(
        after.spec.checks.not_ready.r#for.as_str(),
        "60m",
        "a duration is kept as written"
    );
    assert_eq!(after.spec.sidecars, before.spec.sidecars);
    assert_eq!(after.metadata.generation, Some(2));
    edit(plane).await.unwrap();
    assert_eq!(
        api.get("mesh").await.unwrap().resource_version(),
        after.resource_version(),
        "no change, no write"
    );
}
