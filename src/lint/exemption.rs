//! Finds faults in a `SidecarExemption`: what the API server refuses (SC030), and an end in the past (SC031).
//!
//! The rules are those of the schema in `api`. A test with the API server compares them.

use jiff::Timestamp;

use super::{
    field::Field,
    finding::Finding,
    object::Object,
    rules::{ENDED_EXEMPTION, INVALID_EXEMPTION, Rule},
    workload::objects,
};
use crate::{
    api::{EXEMPTED_CHECKS, GROUP},
    domain::checks::Check,
    kubernetes::names::{is_label, is_subdomain},
};

const KIND: &str = "SidecarExemption";
/// The fields of `spec`, of `spec.workload`, of `spec.selector` and of a requirement.
const SPEC: [&str; 6] = ["checks", "containers", "reason", "selector", "until", "workload"];
const WORKLOAD: [&str; 2] = ["kind", "name"];
const SELECTOR: [&str; 2] = ["matchExpressions", "matchLabels"];
const REQUIREMENT: [&str; 3] = ["key", "operator", "values"];
/// Limits of the schema.
const MAX_REASON: usize = 1024;
const MAX_CONTAINERS: usize = 64;

/// Returns the findings in the exemptions of a document.
pub(super) fn examine(document: &Field<'_>, now: Timestamp) -> Vec<Finding> {
    let objects = objects(document);
    let exemptions = objects.iter().filter(|(kind, _)| kind == KIND);
    exemptions
        .flat_map(|(_, exemption)| findings_of(exemption, now))
        .collect()
}

fn findings_of(root: &Field<'_>, now: Timestamp) -> Vec<Finding> {
    // Another API group can have a kind of this name.
    let version = root.text_of("apiVersion");
    if version.is_some_and(|version| version.split('/').next() != Some(GROUP)) {
        return Vec::new();
    }
    let mut examination = Examination {
        object: Object::of(root, KIND),
        findings: Vec::new(),
    };
    match root.get("spec") {
        Some(spec) if spec.is_mapping() => examination.spec(&spec, now),
        spec => examination.invalid(
            spec.as_ref().unwrap_or(root),
            "spec is missing".to_owned(),
            "write the workload or the selector, the reason, and until when",
        ),
    }
    examination.findings
}

/// The findings in one exemption.
struct Examination {
    object: Object,
    findings: Vec<Finding>,
}

impl Examination {
    fn add(&mut self, rule: &Rule, at: &Field<'_>, message: String, help: &str) {
        self.findings
            .push(rule.finding(self.object.clone(), at, message, help));
    }

    fn invalid(&mut self, at: &Field<'_>, message: String, help: &str) {
        self.add(&INVALID_EXEMPTION, at, message, help);
    }

    fn spec(&mut self, spec: &Field<'_>, now: Timestamp) {
        self.known(spec, &SPEC);
        match (spec.get("workload"), spec.get("selector")) {
            (Some(workload), None) => self.workload(&workload),
            (None, Some(selector)) => self.selector(&selector),
            (Some(_), Some(_)) => {
                self.invalid(
                    spec,
                    "it has both a selector and a workload".to_owned(),
                    "remove one of both",
                );
            }
            (None, None) => self.invalid(
                spec,
                "it has no selector and no workload".to_owned(),
                "name a workload; selector: {} selects all Pods of the namespace",
            ),
        }
        self.containers(spec);
        self.checks(spec);
        self.reason(spec);
        self.until(spec, now);
    }

    /// Finds the fields that the object does not have. The API server drops them with a warning, so a misspelt list would
    /// hide more than was meant.
    fn known(&mut self, object: &Field<'_>, known: &[&str]) {
        for (name, field) in object.entries() {
            if !known.contains(&name) && name != "<<" {
                let message = format!("there is no field {name:?}");
                self.invalid(&field, message, &format!("the fields are {}", known.join(", ")));
            }
        }
    }

    fn workload(&mut self, workload: &Field<'_>) {
        self.known(workload, &WORKLOAD);
        let is_kind = |text: &str| {
            text.len() <= 63
                && text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.chars().all(|c| c.is_ascii_alphanumeric())
        };
        self.required(
            workload,
            "kind",
            is_kind,
            "write the kind in singular, such as Deployment",
        );
        self.required(
            workload,
            "name",
            is_subdomain,
            "write the name of the workload without its kind",
        );
    }

    fn selector(&mut self, selector: &Field<'_>) {
        self.known(selector, &SELECTOR);
        let requirements = selector.get("matchExpressions");
        for requirement in requirements.iter().flat_map(Field::items) {
            self.known(&requirement, &REQUIREMENT);
            let has_values = requirement
                .get("values")
                .is_some_and(|values| values.items().next().is_some());
            let needs_values = match requirement.text_of("operator").as_deref() {
                Some("In" | "NotIn") => true,
                Some("Exists" | "DoesNotExist") => false,
                _ => {
                    let message = "the operator is not one of In, NotIn, Exists and DoesNotExist".to_owned();
                    self.invalid(&requirement, message, "write one of them");
                    continue;
                }
            };
            if needs_values != has_values {
                let message = "In and NotIn need values, and Exists and DoesNotExist take none".to_owned();
                self.invalid(&requirement, message, "change the operator or the values");
            }
        }
    }

    fn required(&mut self, of: &Field<'_>, name: &str, is_valid: impl Fn(&str) -> bool, help: &str) {
        match of.get(name) {
            None => self.invalid(of, format!("{name} is missing"), help),
            Some(field) if !field.text().is_some_and(is_valid) => {
                let shown = field.text().unwrap_or_default();
                self.invalid(&field, format!("{shown:?} is not a valid {name}"), help);
            }
            Some(_) => {}
        }
    }

    fn containers(&mut self, spec: &Field<'_>) {
        let Some(list) = spec.get("containers") else {
            return;
        };
        let problem = |name: &str| {
            let message = format!("{name:?} is not the name of a container; a pattern is not allowed");
            (!is_label(name)).then(|| (message, "write whole names".to_owned()))
        };
        let count = self.names(&list, problem);
        if count > MAX_CONTAINERS {
            let message = format!("it has more than {MAX_CONTAINERS} containers");
            self.invalid(&list, message, "an empty list covers all containers");
        }
    }

    fn checks(&mut self, spec: &Field<'_>) {
        let Some(list) = spec.get("checks") else { return };
        let known = EXEMPTED_CHECKS.map(|check| Check::from(check).as_str());
        self.names(&list, |name| {
            let problem = match Check::parse(name) {
                _ if known.contains(&name) => return None,
                Some(_) => "is not about containers, so its violations cannot be hidden",
                None => "is not a check",
            };
            let help = format!("the checks are {}", known.join(", "));
            Some((format!("{name:?} {problem}"), help))
        });
    }

    /// Finds the invalid names of a list, and those that are in it twice. `problem` returns what is wrong with a name, and the
    /// help. Returns the length of the list.
    fn names(&mut self, list: &Field<'_>, problem: impl Fn(&str) -> Option<(String, String)>) -> usize {
        let mut seen: Vec<String> = Vec::new();
        for item in list.items() {
            let name = item.text().unwrap_or_default();
            if let Some((message, help)) = problem(name) {
                self.invalid(&item, message, &help);
            } else if seen.iter().any(|known| known == name) {
                let message = format!("{name} is in the list twice");
                self.invalid(&item, message, "remove one of both");
            }
            seen.push(name.to_owned());
        }
        seen.len()
    }

    fn reason(&mut self, spec: &Field<'_>) {
        let help = "write why the violations are hidden";
        match spec.get("reason") {
            None => self.invalid(spec, "reason is missing".to_owned(), help),
            Some(reason) => match reason.text() {
                Some(text) if text.trim().is_empty() => {
                    self.invalid(&reason, "the reason is empty".to_owned(), help);
                }
                Some(text) if text.chars().count() > MAX_REASON => {
                    let message = format!("the reason is longer than {MAX_REASON} characters");
                    self.invalid(&reason, message, "shorten it");
                }
                Some(_) => {}
                None => self.invalid(&reason, "the reason is not a text".to_owned(), help),
            },
        }
    }

    fn until(&mut self, spec: &Field<'_>, now: Timestamp) {
        let help = "write a time with a time zone, such as 2026-03-01T18:00:00Z";
        let Some(field) = spec.get("until") else {
            return self.invalid(spec, "until is missing".to_owned(), help);
        };
        match field.text().unwrap_or_default().parse::<Timestamp>() {
            Err(_) => {
                let message = format!(
                    "{:?} is not a time with a time zone",
                    field.text().unwrap_or_default()
                );
                self.invalid(&field, message, help);
            }
            Ok(until) if until <= now => self.add(
                &ENDED_EXEMPTION,
                &field,
                "its time is over: it hides nothing".to_owned(),
                "remove the exemption, or set another until",
            ),
            Ok(_) => {}
        }
    }
}
