//! Read access to the violations that exemptions hide.

use jiff::{SignedDuration, Timestamp};

use super::Exemptions;
use crate::domain::{exemption::ExemptionKey, index::Index, tracker::Tracked, violation::Violation};

/// The exemption that hides a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HidingExemption<'a> {
    /// The exemption.
    pub key: &'a ExemptionKey,
    /// The time until which it hides the violation.
    pub until: Timestamp,
    /// Why the violation is hidden, in the words of the author.
    pub reason: &'a str,
}

impl Exemptions {
    /// The exemption that hides a violation, if there is one. Its policy allows exemptions for `exempt_for` after their
    /// creation.
    pub(in crate::domain::index) fn hiding(
        &self,
        violation: &Tracked,
        exempt_for: Option<SignedDuration>,
    ) -> Option<HidingExemption<'_>> {
        let entry = self.entries.get(&violation.exempt?)?;
        let spec = entry.spec.as_ref()?;
        Some(HidingExemption {
            key: &entry.key,
            until: entry.end(spec, exempt_for?),
            reason: &spec.reason,
        })
    }
}

impl Index {
    /// The violations that exemptions hide, pending and firing. [`Self::violations`] does not contain them.
    pub fn hidden_violations(&self) -> impl Iterator<Item = Violation> {
        self.pods.values().flat_map(move |pod| {
            pod.matches.iter().flat_map(move |matched| {
                let id = matched.version.policy;
                let entry = self.policies.get(&id);
                let hidden = pod.tracked(id).iter().filter(|violation| violation.is_exempt());
                hidden.filter_map(move |violation| {
                    entry?.violation(&pod.observation, &matched.version.spec, violation)
                })
            })
        })
    }
}
