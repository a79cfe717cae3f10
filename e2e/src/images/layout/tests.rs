//! The import by containerd in the tests on a node checks digests, sizes, media types and configurations.

use super::*;

/// An archive of two images with the same layer.
fn pack() -> Vec<u8> {
    let dir = crate::process::Scratch::new().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "not really a program").unwrap();
    let first = Image {
        name: "example.test/first:1".to_owned(),
        contents: vec![
            Entry::file("/opt/bin/program", &program, 0o755),
            Entry::directory("/tmp", 0o1777),
        ],
        entrypoint: vec!["/opt/bin/program".to_owned()],
        cmd: vec!["run".to_owned()],
        ..Image::default()
    };
    let second = Image {
        name: "example.test/second:1".to_owned(),
        cmd: Vec::new(),
        ..first.clone()
    };
    let tar = dir.path().join("images.tar");
    write(&[first, second], &tar).unwrap();
    fs::read(tar).unwrap()
}

/// Path, mode and size of each entry, in order.
fn unpack(bytes: &[u8]) -> Vec<(String, u32, u64)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap());
        let path = path.to_str().unwrap().to_owned();
        (path, header.mode().unwrap(), header.size().unwrap())
    });
    entries.collect()
}

#[test]
fn the_same_input_gives_the_same_bytes_and_shared_blobs_are_stored_once() {
    let bytes = pack();
    assert!(bytes == pack());
    let entries = unpack(&bytes);
    let blobs = entries.iter().filter(|(path, ..)| path.starts_with("blobs/"));
    assert_eq!(blobs.count(), 5, "two manifests, two configurations, one layer");
}

#[test]
fn a_layer_has_directories_before_their_entries() {
    let dir = crate::process::Scratch::new().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "not really a program").unwrap();
    let contents = [
        Entry::file("/opt/bin/program", &program, 0o755),
        Entry::directory("/tmp", 0o1777),
    ];
    let expected = [
        ("opt", 0o755, 0),
        ("opt/bin", 0o755, 0),
        ("tmp", 0o1777, 0),
        ("opt/bin/program", 0o755, 20),
    ];
    let expected = expected.map(|(path, mode, size)| (path.to_owned(), mode, size));
    assert_eq!(unpack(&layer(&contents).unwrap()), expected);
}
