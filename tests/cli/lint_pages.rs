//! The pages of the rules of lint: written from the documentation of the rules, with examples that are right.

use std::{collections::BTreeMap, collections::BTreeSet, env, fs};

use sidewatch::lint::{
    Linter,
    rules::{self, Rule},
};

use crate::support::repository;

/// Returns the documentation of each file of a rule, by the code with which it begins.
fn documentation() -> BTreeMap<String, (String, String)> {
    let folder = repository().join("src/lint/rules");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        let lines: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let Some((code, _)) = lines.first().and_then(|first| first.split_once(": ")) else {
            continue;
        };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        all.insert(code.to_owned(), (name, lines.join("\n")));
    }
    all
}

/// The page of a rule.
fn page(rule: &Rule, all: &BTreeMap<String, (String, String)>) -> String {
    let (file, text) = all
        .get(rule.code)
        .unwrap_or_else(|| panic!("no file of {} in src/lint/rules", rule.code));
    let title = format!("{}: {}\n", rule.code, rule.title);
    assert!(text.starts_with(&title), "{file} does not begin with {title}");
    format!("# {text}\n\n<!-- Generated from src/lint/rules/{file}: make docs -->\n")
}

#[test]
fn the_pages_are_those_of_the_rules() {
    let all = documentation();
    for rule in rules::all() {
        let file = repository().join(format!("docs/lint/{}.md", rule.code));
        let expected = page(rule, &all);
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &expected).unwrap();
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == expected,
            "{} is not up to date: make docs",
            file.display()
        );
    }
}

#[test]
fn the_examples_of_each_rule_are_right() {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let all = documentation();
    for rule in rules::all() {
        let page = page(rule, &all);
        let examples: Vec<_> = page
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        let [bad, good] = examples[..] else {
            panic!("{}: {} examples", rule.code, examples.len())
        };
        let codes = |text: &str| -> BTreeSet<_> {
            let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new(), now).unwrap();
            let findings = linter.lint(text).findings;
            findings.iter().map(|finding| finding.code).collect()
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
