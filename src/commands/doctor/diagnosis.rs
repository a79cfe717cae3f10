//! The result: lines, each with a code, a verdict, what was found, and what to do.

use serde::Serialize;

/// The code of an examination. `docs/cli.md` lists the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Code {
    /// The version of the API server.
    SD001,
    /// The CustomResourceDefinitions are installed.
    SD002,
    /// The CustomResourceDefinitions are those of this version.
    SD003,
    /// The clocks of this machine and of the API server agree.
    SD004,
    /// The operator is installed.
    SD010,
    /// Its replicas are ready.
    SD011,
    /// It has the version of this command.
    SD012,
    /// One replica is the leader.
    SD020,
    /// The clocks of the leader and of the API server agree.
    SD021,
    /// The checkpoint can be read.
    SD022,
    /// The ServiceAccount has its rights.
    SD030,
    /// The policies are valid and are evaluated.
    SD040,
    /// The policies select Pods.
    SD041,
    /// No two policies report the same.
    SD042,
    /// No other installation writes the statuses of the policies.
    SD043,
    /// Every object can be decoded.
    SD044,
    /// A monitor selects the operator.
    SD050,
    /// A Prometheus selects the monitor.
    SD051,
    /// Prometheus may find and scrape the operator.
    SD052,
}

impl Code {
    /// Returns what is examined, in a few words.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::SD001 => "API server",
            Self::SD002 => "CRDs",
            Self::SD003 => "version of the CRDs",
            Self::SD004 => "clock of this machine",
            Self::SD010 => "operator",
            Self::SD011 => "replicas",
            Self::SD012 => "version of the operator",
            Self::SD020 => "leader",
            Self::SD021 => "clock of the leader",
            Self::SD022 => "checkpoint",
            Self::SD030 => "rights of the operator",
            Self::SD040 => "policies",
            Self::SD041 => "Pods of policies",
            Self::SD042 => "overlapping policies",
            Self::SD043 => "other installations",
            Self::SD044 => "undecodable objects",
            Self::SD050 => "monitor",
            Self::SD051 => "Prometheus",
            Self::SD052 => "rights of Prometheus",
        }
    }
}

/// The verdict of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It is in order.
    Ok,
    /// It works, but not as intended.
    Warning,
    /// It does not work.
    Failed,
    /// It was not examined.
    Skipped,
}

/// The result of one examination.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) code: Code,
    pub(super) verdict: Verdict,
    pub(super) title: &'static str,
    /// The result, or the reason why nothing was examined.
    pub(super) message: String,
    /// The advice. Empty if there is nothing to do.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) advice: String,
}

/// All lines.
#[derive(Debug, Default, Serialize)]
pub(super) struct Diagnosis {
    pub(super) lines: Vec<Line>,
}

impl Diagnosis {
    /// Adds what is in order.
    pub(super) fn ok(&mut self, code: Code, message: impl Into<String>) {
        self.push(code, Verdict::Ok, message.into(), "");
    }

    /// Adds what works, but not as intended.
    pub(super) fn warn(&mut self, code: Code, message: impl Into<String>, advice: &str) {
        self.push(code, Verdict::Warning, message.into(), advice);
    }

    /// Adds what does not work.
    pub(super) fn fail(&mut self, code: Code, message: impl Into<String>, advice: &str) {
        self.push(code, Verdict::Failed, message.into(), advice);
    }

    /// Adds what was not examined, with the reason.
    pub(super) fn skip(&mut self, code: Code, reason: impl Into<String>) {
        self.push(code, Verdict::Skipped, reason.into(), "");
    }

    /// Adds a line for each of these codes, of which nothing was examined.
    pub(super) fn skip_all(&mut self, codes: &[Code], reason: &str) {
        for code in codes {
            self.skip(*code, reason);
        }
    }

    fn push(&mut self, code: Code, verdict: Verdict, message: String, advice: &str) {
        self.lines.push(Line {
            code,
            verdict,
            title: code.title(),
            message,
            advice: advice.to_owned(),
        });
    }

    /// Returns the number of lines with a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }

    /// Reports whether something is not in order.
    pub(super) fn has_findings(&self) -> bool {
        self.count(Verdict::Warning) + self.count(Verdict::Failed) > 0
    }
}
