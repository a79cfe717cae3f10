//! Suppression of findings: by the annotation `sidewatch.dev/ignore` on an object or its Pod template, and by entries of
//! the configuration.
//!
//! The annotation has entries of the form `SC010: reason` or `SC010/container: reason`, one per line or separated by `;`.

use std::collections::BTreeSet;

use super::{
    field::Field,
    finding::Finding,
    object::Object,
    pod::Pod,
    rules::{self, INVALID_SUPPRESSION, UNUSED_SUPPRESSION},
    yaml::Location,
};
use crate::domain::pattern::Pattern;

/// The annotation.
pub const ANNOTATION: &str = "sidewatch.dev/ignore";

/// An entry of the configuration. A part that is `None` matches everything.
#[derive(Clone, Debug)]
pub struct Ignore {
    /// The code of the rule.
    pub code: &'static str,
    /// The kind of the object.
    pub kind: Option<String>,
    /// The namespace of the object.
    pub namespace: Option<Pattern>,
    /// The name of the object.
    pub name: Option<Pattern>,
    /// The name of the container.
    pub container: Option<Pattern>,
    /// It has suppressed a finding.
    pub is_used: bool,
    /// Its place in the configuration.
    pub location: Location,
}

impl Ignore {
    /// Reports whether it suppresses a finding, and records that it has had an effect.
    pub fn suppresses(&mut self, finding: &Finding) -> bool {
        let matches = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        let is_match = self.code == finding.code
            && self.kind.as_ref().is_none_or(|kind| *kind == finding.object.kind)
            && matches(&self.namespace, &finding.object.namespace)
            && matches(&self.name, &finding.object.name)
            && matches(&self.container, finding.container.as_deref().unwrap_or_default());
        self.is_used |= is_match;
        is_match
    }

    /// The finding about an entry without effect.
    pub fn unused(&self) -> Finding {
        Finding {
            code: UNUSED_SUPPRESSION.code,
            severity: UNUSED_SUPPRESSION.severity,
            object: Object::default(),
            container: None,
            path: "ignore".to_owned(),
            location: self.location,
            message: format!("no finding of {} matches this entry", self.code),
            help: "remove the entry".to_owned(),
            edit: None,
        }
    }
}

/// The suppressions of the annotations of one Pod template.
#[derive(Debug)]
pub(super) struct Suppressions<'t> {
    entries: Vec<Entry<'t>>,
}

#[derive(Debug)]
struct Entry<'t> {
    field: Field<'t>,
    text: String,
    content: Result<Content, &'static str>,
    is_used: bool,
}

#[derive(Debug)]
struct Content {
    code: &'static str,
    container: Option<String>,
}

impl<'t> Suppressions<'t> {
    /// Reads the annotations.
    pub(super) fn of(pod: &Pod<'t>) -> Self {
        let fields = pod.annotations.iter().filter_map(|all| all.get(ANNOTATION));
        let mut entries = Vec::new();
        for field in fields {
            let text = field.text().unwrap_or_default().to_owned();
            for entry in text.split(['\n', ';']).map(str::trim).filter(|e| !e.is_empty()) {
                entries.push(Entry {
                    field: field.clone(),
                    text: entry.to_owned(),
                    content: parse(entry),
                    is_used: false,
                });
            }
        }
        Self { entries }
    }

    /// Whether an entry suppresses the finding.
    pub(super) fn suppress(&mut self, finding: &Finding) -> bool {
        let mut is_suppressed = false;
        for entry in &mut self.entries {
            let Ok(content) = &entry.content else { continue };
            let is_container = content
                .container
                .as_ref()
                .is_none_or(|name| finding.container.as_ref() == Some(name));
            if content.code == finding.code && is_container {
                entry.is_used = true;
                is_suppressed = true;
            }
        }
        is_suppressed
    }

    /// The findings about entries that are invalid or have had no effect. An entry for a disabled rule can have none.
    pub(super) fn problems(&self, pod: &Pod<'_>, disabled: &BTreeSet<&'static str>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for entry in &self.entries {
            let (rule, message, help) = match &entry.content {
                Err(problem) => (
                    INVALID_SUPPRESSION,
                    format!("{:?} suppresses nothing: {problem}", entry.text),
                    "write CODE: reason, such as SC010: sized by VPA",
                ),
                Ok(content) if !entry.is_used && !disabled.contains(content.code) => (
                    UNUSED_SUPPRESSION,
                    format!("{} has no finding here", content.code),
                    "remove the entry",
                ),
                Ok(_) => continue,
            };
            if disabled.contains(rule.code) {
                continue;
            }
            findings.push(rule.finding(pod.object.clone(), &entry.field, message, help));
        }
        findings
    }
}

fn parse(entry: &str) -> Result<Content, &'static str> {
    let (target, reason) = entry.split_once(':').ok_or("it has no reason")?;
    if reason.trim().is_empty() {
        return Err("it has no reason");
    }
    let target = target.trim();
    let (code, container) = match target.split_once('/') {
        Some((code, container)) => (code, Some(container.to_owned())),
        None => (target, None),
    };
    let code = rules::code(code).ok_or("there is no rule with this code")?;
    Ok(Content { code, container })
}
