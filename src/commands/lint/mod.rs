//! `sidewatch lint`: static rules over manifests, without a cluster, or over the workloads of a cluster.
//!
//! Input: files, directories, standard input or a cluster. Output: findings on standard output. A document that cannot be parsed is an
//! error on standard error; the others are still examined.

mod config;
mod github;
mod json;
mod live;
mod sarif;
mod sources;
mod text;

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, ValueEnum};

use self::{
    config::Config,
    sources::{Source, read, sources, surroundings},
};
use super::Failure;
use crate::{
    cli::{
        args::ClusterArgs,
        block_on,
        exit::Outcome,
        hints,
        output::{self, note, print, print_json},
        terminal::{ColorWhen, Terminal},
    },
    clock::{Clock, SystemClock},
    lint::{
        Linter, MAX_FINDINGS, Report,
        finding::{Finding, Severity},
        object::Object,
        rules,
        suppression::Ignore,
        workload::TemplatePath,
        yaml::SyntaxError,
    },
    telemetry::logging::clean,
};

/// Flags of `sidewatch lint`.
#[derive(Clone, Debug, Args)]
pub(super) struct LintArgs {
    /// Files and directories with manifests; - is standard input
    #[arg(value_name = "FILE|DIR|-")]
    pub paths: Vec<PathBuf>,

    /// The same, as kubectl spells it
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub filenames: Vec<PathBuf>,

    /// Examine the workloads of a cluster instead of files
    #[arg(long, conflicts_with_all = ["paths", "filenames"])]
    pub live: bool,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Rules that are not used, such as SC014
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = code)]
    pub disable: Vec<&'static str>,

    /// Path of the Pod spec in objects of a kind, such as Rollout=spec.template.spec
    #[arg(long = "template-path", value_name = "KIND=PATH")]
    pub template_paths: Vec<TemplatePath>,

    /// Lowest severity of a finding with the exit code 1; default: warning
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<FailOn>,

    /// Configuration file; default: .sidewatch-lint.yaml in the working directory, if it exists
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Format of the result
    #[arg(
        long,
        short,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub output: LintFormat,

    /// When to use colours
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: ColorWhen,
}

/// The format of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LintFormat {
    /// Findings with the source lines, for people
    #[default]
    Text,
    /// JSON for programs
    Json,
    /// SARIF 2.1.0 for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

/// The lowest severity of a finding with the exit code 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
pub(super) enum FailOn {
    /// Only Error
    Error,
    /// Warning and Error
    #[default]
    Warning,
    /// All findings
    Info,
}

impl From<FailOn> for Severity {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Error => Self::Error,
            FailOn::Warning => Self::Warning,
            FailOn::Info => Self::Info,
        }
    }
}

fn code(text: &str) -> Result<&'static str, String> {
    rules::code(text).ok_or_else(|| {
        let codes: Vec<_> = rules::all().map(|rule| rule.code).collect();
        format!("there is no such rule; the rules are {}", codes.join(", "))
    })
}

/// A finding with the name of its file. A workload of the cluster has none.
#[derive(Debug)]
pub(super) struct Located {
    pub file: Option<String>,
    pub finding: Finding,
}

/// The number of findings of each severity.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub errors: usize,
    pub warnings: usize,
    pub infos: usize,
}

/// The origin of a text.
enum Input<'a> {
    /// A file, or standard input.
    File(&'a Source),
    /// A workload of the cluster.
    Workload(&'a Object),
}

/// Whether the rest of the input is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Examine,
    /// There are too many findings.
    Skip,
}

/// Collects or writes the findings, and what could not be examined.
struct Run {
    format: LintFormat,
    terminal: Terminal,
    fail_on: Severity,
    counts: Counts,
    has_failed: bool,
    /// The findings, for formats that are written at the end.
    findings: Vec<Located>,
    /// The number of inputs that could not be examined completely.
    problems: usize,
}

/// Examines the manifests.
pub(super) fn execute(args: &LintArgs) -> Result<Outcome, Failure> {
    let config = Config::read(args.config.as_deref())?;
    let paths: Vec<_> = args.paths.iter().chain(&args.filenames).cloned().collect();
    if paths.is_empty() && !args.live {
        return Err(
            "nothing to examine: give files or directories, - for standard input, or --live for the cluster"
                .into(),
        );
    }
    if args.cluster != ClusterArgs::default() && !args.live {
        return Err("a cluster is only examined with --live".into());
    }
    let disabled: BTreeSet<_> = args.disable.iter().chain(&config.disable).copied().collect();
    let template_paths = args
        .template_paths
        .iter()
        .chain(&config.template_paths)
        .cloned()
        .collect();
    let mut linter = Linter::new(
        disabled,
        template_paths,
        config.ignores,
        SystemClock::default().now(),
    )?;
    let mut run = Run {
        format: args.output,
        terminal: Terminal::stdout(args.color),
        fail_on: args.fail_on.or(config.fail_on).unwrap_or_default().into(),
        counts: Counts::default(),
        has_failed: false,
        findings: Vec::new(),
        problems: 0,
    };
    if args.live {
        block_on(live::examine(&args.cluster, &mut linter, &mut run))?;
    }
    for source in sources(&paths)? {
        match read(&source) {
            Ok(text) => {
                if run.add(
                    &Input::File(&source),
                    &text,
                    linter.lint_in(&text, surroundings(&source)),
                )? == Rest::Skip
                {
                    break;
                }
            }
            Err(error) => run.problem(&error.to_string()),
        }
    }
    if let Some((source, text)) = &config.source {
        let findings: Vec<_> = linter.unused_ignores().map(Ignore::unused).collect();
        let report = Report {
            findings,
            ..Report::default()
        };
        run.add(&Input::File(source), text, report)?;
    }
    run.finish(linter.templates)
}

impl Run {
    /// Adds the findings in a text.
    fn add(&mut self, input: &Input<'_>, text: &str, report: Report) -> Result<Rest, Failure> {
        let file = match input {
            Input::File(source) => Some(source.name.as_str()),
            Input::Workload(_) => None,
        };
        let hint = file.and_then(|_| hints::not_a_manifest(text));
        if let (Some(file), Some(hint)) = (file, hint) {
            self.problem(&format!("{file}: {hint}"));
        } else {
            let template = file.and_then(|_| hints::template(text, "lint -"));
            let place = |error: &SyntaxError| match input {
                Input::File(source) => {
                    format!(
                        "{}:{}:{}",
                        source.name, error.location.line, error.location.column
                    )
                }
                Input::Workload(object) => object.to_string(),
            };
            // The other errors in a template have the same cause.
            let shown = if template.is_some() {
                1
            } else {
                report.errors.len()
            };
            for error in report.errors.iter().take(shown) {
                let hint = template
                    .as_ref()
                    .map(|hint| format!("; {hint}"))
                    .unwrap_or_default();
                self.problem(&format!("{}: {error}{hint}", place(error)));
            }
        }
        let mut rendered = String::new();
        for finding in report.findings {
            self.counts.add(finding.severity);
            self.has_failed |= finding.severity >= self.fail_on;
            match self.format {
                LintFormat::Text => {
                    rendered += &text::render(file.map(|file| (file, text)), &finding, self.terminal);
                }
                LintFormat::Github => rendered += &github::render(file, &finding),
                LintFormat::Json | LintFormat::Sarif => self.findings.push(Located {
                    file: file.map(str::to_owned),
                    finding,
                }),
            }
        }
        print(&rendered)?;
        if !report.is_truncated {
            return Ok(Rest::Examine);
        }
        note(&format!(
            "more than {MAX_FINDINGS} findings: the rest of the input is not examined"
        ));
        self.problems += 1;
        Ok(Rest::Skip)
    }

    fn problem(&mut self, message: &str) {
        self.problems += 1;
        output::error(&clean(message));
    }

    fn finish(self, templates: usize) -> Result<Outcome, Failure> {
        match self.format {
            LintFormat::Text => print(&text::summary(self.counts, templates))?,
            LintFormat::Github => {}
            LintFormat::Json => print_json(&json::render(&self.findings, templates)?)?,
            LintFormat::Sarif => print_json(&sarif::render(&self.findings)?)?,
        }
        match self.problems {
            0 => Ok(Outcome::of(self.has_failed)),
            1 => Err("one input could not be examined completely".into()),
            n => Err(format!("{n} inputs could not be examined completely").into()),
        }
    }
}

impl Counts {
    fn add(&mut self, severity: Severity) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Info => self.infos += 1,
        }
    }
}
