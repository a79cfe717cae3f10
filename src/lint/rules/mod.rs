//! The rules: one file each. Its module documentation is the page in `docs/lint`, which `make docs` writes.

mod capabilities;
pub(super) mod classic_in_job;
mod classic_known;
mod ended_exemption;
mod endless_init;
mod grace_period;
mod image_tag;
mod invalid_exemption;
mod invalid_suppression;
mod liveness_before_readiness;
mod missing_readiness;
mod missing_resources;
mod port_conflict;
mod probe_of_other_container;
mod process_namespace;
mod restart_policy;
mod sidecar_count;
mod slow_start;
mod startup_gate;
mod unused_suppression;
mod wait_for_later_container;

use super::{
    edit,
    field::Field,
    finding::{Finding, Severity},
    object::Object,
    pod::{Container, Pod},
};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// The code: `SC001`.
    pub code: &'static str,
    /// The fault that the rule finds.
    pub title: &'static str,
    /// The severity, unless the page of the rule says when it differs.
    pub severity: Severity,
    /// Returns what is wrong with a Pod template.
    pub(super) check: fn(&Pod<'_>) -> Vec<Draft>,
}

/// All rules about Pod templates, in the order of their codes.
pub const RULES: [Rule; 17] = [
    startup_gate::RULE,
    restart_policy::RULE,
    endless_init::RULE,
    classic_in_job::RULE,
    missing_readiness::RULE,
    liveness_before_readiness::RULE,
    slow_start::RULE,
    missing_resources::RULE,
    image_tag::RULE,
    port_conflict::RULE,
    sidecar_count::RULE,
    process_namespace::RULE,
    grace_period::RULE,
    capabilities::RULE,
    wait_for_later_container::RULE,
    probe_of_other_container::RULE,
    classic_known::RULE,
];

/// An exemption that the API server refuses.
pub const INVALID_EXEMPTION: Rule = invalid_exemption::RULE;
/// An exemption whose time is over.
pub const ENDED_EXEMPTION: Rule = ended_exemption::RULE;
/// An invalid suppression.
pub const INVALID_SUPPRESSION: Rule = invalid_suppression::RULE;
/// A suppression that suppresses nothing.
pub const UNUSED_SUPPRESSION: Rule = unused_suppression::RULE;

impl Rule {
    /// Returns a rule that is not checked with a Pod template.
    const fn elsewhere(code: &'static str, title: &'static str, severity: Severity) -> Self {
        Self {
            code,
            title,
            severity,
            check: |_| Vec::new(),
        }
    }

    /// Returns a finding about a field of an object.
    pub(super) fn finding(&self, object: Object, at: &Field<'_>, message: String, help: &str) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            object,
            container: None,
            path: at.path.clone(),
            location: at.location(),
            message,
            help: help.to_owned(),
            edit: None,
        }
    }
}

/// All rules, also those about exemptions and suppressions.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    const OTHER: [Rule; 4] = [
        INVALID_EXEMPTION,
        ENDED_EXEMPTION,
        INVALID_SUPPRESSION,
        UNUSED_SUPPRESSION,
    ];
    RULES.iter().chain(&OTHER)
}

/// Returns the code as a rule spells it.
pub fn code(text: &str) -> Option<&'static str> {
    all().map(|rule| rule.code).find(|code| *code == text)
}

/// A finding without the parts that are the same for all rules.
#[derive(Debug)]
pub(super) struct Draft {
    path: String,
    location: super::yaml::Location,
    container: Option<usize>,
    severity: Option<Severity>,
    message: String,
    help: String,
    suggests_native: bool,
    summary: Option<Summary>,
}

/// Returns one draft in place of several of the same rule. The containers are those of the drafts.
type Summary = fn(&Pod<'_>, &[&Container<'_>]) -> Draft;

/// Replaces several drafts of a rule by their summary, if the rule has one.
pub(super) fn summarized(drafts: Vec<Draft>, pod: &Pod<'_>) -> Vec<Draft> {
    let Some(summary) = drafts
        .first()
        .and_then(|draft| draft.summary)
        .filter(|_| drafts.len() > 1)
    else {
        return drafts;
    };
    let containers: Vec<_> = drafts
        .iter()
        .filter_map(|draft| draft.container_of(pod))
        .collect();
    vec![summary(pod, &containers)]
}

impl Draft {
    /// A finding about a field of a container.
    fn container(
        pod: &Pod<'_>,
        container: &Container<'_>,
        at: &Field<'_>,
        message: String,
        help: &str,
    ) -> Self {
        let index = pod
            .containers
            .iter()
            .position(|other| std::ptr::eq(other, container));
        Self {
            container: index,
            ..Self::pod(at, message, help)
        }
    }

    /// A finding about a field of the Pod.
    fn pod(at: &Field<'_>, message: String, help: &str) -> Self {
        Self {
            path: at.path.clone(),
            location: at.location(),
            container: None,
            severity: None,
            message,
            help: help.to_owned(),
            suggests_native: false,
            summary: None,
        }
    }

    /// Sets a severity other than that of the rule.
    fn with_severity(self, severity: Severity) -> Self {
        Self {
            severity: Some(severity),
            ..self
        }
    }

    /// Suggests to make the container a native sidecar.
    fn suggest_native(self) -> Self {
        Self {
            suggests_native: true,
            ..self
        }
    }

    /// Sets the function that makes one finding of several.
    fn with_summary(self, summary: Summary) -> Self {
        Self {
            summary: Some(summary),
            ..self
        }
    }

    /// The container, unless the finding is about the Pod.
    pub(super) fn container_of<'p, 't>(&self, pod: &'p Pod<'t>) -> Option<&'p Container<'t>> {
        pod.containers.get(self.container?)
    }

    pub(super) fn finish(&self, rule: &Rule, text: &str, pod: &Pod<'_>) -> Finding {
        let container = self.container_of(pod);
        let native = container.filter(|_| self.suggests_native);
        Finding {
            code: rule.code,
            severity: self.severity.unwrap_or(rule.severity),
            object: pod.object.clone(),
            container: container.map(|container| container.name.clone()),
            path: self.path.clone(),
            location: self.location,
            message: self.message.clone(),
            help: self.help.clone(),
            edit: native.and_then(|container| edit::make_native(text, pod, container)),
        }
    }
}
