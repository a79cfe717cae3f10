//! The table of the medians, and its place in `docs/performance.md`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::figures::{Figure, Run, percentile};
use super::{ClientKind, Options};
use crate::project::{read, repository};
use crate::tools::module_version;
use crate::{ControlPlane, http};

const PAGE: &str = "docs/performance.md";

/// Everything that the benchmark found.
#[derive(Debug)]
pub struct Report {
    /// Its size and length.
    pub options: Options,
    /// What was measured, and where.
    pub versions: Versions,
    /// Bytes of a Pod in JSON, on average.
    pub pod_json_bytes: usize,
    /// Times until the operator is ready on a cluster without Pods.
    pub empty_starts: Vec<Duration>,
    /// The runs, in their order.
    pub runs: Vec<Run>,
}

/// Versions of the programs, and the machine.
#[derive(Debug)]
pub struct Versions {
    operator: String,
    kube_state_metrics: String,
    kubernetes: String,
    etcd: String,
    machine: String,
    binary: PathBuf,
}

impl Versions {
    /// Asks the programs.
    pub(super) async fn collect(plane: &ControlPlane, operator: &Path) -> Result<Self> {
        let etcd = plane.etcd_url().trim_start_matches("http://");
        let etcd: Value = serde_json::from_str(&http::get_body(etcd, "/version").await?)?;
        let kubernetes = plane.client().await?.apiserver_version().await?.git_version;
        Ok(Self {
            operator: operator_version(operator).await?,
            kube_state_metrics: kube_state_metrics_version()?,
            kubernetes: format!("Kubernetes {kubernetes}"),
            etcd: format!(
                "etcd {}",
                etcd.get("etcdserver").and_then(Value::as_str).unwrap_or_default()
            ),
            machine: machine(),
            binary: operator.to_owned(),
        })
    }
}

impl Report {
    /// The runs of one client.
    pub fn of(&self, client: ClientKind) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.client == client)
    }

    /// The table in Markdown, with a line about the machine and the versions.
    pub fn table(&self) -> Result<String> {
        let mut text = String::new();
        let Versions {
            operator,
            kube_state_metrics,
            kubernetes,
            etcd,
            machine,
            binary,
        } = &self.versions;
        let date = jiff::Zoned::now().date();
        let Options {
            pods,
            runs,
            updates,
            probes,
            scrapes,
        } = self.options;
        writeln!(
            text,
            "{pods} Pods of {} bytes of JSON on average. Measured on {date} on {machine}, with {operator}, \
             {kube_state_metrics}, {kubernetes} and {etcd}. Medians of {runs} runs each, with the smallest and the \
             largest value; {scrapes} scrapes, {updates} status updates and {probes} latency probes per run.\n",
            self.pod_json_bytes
        )?;
        writeln!(
            text,
            "| | target | {} |",
            ClientKind::ALL.map(ClientKind::name).join(" | ")
        )?;
        writeln!(text, "| --- | --- |{}", " --- |".repeat(ClientKind::ALL.len()))?;
        for figure in Figure::all() {
            let target = figure
                .budget(pods)
                .map(|value| value.to_string())
                .unwrap_or_default();
            let cells = ClientKind::ALL.map(|client| self.cell(client, figure));
            writeln!(text, "| {} | {target} | {} |", figure.label(), cells.join(" | "))?;
        }
        let mut empty: Vec<f64> = self
            .empty_starts
            .iter()
            .map(|took| took.as_secs_f64() * 1000.0)
            .collect();
        let (median, slowest) = (percentile(&mut empty, 50), percentile(&mut empty, 100));
        writeln!(
            text,
            "| start until ready on an empty cluster, ms † | 300 | **{median:.0}** (largest {slowest:.0}) | | |"
        )?;
        let size = std::fs::metadata(binary)
            .context("find the operator's binary")?
            .len();
        writeln!(text, "| size of the static binary, bytes | | {size} | | |")?;
        Ok(text)
    }

    fn cell(&self, client: ClientKind, figure: Figure) -> String {
        let values = self.of(client).filter_map(|run| run.figures.get(&figure));
        let mut values: Vec<f64> = values.copied().collect();
        let digits = figure.digits();
        let median = percentile(&mut values, 50);
        match values.as_slice() {
            [] => String::new(),
            [smallest, .., largest] if smallest < largest => {
                format!("**{median:.digits$}** ({smallest:.digits$} to {largest:.digits$})")
            }
            _ => format!("**{median:.digits$}**"),
        }
    }

    /// Writes the table between the markers for this number of Pods in `docs/performance.md`. Returns whether the page has
    /// them.
    pub fn write(&self) -> Result<bool> {
        let path = repository().join(PAGE);
        let page = read(PAGE)?;
        match with_table(&page, self.options.pods, &self.table()?)? {
            Some(page) => {
                std::fs::write(&path, page).with_context(|| format!("write {PAGE}"))?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The page with this table between the markers of this size, or `None` without a marker.
fn with_table(page: &str, pods: u32, table: &str) -> Result<Option<String>> {
    let begin = format!("<!-- begin bench-scale PODS={pods} -->\n");
    let end = format!("<!-- end bench-scale PODS={pods} -->");
    let Some((before, rest)) = page.split_once(&begin) else {
        return Ok(None);
    };
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("{PAGE} has no line {end}"))?;
    ensure!(!after.contains(&begin), "{PAGE} has two tables for {pods} Pods");
    Ok(Some(format!("{before}{begin}{table}{end}{after}")))
}

async fn operator_version(operator: &Path) -> Result<String> {
    let output = tokio::process::Command::new(operator)
        .arg("--version")
        .output()
        .await
        .with_context(|| format!("run {}", operator.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The version in the Go module that it is built from: the binary does not contain it.
fn kube_state_metrics_version() -> Result<String> {
    let version = module_version("kube-state-metrics", "k8s.io/kube-state-metrics/v2")?;
    Ok(format!("kube-state-metrics {version}"))
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown model", |(_, model)| model);
    format!("{cores} cores ({model})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_kube_state_metrics_is_known() {
        let version = kube_state_metrics_version().unwrap();
        assert!(version.starts_with("kube-state-metrics v2."), "{version}");
    }

    #[test]
    fn the_table_replaces_what_is_between_the_markers_of_its_size() {
        let page = "# Page\n<!-- begin bench-scale PODS=5 -->\nold\n<!-- end bench-scale PODS=5 -->\nmore\n";
        let written = with_table(page, 5, "new\n").unwrap().unwrap();
        assert_eq!(
            written,
            "# Page\n<!-- begin bench-scale PODS=5 -->\nnew\n<!-- end bench-scale PODS=5 -->\nmore\n"
        );
        assert_eq!(
            with_table(page, 50, "new\n").unwrap(),
            None,
            "no markers for 50 Pods"
        );
        assert!(with_table("<!-- begin bench-scale PODS=5 -->\nold\n", 5, "new\n").is_err());
    }
}
