//! Copies in the chart equal the originals. They exist because Helm packs only the directory of the chart. `UPDATE_CHART=1`
//! updates them.

use e2e::project::{read_yaml, repository};

use crate::helm::{CHART, CHARTS, read};

#[rustfmt::skip]
const COPIES: [(&str, &str); 7] = [
    ("crds/sidewatch.dev_sidecarpolicies.yaml", "files/crds/sidewatch.dev_sidecarpolicies.yaml"),
    ("crds/sidewatch.dev_clustersidecarpolicies.yaml", "files/crds/sidewatch.dev_clustersidecarpolicies.yaml"),
    ("crds/sidewatch.dev_sidecarexemptions.yaml", "files/crds/sidewatch.dev_sidecarexemptions.yaml"),
    ("config/prometheus/rules.yaml", "files/rules.yaml"),
    ("config/prometheus/common-cause.yaml", "files/common-cause.yaml"),
    ("config/admission/policies.yaml", "files/admission.yaml"),
    ("config/prometheus/dashboard.json", "files/dashboard.json"),
];

#[test]
fn copies_are_equal() {
    for (original, copy) in COPIES {
        let copy = format!("{CHART}/{copy}");
        if std::env::var_os("UPDATE_CHART").is_some() {
            std::fs::copy(repository().join(original), repository().join(&copy)).unwrap();
        }
        assert_eq!(
            read(&copy),
            read(original),
            "{copy} is not {original}: make chart"
        );
    }
    let mut listed = COPIES.map(|(_, copy)| copy.to_owned());
    listed.sort();
    assert_eq!(files(), listed, "every file is a copy");
}

/// Files in the directory `files` of the chart, sorted.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![repository().join(CHART).join("files")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let path = path.strip_prefix(repository().join(CHART)).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn versions_are_the_operators() {
    for (_, chart) in CHARTS {
        let file = format!("{chart}/Chart.yaml");
        let metadata = read_yaml(&file).unwrap();
        for version in ["version", "appVersion"] {
            assert_eq!(metadata[version], env!("CARGO_PKG_VERSION"), "{file}: {version}");
        }
        for key in ["home", "sources", "maintainers"] {
            assert!(!metadata[key].is_null(), "{file}: {key}");
        }
    }
    let manager = read_yaml("config/manager/kustomization.yaml").unwrap();
    assert_eq!(manager["images"][0]["newTag"], env!("CARGO_PKG_VERSION"));
}
