//! Static rules over manifests: `sidewatch lint`.
//!
//! Input: the text of a file with any number of documents. Output: a [`Report`] with the [`Finding`]s and their places in
//! the text. A rule reads a [`pod::Pod`], whose containers have the roles that the operator would give them under a policy
//! with all defaults. Each rule is one file in [`rules`].
//!
//! No I/O and no clock.

pub mod admission;
pub mod edit;
mod exemption;
pub mod field;
pub mod finding;
mod local_ports;
pub mod object;
pub mod pod;
pub mod probe;
pub mod rules;
pub mod shell;
pub mod shell_words;
pub mod suppression;
mod types;
pub mod workload;
pub mod yaml;

use std::collections::BTreeSet;

use jiff::Timestamp;

use self::{
    field::Field,
    finding::Finding,
    object::Object,
    pod::{Container, Pod},
    rules::RULES,
    suppression::{Ignore, Suppressions},
    workload::{TemplatePath, workloads},
    yaml::{Documents, SyntaxError},
};
use crate::{
    api::{SidecarPolicy, SidecarPolicySpec},
    domain::policy::{InvalidSpec, Policy},
    kubernetes::decode::policy::PolicyObject,
};

/// Limit of the findings of one run. It bounds the memory for a file with very many small Pods.
pub const MAX_FINDINGS: usize = 10_000;

/// Returns the syntax errors of a text, and the values of a wrong type.
pub fn errors(text: &str) -> Vec<SyntaxError> {
    let mut errors = Vec::new();
    for document in Documents::new(text) {
        match document {
            Ok(node) => errors.extend(types::problems(&Field::root(node))),
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// The settings of a run, and which of them have had an effect.
#[derive(Debug)]
pub struct Linter {
    policy: Policy,
    disabled: BTreeSet<&'static str>,
    template_paths: Vec<TemplatePath>,
    ignores: Vec<Ignore>,
    now: Timestamp,
    findings: usize,
    /// The number of Pod templates that were examined.
    pub templates: usize,
}

/// What is known about a text besides its content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// A kustomization is in the same directory. It can set the tags of images.
    pub is_kustomized: bool,
}

/// Returns the names of the ConfigMaps of a text with a script that ends sidecars. The ConfigMap can be after the Job that
/// mounts it.
fn ending_scripts(text: &str) -> BTreeSet<String> {
    if !text.contains("ConfigMap") || !rules::classic_in_job::QUIT.iter().any(|word| text.contains(word)) {
        return BTreeSet::new();
    }
    let documents = Documents::new(text).filter_map(Result::ok).map(Field::root);
    let objects = documents.flat_map(|document| workload::objects(&document));
    let maps = objects.filter(|(kind, map)| {
        let data = map.get("data").filter(|_| kind == "ConfigMap");
        let mut values = data.iter().flat_map(Field::entries);
        values.any(|(_, value)| rules::classic_in_job::ends_a_sidecar(value.text().unwrap_or_default()))
    });
    maps.map(|(_, map)| Object::of(&map, "ConfigMap").name).collect()
}

/// The result for one text.
#[derive(Debug, Default)]
pub struct Report {
    /// The findings, in the order of the text.
    pub findings: Vec<Finding>,
    /// The syntax errors, and the values of a wrong type. Such documents are not examined.
    pub errors: Vec<SyntaxError>,
    /// There are more than [`MAX_FINDINGS`] findings; the others are missing.
    pub is_truncated: bool,
}

impl Linter {
    /// Creates a linter. An exemption that ends until `now` is a finding. Fails only if the default policy is invalid.
    pub fn new(
        disabled: BTreeSet<&'static str>,
        template_paths: Vec<TemplatePath>,
        ignores: Vec<Ignore>,
        now: Timestamp,
    ) -> Result<Self, InvalidSpec> {
        let policy = SidecarPolicy::new("lint", SidecarPolicySpec::default()).policy()?;
        Ok(Self {
            policy,
            disabled,
            template_paths,
            ignores,
            now,
            findings: 0,
            templates: 0,
        })
    }

    /// Examines all documents of a text.
    pub fn lint(&mut self, text: &str) -> Report {
        self.lint_in(text, Surroundings::default())
    }

    /// Examines all documents of a text in its surroundings.
    pub fn lint_in(&mut self, text: &str, surroundings: Surroundings) -> Report {
        let mut report = Report::default();
        let scripts = ending_scripts(text);
        for document in Documents::new(text) {
            match document {
                Ok(node) => {
                    let root = Field::root(node);
                    let problems = types::problems(&root);
                    if !problems.is_empty() {
                        report.errors.extend(problems);
                        continue;
                    }
                    report.findings.extend(self.examine_exemptions(&root));
                    for workload in workloads(&root, &self.template_paths) {
                        self.templates += 1;
                        let mut pod = Pod::new(workload, &self.policy);
                        pod.is_kustomized = surroundings.is_kustomized;
                        pod.ends_with_script = pod.uses_config_map(&scripts);
                        report.findings.extend(self.examine(text, &pod));
                    }
                }
                Err(error) => report.errors.push(error),
            }
            let rest = MAX_FINDINGS.saturating_sub(self.findings);
            if report.findings.len() > rest {
                report.findings.truncate(rest);
                report.is_truncated = true;
                break;
            }
        }
        self.findings += report.findings.len();
        report
    }

    fn examine_exemptions(&mut self, document: &Field<'_>) -> Vec<Finding> {
        let mut findings = exemption::examine(document, self.now);
        findings.retain(|finding| {
            let is_ignored = self.ignores.iter_mut().any(|ignore| ignore.suppresses(finding));
            !is_ignored && !self.disabled.contains(finding.code)
        });
        findings
    }

    fn examine(&mut self, text: &str, pod: &Pod<'_>) -> Vec<Finding> {
        let mut suppressions = Suppressions::of(pod);
        let mut findings = Vec::new();
        for rule in RULES.iter().filter(|rule| !self.disabled.contains(rule.code)) {
            let mut drafts = (rule.check)(pod);
            drafts.retain(|draft| {
                let is_stub = draft.container_of(pod).is_some_and(Container::is_stub);
                !is_stub && {
                    let finding = draft.finish(rule, text, pod);
                    !suppressions.suppress(&finding)
                        && !self.ignores.iter_mut().any(|ignore| ignore.suppresses(&finding))
                }
            });
            let drafts = rules::summarized(drafts, pod);
            findings.extend(drafts.iter().map(|draft| draft.finish(rule, text, pod)));
        }
        findings.extend(suppressions.problems(pod, &self.disabled));
        findings.sort_by_key(|finding| (finding.location.start, finding.code));
        findings
    }

    /// The suppressions of the configuration that have had no effect. Those of a disabled rule are not among them.
    pub fn unused_ignores(&self) -> impl Iterator<Item = &Ignore> {
        self.ignores
            .iter()
            .filter(|ignore| !ignore.is_used && !self.disabled.contains(ignore.code))
    }
}

#[cfg(test)]
mod tests;
