//! Finds the Pod templates in a document.
//!
//! A document without one, such as a ConfigMap, has no workloads.

use std::str::FromStr;

use super::{field::Field, object::Object, yaml::Value};
use crate::domain::observation::AppNames;

/// An object with a Pod template.
#[derive(Debug)]
pub struct Workload<'t> {
    /// The identity of the object.
    pub object: Object,
    /// The annotations of the object and of its template.
    pub annotations: Vec<Field<'t>>,
    /// The label of the template, or else of the object, that names the app.
    pub app: Option<String>,
    /// The Pod spec.
    pub spec: Field<'t>,
    /// It is an object of Knative Serving.
    pub is_knative: bool,
}

/// The place of the Pod specs in objects of a kind: `RayCluster=spec.workerGroupSpecs[*].template.spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplatePath {
    kind: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    AllItems,
}

/// A text that is not a template path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not of the form Kind=path, such as Rollout=spec.template.spec or RayCluster=spec.groups[*].template.spec"
)]
pub struct InvalidTemplatePath(String);

impl FromStr for TemplatePath {
    type Err = InvalidTemplatePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTemplatePath(text.to_owned());
        let (kind, path) = text.split_once('=').ok_or_else(invalid)?;
        let mut steps = Vec::new();
        for part in path.split('.') {
            let (key, is_list) = match part.strip_suffix("[*]") {
                Some(key) => (key, true),
                None => (part, false),
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if key.is_empty() || !key.chars().all(is_name) {
                return Err(invalid());
            }
            steps.push(Step::Key(key.to_owned()));
            if is_list {
                steps.push(Step::AllItems);
            }
        }
        if kind.is_empty() || steps.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            kind: kind.to_owned(),
            steps,
        })
    }
}

impl TemplatePath {
    fn find<'t>(&self, object: &Field<'t>) -> Vec<Field<'t>> {
        let mut found = vec![object.clone()];
        for step in &self.steps {
            found = found
                .iter()
                .flat_map(|field| match step {
                    Step::Key(name) => field.get(name).into_iter().collect::<Vec<_>>(),
                    Step::AllItems => field.items().collect(),
                })
                .collect();
        }
        found
    }
}

/// Returns the objects of a document with their kinds: itself, or the items of a `List`.
pub(super) fn objects<'t>(document: &Field<'t>) -> Vec<(String, Field<'t>)> {
    if matches!(document.node().value, Value::List(_)) {
        return document.items().flat_map(|item| objects(&item)).collect();
    }
    let kind = document.text_of("kind").unwrap_or_default();
    let Some((item_kind, items)) = kind.strip_suffix("List").zip(document.get("items")) else {
        return vec![(kind, document.clone())];
    };
    // The items of a PodList have no kind.
    let kind_of = |item: &Field<'_>| item.text_of("kind").unwrap_or_else(|| item_kind.to_owned());
    items.items().map(|item| (kind_of(&item), item)).collect()
}

/// Returns the objects of a document that have a Pod template.
pub fn workloads<'t>(document: &Field<'t>, paths: &[TemplatePath]) -> Vec<Workload<'t>> {
    let objects = objects(document);
    let workloads = objects.iter();
    workloads
        .flat_map(|(kind, object)| workloads_of(object, kind, paths))
        .collect()
}

fn workloads_of<'t>(object: &Field<'t>, kind: &str, paths: &[TemplatePath]) -> Vec<Workload<'t>> {
    let has_containers = |spec: &Field<'t>| {
        spec.get("containers")
            .is_some_and(|list| list.items().next().is_some())
    };
    specs(object, kind, paths)
        .into_iter()
        .filter(|(_, spec)| has_containers(spec))
        .map(|(template, spec)| Workload {
            object: Object::of(object, kind),
            annotations: [Some(object), template.as_ref()]
                .into_iter()
                .flatten()
                .filter_map(|object| object.at(&["metadata", "annotations"]))
                .collect(),
            app: [template.as_ref(), Some(object)]
                .into_iter()
                .flatten()
                .find_map(|object| object.at(&["metadata", "labels"])?.text_of(AppNames::LABEL)),
            spec,
            is_knative: is_knative(object.text_of("apiVersion").as_deref()),
        })
        .collect()
}

/// Whether the API version is one of Knative Serving, whose containers can be without a name.
pub fn is_knative(api_version: Option<&str>) -> bool {
    api_version.is_some_and(|version| version.starts_with("serving.knative.dev/"))
}

/// The name of a container without one, at an index of its list: that which Knative gives it, or its place.
pub fn unnamed_container(list: &str, index: usize, is_knative: bool) -> String {
    match (list, index) {
        ("containers", 0) if is_knative => "user-container".to_owned(),
        ("containers", _) if is_knative => format!("user-container-{index}"),
        _ => format!("{list}[{index}]"),
    }
}

/// Returns the Pod specs of an object with their templates.
fn specs<'t>(object: &Field<'t>, kind: &str, paths: &[TemplatePath]) -> Vec<(Option<Field<'t>>, Field<'t>)> {
    let at = |path: &[&str]| {
        let template = object.at(path)?;
        let spec = template.get("spec")?;
        Some((Some(template), spec))
    };
    let given: Vec<_> = paths.iter().filter(|path| path.kind == kind).collect();
    if !given.is_empty() {
        let specs = given.iter().flat_map(|path| path.find(object));
        return specs.map(|spec| (None, spec)).collect();
    }
    let found = match kind {
        "Pod" => object.get("spec").map(|spec| (None, spec)),
        "PodTemplate" => at(&["template"]),
        "CronJob" => at(&["spec", "jobTemplate", "spec", "template"]),
        _ => at(&["spec", "template"]),
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::yaml::Documents, *};

    fn paths(text: &str, templates: &[&str]) -> Vec<(String, String)> {
        let templates: Vec<_> = templates.iter().map(|text| text.parse().unwrap()).collect();
        let root = Field::root(Documents::new(text).next().unwrap().unwrap());
        workloads(&root, &templates)
            .iter()
            .map(|workload| (workload.object.to_string(), workload.spec.path.clone()))
            .collect()
    }

    #[test]
    fn templates_of_all_kinds_are_found() {
        let spec = "{containers: [{name: a}]}";
        let table = [
            ("Pod", format!("spec: {spec}"), "spec"),
            (
                "PodTemplate",
                format!("template: {{spec: {spec}}}"),
                "template.spec",
            ),
            (
                "Deployment",
                format!("spec: {{template: {{spec: {spec}}}}}"),
                "spec.template.spec",
            ),
            (
                "Service",
                format!("spec: {{template: {{spec: {spec}}}}}"),
                "spec.template.spec",
            ),
            (
                "CronJob",
                format!("spec: {{jobTemplate: {{spec: {{template: {{spec: {spec}}}}}}}}}"),
                "spec.jobTemplate.spec.template.spec",
            ),
        ];
        for (kind, body, expected) in table {
            let text = format!("{{kind: {kind}, metadata: {{name: x, namespace: n}}, {body}}}");
            assert_eq!(
                paths(&text, &[]),
                [(format!("{kind}/x in n"), expected.to_owned())],
                "{text}"
            );
        }
    }

    #[test]
    fn items_of_lists_are_found() {
        let text = "{kind: PodList, items: [{metadata: {name: x}, spec: {containers: [{name: a}]}}]}";
        assert_eq!(
            paths(text, &[]),
            [("Pod/x".to_owned(), "items[0].spec".to_owned())]
        );
    }

    #[test]
    fn an_object_without_a_name_has_the_generated_one_or_none() {
        for (metadata, expected) in [("{generateName: x-}", "Pod/x-"), ("{}", "Pod/?")] {
            let text = format!("{{kind: Pod, metadata: {metadata}, spec: {{containers: [{{name: a}}]}}}}");
            assert_eq!(paths(&text, &[]), [(expected.to_owned(), "spec".to_owned())]);
        }
    }

    #[test]
    fn objects_without_a_template_are_skipped() {
        for text in [
            "{kind: ConfigMap, data: {spec: x}}",
            "{kind: Deployment, spec: {template: {spec: {containers: []}}}}",
            "just text",
            "[1, 2]",
            "{kind: List, items: 3}",
        ] {
            assert_eq!(paths(text, &[]), [], "{text}");
        }
    }

    #[test]
    fn a_template_path_finds_templates_elsewhere() {
        let text = "{kind: Ray, metadata: {name: x}, spec: {groups: [{pod: {containers: [{name: a}]}}, {pod: {containers: [{name: a}]}}]}}";
        let found = paths(text, &["Ray=spec.groups[*].pod"]);
        let expected =
            ["spec.groups[0].pod", "spec.groups[1].pod"].map(|p| ("Ray/x".to_owned(), p.to_owned()));
        assert_eq!(found, expected);
        for invalid in ["", "Ray", "=spec", "Ray=", "Ray=spec..x", "Ray=spec.x[1]"] {
            let error = invalid.parse::<TemplatePath>().unwrap_err().to_string();
            assert!(error.contains("Kind=path"), "{error}");
        }
    }
}
