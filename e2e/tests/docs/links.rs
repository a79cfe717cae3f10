//! Links resolve, and the index lists every page.

use std::collections::BTreeSet;

use crate::markdown::Page;

#[test]
fn every_relative_link_resolves() {
    let mut broken = Vec::new();
    for page in Page::all() {
        for link in page.links() {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (path, anchor) = link
                .split_once('#')
                .map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                page.path.parent().unwrap().join(path)
            };
            if !target.exists() {
                broken.push(format!("{}: {link}: no such file", page.name()));
            } else if let Some(anchor) = anchor
                && !Page::read(&target).anchors().iter().any(|known| known == anchor)
            {
                broken.push(format!("{}: {link}: no such heading", page.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_index_links_to_every_page() {
    let index = Page::read("docs/README.md");
    let directory = index.path.parent().unwrap();
    let linked: BTreeSet<_> = index
        .links()
        .iter()
        .filter_map(|link| directory.join(link.split('#').next()?).canonicalize().ok())
        .collect();
    for page in Page::all() {
        let is_indexed = page.path.starts_with(directory) && page.path != index.path;
        assert!(
            !is_indexed || linked.contains(&page.path.canonicalize().unwrap()),
            "docs/README.md does not link to {}",
            page.name()
        );
    }
}
