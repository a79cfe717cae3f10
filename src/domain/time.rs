//! Saturating arithmetic on timestamps, and their formats in messages.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// `at + after`, saturating.
pub fn later(at: Timestamp, after: SignedDuration) -> Timestamp {
    at.checked_add(after).unwrap_or(Timestamp::MAX)
}

/// An optional time in whole seconds, as the API server stores it (`metav1.Time`). It has a third of the size of an
/// `Option<Timestamp>`; every Pod has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTime(i64);

impl ApiTime {
    /// No time. All timestamps are later than this.
    const NONE: Self = Self(i64::MIN);

    /// The time, if there is one.
    pub fn get(self) -> Option<Timestamp> {
        Timestamp::from_second(self.0).ok()
    }
}

impl From<Option<Timestamp>> for ApiTime {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::NONE, |time| Self(time.as_second()))
    }
}

/// A duration in the format of `kubectl`, in whole seconds: `45s`, `7m12s`, `1h30m`, `2d4h`.
#[derive(Clone, Copy)]
pub struct Human(pub SignedDuration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis().max(0);
        if millis > 0 && millis < 1000 {
            return write!(f, "{millis}ms");
        }
        let seconds = millis / 1000;
        let parts = [
            (seconds / 86400, 'd'),
            (seconds / 3600 % 24, 'h'),
            (seconds / 60 % 60, 'm'),
            (seconds % 60, 's'),
        ];
        // The first unit that is not zero, and the next one.
        let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
        for (i, (n, unit)) in parts.iter().skip(first).take(2).enumerate() {
            if i == 0 || *n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

/// The time of day of a timestamp, `10:42:07Z`.
#[derive(Clone, Copy)]
pub struct Clock(pub Timestamp);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_second().rem_euclid(86400);
        write!(
            f,
            "{:02}:{:02}:{:02}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// A timestamp in a text that is written at another time: the time of day, after the date if that is another day.
#[derive(Clone, Copy)]
pub struct Moment {
    /// The timestamp.
    pub at: Timestamp,
    /// The time at which the text is written.
    pub now: Timestamp,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |time: Timestamp| time.as_second().div_euclid(86400);
        if day(self.at) != day(self.now) {
            write!(f, "{} ", self.at.strftime("%Y-%m-%d"))?;
        }
        Clock(self.at).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_format_of_kubectl() {
        let table = [
            (0, "0s"),
            (1, "1s"),
            (45, "45s"),
            (120, "2m"),
            (432, "7m12s"),
            (5400, "1h30m"),
            (3605, "1h"),
            (187_200, "2d4h"),
        ];
        for (seconds, expected) in table {
            assert_eq!(Human(SignedDuration::from_secs(seconds)).to_string(), expected);
        }
        assert_eq!(Human(SignedDuration::from_millis(250)).to_string(), "250ms");
        assert_eq!(
            Human(SignedDuration::from_secs(-5)).to_string(),
            "0s",
            "a clock that went back"
        );
    }

    #[test]
    fn an_api_time_keeps_whole_seconds() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        #[rustfmt::skip]
        let table = [
            (None, None),
            (Some(time("1970-01-01T00:00:00Z")), Some(time("1970-01-01T00:00:00Z"))),
            (Some(time("2026-11-20T10:42:07.9Z")), Some(time("2026-11-20T10:42:07Z"))),
            (Some(Timestamp::MIN), Some(Timestamp::MIN)),
        ];
        for (given, kept) in table {
            assert_eq!(ApiTime::from(given).get(), kept, "{given:?}");
        }
    }

    #[test]
    fn a_clock_shows_the_time_of_day() {
        assert_eq!(
            Clock("2026-11-20T10:42:07.9Z".parse().unwrap()).to_string(),
            "10:42:07Z"
        );
    }
}
