//! Refused specs: the exemptions that hide violations of a `ClusterSidecarPolicy`.

use super::{Invalid, Kinds, at, body, selectors};
use serde_json::json;

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Invalid> {
    let path = "exemptions.maxDuration";
    let says = "exemptions.maxDuration must be a duration between 1m and 8760h, such as 168h";
    let mut rows = vec![
        body("no time", json!({"spec": {"exemptions": {}}}), "spec.exemptions.maxDuration", &["Required value"]),
        body("a selector that is none", json!({"spec": {"exemptions": {
            "maxDuration": "1h", "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
        }}}), "spec.exemptions.namespaceSelector.matchExpressions[0].values",
            &["operators In and NotIn need at least one value in values"]),
        body("a misspelt field", json!({"spec": {"exemptions": {"maxDuration": "1h", "namespaces": {}}}}), "",
            &["unknown field \"spec.exemptions.namespaces\""]),
    ];
    for (why, text) in [("less", "59s999ms"), ("more", "8760h1ms"), ("days", "7d"), ("words", "soon"), ("empty", "")] {
        rows.push(at(path, why, json!(text), "", &[says]));
    }
    rows.push(at(path, "a long text", json!("1s".repeat(15)), "", &["may not be more than 28"]));
    rows.extend(selectors::rows("exemptions.namespaceSelector", Kinds::Cluster).into_iter().map(|mut row| {
        row.body["spec"]["exemptions"]["maxDuration"] = json!("1h");
        row
    }));
    rows.into_iter().map(|row| row.of(Kinds::Cluster)).collect()
}
