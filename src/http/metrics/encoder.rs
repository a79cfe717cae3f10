//! A streaming encoder of the Prometheus text format (version 0.0.4).
//!
//! The encoder writes each series directly to the body of the page and stores none, so a render needs no memory except
//! the page. Label values are cleaned: no control characters, at most [`LABEL_LIMIT`] bytes.

use std::fmt::Write as _;

use crate::{
    domain::{histogram::Histogram, index::series::LABEL_LIMIT},
    http::server::Body,
};

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// A metric family: its name, help text, type and labels.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// The names of the labels, in alphabetical order as in the official Prometheus clients.
    pub(super) labels: &'static [&'static str],
}

/// Creates a family.
pub(super) const fn family(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind,
        labels,
    }
}

/// Appends metric families to the body of a page.
pub(super) struct Encoder<'a> {
    body: &'a mut Body,
    line: String,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(body: &'a mut Body) -> Self {
        Self {
            body,
            line: String::with_capacity(1024),
        }
    }

    /// Writes the header of a family. The series follow.
    pub(super) fn family(&mut self, family: &'static Family) -> Series<'_, 'a> {
        let Family { name, help, kind, .. } = family;
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        self.line.clear();
        let _infallible = writeln!(self.line, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.body.push(self.line.as_bytes());
        Series {
            encoder: self,
            family,
        }
    }

    /// Writes a family with one series and no labels.
    pub(super) fn single(&mut self, family: &'static Family, value: f64) {
        self.family(family).add([], value);
    }
}

/// The series of one family.
pub(super) struct Series<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    family: &'static Family,
}

impl Series<'_, '_> {
    /// Writes a series. `values` has one value for each label of the family, in the same order.
    pub(super) fn add<const N: usize>(&mut self, values: [&str; N], value: f64) {
        debug_assert_eq!(
            N,
            self.family.labels.len(),
            "{}: one value per label",
            self.family.name
        );
        self.write("", values.as_slice(), None, value);
    }

    /// Writes a histogram. `values` has one value for each label of the family.
    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        let mut cumulative = 0;
        let ends = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, n) in ends.zip(&histogram.counts) {
            cumulative += n;
            self.write("_bucket", values, Some(bound), count(cumulative));
        }
        self.write("_sum", values, None, histogram.sum);
        self.write("_count", values, None, count(cumulative));
    }

    fn write(&mut self, suffix: &str, values: &[&str], bound: Option<f64>, value: f64) {
        let line = &mut self.encoder.line;
        line.clear();
        line.push_str(self.family.name);
        line.push_str(suffix);
        for (position, (label, value)) in self.family.labels.iter().zip(values).enumerate() {
            line.push(if position == 0 { '{' } else { ',' });
            line.push_str(label);
            line.push_str("=\"");
            push_value(line, value);
            line.push('"');
        }
        if let Some(bound) = bound {
            line.push_str(if values.is_empty() { "{le=\"" } else { ",le=\"" });
            push_number(line, bound);
            line.push('"');
        }
        line.push_str(if values.is_empty() && bound.is_none() {
            " "
        } else {
            "} "
        });
        push_number(line, value);
        line.push('\n');
        self.encoder.body.push(line.as_bytes());
    }
}

/// Converts a count to a value. Prometheus stores floating-point numbers, which are exact for counts of this size.
#[allow(clippy::cast_precision_loss)]
pub(super) fn count(n: u64) -> f64 {
    n as f64
}

fn push_number(line: &mut String, value: f64) {
    if value == f64::INFINITY {
        line.push_str("+Inf");
    } else {
        let _infallible = write!(line, "{value}");
    }
}

/// Appends a label value. Cuts and escapes it.
fn push_value(line: &mut String, value: &str) {
    let mut length = 0;
    for c in value.chars() {
        length += c.len_utf8();
        if length > LABEL_LIMIT {
            break;
        }
        match c {
            '\\' => line.push_str("\\\\"),
            '"' => line.push_str("\\\""),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PODS: Family = Family {
        name: "pods",
        help: "Pods by name.",
        kind: Kind::Gauge,
        labels: &["container", "pod"],
    };
    static SECONDS: Family = Family {
        name: "seconds",
        help: "Durations.",
        kind: Kind::Histogram,
        labels: &[],
    };
    static STARTUPS: Family = Family {
        name: "startups",
        help: "Starts.",
        kind: Kind::Histogram,
        labels: &["name"],
    };

    fn encode(write: impl FnOnce(&mut Encoder<'_>)) -> String {
        let mut body = Body::default();
        write(&mut Encoder::new(&mut body));
        body.to_text()
    }

    #[test]
    fn writes_the_text_format() {
        let text = encode(|encoder| {
            let mut pods = encoder.family(&PODS);
            pods.add(["a", "b"], 1.0);
            pods.add(["", "c"], 1_795_168_860.25);
            let histogram = Histogram {
                counts: [1, 0, 2].into(),
                sum: 7.5,
                ..Histogram::new(&[0.5, 2.0])
            };
            encoder.family(&SECONDS).histogram(&[], &histogram);
            encoder.family(&STARTUPS).histogram(&["a"], &histogram);
        });
        let expected = "# HELP pods Pods by name.\n# TYPE pods gauge\n\
            pods{container=\"a\",pod=\"b\"} 1\npods{container=\"\",pod=\"c\"} 1795168860.25\n\
            # HELP seconds Durations.\n# TYPE seconds histogram\n\
            seconds_bucket{le=\"0.5\"} 1\nseconds_bucket{le=\"2\"} 1\nseconds_bucket{le=\"+Inf\"} 3\n\
            seconds_sum 7.5\nseconds_count 3\n\
            # HELP startups Starts.\n# TYPE startups histogram\n\
            startups_bucket{name=\"a\",le=\"0.5\"} 1\nstartups_bucket{name=\"a\",le=\"2\"} 1\n\
            startups_bucket{name=\"a\",le=\"+Inf\"} 3\n\
            startups_sum{name=\"a\"} 7.5\nstartups_count{name=\"a\"} 3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_family_without_labels_has_one_plain_series() {
        static TOTAL: Family = Family {
            name: "total",
            help: "All.",
            kind: Kind::Counter,
            labels: &[],
        };
        let text = encode(|encoder| encoder.single(&TOTAL, 3.0));
        assert!(text.ends_with("\ntotal 3\n"), "{text}");
    }

    #[test]
    fn label_values_are_escaped_cleaned_and_cut() {
        #[rustfmt::skip]
        let table = [
            ("a\"b\\c", "a\\\"b\\\\c".to_owned(), "quotes and backslashes are escaped"),
            ("a\nb\r\u{0}\u{85}c", "a b   c".to_owned(), "control characters become spaces"),
            (&"x".repeat(300), "x".repeat(256), "long values are cut"),
            (&"ü".repeat(300), "ü".repeat(128), "the cut is between characters"),
        ];
        for (value, expected, why) in table {
            let text = encode(|encoder| encoder.family(&PODS).add([value, ""], 1.0));
            let line = text.lines().last().unwrap();
            assert_eq!(
                line,
                format!("pods{{container=\"{expected}\",pod=\"\"}} 1"),
                "{why}"
            );
        }
    }
}
