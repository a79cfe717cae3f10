//! Durations in a policy: `90s`, `5m`, `1h30m`.
//!
//! The grammar is that of Go's `time.ParseDuration` without signs and fractions, so that `duration()` in the CEL rules of
//! the schema and this parser agree. The text is kept as written, so that a policy that is read and applied again does not
//! change.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time};

/// The pattern of a duration in the CEL rules. At most four parts of five digits, so that the sum fits into the 64-bit
/// nanoseconds of Go.
pub(super) const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
const MAX_PARTS: usize = 4;
const MAX_DIGITS: usize = 5;
const MAX_LENGTH: usize = MAX_PARTS * (MAX_DIGITS + 2);

/// A duration as written, such as `90s`, `5m` or `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(String);

impl Duration {
    /// Keeps the text as written; [`Duration::parse`] validates it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the text. Only objects that were stored under an older schema can fail here.
    pub fn parse(&self) -> Result<time::Duration, InvalidDuration> {
        parse(&self.0).ok_or_else(|| InvalidDuration(self.0.clone()))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_LENGTH })
    }
}

/// Error for a text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration such as 90s, 5m or 1h30m")]
pub struct InvalidDuration(String);

fn parse(text: &str) -> Option<time::Duration> {
    let mut rest = text;
    let mut total = time::Duration::ZERO;
    for _ in 0..MAX_PARTS {
        let (part, after) = parse_part(rest)?;
        total += part;
        rest = after;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// Parses one number with its unit. Returns the duration and the rest of the text.
fn parse_part(text: &str) -> Option<(time::Duration, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > MAX_DIGITS {
        return None;
    }
    let (number, rest) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    // `ms` before `m`, because both match `ms`.
    let units = [("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];
    let (rest, milliseconds) = units
        .iter()
        .find_map(|(unit, milliseconds)| Some((rest.strip_prefix(unit)?, milliseconds)))?;
    Some((time::Duration::from_millis(number * milliseconds), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_exactly_the_texts_that_match_the_pattern() {
        let valid = [
            ("0s", 0, "zero, with a unit"),
            ("90s", 90_000, "seconds"),
            ("5m", 300_000, "minutes"),
            ("250ms", 250, "milliseconds are not minutes"),
            ("1h30m", 5_400_000, "two parts"),
            ("24h", 86_400_000, "the longest bound of the API"),
            ("30m1h", 5_400_000, "any order, as in Go"),
            ("1m1m", 120_000, "the same unit twice, as in Go"),
            ("1h2m3s4ms", 3_723_004, "four parts"),
            ("00005m", 300_000, "five digits, leading zeros"),
            (
                "99999h99999h99999h99999h",
                1_439_985_600_000,
                "the longest that can be written",
            ),
        ];
        let invalid = [
            ("", "empty"),
            ("0", "no unit"),
            ("5", "no unit"),
            ("m", "no number"),
            ("5 m", "a space"),
            ("-5m", "a sign"),
            ("+5m", "a sign"),
            ("1.5h", "a fraction"),
            ("5M", "units are lower case"),
            ("5d", "no days, as in Go"),
            ("5us", "nothing below milliseconds"),
            ("5min", "Go's unit names only"),
            ("100000s", "six digits"),
            ("1h1m1s1ms1h", "five parts"),
            ("5m\n", "a line break"),
            ("٥m", "digits are ASCII"),
        ];
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for (text, milliseconds, why) in valid {
            assert_eq!(
                Duration::new(text).parse(),
                Ok(time::Duration::from_millis(milliseconds)),
                "{text:?}: {why}"
            );
            assert!(pattern.is_match(text), "{text:?}: the schema must agree: {why}");
            assert!(text.len() <= MAX_LENGTH, "{text:?}: the schema must agree: {why}");
        }
        for (text, why) in invalid {
            let error = Duration::new(text).parse().expect_err(why);
            assert!(error.to_string().contains("such as 90s"), "{text:?}: {error}");
            assert!(!pattern.is_match(text), "{text:?}: the schema must agree: {why}");
        }
    }

    #[test]
    fn the_text_is_kept_as_written() {
        let duration: Duration = serde_json::from_str("\"60m\"").unwrap();
        assert_eq!(serde_json::to_string(&duration).unwrap(), "\"60m\"");
        assert_eq!(duration.to_string(), "60m");
    }
}
