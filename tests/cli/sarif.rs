//! `lint -o sarif`: the schema of SARIF 2.1.0, and what it does not express.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;
use sidewatch::lint::rules;

use crate::{
    json_schema::problems,
    lint::{BAD_JOB, GOOD, INFO, WARNING, lint},
    support::{Directory, command, finish},
};

/// Reads the schema of the standard from the sources of the crate `serde-sarif`, which contain it.
fn schema() -> Value {
    let stdout = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let platform = stdout(Command::new("rustc").args(["--print", "host-tuple"]));
    let mut metadata = Command::new(env!("CARGO"));
    metadata
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            platform.trim(),
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let metadata: Value = serde_json::from_str(&stdout(&mut metadata)).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "serde-sarif").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    let schema = std::fs::read_to_string(manifest.with_file_name("src").join("schema.json")).unwrap();
    serde_json::from_str(&schema).unwrap()
}

#[tokio::test]
async fn results_are_valid_under_the_schema_of_the_standard() {
    let schema = schema();
    assert_eq!(
        schema["properties"]["version"]["enum"],
        serde_json::json!(["2.1.0"])
    );
    let directory = Directory::new();
    // A path with characters that a URI does not have.
    let file = directory.file("a b%ü.yaml", BAD_JOB);
    let named = finish(&mut command(&["lint", "-o", "sarif", &file])).await;
    let mut results = 0;
    for written in [
        named.json(),
        lint(&["-", "-o", "sarif"], WARNING).await.json(),
        lint(&["-", "-o", "sarif"], INFO).await.json(),
        lint(&["-", "-o", "sarif"], GOOD).await.json(),
    ] {
        assert_eq!(problems(&schema, &written), Vec::<String>::new(), "{written:#}");
        // The types are generated from the schema. They drop a property that it does not have.
        let parsed: serde_sarif::sarif::Sarif = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), written);
        results += assert_rules(&written);
    }
    assert!(results > 5, "{results}");
}

/// Changes a valid log.
type Change = fn(&mut Value);

#[tokio::test]
async fn a_result_that_the_schema_forbids_is_found() {
    let schema = schema();
    let written = lint(&["-", "-o", "sarif"], WARNING).await.json();
    let forbidden: [(&str, Change); 5] = [
        ("/version", |log| {
            log["version"] = "2.0.0".into();
        }),
        ("level", |log| {
            log["runs"][0]["results"][0]["level"] = "info".into();
        }),
        ("startLine", |log| {
            log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] =
                0.into();
        }),
        ("message", |log| {
            log["runs"][0]["results"][0]
                .as_object_mut()
                .unwrap()
                .remove("message");
        }),
        ("severity", |log| {
            log["runs"][0]["results"][0]["severity"] = "error".into();
        }),
    ];
    for (place, change) in forbidden {
        let mut changed = written.clone();
        change(&mut changed);
        let problems = problems(&schema, &changed);
        assert!(
            problems.len() == 1 && problems[0].contains(place),
            "{place}: {problems:?}"
        );
    }
}

/// Asserts that each result names a rule of the list of rules, and returns the number of results.
fn assert_rules(written: &Value) -> usize {
    let codes: BTreeSet<_> = rules::all().map(|rule| rule.code).collect();
    let results = written["runs"][0]["results"].as_array().unwrap();
    for result in results {
        assert!(codes.contains(result["ruleId"].as_str().unwrap()));
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        let rule = &written["runs"][0]["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
    }
    results.len()
}
