//! Replays the seeds of the fuzz targets. They include every failing input that fuzzing found.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test panics where its expectation fails"
)]

use std::{fs, path::Path};

use testkit::fuzzing;

/// Runs a fuzz target with each of its seeds.
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
    replay("pods", fuzzing::pods);
}

#[test]
fn policies() {
    replay("policies", fuzzing::policies);
}

#[test]
fn patterns() {
    replay("patterns", fuzzing::patterns);
}

#[test]
fn protobuf() {
    replay("protobuf", fuzzing::protobuf);
}

#[test]
fn watch() {
    replay("watch", fuzzing::watch);
}
