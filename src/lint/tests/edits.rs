//! Suggested edits.

use super::lint;

/// Returns the text after the suggested edit of the first finding of a rule.
fn edited(code: &str, text: &str) -> Option<String> {
    let findings = lint(text);
    let finding = findings.iter().find(|finding| finding.code == code).unwrap();
    let edit = finding.edit.as_ref()?;
    let mut result = text.to_owned();
    for change in edit.changes.iter().rev() {
        let removed = &text[change.start..change.end];
        assert_eq!(removed.lines().count(), change.removed_lines);
        assert_eq!(text[..change.start].lines().count() + 1, change.line);
        result.replace_range(change.start..change.end, &change.text);
    }
    Some(result)
}

/// The lines of a Job before the lists of containers.
const JOB: &str = "kind: Job\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n";

#[test]
fn a_classic_sidecar_moves_to_new_init_containers() {
    let text = "      containers:
        # the app
        - name: app
        - name: cloud-sql-proxy
          image: own/proxy:1
          args:
          - --port=5432

      volumes: []
";
    let expected = "      initContainers:
        - name: cloud-sql-proxy
          image: own/proxy:1
          args:
          - --port=5432
          restartPolicy: Always
      containers:
        # the app
        - name: app

      volumes: []
";
    let edited = edited("SC004", &format!("{JOB}{text}"));
    assert_eq!(edited, Some(format!("{JOB}{expected}")));
}

#[test]
fn a_classic_sidecar_moves_before_the_init_containers() {
    let text = "      containers:
      - name: istio-proxy
        image: own/proxy:1
        restartPolicy: Always
      - name: app
      initContainers:
      - name: setup
";
    let expected = "      containers:
      - name: app
      initContainers:
      - name: istio-proxy
        image: own/proxy:1
        restartPolicy: Always
      - name: setup
";
    let edited = edited("SC002", &format!("{JOB}{text}"));
    assert_eq!(edited, Some(format!("{JOB}{expected}")));
}

#[test]
fn the_edited_manifest_has_no_such_finding() {
    let text = "kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n      - name: vault-agent\n        image: own/agent:1\n";
    let edited = edited("SC021", text).unwrap();
    assert!(
        lint(&edited).iter().all(|finding| finding.code != "SC021"),
        "{edited}"
    );
}

#[test]
fn no_edit_is_suggested_if_lines_cannot_move() {
    let flow = "{kind: Job, spec: {template: {spec: {containers: [{name: app}, {name: istio-proxy, image: 'own/proxy:1'}]}}}}";
    let anchor = "kind: Job\nspec:\n  template:\n    spec:\n      containers:\n      - name: app\n      - name: istio-proxy\n        image: own/proxy:1\n        env: &env []\n";
    let other_indent = "kind: Job\nspec:\n  template:\n    spec:\n      initContainers:\n        - name: setup\n      containers:\n      - name: app\n      - name: istio-proxy\n        image: own/proxy:1\n";
    for text in [flow, anchor, other_indent] {
        assert_eq!(edited("SC004", text), None, "{text}");
    }
}
