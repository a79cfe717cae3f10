//! Recognizes texts that people take for manifests, and says what to do with them.

use serde::de::IgnoredAny;

/// The part of a text that is searched for the fields of an event.
const BEGINNING: usize = 4096;

/// Says what a text is, if it is not YAML or JSON with objects, and what to do.
pub fn not_a_manifest(text: &str) -> Option<&'static str> {
    let start = text.trim_start();
    let first = start.lines().next().unwrap_or_default();
    let has_line = |begin: &str| text.lines().any(|line| line.starts_with(begin));
    if first.starts_with("Name:") && !has_line("kind:") && ["Namespace:", "Labels:"].into_iter().any(has_line)
    {
        return Some("this is the output of kubectl describe, not a manifest: use kubectl get -o yaml");
    }
    let is_error = ["Error from server", "error: ", "No resources found"];
    if is_error.iter().any(|begin| first.starts_with(begin)) && !has_line("kind:") {
        return Some("this is an error message of kubectl, not a manifest: repeat the command that wrote it");
    }
    let columns: Vec<_> = first.split_whitespace().collect();
    let is_table = matches!(
        columns.as_slice(),
        ["NAME", _, ..]
            | ["NAMESPACE", "NAME", ..]
            | ["LAST", "SEEN", ..]
            | ["NAMESPACE", "LAST", "SEEN", ..]
    );
    if is_table && columns.iter().all(|column| *column == column.to_uppercase()) {
        return Some("this is a table of kubectl, not a manifest: use kubectl get -o yaml");
    }
    if !start.starts_with('{') {
        return None;
    }
    let begin: String = start
        .chars()
        .take(BEGINNING)
        .filter(|c| !c.is_whitespace())
        .collect();
    if begin.contains("\"object\":{") && begin.contains("\"type\":\"") {
        return Some(if begin.contains("\"wall\":") {
            "this is a recording, not a manifest: name it with --record"
        } else {
            "this is a watch of kubectl, not a manifest: use kubectl get -o yaml, or sidewatch record for a recording"
        });
    }
    let objects = serde_json::Deserializer::from_str(start).into_iter::<IgnoredAny>();
    let several = objects.take(2).flatten().count() == 2;
    several.then_some(
        "this is one JSON object after the other, as a watch of kubectl writes it: use kubectl get -o yaml",
    )
}

/// Says that a text that is not valid looks like a template, and how to render it for a command.
pub fn template(text: &str, command: &str) -> Option<String> {
    text.contains("{{").then(|| {
        format!(
            "it looks like a template of Helm: render it first, as in helm template . | sidewatch {command}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_manifests_are_named() {
        let table = [
            (
                "Name:         web\nNamespace:    shop\nContainers:\n",
                Some("kubectl describe"),
            ),
            (
                "NAME   READY   STATUS\nweb    1/1     Running\n",
                Some("a table of kubectl"),
            ),
            (
                "LAST SEEN   TYPE     REASON\n5m          Normal   Pulled\n",
                Some("a table of kubectl"),
            ),
            (
                "Error from server (NotFound): pods \"web\" not found\n",
                Some("an error message of kubectl"),
            ),
            (
                "NAMESPACE   NAME   AGE\nshop        web    1d\n",
                Some("a table of kubectl"),
            ),
            (
                "{\n  \"type\": \"ADDED\",\n  \"object\": {\n",
                Some("sidewatch record"),
            ),
            (
                "{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"MODIFIED\",\"object\":{}}\n",
                Some("a watch of kubectl"),
            ),
            (
                "{\"t\":0,\"wall\":\"2026-11-20T10:00:00Z\",\"type\":\"ADDED\",\"object\":{}}\n",
                Some("--record"),
            ),
            (
                "{\"kind\": \"Pod\"}\n{\"kind\": \"Pod\"}\n",
                Some("one JSON object after the other"),
            ),
            ("{\"kind\": \"List\", \"items\": []}\n", None),
            ("kind: Pod\nmetadata:\n  name: web\n", None),
            ("Name: x\nkind: Pod\nLabels: {}\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = not_a_manifest(text);
            match expected {
                Some(expected) => assert!(
                    found.is_some_and(|hint| hint.contains(expected)),
                    "{text}: {found:?}"
                ),
                None => assert_eq!(found, None, "{text}"),
            }
        }
    }
}
