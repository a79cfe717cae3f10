//! The structure that the code must keep: what may know what, what reads a clock, how long a file may be. Read from the
//! sources themselves, without comments and strings.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

mod tokens;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tokens::{Token, tokens};

/// The dependencies that the domain may use.
const PURE: [&str; 2] = ["jiff", "regex"];
/// The longest file, in lines.
const LONGEST: usize = 400;

/// A file of `src`.
struct Source {
    path: PathBuf,
    text: String,
    tokens: Vec<Token>,
}

impl Source {
    fn new(path: PathBuf, text: String) -> Self {
        let tokens = tokens(&text);
        Self { path, text, tokens }
    }

    /// The module right under the crate that the file belongs to: `sink` for `src/sink/events.rs`.
    fn module(&self) -> String {
        let mut parts = self.path.components().skip(1);
        let first = parts.next().expect("a file under src");
        let first = Path::new(&first).file_stem().expect("it has a name");
        first.to_string_lossy().into_owned()
    }

    /// How many `super` it takes from the top of the file to the crate.
    fn depth(&self) -> usize {
        let is_root = |name: &str| ["mod", "lib", "main"].contains(&name);
        let stem = self.path.file_stem().expect("it has a name").to_string_lossy();
        self.path.components().count() - 1 - usize::from(is_root(&stem))
    }

    /// The modules right under the crate that the file names, by `crate::` or by enough `super::`.
    fn siblings(&self) -> BTreeSet<String> {
        let supers = vec!["super"; self.depth()];
        let mut found = tokens::after(&self.tokens, &["crate"]);
        if !supers.is_empty() {
            found.extend(tokens::after(&self.tokens, &supers));
        }
        found
    }

    fn names(&self, identifier: &str) -> bool {
        self.tokens.contains(&Token::Name(identifier.to_owned()))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories = vec![root.join("src")];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let path = path.strip_prefix(root).expect("under the root").to_owned();
                found.push(Source::new(path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources are elsewhere");
    found
}

/// The names under which code uses the dependencies of the package.
fn dependencies() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(manifest).expect("the manifest");
    let section = text.split("\n[dependencies]\n").nth(1).expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    let names: BTreeSet<_> = names
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect();
    for expected in ["kube", "k8s_openapi", "tokio", "tracing", "prometheus"] {
        assert!(names.contains(expected), "{expected} is a dependency: {names:?}");
    }
    names
}

/// What makes a source of the domain impure.
fn impurities(source: &Source, dependencies: &BTreeSet<String>) -> Vec<String> {
    let foreign = dependencies
        .iter()
        .map(String::as_str)
        .filter(|name| !PURE.contains(name));
    let mut found: Vec<_> = foreign
        .filter(|name| source.names(name))
        .map(str::to_owned)
        .collect();
    let clocks = ["SystemTime", "Instant"];
    found.extend(
        clocks
            .into_iter()
            .filter(|name| source.names(name))
            .map(str::to_owned),
    );
    for path in [
        ["Timestamp", "now"],
        ["Zoned", "now"],
        ["std", "fs"],
        ["std", "net"],
        ["std", "thread"],
    ] {
        if tokens::has_path(&source.tokens, &path) {
            found.push(path.join("::"));
        }
    }
    found
}

#[test]
fn the_domain_is_pure() {
    let dependencies = dependencies();
    for source in sources().iter().filter(|source| source.module() == "domain") {
        let found = impurities(source, &dependencies);
        assert!(found.is_empty(), "{} mentions {found:?}", source.path.display());
    }
}

/// What a module may not name, when it is one of those that the structure speaks of.
fn forbidden(module: &str, sibling: &str) -> bool {
    match module {
        "domain" => sibling != "domain",
        "api" => sibling != "api",
        "wire" => !["api", "domain", "wire"].contains(&sibling),
        "sink" | "metrics" => ["reconciler", "operator", "cli"].contains(&sibling),
        "reconciler" => ["operator", "cli"].contains(&sibling),
        _ => false,
    }
}

#[test]
fn imports_go_one_way() {
    let mut modules = BTreeSet::new();
    for source in sources() {
        let module = source.module();
        for sibling in source.siblings() {
            let path = source.path.display();
            assert!(
                !forbidden(&module, &sibling),
                "{path}: {module} must not know {sibling}"
            );
        }
        modules.insert(module);
    }
    for module in ["api", "domain", "wire", "sink", "metrics", "reconciler"] {
        assert!(modules.contains(module), "{module} is elsewhere");
    }
}

#[test]
fn files_are_short() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines: split it",
            source.path.display()
        );
    }
}

#[test]
fn the_rules_find_what_they_forbid() {
    let dependencies = dependencies();
    let source = |path: &str, text: &str| Source::new(path.into(), text.to_owned());
    let impure = |text: &str| !impurities(&source("src/domain/checks/x.rs", text), &dependencies).is_empty();
    let table = [
        ("use kube::Resource;", true, "a dependency"),
        ("fn f(x: k8s_openapi::Pod) {}", true, "by its whole path"),
        (
            "use std::{collections::BTreeMap, time::Instant};",
            true,
            "a clock",
        ),
        ("let now = jiff::Timestamp::now();", true, "another clock"),
        ("let now = Timestamp :: now ( );", true, "however it is spaced"),
        ("use std::{fmt, fs::File};", true, "a file"),
        (
            "/// kube's own Timestamp::now()\nuse jiff::Timestamp;",
            false,
            "a comment",
        ),
        ("/* a /* nested */ tokio */ fn f() {}", false, "a longer comment"),
        (
            r##"const A: &str = "tokio \" kube"; const B: &str = r#"tracing " "#;"##,
            false,
            "strings",
        ),
        (
            "const Q: char = '\"'; use tokio::sync;",
            true,
            "a quote that is a character opens no string",
        ),
        (
            "fn f<'a>(x: &'a str) {} use tokio::sync;",
            true,
            "nor does a lifetime",
        ),
        ("fn kubelet(tokio_like: u8) {}", false, "a longer name"),
        ("use regex::bytes::Regex;", false, "what it may use"),
    ];
    for (text, expected, why) in table {
        assert_eq!(impure(text), expected, "{why}: {text}");
    }
    let siblings = |path: &str, text: &str| {
        source(path, text)
            .siblings()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let table = [
        (
            "src/sink/events.rs",
            "use crate::reconciler::Input;",
            "reconciler",
        ),
        (
            "src/sink/mod.rs",
            "use crate::{domain::{index::Index, policy}, reconciler::Input, wire};",
            "domain reconciler wire",
        ),
        ("src/sink/mod.rs", "use super::reconciler::Input;", "reconciler"),
        ("src/sink/events.rs", "use super::{status, events};", ""),
        (
            "src/sink/events.rs",
            "use super::super::{reconciler, api};",
            "api reconciler",
        ),
        (
            "src/metrics.rs",
            "fn f(x: &crate::reconciler::Input) { super::wire::pod() }",
            "reconciler wire",
        ),
        ("src/lib.rs", "pub mod api;", ""),
    ];
    for (path, text, expected) in table {
        assert_eq!(siblings(path, text), expected, "{path}: {text}");
    }
    assert_eq!(source("src/sink/events.rs", "").module(), "sink");
    assert_eq!(source("src/metrics.rs", "").module(), "metrics");
}
