//! The versions of the sidecars, for people and for programs.

use std::cmp::Reverse;

use serde::Serialize;

use super::inventory::{Inventory, Uses, Versions};
use crate::{
    cli::{
        output::{counted, first_names},
        table::{Cell, Table, sentence},
        terminal::{Style, Terminal},
    },
    domain::image_version::ImageVersion,
};

/// The versions of all sidecars.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The number of Pods.
    pods: usize,
    repositories: Vec<RepositoryRow>,
}

/// The versions of one image repository, the newest first.
#[derive(Debug, Serialize)]
struct RepositoryRow {
    repository: String,
    /// Whether the versions can be compared with each other.
    ordered: bool,
    versions: Vec<VersionRow>,
}

/// A version, and who uses it.
#[derive(Debug, Serialize)]
struct VersionRow {
    version: String,
    state: State,
    images: Vec<String>,
    pods: usize,
    workloads: usize,
    /// The workloads with this version, if it is behind.
    behind: Vec<String>,
}

/// A version in relation to the other versions of its repository that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// There is no other version.
    Only,
    /// It is newer than the others.
    Newest,
    /// There is a newer one.
    Behind,
    /// There are others, and they cannot be ordered.
    Differs,
}

impl Report {
    pub(super) fn new(inventory: Inventory) -> Self {
        let repositories = inventory.repositories.into_values();
        let mut repositories: Vec<RepositoryRow> = repositories.map(RepositoryRow::new).collect();
        repositories.sort_by_key(|row| (Reverse(row.pods_behind()), row.versions.len() < 2));
        Self {
            pods: inventory.pods,
            repositories,
        }
    }

    /// Reports whether a sidecar runs in more than one version.
    pub(super) fn has_differences(&self) -> bool {
        self.repositories.iter().any(|row| row.versions.len() > 1)
    }

    /// Returns the text for people.
    pub(super) fn text(&self, terminal: Terminal) -> String {
        let differing = self
            .repositories
            .iter()
            .filter(|row| row.versions.len() > 1)
            .count();
        let behind: usize = self.repositories.iter().map(RepositoryRow::pods_behind).sum();
        let summary = format!(
            "{}, {}, {differing} in more than one version, {} behind",
            counted(self.pods, "Pod"),
            counted(self.repositories.len(), "sidecar image"),
            counted(behind, "Pod"),
        );
        let mut text = sentence(&summary, terminal);
        if self.repositories.is_empty() {
            return text;
        }
        let headings = [
            "IMAGE",
            "VERSION",
            "PODS",
            "WORKLOADS",
            "STATE",
            "WORKLOADS BEHIND",
        ];
        let mut table = Table::new(headings).with_text();
        for repository in &self.repositories {
            for row in &repository.versions {
                table.push([
                    repository.repository.as_str().into(),
                    row.version.as_str().into(),
                    row.pods.to_string().into(),
                    row.workloads.to_string().into(),
                    row.state.cell(),
                    first_names(&row.behind).into(),
                ]);
            }
        }
        text.push('\n');
        text.push_str(&table.render(terminal));
        text
    }
}

impl RepositoryRow {
    fn new(repository: Versions) -> Self {
        let versions = repository.versions;
        let ordered = versions.len() < 2 || versions.keys().all(ImageVersion::is_ordered);
        let newest = versions.keys().next_back().cloned();
        let count = versions.len();
        let state = |version: &ImageVersion| match count {
            1 => State::Only,
            _ if !ordered => State::Differs,
            _ if newest.as_ref() == Some(version) => State::Newest,
            _ => State::Behind,
        };
        let rows = versions.into_iter().rev();
        let mut rows: Vec<VersionRow> = rows
            .map(|(version, uses)| VersionRow::new(&version, &uses, state(&version)))
            .collect();
        if !ordered {
            rows.sort_by_key(|row| Reverse(row.pods));
        }
        Self {
            repository: repository.written,
            ordered,
            versions: rows,
        }
    }

    /// The number of Pods with a version that is behind.
    fn pods_behind(&self) -> usize {
        let behind = self.versions.iter().filter(|row| row.state == State::Behind);
        behind.map(|row| row.pods).sum()
    }
}

impl VersionRow {
    fn new(version: &ImageVersion, uses: &Uses, state: State) -> Self {
        let workloads = uses.workloads.iter();
        let behind = workloads
            .filter(|_| state == State::Behind)
            .map(|(namespace, workload)| format!("{namespace}/{workload}"));
        Self {
            version: version.to_string(),
            state,
            images: uses.images.iter().map(ToString::to_string).collect(),
            pods: uses.pods,
            workloads: uses.workloads.len(),
            behind: behind.collect(),
        }
    }
}

impl State {
    fn cell(self) -> Cell {
        match self {
            Self::Only => "".into(),
            Self::Newest => Cell::styled("newest", Style::Green),
            Self::Behind => Cell::styled("behind", Style::Yellow),
            Self::Differs => Cell::styled("differs", Style::Yellow),
        }
    }
}
