//! YAML and PromQL on the pages are valid.

use e2e::operator::install_crds;
use e2e::project::read_yaml;
use e2e::promtool::check_rules;
use e2e::shared;
use serde_json::{Value, json};

use crate::markdown::Page;

#[tokio::test]
async fn the_api_server_accepts_every_object() {
    let plane = shared().await.unwrap();
    install_crds(plane).await.unwrap();
    for namespace in ["pay", "shop"] {
        plane
            .kubectl_line(&format!("create namespace {namespace}"))
            .await
            .unwrap();
        // Pods need it, and no controller creates it here.
        plane.service_account(namespace, "default").await.unwrap();
    }
    let mut tried = 0;
    for page in Page::all() {
        for block in page.blocks_of("yaml") {
            if !block.text.contains("apiVersion: ") {
                continue;
            }
            let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let result = plane.kubectl_with_input(args, &block.text).await;
            // The rule is about what the API server refuses.
            if page.name() == "docs/lint/SC030.md" && !block.text.contains("reason: ") {
                assert!(result.is_err(), "{}\n{}", page.name(), block.text);
                continue;
            }
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
fn promtool_parses_every_query() {
    let mut rules = Vec::new();
    for page in Page::all() {
        for block in page.blocks_of("promql") {
            for query in block.text.split("\n\n").filter(|query| !query.trim().is_empty()) {
                rules.push(json!({"record": format!("documented:{}", rules.len()), "expr": query, "labels": {"page": page.name()}}));
            }
        }
    }
    assert!(rules.len() > 15, "{} queries", rules.len());
    let rules: Value = json!({"groups": [{"name": "documented", "rules": rules}]});
    check_rules(&rules).unwrap();
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

/// The values of the matchers `alertname = "..."` or `alertname =~ "..."`.
fn alert_names(matchers: &Value) -> Vec<String> {
    let matchers = matchers.as_array().unwrap().iter();
    matchers
        .filter_map(|matcher| matcher.as_str().unwrap().strip_prefix("alertname ="))
        .map(|value| value.trim_matches(['~', ' ', '"']).to_owned())
        .collect()
}

#[test]
fn the_alertmanager_example_fits_the_alerts() {
    let rules = read_yaml("config/prometheus/rules.yaml").unwrap();
    let groups = rules["spec"]["groups"].as_array().unwrap().iter();
    let alerts: Vec<&str> = groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    let page = Page::read("docs/alerts.md");
    let blocks = page.blocks();
    let example = blocks
        .iter()
        .find(|block| block.text.starts_with("route:"))
        .unwrap();
    let config: Value = serde_saphyr::from_str(&example.text).unwrap();
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().unwrap().iter();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };

    let receivers = config["receivers"].as_array().unwrap();
    let root = &config["route"];
    let routes = root["routes"].as_array().unwrap();
    for route in routes.iter().chain([root]) {
        let known = receivers
            .iter()
            .any(|receiver| receiver["name"] == route["receiver"]);
        assert!(known, "{route}");
    }
    assert_eq!(
        strings(&root["group_by"]),
        ["cluster", "alertname", "repository", "check"]
    );
    let by_namespace = |route: &&Value| strings(&route["matchers"])[0].starts_with("namespace ");
    assert_eq!(routes.iter().filter(by_namespace).count(), 2);
    let own = alert_names(&routes[0]["matchers"]);
    let own = regex::Regex::new(&format!("^(?:{})$", own[0])).unwrap();
    let matching: Vec<_> = alerts.iter().filter(|alert| own.is_match(alert)).collect();
    assert_eq!(
        matching,
        [
            &"SidewatchDown",
            &"SidewatchWatchStale",
            &"SidewatchNoLeader",
            &"SidewatchStatusWritesFailing",
            &"SidewatchCheckpointFailing",
            &"SidewatchEventsDropped"
        ]
    );

    let mut inhibited = Vec::new();
    for rule in config["inhibit_rules"].as_array().unwrap() {
        let names = ["source_matchers", "target_matchers"].map(|key| alert_names(&rule[key]).concat());
        for name in &names {
            assert!(alerts.contains(&name.as_str()), "{name} is not an alert");
        }
        assert_eq!(
            strings(&rule["equal"]),
            ["cluster", "namespace", "workload", "container"]
        );
        inhibited.push(names);
    }
    assert_eq!(
        inhibited,
        [
            ["MainContainerReadyButSidecarNot", "SidecarContainerNotReady"],
            ["SidecarBlocksStartup", "PodRestartingFrequently"]
        ]
    );
}
