//! The structure of `src`: which folder may import which, and how long a file may be.
//!
//! A plain text search. `clippy.toml` forbids the clocks; this test forbids imports.

#![allow(clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The longest file, in lines.
const LONGEST: usize = 400;

/// What each folder may import from the crate, itself aside. Folders that are not listed may import everything.
const ALLOWED: [(&str, &[&str]); 2] = [("domain", &[]), ("api", &[])];

/// What the domain must not name.
const IMPURE: [&str; 12] = [
    "kube::",
    "k8s_openapi::",
    "tokio::",
    "tracing::",
    "prometheus::",
    "serde_json",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "::now()",
];

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn without_comments(text: &str) -> String {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The modules that follow `crate::`, also in a group: `domain` and `sink` of `use crate::{domain::{a, b}, sink};`.
fn siblings(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim().chars().take_while(is_name).collect()
    };
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            found.insert(name(path));
            continue;
        };
        let mut depth = 1;
        let mut entry = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            entry.push(c);
            if depth == 0 || (c == ',' && depth == 1) {
                found.insert(name(&entry));
                entry.clear();
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_go_one_way() {
    for (folder, allowed) in ALLOWED {
        for (path, text) in sources(folder) {
            for sibling in siblings(&without_comments(&text)) {
                let is_allowed = sibling == folder || allowed.contains(&sibling.as_str());
                let path = path.display();
                assert!(is_allowed, "{path}: {folder} must not import {sibling}");
            }
        }
    }
}

#[test]
fn the_domain_does_no_io() {
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "testing");
    for (path, text) in sources("domain") {
        if is_test(&path) {
            continue;
        }
        let code = without_comments(&text);
        for name in IMPURE {
            assert!(!code.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn files_are_short() {
    for (path, text) in sources("") {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn grouped_imports_are_found() {
    let code = "use crate::{domain::{index::Index, policy}, sink,\n kubernetes::decode};\nfn f(x: &crate::api::Y) {}";
    let found: Vec<_> = siblings(code).into_iter().collect();
    assert_eq!(found, ["api", "domain", "kubernetes", "sink"]);
}
