//! The names that decide which container of a Pod is its app.

use super::NamedBy;
use crate::domain::{catalogue, pattern::Repository};

/// The names of the app of a Pod that are not in its spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppNames<'a> {
    /// The value of the annotation [`DEFAULT_CONTAINER`](super::DEFAULT_CONTAINER).
    pub default_container: Option<&'a str>,
    /// Kind and name of the workload.
    pub workload: Option<(&'a str, &'a str)>,
    /// The value of the label `app.kubernetes.io/name`.
    pub label: Option<&'a str>,
}

impl AppNames<'_> {
    /// The label with the name of the app.
    pub const LABEL: &'static str = "app.kubernetes.io/name";
    /// The workloads whose name is that of their app. A Job has the name of what it does.
    const KINDS: [&'static str; 3] = ["Deployment", "DaemonSet", "StatefulSet"];

    /// What names this regular container. The workload counts only for two kinds of containers, so that workloads with equal
    /// containers have equal shapes: products of the catalogue that can be the app, and containers of which only the name says
    /// that they are sidecars.
    pub fn of(&self, name: &str, image: &str) -> Option<NamedBy> {
        if self.default_container == Some(name) {
            return Some(NamedBy::Annotation);
        }
        let workload = self.workload.filter(|(kind, _)| Self::KINDS.contains(kind));
        let workload = workload.map(|(_, name)| name);
        let program = Repository::without_tag(image).rsplit('/').next();
        let has_name = |text: &str| [workload, self.label].contains(&Some(text)) && !text.is_empty();
        if !has_name(name) && !program.is_some_and(has_name) {
            return None;
        }
        let product = catalogue::product(name, &Repository::of(image))?;
        (product.app || product.is_generic() && has_name(name)).then_some(NamedBy::Workload)
    }
}
