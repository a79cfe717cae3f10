//! Reads a recording line by line, so that memory does not depend on its length.
//!
//! Input: text. Output: [`Entry`]s with the time at which each arrived.

use std::{
    fmt::Display,
    io::{BufRead, Read},
};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cli::exit::Failure,
    domain::{observation::Observation, time::later},
    kubernetes::{
        decode::{
            intern::Interner,
            pod::{LeanPod, observe},
        },
        watch::WatchEvent,
    },
};

/// What a recording is, for errors about other texts.
const FORMAT: &str = "a recording has one event per line, as sidewatch record writes it";

/// Maximum length of a line, in megabytes. The API server accepts objects of up to 3 MB.
const MAX_LINE: usize = 16;

#[derive(Deserialize)]
struct Line {
    /// Seconds since the start.
    t: f64,
    /// The time of day.
    wall: Timestamp,
    #[serde(rename = "type")]
    kind: Kind,
    object: Option<LeanPod>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    Added,
    Modified,
    Deleted,
    Bookmark,
}

/// A line of a recording.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The time of the event on the clock of the Pod's timestamps.
    pub at: Timestamp,
    /// The event. `None` for a bookmark: nothing changed until then.
    pub event: Option<WatchEvent<Observation>>,
}

/// Reads a recording.
pub struct Reader {
    name: String,
    input: Box<dyn BufRead>,
    interner: Interner,
    number: u64,
    /// The start of the recording, and the time of the latest line.
    times: Option<(Timestamp, Timestamp)>,
}

impl Reader {
    /// Reads from `input`. `name` is the name in errors.
    pub fn new(name: impl Into<String>, input: Box<dyn BufRead>) -> Self {
        Self {
            name: name.into(),
            input,
            interner: Interner::default(),
            number: 0,
            times: None,
        }
    }

    /// Returns the start of the recording. Known after the first line.
    pub fn start(&self) -> Option<Timestamp> {
        self.times.map(|(start, _)| start)
    }

    /// Reads the next line. Skips empty lines.
    pub fn entry(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_LINE << 20)?;
            let length = (&mut self.input)
                .take(limit)
                .read_until(b'\n', &mut bytes)
                .map_err(|error| format!("cannot read {}: {error}", self.name))?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if length == MAX_LINE << 20 {
                return Err(self.invalid(format!("the line is longer than {MAX_LINE} MB")));
            }
            if !bytes.trim_ascii().is_empty() {
                return self.decode(&bytes).map(Some);
            }
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Entry, Failure> {
        let line: Line = serde_json::from_slice(bytes).map_err(|error| self.undecodable(bytes, &error))?;
        let Line {
            t,
            wall,
            kind,
            object,
        } = line;
        let offset = SignedDuration::try_from_secs_f64(t)
            .ok()
            .filter(|offset| !offset.is_negative());
        let Some(offset) = offset else {
            return Err(self.invalid(format!(
                "t is {t}: it must be a number of seconds since the start"
            )));
        };
        let (start, latest) = *self.times.get_or_insert_with(|| {
            let start = later(wall, -offset);
            (start, start)
        });
        let at = later(start, offset);
        if at < latest {
            return Err(self.invalid("t is less than on an earlier line"));
        }
        self.times = Some((start, at));
        let event = match (kind, object) {
            (Kind::Bookmark, _) => None,
            (_, None) => return Err(self.invalid("the event has no object")),
            (kind, Some(pod)) => {
                let pod = observe(pod, &mut self.interner).map_err(|error| self.invalid(error))?;
                Some(match kind {
                    Kind::Deleted => WatchEvent::Deleted(pod),
                    _ => WatchEvent::Applied(pod),
                })
            }
        };
        Ok(Entry { at, event })
    }

    /// Describes a line that is not an event of a recording. A watch of kubectl has no times, and can have many lines per event.
    fn undecodable(&self, bytes: &[u8], error: &serde_json::Error) -> Failure {
        let is_object = bytes.trim_ascii().starts_with(b"{");
        if self.number == 1 && error.is_eof() && is_object {
            return self.invalid(format!(
                "this is JSON over several lines, such as a watch of kubectl: {FORMAT}"
            ));
        }
        let event: Option<Value> = serde_json::from_slice(bytes).ok();
        let has = |name: &str| event.as_ref().is_some_and(|event| event.get(name).is_some());
        if has("type") && has("object") && !(has("t") && has("wall")) {
            return self.invalid(format!(
                "{error}: a watch of kubectl does not say when an event arrived: {FORMAT}"
            ));
        }
        if self.times.is_none() && (error.is_data() || !is_object) {
            return self.invalid(format!("{error}: {FORMAT}"));
        }
        self.invalid(error)
    }

    fn invalid(&self, problem: impl Display) -> Failure {
        format!("{}: line {}: {problem}", self.name, self.number).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const POD: &str = r#"{"metadata":{"name":"web","namespace":"shop","uid":"1"}}"#;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        let mut reader = Reader::new("pods.jsonl", Box::new(Cursor::new(text.to_owned())));
        let mut entries = Vec::new();
        while let Some(entry) = reader.entry().map_err(|error| error.to_string())? {
            entries.push(entry);
        }
        Ok(entries)
    }

    fn line(t: &str, kind: &str) -> String {
        format!(r#"{{"t":{t},"wall":"2026-11-20T10:00:02Z","type":"{kind}","object":{POD}}}"#) + "\n"
    }

    #[test]
    fn times_are_those_of_the_start_plus_t() {
        let text = line("2", "ADDED")
            + "\n"
            + &line("3.5", "DELETED")
            + r#"{"t":60,"wall":"2026-11-20T10:01:00Z","type":"BOOKMARK"}"#;
        let entries = read(&text).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let times: Vec<_> = entries.iter().map(|entry| entry.at).collect();
        assert_eq!(
            times,
            [
                at("2026-11-20T10:00:02Z"),
                at("2026-11-20T10:00:03.5Z"),
                at("2026-11-20T10:01:00Z")
            ]
        );
        assert!(matches!(entries[0].event, Some(WatchEvent::Applied(_))));
        assert!(matches!(entries[1].event, Some(WatchEvent::Deleted(_))));
        assert!(entries[2].event.is_none());
    }

    #[test]
    fn an_invalid_line_is_an_error_with_its_number() {
        let good = line("2", "ADDED");
        let table = [
            ("{".to_owned(), "pods.jsonl: line 2: EOF"),
            (line("2", "SEEN"), "line 2: unknown variant `SEEN`"),
            (line("1", "ADDED"), "line 2: t is less than on an earlier line"),
            (line("-1", "ADDED"), "line 2: t is -1"),
            (line("1e300", "ADDED"), "line 2: t is 1"),
            (
                r#"{"t":3,"wall":"2026-11-20T10:00:02Z","type":"ADDED"}"#.to_owned(),
                "line 2: the event has no object",
            ),
            (
                line("3", "ADDED").replace("\"uid\":\"1\"", "\"uid\":\"\""),
                "has no metadata.uid",
            ),
        ];
        for (bad, expected) in table {
            let error = read(&format!("{good}{bad}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_text_of_another_kind_is_named() {
        let event = r#"{"type":"ADDED","object":{"metadata":{"name":"web","namespace":"shop","uid":"1"}}}"#;
        let table = [
            ("{\n  \"type\": \"ADDED\",\n", "over several lines"),
            (event, "missing field `t`"),
            (event, "a watch of kubectl does not say when an event arrived"),
            (r#"{"kind":"PodList","items":[]}"#, "missing field `t`"),
            ("kind: Pod\n", "expected value"),
        ];
        for (text, expected) in table {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("pods.jsonl: line 1: "), "{error}");
            assert!(error.contains(expected), "{error}");
            assert!(
                error.ends_with("one event per line, as sidewatch record writes it"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = Reader::new("zero", Box::new(std::io::BufReader::new(std::io::repeat(b' '))));
        let error = reader.entry().unwrap_err().to_string();
        assert_eq!(error, "zero: line 1: the line is longer than 16 MB");
    }
}
