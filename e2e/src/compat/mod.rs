//! Runs tests with several versions of Kubernetes, and writes the result to `docs/compatibility.md`: those that need only an API
//! server, and with some versions also those on a node.
//!
//! Each test binary runs once for each version, with `KUBERNETES_VERSION`. A test of a feature that the version does not have
//! is skipped and counted ([`features`]). A version with a failed test is not written to the page.

mod features;
mod page;
mod suites;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;

pub use features::{
    FEATURES, Feature, OBSERVED_GENERATION, RESTART_ALL, RESTART_RULES, SELECTABLE_FIELDS, STREAMING_LISTS,
};
pub use page::{PAGE, Row, rows};

use crate::process::programs::{say, stdout_of};
use crate::project::repository;
use crate::tools::{self, KubernetesVersion, Tool};
use suites::{SUITES, Suite};

const TOPIC: &str = "compat";
/// Tools of the tests. Helm and promtool do not depend on the version.
const TOOLS: [Tool; 7] = [
    Tool::Etcd,
    Tool::KubeApiserver,
    Tool::Kubectl,
    Tool::KubeControllerManager,
    Tool::Helm,
    Tool::Helm3,
    Tool::Promtool,
];

/// Runs the tests of these binaries, or of all, with each version and writes the page after each one. The results of the other
/// binaries stay. Blocks for minutes.
pub fn run(versions: &[KubernetesVersion], binaries: &[String]) -> Result<()> {
    let known = SUITES.map(|suite| suite.binary);
    let unknown = binaries.iter().find(|binary| !known.contains(&binary.as_str()));
    if let Some(unknown) = unknown {
        bail!("{unknown} is none of {}", known.join(", "));
    }
    let path = repository().join(PAGE);
    let read = || std::fs::read_to_string(&path).with_context(|| format!("read {PAGE}"));
    let mut failed = Vec::new();
    for &version in versions {
        let before = rows(&read()?)?.into_iter().find(|row| row.version == version);
        match run_version(version, binaries, before.as_ref()) {
            Ok(row) => {
                let page = read()?;
                std::fs::write(&path, page::with_row(&page, row)?)?;
            }
            Err(error) => {
                say(TOPIC, &format!("{version}: {error:#}"));
                failed.push(version.to_string());
            }
        }
    }
    ensure!(failed.is_empty(), "failed with Kubernetes {}", failed.join(", "));
    Ok(())
}

fn run_version(version: KubernetesVersion, binaries: &[String], before: Option<&Row>) -> Result<Row> {
    let patch = version.patch()?;
    let tools = tools::ensure_version(&TOOLS, version)?;
    // The environment may provide another one.
    let server = tools.path(Tool::KubeApiserver)?;
    let printed = stdout_of(std::process::Command::new(server).arg("--version"))?;
    ensure!(
        printed.trim().ends_with(&patch),
        "{} is {printed}",
        server.display()
    );
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for (idx, suite) in SUITES.into_iter().enumerate() {
        if !binaries.is_empty() && !binaries.iter().any(|binary| binary == suite.binary) {
            let before = before.and_then(|row| row.results.get(idx));
            results.push(before.cloned().unwrap_or_else(|| "–".to_owned()));
            continue;
        }
        match Suite::run(&suite, version) {
            Ok(result) => {
                say(TOPIC, &format!("{patch}, {}: {result}", suite.title));
                results.push(result);
            }
            Err(error) => failures.push(format!("{}: {error:#}", suite.title)),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(Row {
        version,
        patch,
        date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
        results,
    })
}
