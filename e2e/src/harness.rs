//! Harness for tests that share one cluster: they run first, and then their results are reported.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

/// Name of a test and its errors.
pub type Verdict = (String, Vec<String>);

/// Reports the results.
pub fn report(arguments: &Arguments, verdicts: Result<Vec<Verdict>>) -> ExitCode {
    match verdicts {
        Ok(verdicts) => libtest_mimic::run(arguments, verdicts.into_iter().map(trial).collect()).exit_code(),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Reports that the tests were skipped; an error in CI.
pub fn cannot_run(reason: &str) -> Result<Vec<Verdict>> {
    if std::env::var_os("CI").is_some() {
        anyhow::bail!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}");
    }
    say(&format!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}"));
    Ok(Vec::new())
}

/// Reports that one test was skipped; an error in CI.
pub fn skip(name: &str, reason: &str) -> Result<()> {
    if std::env::var_os("CI").is_some() {
        anyhow::bail!("{name} cannot run here: {reason}");
    }
    let _ = writeln!(std::io::stderr(), "\nskipped: {name}: {reason}\n");
    Ok(())
}

/// Whether the arguments select a test, as in the standard harness.
pub fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| {
        if arguments.exact {
            name == filter
        } else {
            name.contains(filter.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

fn trial((name, errors): Verdict) -> Trial {
    Trial::test(name, move || {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failed::from(errors.join("\n")))
        }
    })
}

/// Writes to standard error, which the harness does not capture.
pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "\nnode: {message}\n");
}
