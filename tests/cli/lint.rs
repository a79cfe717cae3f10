//! `sidewatch lint` as a process.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Directory, Run, command, finish, sidewatch_with_input};

/// A Deployment with one finding of the severity Warning (SC011).
pub(crate) const WARNING: &str = "\
# Source: chart/templates/app.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: app
      - name: fluent-bit
        image: fluent/fluent-bit
        resources:
          requests: {cpu: 50m}
          limits: {memory: 128Mi}
---
kind: ConfigMap
data: {a: b}
";
/// A Job with findings of all severities and a suggested edit.
pub(crate) const BAD_JOB: &str = "kind: Job\nmetadata: {name: report}\nspec:\n  template:\n    spec:\n      shareProcessNamespace: true\n      containers:\n      - name: app\n      - name: istio-proxy\n        image: istio/proxyv2\n";
/// A Pod with one finding of the severity Info (SC014).
pub(crate) const INFO: &str = "kind: Pod\nspec:\n  shareProcessNamespace: true\n  containers: [{name: app}, {name: fluent-bit, resources: {limits: {cpu: 1, memory: 1Gi}}}]\n";
/// A Pod without findings.
pub(crate) const GOOD: &str = "kind: Pod\nspec: {containers: [{name: app}]}\n";

/// Runs `sidewatch lint` with a text on standard input.
pub(crate) async fn lint(args: &[&str], input: &str) -> Run {
    sidewatch_with_input(&[&["lint"], args].concat(), input.as_bytes()).await
}

#[tokio::test]
async fn each_result_has_its_exit_code() {
    let table: [(&[&str], &str, i32); 10] = [
        (&["-"], GOOD, 0),
        (&["-"], "kind: ConfigMap\n", 0),
        (&["-"], WARNING, 1),
        (&["-f", "-"], WARNING, 1),
        (&["-", "--fail-on", "error"], WARNING, 0),
        (&["-", "--disable", "SC011"], WARNING, 0),
        (&["-"], INFO, 0),
        (&["-", "--fail-on=info"], INFO, 1),
        (&["-"], "a: [", 2),
        (&["/missing/file.yaml"], "", 2),
    ];
    for (args, input, expected) in table {
        let output = lint(args, input).await;
        assert_eq!(output.code, Some(expected), "{args:?}: {output:?}");
    }
    for args in [
        &[][..],
        &["-", "--disable", "SC999"],
        &["-", "--template-path", "x"],
    ] {
        assert_eq!(lint(args, GOOD).await.code, Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn a_finding_is_shown_with_its_source_line() {
    let output = lint(&["-"], WARNING).await;
    let expected = "\
warning[SC011]: the image of sidecar fluent-bit has no tag and no digest: two Pods can run two versions
  --> stdin:12:16
   |
12 |         image: fluent/fluent-bit
   |                ^^^^^^^^^^^^^^^^^ spec.template.spec.containers[1].image of Deployment/web
   |
   = help: use a tag with a version, or a digest

1 Pod template: 0 Error, 1 Warning, 0 Info
";
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
    let colored = lint(&["-", "--color=always"], WARNING).await;
    assert!(colored.stdout.contains("\x1b["));
}

/// Runs `sidewatch lint` on a text, on a terminal with this width.
async fn lint_at(columns: &str, input: &str) -> String {
    let directory = Directory::new();
    directory.file("web.yaml", input);
    let mut command = command(&["lint", "web.yaml"]);
    command.current_dir(directory.path("")).env("COLUMNS", columns);
    finish(&mut command).await.stdout
}

#[tokio::test]
async fn text_fits_into_80_and_200_columns() {
    let narrow = "\
warning[SC011]: the image of sidecar fluent-bit has no tag and no digest: two
                Pods can run two versions
  --> web.yaml:12:16
   |
12 |         image: fluent/fluent-bit
   |                ^^^^^^^^^^^^^^^^^
   |
   = note: spec.template.spec.containers[1].image of Deployment/web
   = help: use a tag with a version, or a digest

1 Pod template: 0 Error, 1 Warning, 0 Info
";
    assert_eq!(lint_at("80", WARNING).await, narrow);
    let shown = lint_at("80", BAD_JOB).await;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert_eq!(
        lint_at("200", WARNING).await,
        lint(&["-"], WARNING).await.stdout.replace("stdin", "web.yaml")
    );
}

#[tokio::test]
async fn output_to_a_pipe_has_no_escape_sequences() {
    for args in [
        &["-"][..],
        &["-", "--color=never"],
        &["-", "-o", "github", "--color=always"],
        &["-", "-o", "json", "--color=always"],
    ] {
        let output = lint(args, WARNING).await;
        assert!(!output.stdout.contains('\x1b'), "{args:?}");
    }
}

#[tokio::test]
async fn a_suggested_edit_is_shown_as_a_difference() {
    let job = "kind: Job\nmetadata: {name: report}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: app\n      - name: istio-proxy\n        image: own/proxy:1\n        resources: {limits: {cpu: 1, memory: 1Gi}}\n";
    let output = lint(&["-"], job).await;
    let shown = &output.stdout;
    let expected = "\
a suggested edit, which is not applied:
--- stdin
+++ stdin
@@ -6,0 +7,5 @@
+      initContainers:
+      - name: istio-proxy
+        image: own/proxy:1
+        resources: {limits: {cpu: 1, memory: 1Gi}}
+        restartPolicy: Always
@@ -9,3 +13,0 @@
-      - name: istio-proxy
-        image: own/proxy:1
-        resources: {limits: {cpu: 1, memory: 1Gi}}
";
    assert!(shown.contains(expected), "{shown}");
    let json = lint(&["-", "-o", "json"], job).await.json();
    let edit = &json["findings"][0]["suggestedEdit"];
    assert_eq!(edit[0]["insert"][0], "      initContainers:");
    assert_eq!((&edit[1]["line"], &edit[1]["remove"]), (&9.into(), &3.into()));
}

#[tokio::test]
async fn github_annotations_have_file_and_line() {
    let output = lint(&["-", "-o", "github"], WARNING).await;
    let line = &output.stdout;
    assert!(
        line.starts_with("::warning file=stdin,line=12,col=16,title=SC011::the image of sidecar fluent-bit"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}

#[tokio::test]
async fn directories_are_searched_for_manifests() {
    let root = Directory::new();
    fs::create_dir_all(root.path("b/.git")).unwrap();
    let containers = json!([{"name": "app"}, {"name": "fluent-bit", "image": "fluent/fluent-bit:4.0"}]);
    let pod = json!({"kind": "Pod", "spec": {"shareProcessNamespace": true, "containers": containers}});
    root.file("z.json", pod.to_string());
    root.file("b/a.yml", WARNING);
    root.file("b/.git/c.yaml", WARNING);
    root.file("b/notes.txt", "a: [");
    let output = lint(&["-o", "json", root.path("").to_str().unwrap()], "").await;
    let json = output.json();
    let findings = json["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let found: Vec<_> = findings
        .map(|finding| {
            let file = text(finding, "file");
            let name = file.rsplit('/').next().unwrap();
            format!("{name} {}", text(finding, "code"))
        })
        .collect();
    assert_eq!(found, ["a.yml SC011", "z.json SC010", "z.json SC014"]);
}

#[tokio::test]
async fn a_configuration_suppresses_and_its_unused_entries_are_findings() {
    let root = Directory::new();
    let ignored =
        "ignore:\n- {code: SC011, reason: pinned elsewhere, name: web}\n- {code: SC010, reason: none}\n";
    let path = root.file("lint.yaml", ignored);
    let output = lint(&["-", "--config", &path], WARNING).await;
    let shown = &output.stdout;
    assert!(
        shown.contains("warning[SC901]: no finding of SC010 matches this entry"),
        "{shown}"
    );
    assert!(
        shown.contains("lint.yaml:3:4") && !shown.contains("SC011]"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_template_is_named_as_one() {
    let output = lint(&["-"], "{{- if .Values.x }}\nkind: Pod\n{{- end }}\n").await;
    assert_eq!(output.code, Some(2));
    let errors = &output.stderr;
    assert!(
        errors.contains("error: stdin:1:") && errors.contains("looks like a template"),
        "{errors}"
    );
}

#[tokio::test]
async fn a_large_input_is_refused() {
    let output = lint(
        &["-"],
        &"# 64 bytes of a comment, which is repeated to make a large file\n".repeat(1_600_000),
    )
    .await;
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("larger than 64 MB"), "{output:?}");
}
