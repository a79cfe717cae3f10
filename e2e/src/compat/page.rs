//! The tables of `docs/compatibility.md`, between markers. A row stays until its version runs again.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use super::features::{FEATURES, Feature};
use super::suites::SUITES;
use crate::tools::KubernetesVersion;

/// Path of the page in the repository.
pub const PAGE: &str = "docs/compatibility.md";

const BEGIN: &str = "<!-- begin compat -->\n";
const END: &str = "<!-- end compat -->";

/// The result of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The minor version.
    pub version: KubernetesVersion,
    /// The version that ran, such as `v1.30.4`.
    pub patch: String,
    /// The day of the run.
    pub date: String,
    /// The outcome of each suite.
    pub(super) results: Vec<String>,
}

/// The rows of the page, the oldest version first.
pub fn rows(page: &str) -> Result<Vec<Row>> {
    let (_, table, _) = parts(page)?;
    let lines = table.lines().filter(|line| line.starts_with("| v1."));
    lines.map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let mut columns = line
        .trim_matches('|')
        .split('|')
        .map(|column| column.trim().to_owned());
    let mut next = || columns.next().with_context(|| format!("too few columns: {line}"));
    let (patch, date) = (next()?, next()?);
    let minor = patch
        .trim_start_matches('v')
        .rsplit_once('.')
        .context("no patch version")?
        .0;
    let version = minor.parse()?;
    let results: Vec<_> = columns.collect();
    ensure!(
        results.len() == SUITES.len(),
        "not {} results: {line}",
        SUITES.len()
    );
    Ok(Row {
        version,
        patch,
        date,
        results,
    })
}

/// The page with this row in place of that of the same version.
pub(super) fn with_row(page: &str, row: Row) -> Result<String> {
    let (before, _, after) = parts(page)?;
    let mut rows = rows(page)?;
    rows.retain(|other| other.version != row.version);
    rows.push(row);
    rows.sort_by_key(|row| row.version);
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(&rows)?))
}

/// The text before, between and after the markers.
fn parts(page: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (table, after) = rest
        .split_once(END)
        .with_context(|| format!("{PAGE} has no line {END}"))?;
    Ok((before, table, after))
}

fn table(rows: &[Row]) -> Result<String> {
    let mut table = String::new();
    let titles: Vec<_> = SUITES.iter().map(|suite| suite.title).collect();
    writeln!(table, "| Kubernetes | run on | {} |", titles.join(" | "))?;
    writeln!(table, "|{}", " --- |".repeat(titles.len() + 2))?;
    for Row {
        version: _,
        patch,
        date,
        results,
    } in rows
    {
        writeln!(table, "| {patch} | {date} | {} |", results.join(" | "))?;
    }
    writeln!(table, "\nWhat the versions lack:\n")?;
    writeln!(table, "| feature | not in | consequence | skipped tests |")?;
    writeln!(table, "| --- | --- | --- | --- |")?;
    for feature in FEATURES {
        let Feature {
            name,
            consequence,
            tests,
            ..
        } = feature;
        let tests: Vec<_> = tests.iter().map(|(_, test)| format!("`{test}`")).collect();
        writeln!(
            table,
            "| {name} | {} | {consequence} | {} |",
            feature.lacking(),
            tests.join(", ")
        )?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(version: &str, patch: &str, passed: &str) -> Row {
        Row {
            version: version.parse().unwrap(),
            patch: patch.to_owned(),
            date: "2026-11-23".to_owned(),
            results: vec![passed.to_owned(); SUITES.len()],
        }
    }

    #[test]
    fn a_row_replaces_the_one_of_its_version() {
        let page = format!("# Page\n{BEGIN}{END}\nend\n");
        let page = with_row(&page, example("1.37", "v1.37.1", "1 passed")).unwrap();
        let page = with_row(&page, example("1.30", "v1.30.4", "1 passed")).unwrap();
        let page = with_row(&page, example("1.37", "v1.37.2", "2 passed")).unwrap();
        let expected = [
            example("1.30", "v1.30.4", "1 passed"),
            example("1.37", "v1.37.2", "2 passed"),
        ];
        assert_eq!(rows(&page).unwrap(), expected);
        assert!(
            page.starts_with("# Page\n") && page.ends_with("\nend\n"),
            "{page}"
        );
    }
}
