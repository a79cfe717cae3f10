//! The Markdown of the pages: headings, links and fenced blocks.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::project::{read, repository};

/// A file of the repository.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

impl Page {
    /// Reads `path`, relative to the repository.
    pub(crate) fn read(path: impl AsRef<Path>) -> Self {
        let path = repository().join(path);
        let text = read(&path).unwrap();
        Self { path, text }
    }

    /// All pages in `docs`, in `charts` and at the root of the repository.
    pub(crate) fn all() -> Vec<Self> {
        let mut pages = Vec::new();
        let mut directories = vec![repository().join("docs"), repository().join("charts")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    pages.push(path);
                }
            }
        }
        pages.extend(
            fs::read_dir(repository())
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
        pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        pages.sort();
        pages.into_iter().map(Self::read).collect()
    }

    /// The path within the repository.
    pub(crate) fn name(&self) -> String {
        self.path
            .strip_prefix(repository())
            .unwrap()
            .display()
            .to_string()
    }

    /// The fenced blocks, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut inside = false;
        for line in self.text.lines() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                inside = !inside;
                if inside {
                    blocks.push(Block {
                        language: language.trim().to_owned(),
                        text: String::new(),
                    });
                }
            } else if inside {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
        assert!(!inside, "{}: a fenced block does not end", self.name());
        blocks
    }

    /// The fenced blocks of a language, in order.
    pub(crate) fn blocks_of(&self, language: &str) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.language == language);
        blocks
    }

    /// The text without its fenced blocks.
    pub(crate) fn prose(&self) -> String {
        let mut inside = false;
        let outside = |line: &&str| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        };
        self.text.lines().filter(outside).collect::<Vec<_>>().join("\n")
    }

    /// Targets of the links.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let mut links = Vec::new();
        for part in prose.split("](").skip(1) {
            let (link, _) = part
                .split_once(')')
                .unwrap_or_else(|| panic!("{}: a link does not end", self.name()));
            links.push(link.to_owned());
        }
        links
    }

    /// Fragments of the headings, as code hosting services generate them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                let kept = title
                    .chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}
