//! ValidatingAdmissionPolicies for SC003, SC004 and SC012, for clusters that warn when a workload is written.
//!
//! Output: `config/admission/policies.yaml`. The names and images of sidecars come from the catalogue, and the texts that end
//! a sidecar from the rule. CEL cannot read a shell script or all of the catalogue: docs/admission.md lists the differences.
//! A policy is silent where it is not certain.

mod expressions;

use serde_json::{Value, json};

use super::rules::RULES;
use expressions as cel;

/// A rule as a policy.
struct Policy {
    code: &'static str,
    /// The name of a variable and its expression. The variable `found` is a list of container names.
    variables: Vec<(&'static str, String)>,
    /// The problem of the containers in `found`.
    problem: &'static str,
    /// The rule is about Jobs and CronJobs only.
    is_about_jobs: bool,
}

/// Returns each policy, followed by its binding.
pub fn objects() -> Vec<Value> {
    [endless_init(), classic_in_job(), port_conflict()]
        .iter()
        .flat_map(|policy| [policy.object(), policy.binding()])
        .collect()
}

fn endless_init() -> Policy {
    Policy {
        code: "SC003",
        variables: vec![
            ("init", cel::list("variables.spec", "initContainers")),
            ("found", cel::endless_init_containers("variables.init", "SC003")),
        ],
        problem: "init containers that never exit, so the containers after them never start",
        is_about_jobs: false,
    }
}

fn classic_in_job() -> Policy {
    Policy {
        code: "SC004",
        variables: vec![
            ("init", cel::list("variables.spec", "initContainers")),
            ("regular", cel::list("variables.spec", "containers")),
            ("sidecars", cel::catalogue_containers("variables.regular")),
            ("found", cel::sidecars_that_nothing_ends("SC004")),
        ],
        problem: "sidecars that keep running after the main container has ended, so the Job never completes",
        is_about_jobs: true,
    }
}

fn port_conflict() -> Policy {
    Policy {
        code: "SC012",
        variables: vec![
            (
                "all",
                format!(
                    "{} + {}",
                    cel::list("variables.spec", "initContainers"),
                    cel::list("variables.spec", "containers")
                ),
            ),
            ("names", "variables.all.map(c, c.name)".to_owned()),
            ("plain", cel::plain_init_names("variables.spec")),
            ("found", cel::containers_with_a_port_of_an_earlier_one("SC012")),
        ],
        problem: "containers that declare a port of a container that runs at the same time",
        is_about_jobs: false,
    }
}

impl Policy {
    fn name(&self) -> String {
        format!("sidewatch-{}", self.code.to_lowercase())
    }

    fn object(&self) -> Value {
        let common = [
            ("template", cel::TEMPLATE.to_owned()),
            ("spec", "variables.template.spec".to_owned()),
            ("ignores", cel::IGNORES.to_owned()),
        ];
        let variables: Vec<_> = common
            .iter()
            .chain(&self.variables)
            .map(|(name, expression)| json!({"name": name, "expression": expression}))
            .collect();
        let title = RULES.iter().find(|rule| rule.code == self.code);
        let message = format!(
            "'{}: {}: ' + variables.found.join(', ') + '; https://sidewatch.dev/docs/lint/{}.md'",
            self.code, self.problem, self.code
        );
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": self.name(), "labels": {"app.kubernetes.io/name": "sidewatch"}},
            "spec": {
                "failurePolicy": "Ignore",
                "matchConstraints": {"resourceRules": self.resources()},
                "matchConditions": [
                    {"name": "not-controlled", "expression": cel::NOT_CONTROLLED},
                    {"name": "spec-has-changed", "expression": cel::SPEC_HAS_CHANGED},
                ],
                "variables": variables,
                "validations": [{
                    "expression": "variables.found.size() == 0",
                    "messageExpression": message,
                    "message": title.map(|rule| format!("{}: {}", rule.code, rule.title)),
                    "reason": "Invalid",
                }],
            },
        })
    }

    fn binding(&self) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": self.name(), "labels": {"app.kubernetes.io/name": "sidewatch"}},
            "spec": {"policyName": self.name(), "validationActions": ["Warn", "Audit"]},
        })
    }

    fn resources(&self) -> Vec<Value> {
        let rule = |group: &str, resources: &[&str]| {
            json!({
                "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": resources, "scope": "Namespaced",
            })
        };
        let jobs = rule("batch", &["jobs", "cronjobs"]);
        if self.is_about_jobs {
            return vec![jobs];
        }
        vec![
            rule("", &["pods"]),
            rule(
                "apps",
                &["deployments", "statefulsets", "daemonsets", "replicasets"],
            ),
            jobs,
        ]
    }
}

/// Returns all policies and bindings as YAML documents.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = "# Generated from the rules of lint and the catalogue: make admission\n".to_owned();
    for object in objects() {
        // Writes each expression on one line, so that a diff shows the changed words.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false, compact_list_indent: true };
        text += "---\n";
        text += &serde_saphyr::to_string_with_options(&object, options)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
