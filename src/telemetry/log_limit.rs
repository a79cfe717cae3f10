//! Limits the number of log lines: at most [`LINES`] in any second.
//!
//! A storm of violations or failures writes thousands of lines. [`LogLimit`] is a layer of `tracing` that lets a few
//! through and counts the others. Each level may use only a part of the limit, so that errors are written during a storm
//! of other lines. A second after the first suppressed line, [`LogLimit::report`] writes how many lines were suppressed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// The largest number of lines in any second, the line of [`LogLimit::report`] included.
pub const LINES: usize = 10;

const SECOND: Duration = Duration::from_secs(1);

/// The number of lines in the last second above which a line of this level is suppressed. The last line of the limit is
/// for the report.
fn share(level: Level) -> usize {
    match level {
        Level::ERROR => LINES - 1,
        Level::WARN => LINES - 2,
        _ => LINES - 3,
    }
}

/// The number of suppressed lines by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// All lines.
    pub lines: u64,
    /// The errors among them.
    pub errors: u64,
    /// The warnings among them.
    pub warnings: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The times of the lines in the last second, oldest first.
    written: VecDeque<Instant>,
    suppressed: Suppressed,
}

impl State {
    /// Reports whether a line is written, and counts it.
    fn admit(&mut self, level: Level, is_report: bool, now: Instant) -> bool {
        while self
            .written
            .front()
            .is_some_and(|at| now.duration_since(*at) >= SECOND)
        {
            self.written.pop_front();
        }
        if is_report || self.written.len() < share(level) {
            self.written.push_back(now);
            return true;
        }
        self.suppressed.lines += 1;
        self.suppressed.errors += u64::from(level == Level::ERROR);
        self.suppressed.warnings += u64::from(level == Level::WARN);
        false
    }
}

/// A layer that suppresses log lines above the limit. Clones share the limit.
#[derive(Clone, Default)]
pub struct LogLimit(Arc<(Mutex<State>, Condvar)>);

impl LogLimit {
    /// Writes the reports, until the process ends. Blocks the thread.
    pub fn write_reports(&self) {
        let (state, suppressed) = &*self.0;
        loop {
            let mut state = state.lock();
            suppressed.wait_while(&mut state, |state| state.suppressed == Suppressed::default());
            drop(state);
            std::thread::sleep(SECOND);
            self.report();
        }
    }

    /// Writes the number of lines that were suppressed since the last report, if there are any. Must not be called more
    /// than once per second.
    pub fn report(&self) {
        let suppressed = std::mem::take(&mut self.0.0.lock().suppressed);
        let Suppressed {
            lines,
            errors,
            warnings,
        } = suppressed;
        if lines > 0 {
            warn!(lines, errors, warnings, "log lines suppressed");
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLimit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_report = metadata.target() == module_path!();
        let (state, suppressed) = &*self.0;
        let is_admitted = state.lock().admit(*metadata.level(), is_report, Instant::now());
        if !is_admitted {
            suppressed.notify_one();
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use tokio::time::advance;
    use tracing::{
        error, info,
        subscriber::{DefaultGuard, set_default},
    };
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    /// A line that reaches the output: time, level and message with its fields.
    type Line = (Instant, Level, String);

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<Line>>>);

    impl<S: Subscriber> Layer<S> for Output {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let mut text = String::new();
            event.record(
                &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                    write!(text, "{field}={value:?} ").unwrap();
                },
            );
            let level = *event.metadata().level();
            let line = (Instant::now(), level, text.trim_end().to_owned());
            self.0.lock().push(line);
        }
    }

    impl Output {
        fn lines(&self) -> Vec<Line> {
            self.0.lock().clone()
        }
    }

    /// Limits the lines of this thread until the guard is dropped.
    fn limited() -> (LogLimit, Output, DefaultGuard) {
        let (limit, output) = (LogLimit::default(), Output::default());
        let subscriber = Registry::default().with(output.clone()).with(limit.clone());
        (limit, output, set_default(subscriber))
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_writes_at_most_ten_lines_in_any_second_and_counts_the_others() {
        let (limit, output, _guard) = limited();
        let mut sent = 0;
        for millisecond in 0..5_000 {
            for n in 0..10 {
                match (millisecond + n) % 7 {
                    0 => error!("failed"),
                    1 | 2 => warn!("refused"),
                    _ => info!("firing"),
                }
                sent += 1;
            }
            if millisecond % 1_000 == 999 {
                limit.report();
            }
            advance(Duration::from_millis(1)).await;
        }
        let lines = output.lines();
        for (start, ..) in &lines {
            let in_second = lines
                .iter()
                .filter(|(at, ..)| (*start..*start + SECOND).contains(at));
            assert!(in_second.count() <= LINES, "in the second after {start:?}");
        }
        let (reports, written): (Vec<_>, Vec<_>) = lines
            .iter()
            .partition(|(.., text)| text.contains("log lines suppressed"));
        assert_eq!(reports.len(), 5);
        let suppressed = reports.iter().map(|(.., text)| {
            let count = text.split(' ').find_map(|field| field.strip_prefix("lines="));
            count.unwrap().parse::<usize>().unwrap()
        });
        let counted = written.len() + suppressed.sum::<usize>();
        assert_eq!(counted, sent, "every line is written or counted");
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_written_during_a_storm_of_other_lines() {
        let (limit, output, _guard) = limited();
        (0..20_000).for_each(|_| info!("firing"));
        (0..3).for_each(|_| warn!("refused"));
        (0..3).for_each(|_| error!("failed"));
        limit.report();
        limit.report();
        let lines = output.lines();
        let infos = lines.iter().filter(|(_, level, _)| *level == Level::INFO);
        assert_eq!(infos.count(), 7);
        let texts: Vec<_> = lines.iter().map(|(.., text)| text.as_str()).collect();
        assert_eq!(texts[7..9], ["message=refused", "message=failed"], "{texts:?}");
        assert_eq!(
            texts[9..],
            ["message=log lines suppressed lines=19997 errors=2 warnings=2"],
            "one report, even if `report` is called again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn lines_at_a_moderate_rate_are_all_written() {
        let (limit, output, _guard) = limited();
        for _ in 0..100 {
            info!("firing");
            advance(Duration::from_millis(150)).await;
        }
        limit.report();
        assert_eq!(output.lines().len(), 100);
    }
}
