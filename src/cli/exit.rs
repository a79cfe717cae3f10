//! The result of a subcommand, and its exit code.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | the command did its work and found nothing |
//! | 1 | the command did its work and has findings |
//! | 2 | the command could not do its work, or the command line is invalid |
//! | 130 | the user interrupted the command |
//!
//! `run`, `crds` and `version` have no findings: they exit with 1 if they fail.

use std::{error::Error, io, process::ExitCode};

use super::safe_text::for_terminal;

/// An error that ends the command.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The result of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to report.
    Nothing,
    /// There are findings.
    Findings,
}

impl Outcome {
    /// Returns [`Outcome::Findings`] if there are any.
    pub fn of(has_findings: bool) -> Self {
        if has_findings {
            Self::Findings
        } else {
            Self::Nothing
        }
    }
}

/// The exit code of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCode {
    /// 1: for commands without findings.
    WithoutFindings,
    /// 2: for commands whose findings have the exit code 1.
    WithFindings,
}

/// The reader of standard output has closed it, for example `head`. The command ends without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct ClosedPipe;

/// The user pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Maps a result to an exit code. Writes the error, if there is one, to `stderr`.
pub fn exit_code(
    result: Result<Outcome, Failure>,
    failure: FailureCode,
    stderr: &mut impl io::Write,
) -> ExitCode {
    ExitCode::from(code(result, failure, stderr))
}

fn code(result: Result<Outcome, Failure>, failure: FailureCode, stderr: &mut impl io::Write) -> u8 {
    let error = match result {
        Ok(Outcome::Nothing) => return 0,
        Ok(Outcome::Findings) => return 1,
        Err(error) if error.is::<ClosedPipe>() => return 0,
        Err(error) => error,
    };
    // If standard error is closed, there is nowhere to report the error.
    let _closed = writeln!(stderr, "{}", for_terminal(&format!("error: {error}")));
    match failure {
        _ if error.is::<Interrupted>() => 130,
        FailureCode::WithoutFindings => 1,
        FailureCode::WithFindings => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_its_exit_code() {
        let failed = || Err("no cluster".into());
        let hostile = || Err("pods \"\x1b]0;x\x07\u{202e}\" not found".into());
        let table: [(Result<Outcome, Failure>, FailureCode, u8, &str); 8] = [
            (
                hostile(),
                FailureCode::WithFindings,
                2,
                "error: pods \" ]0;x  \" not found\n",
            ),
            (Ok(Outcome::Nothing), FailureCode::WithFindings, 0, ""),
            (Ok(Outcome::Findings), FailureCode::WithFindings, 1, ""),
            (Ok(Outcome::Nothing), FailureCode::WithoutFindings, 0, ""),
            (failed(), FailureCode::WithFindings, 2, "error: no cluster\n"),
            (failed(), FailureCode::WithoutFindings, 1, "error: no cluster\n"),
            (Err(ClosedPipe.into()), FailureCode::WithFindings, 0, ""),
            (
                Err(Interrupted.into()),
                FailureCode::WithFindings,
                130,
                "error: interrupted\n",
            ),
        ];
        for (result, failure, expected, message) in table {
            let mut stderr = Vec::new();
            let about = format!("{result:?} {failure:?}");
            assert_eq!(code(result, failure, &mut stderr), expected, "{about}");
            assert_eq!(String::from_utf8(stderr).unwrap(), message, "{about}");
        }
    }
}
