//! `sidewatch lint` as a process, and the examples of its pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::Value;
use sidewatch::lint::{Linter, rules};

/// A Deployment with one finding of the severity Warning (SC011).
const WARNING: &str = "\
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
/// A Pod with one finding of the severity Info (SC014).
const INFO: &str = "kind: Pod\nspec:\n  shareProcessNamespace: true\n  containers: [{name: app}, {name: fluent-bit, resources: {limits: {cpu: 1, memory: 1Gi}}}]\n";
/// A Pod without findings.
const GOOD: &str = "kind: Pod\nspec: {containers: [{name: app}]}\n";

/// Runs `sidewatch lint` with a text on standard input.
fn lint(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidewatch"))
        .arg("lint")
        .args(args)
        .current_dir(std::env::temp_dir())
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program that ends early closes its standard input.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sidewatch-lint-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn each_result_has_its_exit_code() {
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
        let output = lint(args, input);
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {output:?}");
    }
    for args in [
        &[][..],
        &["-", "--disable", "SC999"],
        &["-", "--template-path", "x"],
    ] {
        assert_eq!(lint(args, GOOD).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_finding_is_shown_with_its_source_line() {
    let output = lint(&["-"], WARNING);
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
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "");
    let colored = lint(&["-", "--color=always"], WARNING);
    assert!(text(&colored.stdout).contains("\x1b["));
}

#[test]
fn a_suggested_edit_is_shown_as_a_difference() {
    let job = "kind: Job\nmetadata: {name: report}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: app\n      - name: istio-proxy\n        resources: {limits: {cpu: 1, memory: 1Gi}}\n";
    let output = lint(&["-"], job);
    let shown = text(&output.stdout);
    let expected = "\
a suggested edit, which is not applied:
--- stdin
+++ stdin
@@ -6,0 +7,4 @@
+      initContainers:
+      - name: istio-proxy
+        resources: {limits: {cpu: 1, memory: 1Gi}}
+        restartPolicy: Always
@@ -9,2 +12,0 @@
-      - name: istio-proxy
-        resources: {limits: {cpu: 1, memory: 1Gi}}
";
    assert!(shown.contains(expected), "{shown}");
    let json: Value = serde_json::from_slice(&lint(&["-", "-o", "json"], job).stdout).unwrap();
    let edit = &json["findings"][0]["suggestedEdit"];
    assert_eq!(edit[0]["insert"][0], "      initContainers:");
    assert_eq!((&edit[1]["line"], &edit[1]["remove"]), (&9.into(), &2.into()));
}

#[test]
fn sarif_has_the_types_of_the_standard() {
    for input in [WARNING, INFO, GOOD] {
        let output = lint(&["-", "-o", "sarif"], input);
        let written: Value = serde_json::from_slice(&output.stdout).unwrap();
        let parsed: serde_sarif::sarif::Sarif = serde_json::from_value(written.clone()).unwrap();
        // The types drop a property that the schema does not have.
        assert_eq!(serde_json::to_value(&parsed).unwrap(), written);
        let codes: BTreeSet<_> = rules::all().map(|rule| rule.code).collect();
        for result in written["runs"][0]["results"].as_array().unwrap() {
            assert!(codes.contains(result["ruleId"].as_str().unwrap()));
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(
                written["runs"][0]["tool"]["driver"]["rules"][index]["id"],
                result["ruleId"]
            );
        }
    }
}

#[test]
fn github_annotations_have_file_and_line() {
    let output = lint(&["-", "-o", "github"], WARNING);
    let line = text(&output.stdout);
    assert!(
        line.starts_with("::warning file=stdin,line=12,col=16,title=SC011::the image of sidecar fluent-bit"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn directories_are_searched_for_manifests() {
    let root = directory("tree");
    fs::create_dir_all(root.join("b/.git")).unwrap();
    fs::write(root.join("z.json"), serde_json::json!({"kind": "Pod", "spec": {"shareProcessNamespace": true, "containers": [{"name": "app"}, {"name": "fluent-bit"}]}}).to_string()).unwrap();
    fs::write(root.join("b/a.yml"), WARNING).unwrap();
    fs::write(root.join("b/.git/c.yaml"), WARNING).unwrap();
    fs::write(root.join("b/notes.txt"), "a: [").unwrap();
    let output = lint(&["-o", "json", root.to_str().unwrap()], "");
    fs::remove_dir_all(&root).unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["file"].as_str().unwrap().rsplit('/').next().unwrap(),
                f["code"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [("a.yml", "SC011"), ("z.json", "SC010"), ("z.json", "SC014")]
    );
}

#[test]
fn a_configuration_suppresses_and_its_unused_entries_are_findings() {
    let root = directory("config");
    let path = root.join("lint.yaml");
    fs::write(
        &path,
        "ignore:\n- {code: SC011, reason: pinned elsewhere, name: web}\n- {code: SC010, reason: none}\n",
    )
    .unwrap();
    let output = lint(&["-", "--config", path.to_str().unwrap()], WARNING);
    fs::remove_dir_all(&root).unwrap();
    let shown = text(&output.stdout);
    assert!(
        shown.contains("warning[SC901]: no finding of SC010 matches this entry"),
        "{shown}"
    );
    assert!(
        shown.contains("lint.yaml:3:4") && !shown.contains("SC011]"),
        "{shown}"
    );
}

#[test]
fn a_template_is_named_as_one() {
    let output = lint(&["-"], "{{- if .Values.x }}\nkind: Pod\n{{- end }}\n");
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("error: stdin:1:") && errors.contains("looks like a template"),
        "{errors}"
    );
}

#[test]
fn a_large_input_is_refused() {
    let output = lint(
        &["-"],
        &"# 64 bytes of a comment, which is repeated to make a large file\n".repeat(1_600_000),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("larger than 64 MB"), "{output:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidewatch"))
        .args(["lint", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(WARNING.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn each_rule_has_a_page_whose_examples_are_right() {
    for rule in rules::all() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/lint/{}.md", rule.code));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let examples: Vec<_> = page
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        let [bad, good] = examples[..] else {
            panic!("{}: {} examples", rule.code, examples.len())
        };
        let codes = |text: &str| -> BTreeSet<_> {
            let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new()).unwrap();
            linter
                .lint(text)
                .findings
                .iter()
                .map(|finding| finding.code)
                .collect()
        };
        assert!(codes(bad).contains(rule.code), "{}: {:?}", rule.code, codes(bad));
        assert!(
            !codes(good).contains(rule.code),
            "{}: {:?}",
            rule.code,
            codes(good)
        );
        let severity = format!("Default severity: {}", rule.severity.as_str());
        assert!(page.contains(&severity), "{}: {severity}", rule.code);
    }
}
