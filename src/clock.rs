//! Source of `now` for all code outside the domain. Only this module reads the clocks of the machine.
//!
//! Times never go backwards, because deadlines and onsets are compared with each other. The domain reads no clock: it
//! gets `now` as an argument. Tests pass a function as a [`Clock`].

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

/// A source of `now`.
pub trait Clock: Send + Sync {
    /// Returns the current time, never earlier than a time returned before.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// The wall clock of the machine, made monotonic.
///
/// When the wall clock is set back, the time continues at half speed until the wall clock has caught up. So deadlines
/// do not stop for the length of the step, and the time does not stay ahead of the cluster permanently.
pub struct SystemClock {
    last: Mutex<(Timestamp, Instant)>,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            last: Mutex::new(read()),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut last = self.last.lock();
        let (wall, instant) = read();
        *last = (advance(last.0, wall, instant.duration_since(last.1)), instant);
        last.0
    }
}

/// Values of the two clocks by which the leadership of a replica ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Time since the start of the machine, including the time for which it was suspended (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// The wall clock, which also advances while a snapshot of a virtual machine is stored.
    pub wall: Timestamp,
}

impl Reading {
    /// Returns the time since an earlier reading, by the clock that has advanced more.
    pub fn since(self, earlier: Self) -> Duration {
        let boot = self.boot.saturating_sub(earlier.boot);
        // The conversion fails for a wall clock that was set back.
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        boot.max(wall)
    }
}

/// A source of [`Reading`]s.
pub trait LeaseClock: Send + Sync {
    /// Reads both clocks.
    fn read(&self) -> Reading;
}

impl<F: Fn() -> Reading + Send + Sync> LeaseClock for F {
    fn read(&self) -> Reading {
        self()
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLeaseClock;

impl LeaseClock for SystemLeaseClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only module that reads the clocks of the machine"
    )]
    fn read(&self) -> Reading {
        Reading {
            boot: since_boot(),
            wall: Timestamp::now(),
        }
    }
}

/// Reads CLOCK_BOOTTIME.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let boot = clock_gettime(ClockId::Boottime);
    // The value is positive, and its nanoseconds are less than a second.
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(boot.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// Returns the time since the first call. Only Linux has CLOCK_BOOTTIME; elsewhere the operator runs for development only, and
/// the wall clock covers the time for which the machine is suspended.
#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::disallowed_methods,
    reason = "the only module that reads the clocks of the machine"
)]
fn since_boot() -> Duration {
    static FIRST: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    FIRST.elapsed()
}

/// Reads the wall clock and the monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the only module that reads the clocks of the machine"
)]
fn read() -> (Timestamp, Instant) {
    (Timestamp::now(), Instant::now())
}

/// Returns the time `elapsed` after `last`, when the wall clock has the value `wall`.
fn advance(last: Timestamp, wall: Timestamp, elapsed: Duration) -> Timestamp {
    last.checked_add(elapsed / 2)
        .map_or(last, |least| least.max(wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let last = at("2026-11-20T10:00:00Z");
        #[rustfmt::skip]
        let table = [
            ("2026-11-20T10:00:10Z", "2026-11-20T10:00:10Z", "the wall clock runs normally"),
            ("2026-11-20T11:00:00Z", "2026-11-20T11:00:00Z", "the machine was suspended, or its clock was set forward"),
            ("2026-11-20T09:00:00Z", "2026-11-20T10:00:05Z", "the clock was set back: half speed"),
        ];
        for (wall, expected, why) in table {
            assert_eq!(
                advance(last, at(wall), Duration::from_secs(10)),
                at(expected),
                "{why}"
            );
        }
    }

    #[test]
    fn the_system_clock_follows_the_wall_clock() {
        let clock = SystemClock::default();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!((read().0.as_second() - first.as_second()).abs() <= 1);
    }

    #[test]
    fn a_reading_counts_the_clock_that_has_advanced_more() {
        let reading = |boot, wall| Reading {
            boot: Duration::from_secs(boot),
            wall: Timestamp::from_second(wall).unwrap(),
        };
        let earlier = reading(100, 1000);
        let table = [
            (reading(107, 1007), 7, "both"),
            (reading(107, 1300), 300, "the wall clock was set forward"),
            (reading(107, 500), 7, "the wall clock was set back"),
            (reading(400, 1007), 300, "the wall clock did not run"),
        ];
        for (later, seconds, why) in table {
            assert_eq!(later.since(earlier), Duration::from_secs(seconds), "{why}");
        }
    }

    #[test]
    fn the_system_lease_clock_advances() {
        let first = SystemLeaseClock.read();
        let later = SystemLeaseClock.read();
        assert!(first.boot > Duration::ZERO && later.boot >= first.boot);
    }
}
