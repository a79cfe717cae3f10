//! The Dockerfile and its build context, as far as they can be tested without a container engine.

use std::process::Command;

use e2e::process::Scratch;
use e2e::project::{read, repository};

#[test]
fn the_compiler_is_the_pinned_one() {
    let toolchain = read("rust-toolchain.toml").unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    let dockerfile = read("Dockerfile").unwrap();
    assert!(
        dockerfile.contains(&format!("FROM rust:{channel}-")),
        "the Dockerfile compiles with another Rust than {channel}"
    );
}

/// Cargo reads the manifests of all members and requires all their targets.
#[test]
fn cargo_finds_everything_in_the_build_context() {
    let context = Scratch::new().unwrap();
    let ignore = read(".dockerignore").unwrap();
    let kept: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    // a shell expands patterns such as `tests/*.rs`
    let copy = format!("cp -r --parents {} {}", kept.join(" "), context.path().display());
    let copied = Command::new("bash")
        .args(["-euc", &copy])
        .current_dir(repository())
        .status();
    assert!(copied.unwrap().success(), "{copy}");

    let output = Command::new(env!("CARGO"))
        .args("metadata --locked --offline --no-deps --format-version=1".split(' '))
        .current_dir(context.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        metadata
            .pointer("/packages")
            .is_some_and(|packages| packages.to_string().contains("\"sidewatch\"")),
        "{metadata}"
    );
}
