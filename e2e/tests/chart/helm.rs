//! Versions of Helm, and parsed output of the chart.

use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::project::{self, repository};
use e2e::shared;
use e2e::tools::Tool;
use serde_json::Value;

pub(crate) use e2e::operator::helm::{CHART, Helm, NAMESPACE, POLICIES, POLICIES_RELEASE, RELEASE};

/// Both charts: release and directory.
pub(crate) const CHARTS: [(&str, &str); 2] = [(RELEASE, CHART), (POLICIES_RELEASE, POLICIES)];

/// Supported versions of Helm.
pub(crate) const VERSIONS: [Tool; 2] = [Tool::Helm3, Tool::Helm];

/// The non-empty documents of a YAML stream.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind namespace/name` or `Kind name`.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap_or_default();
    let kind = text("/kind").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The files in `ci/` of a chart: name of the feature and path.
pub(crate) fn features(chart: &str) -> Vec<(String, PathBuf)> {
    let directory = repository().join(chart).join("ci");
    let mut features: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.strip_suffix("-values.yaml").unwrap().to_owned(), path)
        })
        .collect();
    features.sort();
    assert!(!features.is_empty());
    features
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    project::read(path).unwrap()
}

/// The objects of the chart of the operator with these flags of Helm.
pub(crate) async fn objects(flags: &[&str]) -> Vec<Value> {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    documents(&helm.template(flags).await.unwrap())
}

/// Output of `kubectl kustomize` for a directory, which is relative to the repository or absolute.
pub(crate) async fn kustomized(directory: &str) -> Vec<Value> {
    let plane = shared().await.unwrap();
    let yaml = plane.kubectl_line(&format!("kustomize {directory}")).await;
    documents(&yaml.unwrap())
}

/// The YAML of a chart with these values.
pub(crate) async fn rendered(helm: &Helm, (release, chart): (&str, &str), values: &Path) -> Result<String> {
    let values = ["--values", values.to_str().unwrap()];
    helm.template_chart(release, chart, &values).await
}

/// The objects of the chart of the operator with a feature.
pub(crate) async fn feature(name: &str) -> Vec<Value> {
    feature_of(CHARTS[0], name).await
}

/// The objects of a chart with a feature.
pub(crate) async fn feature_of((release, chart): (&str, &str), name: &str) -> Vec<Value> {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let (_, values) = features(chart)
        .into_iter()
        .find(|(feature, _)| feature == name)
        .unwrap();
    documents(&rendered(&helm, (release, chart), &values).await.unwrap())
}
