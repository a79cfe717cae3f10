//! YAML and PromQL on the pages are valid.

use std::process::Command;

use e2e::operator::install_crds;
use e2e::process::Scratch;
use e2e::shared;
use e2e::tools::{self, Tool};
use serde_json::{Value, json};

use crate::markdown::Page;

#[tokio::test]
async fn the_api_server_takes_every_object() {
    let plane = shared().await.unwrap();
    install_crds(plane).await.unwrap();
    plane.kubectl(["create", "namespace", "pay"]).await.unwrap();
    plane.kubectl(["create", "namespace", "shop"]).await.unwrap();
    // Pods need it, and no controller creates it here.
    for namespace in ["pay", "shop"] {
        plane.service_account(namespace, "default").await.unwrap();
    }
    let mut tried = 0;
    for page in Page::all() {
        for block in page
            .blocks()
            .into_iter()
            .filter(|block| block.language == "yaml" && block.text.contains("apiVersion: "))
        {
            let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let result = plane.kubectl_with_input(args, &block.text).await;
            assert!(
                result.is_ok(),
                "{}: {:#}\n{}",
                page.name(),
                result.unwrap_err(),
                block.text
            );
            tried += 1;
        }
    }
    assert!(tried > 12, "{tried} objects");
}

#[test]
fn prometheus_understands_every_query() {
    let mut rules = Vec::new();
    for page in Page::all() {
        for block in page
            .blocks()
            .into_iter()
            .filter(|block| block.language == "promql")
        {
            for query in block.text.split("\n\n").filter(|query| !query.trim().is_empty()) {
                rules.push(json!({"record": format!("documented:{}", rules.len()), "expr": query, "labels": {"page": page.name()}}));
            }
        }
    }
    assert!(rules.len() > 15, "{} queries", rules.len());
    let rules: Value = json!({"groups": [{"name": "documented", "rules": rules}]});
    let dir = Scratch::new().unwrap();
    let file = dir.path().join("rules.yaml");
    std::fs::write(&file, rules.to_string()).unwrap();
    let tools = tools::ensure(&[Tool::Promtool]).unwrap();
    let output = Command::new(tools.path(Tool::Promtool).unwrap())
        .args(["check", "rules"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_metric_of_ours_that_is_mentioned_exists() {
    let reference = Page::read("docs/metrics.md");
    let known: Vec<&str> = reference
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut files: Vec<Page> = Page::all();
    for file in ["rules.yaml", "dashboard.json"] {
        files.push(Page::read(format!("config/prometheus/{file}")));
    }
    for file in files {
        let mut words = file.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let unknown = words.find(|word| {
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|part| word.strip_suffix(part))
                .unwrap_or(word);
            word.starts_with("sidewatch_")
                && word.len() > "sidewatch_".len()
                && !known.contains(word)
                && !known.contains(&family)
        });
        assert_eq!(unknown, None, "{}", file.name());
    }
}
