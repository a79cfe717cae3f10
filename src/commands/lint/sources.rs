//! The texts that are examined.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cli::{exit::Failure, files::read_text},
    lint::Surroundings,
};

/// Limit of the size of a file, in megabytes.
const MAX_MEGABYTES: usize = 64;
/// Names of manifests in a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// Names of a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The name of standard input on the command line, and in findings.
const STDIN: (&str, &str) = ("-", "stdin");

/// A file, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The name in findings.
    pub name: String,
    path: PathBuf,
}

impl Source {
    /// A file, or standard input for `-`.
    pub(super) fn new(path: &Path) -> Self {
        let name = if path == Path::new(STDIN.0) {
            STDIN.1.to_owned()
        } else {
            path.display().to_string()
        };
        Self {
            name,
            path: path.to_owned(),
        }
    }
}

/// Reads a text.
pub(super) fn read(source: &Source) -> Result<String, Failure> {
    read_text(&source.path, MAX_MEGABYTES)
}

/// Returns what is known about a file besides its content.
pub(super) fn surroundings(source: &Source) -> Surroundings {
    let directory = source.path.parent().filter(|_| source.name != STDIN.1);
    Surroundings {
        is_kustomized: directory
            .is_some_and(|directory| KUSTOMIZATIONS.iter().any(|name| directory.join(name).is_file())),
    }
}

/// Returns the files at these paths, and those in the directories, in the order of their names. Hidden files and
/// directories are skipped, and links to directories are not followed.
pub(super) fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let files = files_in(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            found.extend(files.iter().map(|file| Source::new(file)));
        } else {
            found.push(Source::new(path));
        }
    }
    Ok(found)
}

fn files_in(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            let is_manifest = || {
                let extension = path.extension().and_then(|extension| extension.to_str());
                extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
            };
            if is_hidden {
                continue;
            }
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if is_manifest() && path.is_file() {
                files.insert(path);
            }
        }
    }
    Ok(files)
}
