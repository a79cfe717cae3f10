//! The table of threats in `docs/security.md`.

use std::collections::BTreeSet;
use std::fs;

use e2e::project::{read, repository};

/// The names of the tests in a source file: the functions after `#[tokio::test]`.
fn tests(source: &str) -> BTreeSet<String> {
    let functions = source.split("#[tokio::test").skip(1);
    let names = functions.map(|rest| {
        let (_, function) = rest.split_once("async fn ").unwrap();
        function.split('(').next().unwrap().to_owned()
    });
    names.collect()
}

#[test]
fn each_threat_has_a_test_with_its_name() {
    let page = read("docs/security.md").unwrap();
    let (_, table) = page
        .split_once("| name | actor | threat | mitigation |\n")
        .unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let names = rows.map(|row| {
        let name = row
            .split('`')
            .nth(1)
            .unwrap_or_else(|| panic!("a row without a name: {row}"));
        name.replace('-', "_")
    });
    let names: Vec<_> = names.collect();
    let unique: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(unique.len(), names.len(), "each name once");

    let directory = repository().join("e2e/tests/operator/threats");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        found.extend(tests(&fs::read_to_string(entry.unwrap().path()).unwrap()));
    }
    assert_eq!(unique, found, "names of the rows and of the tests");
}
