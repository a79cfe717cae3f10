//! `sidewatch snooze`: writes a `SidecarExemption`, which hides violations of a workload until a time.
//!
//! [`target`] finds the workload. [`requests`] has the other requests. The name of the exemption follows from what it covers, so
//! the same command again extends it.

mod requests;
mod target;

use std::time::Duration;

use clap::{Args, builder::PossibleValuesParser};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PatchParams;

use self::{
    requests::{delete_ended, has_no_policy, problem},
    target::Target,
};
use super::Failure;
use crate::{
    api::{EXEMPTED_CHECKS, ExemptedWorkload, SidecarExemption, SidecarExemptionSpec},
    cli::{
        args::{ClusterArgs, OutputArgs, duration},
        block_on,
        cluster::Cluster,
        output::{note, print_as},
    },
    domain::{
        checks::Check,
        hash::stable_hash,
        index::Scope,
        time::{Human, later},
    },
    kubernetes::{decode::exemption::exemption, written_exemption},
};

/// The field manager of the exemptions.
const MANAGER: &str = "sidewatch-snooze";
/// Bounds of the length of an exemption.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The longest name without its hash.
const MAX_NAME: usize = 200;

/// Flags of `sidewatch snooze`.
#[derive(Clone, Debug, Args)]
pub(super) struct SnoozeArgs {
    /// Workload, such as deployment/web, or a Pod without an owner
    #[arg(value_name = "KIND/NAME")]
    pub workload: String,

    /// How long the violations are hidden, such as 2h or 30m; between 1m and 8760h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "until")]
    pub length: Option<Duration>,

    /// When the exemption ends, with a time zone, such as 2026-03-01T18:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    pub until: Option<Timestamp>,

    /// Why the violations are hidden
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Containers whose violations are hidden; default: all
    #[arg(long = "container", short = 'c', value_name = "NAME", value_delimiter = ',')]
    pub containers: Vec<String>,

    /// Checks whose violations are hidden; default: all about containers
    #[arg(
        long = "check",
        value_name = "CHECK",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(EXEMPTED_CHECKS.map(|check| Check::from(check).as_str()))
    )]
    pub checks: Vec<String>,

    /// Show the exemption that the API server would accept, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Writes the exemption and prints it.
pub(super) fn execute(args: &SnoozeArgs) -> Result<(), Failure> {
    let target: Target = args.workload.parse()?;
    if args.cluster.all_namespaces {
        return Err("an exemption is in one namespace: name it with -n instead of -A".into());
    }
    if args.cluster.selector.is_some() {
        return Err("snooze takes one workload; write a SidecarExemption for a selector".into());
    }
    let written = block_on(write(args, &target))?;
    print_as(args.output.output, &written.object, || written.text(args.dry_run))
}

/// An exemption as the API server has it, and the time of its creation or extension.
struct Written {
    object: SidecarExemption,
    now: Timestamp,
}

async fn write(args: &SnoozeArgs, target: &Target) -> Result<Written, Failure> {
    let cluster = Cluster::connect(&args.cluster)?;
    let workload = target.find(&cluster).await?;
    let now = Timestamp::from_second(cluster.now().as_second())?;
    let wanted = object(args, &workload, cluster.namespace(), now)?;
    exemption(&wanted.spec).map_err(|problem| format!("the exemption is invalid: {problem}"))?;
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let scope: Scope = Some(cluster.namespace().into());
    if !args.dry_run {
        delete_ended(&cluster, &scope, &name, now).await?;
    }
    let mut params = PatchParams::apply(MANAGER).force();
    params.dry_run = args.dry_run;
    params.field_validation = Some(kube::api::ValidationDirective::Strict);
    let applied = written_exemption::apply(cluster.client(), &scope, &name, &params, &wanted);
    let answer = cluster.answer(applied).await?;
    let object = answer.map_err(|error| cluster.failed(&problem(&error, &cluster)))?;
    if has_no_policy(&cluster).await? {
        note(&format!(
            "namespace {} has no SidecarPolicy: an exemption hides what a ClusterSidecarPolicy reports only if the field \
             exemptions of that policy allows it",
            cluster.namespace()
        ));
    }
    Ok(Written { object, now })
}

fn object(
    args: &SnoozeArgs,
    workload: &ExemptedWorkload,
    namespace: &str,
    now: Timestamp,
) -> Result<SidecarExemption, Failure> {
    let (mut containers, mut checks) = (args.containers.clone(), args.checks.clone());
    for list in [&mut containers, &mut checks] {
        list.sort_unstable();
        list.dedup();
    }
    let checks = EXEMPTED_CHECKS.into_iter().filter(|check| {
        let name = Check::from(*check).as_str();
        checks.iter().any(|check| check == name)
    });
    let spec = SidecarExemptionSpec {
        selector: None,
        workload: Some(workload.clone()),
        containers,
        checks: checks.collect(),
        reason: args.reason.clone(),
        until: end(args, now)?.to_string(),
    };
    Ok(SidecarExemption {
        metadata: ObjectMeta {
            name: Some(name(workload, &spec)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    })
}

/// The end of the exemption, in whole seconds.
fn end(args: &SnoozeArgs, now: Timestamp) -> Result<Timestamp, Failure> {
    let (end, flag) = match (args.until, args.length) {
        (Some(until), _) => (until, "--until"),
        (None, length) => {
            let length = length.and_then(|length| SignedDuration::try_from(length).ok());
            (later(now, length.unwrap_or(SignedDuration::MAX)), "--for")
        }
    };
    let length = end.duration_since(now);
    if length <= SignedDuration::ZERO {
        return Err(format!("{flag}: {end} is in the past").into());
    }
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(format!("{flag}: an exemption lasts between 1m and 8760h").into());
    }
    Ok(Timestamp::from_second(end.as_second())?)
}

/// The name follows from what is covered, so that the same command extends the exemption and another one keeps it.
fn name(workload: &ExemptedWorkload, spec: &SidecarExemptionSpec) -> String {
    let ExemptedWorkload { kind, name } = workload;
    let mut text = format!("{}-{name}", kind.to_lowercase());
    let is_whole = text.len() <= MAX_NAME;
    if is_whole && spec.containers.is_empty() && spec.checks.is_empty() {
        return text;
    }
    let checks = spec.shown_checks();
    let covered = [kind, name, &checks].into_iter().chain(&spec.containers);
    let hash = stable_hash(covered.map(String::as_bytes));
    text.truncate(MAX_NAME);
    format!("{}-{:08x}", text.trim_end_matches(['-', '.']), hash & 0xffff_ffff)
}

impl Written {
    fn text(&self, is_dry_run: bool) -> String {
        let metadata = &self.object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let spec = &self.object.spec;
        let until = spec.until.parse().unwrap_or(self.now);
        let checks = match &*spec.checks {
            [] => "all checks about containers".to_owned(),
            _ => spec.shown_checks().replace(',', ", "),
        };
        let containers = match &*spec.containers {
            [] => String::new(),
            names => format!(" of {}", names.join(", ")),
        };
        let (verb, end) = if is_dry_run {
            ("would hide", String::new())
        } else {
            (
                "hides",
                format!("End it earlier: kubectl delete sidecarexemption -n {namespace} {name}\n"),
            )
        };
        format!(
            "SidecarExemption {namespace}/{name} {verb} {checks}{containers} in {} until {} (for {}).\n{end}",
            spec.shown_workload(),
            spec.until,
            Human(until.duration_since(self.now)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SnoozeArgs,
    }

    fn parse(more: &[&str]) -> Result<SnoozeArgs, clap::Error> {
        let args = ["snooze", "deployment/web", "--reason", "r"];
        Line::try_parse_from(args.iter().chain(more)).map(|line| line.args)
    }

    fn workload(kind: &str, name: &str) -> ExemptedWorkload {
        ExemptedWorkload {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn written(args: &[&str], of: &ExemptedWorkload) -> SidecarExemption {
        object(&parse(args).unwrap(), of, "shop", now()).unwrap()
    }

    #[test]
    fn the_end_is_a_duration_or_a_time() {
        let table = [
            (["--for", "2h"], Ok("2026-03-01T14:00:00Z")),
            (["--for", "1m"], Ok("2026-03-01T12:01:00Z")),
            (["--for", "8760h"], Ok("2027-03-01T12:00:00Z")),
            (["--for", "59s"], Err("between 1m and 8760h")),
            (["--for", "8761h"], Err("between 1m and 8760h")),
            (["--for", "0s"], Err("in the past")),
            (
                ["--until", "2026-03-01T18:00:00+02:00"],
                Ok("2026-03-01T16:00:00Z"),
            ),
            (["--until", "2026-03-01T11:59:59Z"], Err("in the past")),
            (
                ["--until", "2029-03-01T12:00:00Z"],
                Err("--until: an exemption lasts"),
            ),
        ];
        for (args, expected) in table {
            let found = end(&parse(&args).unwrap(), now()).map(|end| end.to_string());
            match (found, expected) {
                (Ok(end), Ok(expected)) => assert_eq!(end, expected, "{args:?}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{args:?}: {error}");
                }
                (found, _) => panic!("{args:?}: {found:?}"),
            }
        }
        for (args, expected) in [
            (&[][..], "--for"),
            (&["--for", "2d"], "90s"),
            (&["--until", "tomorrow"], "--until"),
            (
                &["--for", "2h", "--until", "2026-03-01T18:00:00Z"],
                "cannot be used with",
            ),
            (&["--for", "2h", "--check", "SidecarMissing"], "possible values"),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn the_name_follows_from_what_is_covered() {
        let web = workload("Deployment", "web");
        let name = |args: &[&str]| {
            let all = [&["--for", "1h"], args].concat();
            written(&all, &web).metadata.name.unwrap()
        };
        assert_eq!(name(&[]), "deployment-web");
        let proxy = name(&["-c", "proxy"]);
        assert!(
            proxy.starts_with("deployment-web-") && proxy.len() == 23,
            "{proxy}"
        );
        let orders = [
            ["-c", "a,b", "--check", "NotReady"],
            ["--check", "NotReady", "-c", "b,a"],
        ];
        assert_eq!(name(&orders[0]), name(&orders[1]));
        assert_ne!(name(&orders[0]), proxy);
        assert_ne!(name(&["--check", "NotReady"]), name(&["--check", "Flapping"]));

        let long = |last: &str| workload("Deployment", &format!("{}{last}", "w".repeat(252)));
        let [a, b] = ["a", "b"].map(|last| written(&["--for", "1h"], &long(last)).metadata.name.unwrap());
        assert!(a != b && a.len() <= 253, "{a} {b}");
    }

    #[test]
    fn the_spec_has_what_the_flags_say() {
        let args = [
            "--for",
            "90m",
            "-c",
            "b,a,b",
            "--check",
            "OOMKilled,NotReady,OOMKilled",
        ];
        let spec = written(&args, &workload("CronJob", "report")).spec;
        let expected = SidecarExemptionSpec {
            selector: None,
            workload: Some(workload("CronJob", "report")),
            containers: vec!["a".to_owned(), "b".to_owned()],
            checks: vec![crate::api::CheckName::NotReady, crate::api::CheckName::OomKilled],
            reason: "r".to_owned(),
            until: "2026-03-01T13:30:00Z".to_owned(),
        };
        assert_eq!(spec, expected);
    }
}
