//! Decodes JSON fields leniently.
//!
//! Go's decoder accepts null for every missing field, so some programs write null to the status of a Pod. These
//! functions accept null too. Fields that are only compared, classified or hashed are processed in the input buffer: no
//! string is allocated for them.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

/// Decodes a value; null is the default. A missing field needs `#[serde(default)]`.
pub(in crate::kubernetes) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reports whether the value is not null. Ignores the content of the value.
pub(super) fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

/// Decodes a list without its null entries. Null is the empty list.
pub(in crate::kubernetes) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Entries<T>(Vec<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<Self::Value, A::Error> {
            while let Some(entry) = entries.next_element::<Option<T>>()? {
                self.0.extend(entry);
            }
            Ok(self.0)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(self.0)
        }
    }
    deserializer.deserialize_any(Entries(Vec::new()))
}

/// Decodes a string and applies `read` to it. Null is the empty string.
pub(in crate::kubernetes) fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    struct Text<F>(F);
    impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or null")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok(self.0(text))
        }

        fn visit_unit<E: Error>(self) -> Result<T, E> {
            Ok(self.0(""))
        }
    }
    deserializer.deserialize_any(Text(read))
}

/// Reports whether the string is not empty.
pub(super) fn is_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    text(deserializer, |text| !text.is_empty())
}

/// Decodes a time that the kubelet or the API server wrote. Returns `None` for null, an invalid time and a time before
/// 1971: zero values of clocks are in 1970, or in the year 1 for Go.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    text(deserializer, |text| {
        text.parse().ok().filter(|time| is_known_time(*time))
    })
}

/// Reports whether a time is known. A time before 1971 is the zero value of a clock.
pub(in crate::kubernetes) fn is_known_time(time: Timestamp) -> bool {
    const END_OF_1970: i64 = 365 * 24 * 60 * 60;
    time.as_second() >= END_OF_1970
}

/// Decodes an integer, clamped to the range of `u32`. Null is 0.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer).map(clamp_count)
}

/// Returns the nearest `u32`.
pub(in crate::kubernetes) fn clamp_count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Decodes an integer, clamped to the range of `i32`. Null is 0.
pub(in crate::kubernetes) fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    integer(deserializer).map(clamp_code)
}

/// Returns the nearest `i32`.
pub(in crate::kubernetes) fn clamp_code(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Integer;
    impl Visitor<'_> for Integer {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or null")
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            Ok(i64::try_from(number).unwrap_or(i64::MAX))
        }

        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast ends at the bounds of the type"
        )]
        fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
            Ok(number as i64)
        }

        fn visit_unit<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
    }
    deserializer.deserialize_any(Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reader<T> =
        fn(&mut serde_json::Deserializer<serde_json::de::StrRead<'static>>) -> serde_json::Result<T>;

    fn check<T: PartialEq + fmt::Debug>(read: Reader<T>, table: &[(&'static str, T, &str)]) {
        for (json, expected, why) in table {
            let value = read(&mut serde_json::Deserializer::from_str(json)).unwrap();
            assert_eq!(value, *expected, "{json}: {why}");
        }
    }

    #[test]
    fn numbers_are_clamped() {
        check(
            |json| count(json),
            &[
                ("3", 3, "a count"),
                ("null", 0, "null"),
                ("-1", 0, "below the minimum"),
                ("4294967296", u32::MAX, "above the maximum"),
                ("18446744073709551615", u32::MAX, "above the maximum of i64"),
                ("1e30", u32::MAX, "a float above the maximum"),
                ("-1e30", 0, "a float below the minimum"),
                ("2.0", 2, "a whole float"),
            ],
        );
        check(
            |json| code(json),
            &[
                ("137", 137, "an exit code"),
                ("-1", -1, "codes may be negative"),
                ("-1073741819", -1_073_741_819, "as Windows writes them"),
                ("3221225477", i32::MAX, "above the maximum"),
                ("-3221225477", i32::MIN, "below the minimum"),
                ("null", 0, "null"),
            ],
        );
    }

    #[test]
    fn zero_values_and_invalid_times_are_none() {
        let known = "2026-11-21T09:49:45Z".parse().ok();
        check(
            |json| time(json),
            &[
                ("\"2026-11-21T09:49:45Z\"", known, "as the API server writes it"),
                ("\"2026-11-21T10:49:45+01:00\"", known, "with an offset"),
                (
                    "\"2026-11-21T09:49:45.000000Z\"",
                    known,
                    "with microseconds, as in MicroTime",
                ),
                ("null", None, "null"),
                ("\"\"", None, "empty"),
                ("\"1970-01-01T00:00:00Z\"", None, "the zero value of Unix time"),
                ("\"1970-12-31T23:59:59Z\"", None, "the last second of 1970"),
                ("\"0001-01-01T00:00:00Z\"", None, "the zero value of Go"),
                (
                    "\"-009998-01-01T00:00:00Z\"",
                    None,
                    "the earliest year that jiff supports",
                ),
                ("\"2026-13-40T99:99:99Z\"", None, "not a date"),
                ("\"yesterday\"", None, "not a time"),
                ("\"99999-01-01T00:00:00Z\"", None, "a year of five digits"),
            ],
        );
    }

    #[test]
    fn null_entries_are_left_out_of_lists() {
        check(
            |json| list::<_, u8>(json),
            &[
                ("[1,2]", vec![1, 2], "a list"),
                ("null", vec![], "null"),
                ("[null,1,null]", vec![1], "null entries"),
                ("[]", vec![], "empty"),
            ],
        );
    }

    #[test]
    fn every_value_except_null_is_present() {
        check(
            |json| is_present(json),
            &[
                ("{}", true, "an empty object"),
                ("{\"a\":[1,{\"b\":null}]}", true, "any content"),
                ("null", false, "null"),
            ],
        );
        check(
            |json| is_set(json),
            &[
                ("\"n\"", true, "text"),
                ("\"\"", false, "empty"),
                ("null", false, "null"),
            ],
        );
    }

    #[test]
    fn another_type_is_an_error_that_names_the_expected_types() {
        fn error<T: fmt::Debug>(read: Reader<T>, json: &'static str) -> String {
            let value = read(&mut serde_json::Deserializer::from_str(json));
            value.unwrap_err().to_string()
        }
        for (error, expected) in [
            (error(|json| time(json), "7"), "a string or null"),
            (error(|json| count(json), "\"7\""), "a number or null"),
            (error(|json| list::<_, u8>(json), "{}"), "a list or null"),
        ] {
            assert!(error.contains(&format!("expected {expected}")), "{error}");
        }
    }
}
