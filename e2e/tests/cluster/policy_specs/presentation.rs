//! Policies in kubectl: columns, names, explanations.

use super::{condition, plane, words};
use e2e::compat::SELECTABLE_FIELDS;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use sidewatch::api::{Mode, SidecarPolicy, SidecarPolicySpec, crds};

async fn policy(client: &Client, namespace: &str, name: &str, spec: SidecarPolicySpec) -> Api<SidecarPolicy> {
    let api = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &SidecarPolicy::new(name, spec))
        .await
        .unwrap();
    api
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

    let get = async |args: &str| {
        let line = format!("get --namespace {namespace} {args}");
        plane.kubectl_line(&line).await.unwrap()
    };
    let header = [
        "NAME", "READY", "HEALTHY", "MODE", "PODS", "SIDECARS", "FIRING", "AGE",
    ];
    let printed = get("scpol").await;
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
    let printed = get("sidecarpolicies").await;
    assert_eq!(words(&printed)[0], header, "{printed}");
    assert_eq!(
        words(&printed)[1][..7],
        ["mesh", "True", "False", "Alert", "42", "44", "2"],
        "{printed}"
    );

    let printed = get("scpol --output=wide").await;
    assert_eq!(words(&printed)[0][8..], ["PENDING", "MESSAGE"], "{printed}");
    assert_eq!(words(&printed)[1][8], "1", "{printed}");
    assert!(
        printed
            .trim_end()
            .ends_with("2 of 44 sidecars in 2 of 42 Pods fail"),
        "{printed}"
    );
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
    for (kind, mode, expected, message) in [
        (
            "scpol",
            "Off",
            "sidecarpolicy.sidewatch.dev/quiet\n",
            "the field of the spec",
        ),
        (
            "scpol",
            "Alert",
            "sidecarpolicy.sidewatch.dev/loud\n",
            "also where it is a default",
        ),
        ("cscpol", "Observe", "", "the other kind"),
    ] {
        let get =
            format!("get {kind} --output=name --namespace {namespace} --field-selector=spec.mode={mode}");
        assert_eq!(plane.kubectl_line(&get).await.unwrap(), expected, "{message}");
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let (plane, _) = plane().await;
    let explain = async |path: &str| plane.kubectl_line(&format!("explain {path}")).await.unwrap();
    #[rustfmt::skip]
    let table = [
        ("scpol", "watches the sidecars of the Pods in its own namespace"),
        ("cscpol.spec.namespaceSelector", "Selects namespaces by their labels. Empty selects all."),
        ("scpol.spec.checks.notReady.for", "Between 0s (at once) and"),
        ("scpol.spec.mode", "Quote \"Off\""),
        // The values are listed.
        ("scpol.spec.mode", "ENUM: Alert Observe Off"),
        ("scpol.spec.podSelector.matchExpressions.values", "at least one and at most 64"),
        ("scpol.status.conditions.message", "The human-readable reason for the status."),
        ("cscpol.status.violations.workload", "such as Deployment/web"),
    ];
    for (path, says) in table {
        let printed = words(&explain(path).await).concat().join(" ");
        assert!(printed.contains(says), "{path}: {printed}");
    }
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
    let apply = async |mode: &str| {
        let policy = format!(
            "{{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {{name: mesh}}, spec: {{mode: {mode}}}}}"
        );
        let args = "apply --dry-run=server --filename=-".split(' ');
        plane.kubectl_with_input(args, &policy).await
    };
    let error = apply("Off").await.unwrap_err().to_string();
    let expected = "spec.mode in body must be of type string: \"boolean\"";
    assert!(error.contains(expected), "{error}");
    apply("\"Off\"").await.unwrap();
}
