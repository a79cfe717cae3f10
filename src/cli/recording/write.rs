//! Writes a recording from the events of a watch.
//!
//! Input: whole Pods. Output: lines with the fields of [`super::fields`]. After a new list, the Pods that it does not contain
//! are written as deleted, and unchanged Pods are not written again.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::recorded;
use crate::{cli::safe_text::json_for_terminal, kubernetes::watch::WatchEvent};

/// The identity of a Pod, and the `resourceVersion` that was written last.
#[derive(Debug)]
struct Known {
    namespace: String,
    name: String,
    version: String,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    start: Timestamp,
    known: HashMap<String, Known>,
    /// The UIDs in the current list.
    listed: Option<HashSet<String>>,
    lines: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a recording.
    pub fn new(output: W, start: Timestamp) -> Self {
        Self {
            output,
            start,
            known: HashMap::new(),
            listed: None,
            lines: 0,
        }
    }

    /// Writes an event that arrived at `now`.
    pub fn event(&mut self, event: WatchEvent<Value>, now: Timestamp) -> io::Result<()> {
        match event {
            WatchEvent::Restarted { .. } => self.listed = Some(HashSet::new()),
            WatchEvent::Listed(pod) | WatchEvent::Applied(pod) => self.applied(&pod, now)?,
            WatchEvent::Deleted(pod) => {
                self.known.remove(text(&pod, "/metadata/uid"));
                self.line("DELETED", Some(&recorded(&pod)), now)?;
            }
            WatchEvent::Complete => {
                let listed = self.listed.take().unwrap_or_default();
                let known = std::mem::take(&mut self.known);
                let (kept, gone): (HashMap<_, _>, HashMap<_, _>) =
                    known.into_iter().partition(|(uid, _)| listed.contains(uid));
                self.known = kept;
                for (uid, Known { namespace, name, .. }) in gone {
                    let pod = json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}});
                    self.line("DELETED", Some(&pod), now)?;
                }
            }
            WatchEvent::Disconnected { .. } | WatchEvent::Resumed => {}
        }
        Ok(())
    }

    /// Writes the end of the recording, and returns the number of lines.
    pub fn finish(mut self, now: Timestamp) -> io::Result<u64> {
        self.line("BOOKMARK", None, now)?;
        self.output.flush()?;
        Ok(self.lines)
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Returns the number of Pods that exist.
    pub fn pods(&self) -> usize {
        self.known.len()
    }

    fn applied(&mut self, pod: &Value, now: Timestamp) -> io::Result<()> {
        let (uid, version) = (text(pod, "/metadata/uid"), text(pod, "/metadata/resourceVersion"));
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.to_owned());
        }
        let known = Known {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            name: text(pod, "/metadata/name").to_owned(),
            version: version.to_owned(),
        };
        match self.known.insert(uid.to_owned(), known) {
            Some(before) if before.version == version => Ok(()),
            Some(_) => self.line("MODIFIED", Some(&recorded(pod)), now),
            None => self.line("ADDED", Some(&recorded(pod)), now),
        }
    }

    fn line(&mut self, kind: &str, object: Option<&Value>, now: Timestamp) -> io::Result<()> {
        let t = now.duration_since(self.start).as_millis();
        let seconds = format!("{}.{:03}", t / 1000, t % 1000);
        let wall = now.round(jiff::Unit::Millisecond).unwrap_or(now);
        write!(self.output, r#"{{"t":{seconds},"wall":"{wall}","type":"{kind}""#)?;
        if let Some(object) = object {
            let object = json_for_terminal(&object.to_string());
            write!(self.output, r#","object":{object}"#)?;
        }
        writeln!(self.output, "}}")?;
        self.lines += 1;
        Ok(())
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, version: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": "web", "uid": uid, "resourceVersion": version}})
    }

    fn write(events: Vec<(i64, WatchEvent<Value>)>) -> Vec<(String, String)> {
        let start: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, start);
        for (milliseconds, event) in events {
            let now = start + jiff::SignedDuration::from_millis(milliseconds);
            writer.event(event, now).unwrap();
        }
        writer
            .finish(start + jiff::SignedDuration::from_secs(60))
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let pod = &line["object"]["metadata"];
            let about = format!(
                "{} {}",
                pod["uid"].as_str().unwrap_or("-"),
                line["wall"].as_str().unwrap()
            );
            (format!("{} {}", line["t"], line["type"].as_str().unwrap()), about)
        };
        text.lines().map(line).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn events_are_written_with_their_times() {
        let restarted = WatchEvent::Restarted {
            last_synced: Timestamp::MIN,
        };
        let lines = write(vec![
            (0, restarted),
            (5, WatchEvent::Listed(pod("a", "1"))),
            (6, WatchEvent::Complete),
            (1500, WatchEvent::Applied(pod("a", "2"))),
            (2000, WatchEvent::Applied(pod("b", "3"))),
            (2500, WatchEvent::Deleted(pod("a", "4"))),
        ]);
        let expected = [
            ("0.005 ADDED", "a 2026-11-20T10:00:00.005Z"),
            ("1.5 MODIFIED", "a 2026-11-20T10:00:01.5Z"),
            ("2.0 ADDED", "b 2026-11-20T10:00:02Z"),
            ("2.5 DELETED", "a 2026-11-20T10:00:02.5Z"),
            ("60.0 BOOKMARK", "- 2026-11-20T10:01:00Z"),
        ];
        assert_eq!(lines, pairs(&expected));
    }

    #[test]
    fn a_new_list_writes_only_what_has_changed() {
        let restarted = || WatchEvent::Restarted {
            last_synced: Timestamp::MIN,
        };
        let lines = write(vec![
            (0, restarted()),
            (0, WatchEvent::Listed(pod("a", "1"))),
            (0, WatchEvent::Listed(pod("b", "2"))),
            (0, WatchEvent::Listed(pod("c", "3"))),
            (0, WatchEvent::Complete),
            (1000, restarted()),
            (1000, WatchEvent::Listed(pod("a", "1"))),
            (1000, WatchEvent::Listed(pod("b", "5"))),
            (1000, WatchEvent::Complete),
        ]);
        let later: Vec<_> = lines.iter().skip(3).map(|(line, _)| line.as_str()).collect();
        assert_eq!(later, ["1.0 MODIFIED", "1.0 DELETED", "60.0 BOOKMARK"]);
        assert!(lines[4].1.starts_with("c "), "{lines:?}");
    }
}
