//! Applies a fault to the body of an answer. No I/O.
//!
//! The input is the body in pieces of any size, the output a list of actions ([`Out`]). A watch is a sequence of JSON objects,
//! one per line. Lines are assembled only for faults that refer to events.

use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::Value;
use testkit::protobuf;

use super::rule::{Fault, Point};

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Out {
    /// Forward these bytes.
    Pass(Bytes),
    /// Wait this long.
    Pause(Duration),
    /// Wait until the fault is lifted.
    Hang,
    /// Close the connection.
    Close,
    /// End the body without an error.
    End,
}

/// Interval of a throttled body.
const INTERVAL: Duration = Duration::from_millis(50);
const INTERVALS_PER_SECOND: u32 = 20;

/// The state of one body.
#[derive(Debug)]
pub(super) struct Shape {
    fault: Option<Fault>,
    is_protobuf: bool,
    frames: Frames,
    /// Bytes and events so far.
    bytes: u64,
    events: u64,
}

impl Shape {
    /// A body in JSON or in protobuf.
    pub(super) fn new(fault: Option<Fault>, is_protobuf: bool) -> Self {
        Self {
            fault,
            is_protobuf,
            frames: Frames {
                is_protobuf,
                ..Frames::default()
            },
            bytes: 0,
            events: 0,
        }
    }

    /// Before the first byte.
    pub(super) fn begin(&mut self) -> Vec<Out> {
        match &self.fault {
            Some(Fault::Hang(Point::Body | Point::Byte(0) | Point::BeforeEvent(1))) => vec![Out::Hang],
            Some(Fault::Close(Point::Body | Point::Byte(0))) => vec![Out::Close],
            _ => self.after_event(),
        }
    }

    /// The next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) -> Vec<Out> {
        let start = self.bytes;
        self.bytes += piece.len() as u64;
        match &self.fault {
            Some(Fault::Hang(Point::Byte(at))) => stop_at(piece, start, *at, Out::Hang),
            Some(Fault::Close(Point::Byte(at))) => stop_at(piece, start, *at, Out::Close),
            Some(Fault::Garble(range)) => vec![Out::Pass(garbled(&piece, start, range))],
            Some(Fault::Throttle(rate)) => throttled(piece, *rate),
            Some(
                Fault::Hang(Point::BeforeEvent(_) | Point::MidEvent(_))
                | Fault::Close(Point::BeforeEvent(_) | Point::MidEvent(_))
                | Fault::End(_)
                | Fault::Drop(_)
                | Fault::Repeat(_)
                | Fault::Inject { .. },
            ) => {
                let events = self.frames.push(&piece);
                events.into_iter().flat_map(|event| self.event(event)).collect()
            }
            _ => vec![Out::Pass(piece)],
        }
    }

    /// The end of the body.
    pub(super) fn finish(&mut self) -> Vec<Out> {
        let rest = self.frames.rest();
        let rest = (!rest.is_empty()).then_some(Out::Pass(rest));
        rest.into_iter().chain([Out::End]).collect()
    }

    fn event(&mut self, event: Bytes) -> Vec<Out> {
        self.events += 1;
        let n = self.events;
        let mut outs = match &self.fault {
            Some(Fault::Hang(Point::BeforeEvent(at))) if *at == n && n > 1 => {
                vec![Out::Hang, Out::Pass(event)]
            }
            Some(Fault::Close(Point::BeforeEvent(at))) if *at == n => vec![Out::Close],
            Some(Fault::Hang(Point::MidEvent(at))) if *at == n => halved(event, Out::Hang),
            Some(Fault::Close(Point::MidEvent(at))) if *at == n => halved(event, Out::Close),
            Some(Fault::Drop(range)) if range.contains(&n) => Vec::new(),
            Some(Fault::Repeat(range)) if range.contains(&n) => {
                vec![Out::Pass(event.clone()), Out::Pass(event)]
            }
            _ => vec![Out::Pass(event)],
        };
        outs.extend(self.after_event());
        outs
    }

    /// The bytes of an event.
    fn encode(&self, event: &Value) -> Bytes {
        match event["type"].as_str() {
            Some(kind) if self.is_protobuf => protobuf::event(kind, &event["object"]).into(),
            _ => Bytes::from(format!("{event}\n")),
        }
    }

    /// Actions after the events so far.
    fn after_event(&self) -> Vec<Out> {
        match &self.fault {
            Some(Fault::End(after)) if *after == self.events => vec![Out::End],
            Some(Fault::Inject { after, event }) if *after == self.events => {
                vec![Out::Pass(self.encode(event)), Out::End]
            }
            _ => Vec::new(),
        }
    }
}

/// Assembles events: lines of JSON, or frames of protobuf behind their length.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    is_protobuf: bool,
}

impl Frames {
    /// The events that this piece completes.
    fn push(&mut self, piece: &[u8]) -> Vec<Bytes> {
        self.bytes.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(length) = self.complete() {
            let rest = self.bytes.split_off(length);
            events.push(Bytes::from(std::mem::replace(&mut self.bytes, rest)));
        }
        events
    }

    /// The length of the first event, with its line feed or its header, if it is complete.
    fn complete(&self) -> Option<usize> {
        if !self.is_protobuf {
            return Some(self.bytes.iter().position(|byte| *byte == b'\n')? + 1);
        }
        let (header, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*header)).ok()?;
        (rest.len() >= length).then_some(length + header.len())
    }

    /// The bytes after the last complete event.
    fn rest(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.bytes))
    }
}

/// Inserts `stop` after `at` bytes of the body. The piece begins at byte `start`.
fn stop_at(mut piece: Bytes, start: u64, at: u64, stop: Out) -> Vec<Out> {
    let end = start + piece.len() as u64;
    if at <= start || at > end {
        return vec![Out::Pass(piece)];
    }
    let before = piece.split_to(usize::try_from(at - start).unwrap_or(usize::MAX).min(piece.len()));
    vec![Out::Pass(before), stop, Out::Pass(piece)]
}

fn halved(mut event: Bytes, stop: Out) -> Vec<Out> {
    let half = event.split_to(event.len() / 2);
    vec![Out::Pass(half), stop, Out::Pass(event)]
}

fn garbled(piece: &Bytes, start: u64, range: &RangeInclusive<u64>) -> Bytes {
    let turned = piece
        .iter()
        .zip(start..)
        .map(|(byte, at)| if range.contains(&at) { byte ^ 0x80 } else { *byte });
    turned.collect()
}

fn throttled(mut piece: Bytes, rate: u32) -> Vec<Out> {
    let size = usize::try_from((rate / INTERVALS_PER_SECOND).max(1)).unwrap_or(usize::MAX);
    let interval = if rate < INTERVALS_PER_SECOND {
        Duration::from_secs(1) / rate.max(1)
    } else {
        INTERVAL
    };
    let mut outs = Vec::new();
    while !piece.is_empty() {
        outs.push(Out::Pause(interval));
        outs.push(Out::Pass(piece.split_to(size.min(piece.len()))));
    }
    outs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str) -> Out {
        Out::Pass(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// All actions for the pieces of a body.
    fn all(fault: Option<Fault>, pieces: &[&'static str]) -> Vec<Out> {
        let mut shape = Shape::new(fault, false);
        let mut outs = shape.begin();
        for piece in pieces {
            outs.extend(shape.push(Bytes::from_static(piece.as_bytes())));
        }
        outs.extend(shape.finish());
        // Actions after an end have no effect.
        let end = outs.iter().position(|out| matches!(out, Out::Close | Out::End));
        outs.truncate(end.map_or(outs.len(), |end| end + 1));
        outs.retain(|out| *out != pass(""));
        outs
    }

    #[test]
    fn faults_apply_at_events() {
        let events = &["{a}\n{b}\n", "{c", "}\n"];
        let (a, b, c) = (|| pass("{a}\n"), || pass("{b}\n"), || pass("{c}\n"));
        let inject = Fault::Inject {
            after: 2,
            event: serde_json::json!("x"),
        };
        let at_once = Fault::Inject {
            after: 0,
            event: serde_json::json!("x"),
        };
        #[rustfmt::skip]
        let table = [
            ("drop one", Fault::Drop(2..=2), vec![a(), c(), Out::End]),
            ("drop all", Fault::Drop(1..=u64::MAX), vec![Out::End]),
            ("repeat", Fault::Repeat(2..=3), vec![a(), b(), b(), c(), c(), Out::End]),
            ("end", Fault::End(2), vec![a(), b(), Out::End]),
            ("end at once", Fault::End(0), vec![Out::End]),
            ("inject", inject, vec![a(), b(), pass("\"x\"\n"), Out::End]),
            ("inject at once", at_once, vec![pass("\"x\"\n"), Out::End]),
            ("hold back the second", Fault::Hang(Point::BeforeEvent(2)), vec![a(), Out::Hang, b(), c(), Out::End]),
            ("hold back everything", Fault::Hang(Point::BeforeEvent(1)), vec![Out::Hang, a(), b(), c(), Out::End]),
            ("hang in the middle", Fault::Hang(Point::MidEvent(2)),
                vec![a(), pass("{b"), Out::Hang, pass("}\n"), c(), Out::End]),
            ("close in the middle of one that came in two pieces", Fault::Close(Point::MidEvent(3)),
                vec![a(), b(), pass("{c"), Out::Close]),
            ("close before one", Fault::Close(Point::BeforeEvent(2)), vec![a(), Out::Close]),
        ];
        for (name, fault, expected) in table {
            assert_eq!(all(Some(fault), events), expected, "{name}");
        }
    }

    #[test]
    fn faults_apply_at_bytes() {
        let pieces = &["abcd", "efgh"];
        #[rustfmt::skip]
        let table = [
            (None, vec![pass("abcd"), pass("efgh"), Out::End]),
            (Some(Fault::Close(Point::Byte(6))), vec![pass("abcd"), pass("ef"), Out::Close]),
            (Some(Fault::Close(Point::Byte(0))), vec![Out::Close]),
            (Some(Fault::Close(Point::Byte(4))), vec![pass("abcd"), Out::Close]),
            (Some(Fault::Close(Point::Byte(99))), vec![pass("abcd"), pass("efgh"), Out::End]),
            (Some(Fault::Hang(Point::Byte(1))), vec![pass("a"), Out::Hang, pass("bcd"), pass("efgh"), Out::End]),
            (Some(Fault::Hang(Point::Body)), vec![Out::Hang, pass("abcd"), pass("efgh"), Out::End]),
            (Some(Fault::Close(Point::Body)), vec![Out::Close]),
            (Some(Fault::Delay(INTERVAL)), vec![pass("abcd"), pass("efgh"), Out::End]),
        ];
        for (fault, expected) in table {
            assert_eq!(all(fault.clone(), pieces), expected, "{fault:?}");
        }
        let garbled = all(Some(Fault::Garble(3..=4)), pieces);
        assert_eq!(
            garbled,
            [
                Out::Pass(Bytes::from_static(b"abc\xe4")),
                Out::Pass(Bytes::from_static(b"\xe5fgh")),
                Out::End
            ]
        );
    }

    #[test]
    fn a_throttled_body_has_the_given_rate() {
        for (rate, piece, expected) in [(40, 8, 200), (2, 3, 1500), (1_000_000, 8, 50)] {
            let outs = Shape::new(Some(Fault::Throttle(rate)), false).push(Bytes::from(vec![b'x'; piece]));
            let (mut time, mut bytes) = (Duration::ZERO, 0);
            for out in outs {
                match out {
                    Out::Pause(pause) => time += pause,
                    Out::Pass(part) => bytes += part.len(),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(
                (time, bytes),
                (Duration::from_millis(expected), piece),
                "{piece} bytes at {rate} a second"
            );
        }
    }

    #[test]
    fn events_in_protobuf_are_counted_and_injected_as_frames() {
        let frames = [protobuf::frame(b"a\nb"), protobuf::frame(b"c")].concat();
        let inject = Fault::error_event(1, 410);
        let Fault::Inject { event, .. } = &inject else {
            panic!("{inject:?}")
        };
        let expected = protobuf::event("ERROR", &event["object"]);
        for size in [1, 3, frames.len()] {
            let mut shape = Shape::new(Some(inject.clone()), true);
            let outs: Vec<Out> = frames
                .chunks(size)
                .flat_map(|piece| shape.push(Bytes::copy_from_slice(piece)))
                .take(3)
                .collect();
            let first = Out::Pass(protobuf::frame(b"a\nb").into());
            assert_eq!(outs, [first, Out::Pass(expected.clone().into()), Out::End]);
        }
    }

    #[test]
    fn an_incomplete_event_at_the_end_is_forwarded() {
        let outs = all(Some(Fault::Drop(1..=1)), &["{a}\n{b"]);
        assert_eq!(outs, [pass("{b"), Out::End]);
    }
}
