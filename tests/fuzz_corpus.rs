//! Replays the seeds of the fuzz targets, which also hold what fuzzing found: what once failed never does again.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the bodies of the targets are a library there, and say what they expect by panicking"
)]

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod bodies;

/// Gives every seed of a target to its body.
fn replay(target: &str, body: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{} seeds of {target}", files.len());
    for file in files {
        println!("{}", file.display());
        body(&fs::read(&file).unwrap());
    }
}

#[test]
fn pods() {
    replay("pods", bodies::pods);
}

#[test]
fn policies() {
    replay("policies", bodies::policies);
}

#[test]
fn patterns() {
    replay("patterns", bodies::patterns);
}

#[test]
fn watch() {
    replay("watch", bodies::watch);
}
