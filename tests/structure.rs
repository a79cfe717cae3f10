//! The structure of `src`: which folder may import which, and the length of files.
//!
//! The test searches the text of the sources. `clippy.toml` forbids reading clocks.

#![allow(clippy::expect_used, reason = "a test states its expectations by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Maximum number of lines of a file.
const MAX_LINES: usize = 500;

/// The modules of the crate that each folder may import besides itself. Tests may import everything, and so may
/// `operator` and `commands`.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("api", &[]),
    ("checkpoint", &["domain"]),
    ("domain", &[]),
    ("telemetry", &["clock", "domain"]),
    ("kubernetes", &["api", "clock", "domain", "telemetry"]),
    ("sink", &["api", "clock", "domain", "kubernetes", "telemetry"]),
    ("http", &["clock", "domain", "telemetry"]),
    ("lint", &["api", "domain", "kubernetes"]),
    (
        "cli",
        &[
            "api",
            "clock",
            "domain",
            "kubernetes",
            "lint",
            "operator",
            "telemetry",
        ],
    ),
];

/// Names that the domain must not use.
const IMPURE: [&str; 11] = [
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

/// Returns the code of a source without comments and without the tests at its end.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// Reports whether a file contains tests or their helpers only.
fn is_test(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part == "testing" || part == "tests.rs")
}

/// Returns the sources of a folder that are not tests.
fn product(folder: &str) -> impl Iterator<Item = (PathBuf, String)> {
    let files = sources(folder).into_iter().filter(|(path, _)| !is_test(path));
    files.map(|(path, text)| (path, code(&text)))
}

/// Returns the modules that follow `crate::`, also in a group: `domain` and `sink` in `use crate::{domain::{a, b}, sink};`.
fn imports(code: &str) -> BTreeSet<String> {
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
fn folders_import_only_allowed_modules() {
    for (folder, allowed) in ALLOWED {
        for (path, code) in product(folder) {
            for module in imports(&code) {
                let is_allowed = module == folder || allowed.contains(&module.as_str());
                assert!(
                    is_allowed,
                    "{}: {folder} must not import {module}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_domain_does_no_io() {
    for (path, code) in product("domain") {
        for name in IMPURE {
            assert!(!code.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn the_rules_of_lint_do_no_io() {
    for (path, code) in product("lint") {
        for name in IMPURE.iter().filter(|name| **name != "serde_json") {
            assert!(!code.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn files_are_short() {
    for (path, text) in sources("") {
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines: split it",
            path.display()
        );
    }
}

#[test]
fn imports_in_groups_are_found() {
    let code = "use crate::{domain::{index::Index, policy}, sink,\n kubernetes::decode};\nfn f(x: &crate::api::Y) {}";
    let found: Vec<_> = imports(code).into_iter().collect();
    assert_eq!(found, ["api", "domain", "kubernetes", "sink"]);
}

#[test]
fn a_release_build_does_not_contain_the_test_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["Makefile", "Dockerfile"] {
        let text = fs::read_to_string(root.join(name)).expect("a file");
        let mut builds = text
            .lines()
            .filter(|line| line.contains("build --release"))
            .peekable();
        assert!(builds.peek().is_some(), "{name} has a release build");
        for build in builds {
            assert!(build.contains("--no-default-features"), "{name}: {build}");
        }
    }
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .current_dir(root)
            .args(["tree", "--locked", "--offline", "--package", "sidewatch"])
            .args(["--edges", "normal", "--prefix", "none", "--format", "{p} {f}"])
            .args(features)
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let has_test_clock = |tree: &str| {
        let mut tokio = tree.lines().filter(|line| line.starts_with("tokio v"));
        let features = tokio.next().expect("a dependency");
        features.contains("test-util")
    };
    assert!(has_test_clock(&tree(&[])), "tests have it");
    assert!(!has_test_clock(&tree(&["--no-default-features"])));
}
