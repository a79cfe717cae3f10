//! The bodies of the fuzz targets: plain functions from bytes to nothing, that panic where an invariant fails.
//!
//! `fuzz_targets/` calls them with what libFuzzer makes up; `tests/fuzz_corpus.rs` of the main package compiles the same
//! file and calls them with `seeds/`, on stable and in every test run.
//!
//! Pods and policies are read as lines, each a whole object in JSON that comes some seconds after the line before it
//! (`90 {...}`; without a number 30), and is deleted where a `-` stands before the object. A line that is no object is
//! left out, so that most mutations still lead somewhere.

mod patterns;
mod pods;
mod policies;
mod watch;
mod watched;

pub use self::{patterns::patterns, pods::pods, policies::policies, watch::watch};

/// A line of input: the seconds that pass before it, whether its object is deleted, and its JSON.
struct Line<'a> {
    seconds: u32,
    deleted: bool,
    json: &'a str,
}

/// More lines say nothing new and make a run slow.
const LINES: usize = 32;

/// The lines of an input.
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
