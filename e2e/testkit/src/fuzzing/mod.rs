//! The bodies of the fuzz targets: plain functions that take bytes and panic if an invariant fails.
//!
//! `fuzz/fuzz_targets` calls them with the input of libFuzzer. `tests/fuzz_corpus.rs` calls them with `fuzz/seeds` in
//! every test run, on the stable compiler.
//!
//! `pods` and `policies` read lines. Each line is an object in JSON, with the seconds that pass before it (`90 {...}`;
//! default 30). A `-` before the object deletes it. Lines that are not objects are skipped, so most mutations of an
//! input are still useful.

mod checked_index;
mod go_types;
mod patterns;
mod pods;
mod policies;
mod protobuf;
mod watch;

pub use self::{patterns::patterns, pods::pods, policies::policies, protobuf::protobuf, watch::watch};

/// A line of input: the seconds that pass before it, whether its object is deleted, and its JSON.
struct Line<'a> {
    seconds: u32,
    deleted: bool,
    json: &'a str,
}

/// Limit of lines. More lines find nothing new and make a run slow.
const LINES: usize = 32;

/// Returns the lines of an input.
fn lines(data: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| str::from_utf8(line).ok());
    lines.take(LINES).map(|line| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count().min(5);
        let (seconds, rest) = line.split_at(digits);
        let rest = rest.trim_start();
        let (deleted, json) = rest.strip_prefix('-').map_or((false, rest), |json| (true, json));
        Line {
            seconds: seconds.parse().unwrap_or(30),
            deleted,
            json,
        }
    })
}
