//! Files that cannot be used: a clear message, exit code 2, bounded memory.

use std::path::Path;

use serde_json::json;

use crate::support::{Directory, Run, command_of, finish, sidewatch, sidewatch_with_input, trace};

/// The name of a recording.
const TRACE: &str = "healthy-native";

#[tokio::test]
async fn an_unusable_policy_is_refused() {
    let directory = Directory::new();
    let table = [
        ("a: [", "is not valid YAML"),
        ("", "the file contains no policy"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
            "kind \"Pod\" is not a policy",
        ),
        (
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: a}, spec: {check: {}, mode: 1}}",
            "SidecarPolicy a",
        ),
        (
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: a}, spec: {mod: Alert}}",
            "spec.mod is not a field",
        ),
    ];
    for (text, expected) in table {
        let policy = directory.file("policy.yaml", text);
        let run = sidewatch(&["simulate", "-p", &policy, "--record", &trace(TRACE)]).await;
        run.assert_failed(&[expected, "policy.yaml"]);
    }
    let run = sidewatch(&["simulate", "-p", "/missing.yaml", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["cannot read /missing.yaml: No such file"]);
    let run = sidewatch(&["simulate", "-p", "/", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["cannot read /: it is a directory"]);
}

#[tokio::test]
async fn an_unusable_recording_is_refused() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let table = [
        ("", "the recording contains no Pod"),
        ("kind: Pod\n", "line 1: "),
        (
            "{\"t\":1,\"wall\":\"2026-11-20T10:00:00Z\",\"type\":\"BOOKMARK\"}\n",
            "the recording contains no Pod",
        ),
    ];
    for (text, expected) in table {
        let recording = directory.file("pods.jsonl", text);
        let run = sidewatch(&["simulate", "-p", &policy, "--record", &recording]).await;
        run.assert_failed(&[expected]);
    }
    let run = sidewatch(&["simulate", "-p", &policy, "--record", "/missing.jsonl"]).await;
    run.assert_failed(&["cannot read /missing.jsonl: No such file"]);
}

/// Runs the binary with 150 MB of address space for its heap and 512 MB in total.
async fn with_little_memory(args: &[&str]) -> Run {
    let script = "ulimit -v 524288; exec \"$0\" \"$@\"";
    let shell = ["-c", script, env!("CARGO_BIN_EXE_sidewatch")];
    finish(&mut command_of(Path::new("/bin/sh"), &[&shell, args].concat())).await
}

#[tokio::test]
async fn a_hundred_megabytes_of_yaml_are_refused() {
    let directory = Directory::new();
    let large = directory.file(
        "large.yaml",
        b"# one more line of a large file\n".repeat(100 << 15),
    );
    let run = with_little_memory(&["simulate", "-p", &large, "--record", &trace(TRACE)]).await;
    run.assert_failed(&["large.yaml: it is larger than 8 MB"]);
    let policy = directory.policy("policy.json", &json!({}));
    let run = with_little_memory(&["simulate", "-p", &policy, "--record", &large]).await;
    run.assert_failed(&["line 1: "]);
}

#[tokio::test]
async fn an_endless_line_is_refused() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let run = with_little_memory(&["simulate", "-p", &policy, "--record", "/dev/zero"]).await;
    run.assert_failed(&["/dev/zero: line 1: the line is longer than 16 MB"]);
    let run = with_little_memory(&["simulate", "-p", "/dev/zero", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["/dev/zero: it is larger than 8 MB"]);
}

/// Texts that people take for manifests, and what each command says about them.
const NO_MANIFESTS: [(&str, &str); 11] = [
    (
        "Name:         web\nNamespace:    shop\nContainers:\n  app:\n    State: Running\n",
        "use kubectl get -o yaml",
    ),
    (
        "NAME   READY   STATUS\nweb    1/1     Running\n",
        "use kubectl get -o yaml",
    ),
    (
        "{\n  \"type\": \"ADDED\",\n  \"object\": {\"kind\": \"Pod\"}\n}\n",
        "sidewatch record",
    ),
    (
        "kind: Pod\nmetadata:\n  name: {{ .Values.name }}\n{{- end }}\n",
        "helm template . | sidewatch",
    ),
    (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {version: 1.0}}\nspec: {template: {spec: {containers: [{name: app, image: x}]}}}\n",
        "file.yaml:3:41: metadata.labels.version is the number 1.0, but must be a text",
    ),
    (
        "kind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: app\n    image: x:1\n    image: x:2\n",
        "file.yaml:7:5: the key \"image\" is in the mapping twice, first in line 6",
    ),
    (
        "kind: Pod\nspec: {containers: [{name: [], image: x}]}\n",
        "spec.containers[0].name is a list, but must be a text",
    ),
    (
        "apiVersion: v1\nkind: Pod\nspec: {initContainers: [{name: proxy, restartPolicy: always}]}\n",
        "spec.initContainers[0].restartPolicy is the text \"always\", but must be Always, OnFailure or Never",
    ),
    (
        "Error from server (NotFound): pods \"web\" not found\n",
        "an error message of kubectl",
    ),
    ("a: [", "file.yaml:"),
    ("\u{feff}a: [", "file.yaml:"),
];

#[tokio::test]
async fn a_list_of_objects_without_a_kind_is_read() {
    let directory = Directory::new();
    let pod = r#"{"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "x:1"}]}}"#;
    let file = directory.file("pods.json", format!("[{pod}]"));
    let run = sidewatch(&["explain", "-f", &file]).await;
    assert!(run.stdout.starts_with("Pod default/web"), "{run:?}");
    let run = sidewatch(&["lint", &file]).await;
    assert!(run.stdout.contains("1 Pod template"), "{run:?}");
    let empty = directory.file(
        "empty.json",
        pod.replace(r#"{"name": "app", "image": "x:1"}"#, ""),
    );
    let run = sidewatch(&["explain", "-f", &empty]).await;
    run.assert_failed(&["Pod web has no containers"]);
}

#[tokio::test]
async fn all_commands_name_what_is_wrong_with_a_manifest() {
    let directory = Directory::new();
    for (text, expected) in NO_MANIFESTS {
        let file = directory.file("file.yaml", text);
        for args in [
            &["explain", "-f", &file][..],
            &["versions", "-f", &file],
            &["lint", &file],
        ] {
            let run = sidewatch(args).await;
            assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
            assert!(run.stderr.contains(expected), "{args:?}: {text}: {run:?}");
        }
    }
    let wide: Vec<u8> = "kind: Pod\r\n".bytes().flat_map(|byte| [byte, 0]).collect();
    for args in [
        &["explain", "-f", "-"][..],
        &["versions", "-f", "-"],
        &["lint", "-"],
    ] {
        let run = sidewatch_with_input(args, &wide).await;
        assert!(
            run.code == Some(2) && run.stderr.contains("Out-File -Encoding utf8"),
            "{args:?}: {run:?}"
        );
    }
}

#[tokio::test]
async fn a_manifest_without_names_and_with_numbers_is_read() {
    let directory = Directory::new();
    let service = "\u{feff}apiVersion: serving.knative.dev/v1\r\nkind: Service\r\nmetadata: {name: hello}\r\nspec: {template: {spec: {containers: [{image: hello, resources: {limits: {cpu: 1, memory: 134217728}}}, {name: cloud-sql-proxy, image: x}]}}}\r\n";
    let file = directory.file("service.yaml", service);
    let run = sidewatch(&["explain", "-f", &file, "-o", "json"]).await;
    assert_eq!(
        run.json()[0]["containers"][0]["name"],
        "user-container",
        "{run:?}"
    );
    let nameless = "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: app, image: x}]}}}\n";
    let file = directory.file("nameless.yaml", nameless);
    sidewatch(&["explain", "-f", &file])
        .await
        .assert_failed(&["a Deployment is not valid: it has no name"]);
    let file = directory.file("kustomization.yaml", "kind: Kustomization\nresources: [a.yaml]\n");
    sidewatch(&["versions", "-f", &file])
        .await
        .assert_failed(&["kubectl kustomize . | sidewatch versions -f -"]);
}
