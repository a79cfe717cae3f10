//! The test binaries, and a run of one of them with one version.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::TOPIC;
use super::features::{FEATURES, Feature};
use crate::process::Spec;
use crate::process::programs::{run_with_progress, say};
use crate::project::{cargo, repository};
use crate::tools::KubernetesVersion;

/// A column of the page.
pub(super) struct Suite {
    /// Its heading.
    pub(super) title: &'static str,
    pub(super) binary: &'static str,
    tests: Tests,
}

/// The tests of a binary that run.
enum Tests {
    /// All but those with these prefixes, which need no API server, or the same one for each version.
    Without(&'static [&'static str]),
    /// An ignored test. It needs the newest version and the one before: Kubernetes supports an upgrade by one minor version.
    Replacement(&'static str),
    /// The scenarios, on a node of the oldest, the middle and the newest version.
    Scenarios,
}

pub(super) const SUITES: [Suite; 6] = [
    Suite {
        title: "API",
        binary: "cluster",
        tests: Tests::Without(&["alert_rules::", "dashboard::", "image::"]),
    },
    Suite {
        title: "operator",
        binary: "operator",
        tests: Tests::Without(&[]),
    },
    Suite {
        title: "charts",
        binary: "chart",
        tests: Tests::Without(&["files::", "readme::", "release::"]),
    },
    Suite {
        title: "replaced by 1.37 and back",
        binary: "survival",
        tests: Tests::Replacement("api_server_replaced_by_the_newest_version_and_back"),
    },
    Suite {
        title: "the same, kubelet of 1.36",
        binary: "node_failover",
        tests: Tests::Replacement(
            "nothing_is_announced_or_forgotten_while_the_api_server_is_replaced_and_the_kubelet_is_older",
        ),
    },
    Suite {
        title: "scenarios",
        binary: "node",
        tests: Tests::Scenarios,
    },
];

/// The outcome of a suite without failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    passed: usize,
    skipped: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self {
                passed: 0,
                skipped: 0,
            } => write!(f, "–"),
            Self { passed, skipped: 0 } => write!(f, "{passed} passed"),
            Self { passed, skipped } => write!(f, "{passed} passed, {skipped} skipped"),
        }
    }
}

impl Tests {
    fn run_on(&self, version: KubernetesVersion) -> bool {
        match self {
            Self::Without(_) => true,
            Self::Replacement(_) => version.minor() + 1 == KubernetesVersion::NEWEST.minor(),
            Self::Scenarios => KubernetesVersion::WITH_NODE.contains(&version),
        }
    }
}

impl Suite {
    /// Runs the tests for which the version has the features.
    pub(super) fn run(&self, version: KubernetesVersion) -> Result<String> {
        if !self.tests.run_on(version) {
            return Ok(Outcome {
                passed: 0,
                skipped: 0,
            }
            .to_string());
        }
        let (wanted, skipped) = self.selection(version)?;
        let (variable, value) = version.variable();
        let command = self.cargo_test()?.env(variable, value).arg("--exact");
        let command = if matches!(self.tests, Tests::Scenarios) {
            // Its harness selects by one name only.
            command.args(skipped.iter().map(|name| format!("--skip={name}")))
        } else {
            command
                .args(["--test-threads=4", "--include-ignored"])
                .args(&wanted)
        };
        let log = self.log(version)?;
        let what = format!("Kubernetes {version}, {}", self.title);
        let progress = |seconds| say(TOPIC, &format!("{what}: {seconds} s"));
        say(TOPIC, &format!("{what}: {} tests", wanted.len()));
        let ended = run_with_progress(&command, &log, progress)?;
        let output = fs::read_to_string(&log)?;
        if !ended.status.success() {
            bail!(
                "{} ({}):\n{}",
                failed(&output).join(", "),
                log.display(),
                ended.log_tail
            );
        }
        let passed = passed(&output).with_context(|| format!("no result in {}", log.display()))?;
        // Tests on a node are followed by tests of their whole run.
        ensure!(
            passed >= wanted.len(),
            "{passed} of {} tests ran: {}",
            wanted.len(),
            log.display()
        );
        let skipped = skipped.len();
        let outcome = Outcome { passed, skipped };
        Ok(match self.tests {
            Tests::Scenarios => format!("{outcome}, containerd {}", version.containerd_patch()?),
            Tests::Without(_) | Tests::Replacement(_) => outcome.to_string(),
        })
    }

    /// The names of the tests to run, and of those whose feature is missing.
    fn selection(&self, version: KubernetesVersion) -> Result<(Vec<String>, Vec<String>)> {
        let without = match self.tests {
            Tests::Replacement(only) => return Ok((vec![only.to_owned()], Vec::new())),
            Tests::Without(prefixes) => prefixes,
            Tests::Scenarios => &[],
        };
        let log = self.log(version)?;
        let list = self.cargo_test()?.args(["--list", "--format=terse"]);
        let ended = run_with_progress(&list, &log, |seconds| {
            say(TOPIC, &format!("compiling the tests: {seconds} s"));
        })?;
        ensure!(ended.status.success(), "{}", ended.log_tail);
        let output = fs::read_to_string(&log)?;
        let names: Vec<&str> = output
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .collect();
        for (binary, test) in FEATURES.iter().flat_map(|feature| feature.tests) {
            ensure!(
                *binary != self.binary || names.contains(test),
                "the table of features names {test}, which does not exist"
            );
        }
        let names = names.into_iter().map(str::to_owned);
        let names = names.filter(|name| !without.iter().any(|prefix| name.starts_with(prefix)));
        let (wanted, skipped): (Vec<_>, Vec<_>) = names.partition(|name| {
            Feature::of_test(self.binary, name).is_none_or(|feature| feature.is_in(version))
        });
        ensure!(!wanted.is_empty(), "{} has no tests", self.binary);
        Ok((wanted, skipped))
    }

    fn cargo_test(&self) -> Result<Spec> {
        Ok(cargo("test")?.args(["--package=e2e", "--test", self.binary, "--"]))
    }

    fn log(&self, version: KubernetesVersion) -> Result<PathBuf> {
        let directory = repository().join("target/compat");
        fs::create_dir_all(&directory)?;
        Ok(directory.join(format!("{version}-{}.log", self.binary)))
    }
}

/// The number of passed tests in the output of a test binary.
fn passed(output: &str) -> Option<usize> {
    let result = output
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. "))?;
    result.split(' ').next()?.parse().ok()
}

/// The names of the failed tests.
fn failed(output: &str) -> Vec<&str> {
    let lines = output.lines();
    lines
        .filter(|line| line.ends_with("FAILED"))
        .filter_map(|line| line.strip_prefix("test ")?.split(' ').next())
        .filter(|name| *name != "result:")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_test_binary_is_read() {
        let ok = "running 2 tests\ntest a::b ... ok\ntest c ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 \
                  measured; 7 filtered out; finished in 1.00s\n";
        assert_eq!((passed(ok), failed(ok)), (Some(2), Vec::new()));
        let bad =
            "test a::b ... FAILED\ntest c ... ok\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        assert_eq!((passed(bad), failed(bad)), (None, vec!["a::b"]));
    }

    #[test]
    fn skipped_tests_are_shown() {
        let outcome = |passed, skipped| Outcome { passed, skipped }.to_string();
        assert_eq!(outcome(3, 0), "3 passed");
        assert_eq!(outcome(3, 1), "3 passed, 1 skipped");
        assert_eq!(outcome(0, 0), "–");
    }
}
