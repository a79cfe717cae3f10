//! The steps of `run`.

use std::time::Duration;

use crate::state::Probe;

/// Steps with their texts; at least one.
#[derive(Debug, PartialEq)]
pub(crate) struct Script(Vec<(String, Step)>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Sets the answer of a probe.
    Answer(Probe, bool),
    Sleep(Duration),
    Exit(u8),
    /// Allocates memory until it is killed.
    Eat,
    /// Starts a child that allocates memory until it is killed, and continues.
    EatInChild,
    /// The same, and exits when the child is killed.
    EatInChildThenExit(u8),
    /// Waits forever.
    Hold,
    /// Continues with the first step.
    Repeat,
}

impl Script {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut steps: Vec<(String, Step)> = Vec::new();
        for (position, word) in (1..).zip(words) {
            let wrong = |why: String| format!("step {position}, `{word}`: {why}");
            if let Some((last, _)) = steps.last().filter(|(_, step)| step.is_last()) {
                return Err(wrong(format!("nothing comes after `{last}`")));
            }
            let step = Step::parse(word).map_err(wrong)?;
            if step == Step::Repeat && !steps.iter().any(|(_, step)| step.takes_time()) {
                return Err(wrong("without a sleep before it this is a busy loop".to_owned()));
            }
            steps.push(((*word).to_owned(), step));
        }
        if steps.is_empty() {
            return Err("a step is missing".to_owned());
        }
        Ok(Self(steps))
    }

    /// The steps and their texts, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&str, Step)> {
        self.0.iter().map(|(word, step)| (word.as_str(), *step))
    }
}

impl Step {
    fn parse(word: &str) -> Result<Self, String> {
        match word.split_once('=') {
            Some(("sleep", value)) => seconds(value).map(Self::Sleep),
            Some(("exit", value)) => exit_code(value).map(Self::Exit),
            Some(("eat-in-child-then-exit", value)) => exit_code(value).map(Self::EatInChildThenExit),
            Some(_) => Err("no step of this name has a value".to_owned()),
            None => match word {
                "ready" => Ok(Self::Answer(Probe::Ready, true)),
                "unready" => Ok(Self::Answer(Probe::Ready, false)),
                "live" => Ok(Self::Answer(Probe::Live, true)),
                "dead" => Ok(Self::Answer(Probe::Live, false)),
                "started" => Ok(Self::Answer(Probe::Started, true)),
                "eat" => Ok(Self::Eat),
                "eat-in-child" => Ok(Self::EatInChild),
                "hold" => Ok(Self::Hold),
                "repeat" => Ok(Self::Repeat),
                "sleep" | "exit" | "eat-in-child-then-exit" => Err("its value is missing".to_owned()),
                _ => Err("no such step".to_owned()),
            },
        }
    }

    fn is_last(self) -> bool {
        match self {
            Self::Exit(_) | Self::Eat | Self::EatInChildThenExit(_) | Self::Hold | Self::Repeat => true,
            Self::Answer(..) | Self::Sleep(_) | Self::EatInChild => false,
        }
    }

    fn takes_time(self) -> bool {
        matches!(self, Self::Sleep(duration) if !duration.is_zero())
    }
}

/// Seconds, with fractions.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

/// Parses an exit code.
pub(crate) fn exit_code(text: &str) -> Result<u8, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an exit code from 0 to 255"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Vec<Step>, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Script::parse(&words).map(|script| script.steps().map(|(_, step)| step).collect())
    }

    #[test]
    fn every_step() {
        let answer = Step::Answer;
        #[rustfmt::skip]
        let table = [
            ("ready unready hold", vec![answer(Probe::Ready, true), answer(Probe::Ready, false), Step::Hold]),
            ("dead live started",
                vec![answer(Probe::Live, false), answer(Probe::Live, true), answer(Probe::Started, true)]),
            ("sleep=1.25 repeat", vec![Step::Sleep(Duration::from_millis(1250)), Step::Repeat]),
            ("sleep=3 exit=255", vec![Step::Sleep(Duration::from_secs(3)), Step::Exit(255)]),
            ("eat-in-child eat", vec![Step::EatInChild, Step::Eat]),
            ("eat-in-child-then-exit=3", vec![Step::EatInChildThenExit(3)]),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn errors_name_the_step() {
        #[rustfmt::skip]
        let table = [
            ("", "a step is missing"),
            ("ready reddy", "step 2, `reddy`: no such step"),
            ("ready=1", "step 1, `ready=1`: no step of this name has a value"),
            ("sleep", "step 1, `sleep`: its value is missing"),
            ("sleep=", "step 1, `sleep=`: `` is not a number of seconds"),
            ("sleep=-1", "step 1, `sleep=-1`: `-1` is not a number of seconds"),
            ("sleep=inf", "step 1, `sleep=inf`: `inf` is not a number of seconds"),
            ("ready exit=256", "step 2, `exit=256`: `256` is not an exit code from 0 to 255"),
            ("hold ready", "step 2, `ready`: nothing comes after `hold`"),
            ("exit=1 repeat", "step 2, `repeat`: nothing comes after `exit=1`"),
            ("ready repeat", "step 2, `repeat`: without a sleep before it this is a busy loop"),
            ("sleep=0 repeat", "step 2, `repeat`: without a sleep before it this is a busy loop"),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), Err(expected.to_owned()), "{line}");
        }
    }
}
