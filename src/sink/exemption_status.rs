//! Converts an [`ExemptionReport`] to the `status` of the API.

use jiff::Timestamp;

use super::status_object::{MAX_LABEL, MAX_NAME, bounded, condition, time};
use crate::{
    api::{self, MAX_HIDDEN, MAX_SHOWN, SidecarExemptionStatus},
    domain::{
        exemption::{ExemptionReport, ExemptionState, HiddenViolation, MAX_EXEMPTIONS_PER_NAMESPACE, Shown},
        summary::ReportCondition,
    },
};

/// Converts a report. A condition whose status is unchanged keeps its `lastTransitionTime`.
pub(super) fn status(
    report: &ExemptionReport,
    observed: Option<&SidecarExemptionStatus>,
    now: Timestamp,
) -> SidecarExemptionStatus {
    let ExemptionReport {
        generation,
        shown: Shown { workload, checks },
        state,
        hides,
        hidden,
        policy: _,
    } = report;
    let before = observed
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    SidecarExemptionStatus {
        observed_generation: Some(*generation),
        conditions: vec![condition(&active(state), *generation, before, now)],
        workload: bounded(workload, MAX_SHOWN),
        checks: bounded(checks, MAX_SHOWN),
        hides: *hides,
        hidden: hidden.iter().take(MAX_HIDDEN).map(violation).collect(),
    }
}

/// Returns the condition that says whether the exemption has an effect.
fn active(state: &ExemptionState) -> ReportCondition {
    let (status, reason, message) = match state {
        ExemptionState::Active(until) => (
            true,
            "Active",
            format!("It hides the violations that it covers until {}", time(*until).0),
        ),
        ExemptionState::Ended(until) => (
            false,
            "Ended",
            format!("Its time is over since {}", time(*until).0),
        ),
        ExemptionState::OverLimit => (
            false,
            "OverLimit",
            format!(
                "The namespace has more than {MAX_EXEMPTIONS_PER_NAMESPACE} SidecarExemptions, and only the oldest have \
                 an effect: delete those that have ended"
            ),
        ),
        ExemptionState::Invalid(error) => (false, "Invalid", format!("{error}. Nothing is hidden.")),
    };
    ReportCondition {
        kind: "Active",
        status: Some(status),
        reason,
        message,
    }
}

fn violation(hidden: &HiddenViolation) -> api::HiddenViolation {
    let HiddenViolation {
        pod,
        container,
        check,
        policy,
        since,
    } = hidden;
    api::HiddenViolation {
        pod: bounded(pod, MAX_NAME),
        container: bounded(container, MAX_LABEL),
        check: (*check).into(),
        policy_kind: policy.kind.as_str().to_owned(),
        policy: bounded(&policy.name, MAX_NAME),
        since: time(*since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            policy::{Check, InvalidSpec, PolicyKey, PolicyKind},
            testing::at,
        },
        sink::StatusContent,
    };

    fn report(state: ExemptionState, hides: u32) -> ExemptionReport {
        let hidden = HiddenViolation {
            pod: "web-1".into(),
            container: "envoy".into(),
            check: Check::NotReady,
            policy: PolicyKey {
                kind: PolicyKind::SidecarPolicy,
                namespace: "pay".into(),
                name: "mesh".into(),
            },
            since: at(10),
        };
        ExemptionReport {
            generation: 3,
            shown: Shown {
                workload: "Deployment/web".into(),
                checks: "all".into(),
            },
            state,
            hides,
            hidden: vec![hidden; hides as usize],
            policy: None,
        }
    }

    #[test]
    fn each_state_has_a_reason() {
        let table = [
            (ExemptionState::Active(at(9)), "True", "Active"),
            (ExemptionState::Ended(at(9)), "False", "Ended"),
            (ExemptionState::OverLimit, "False", "OverLimit"),
            (
                ExemptionState::Invalid(InvalidSpec::Undecodable("no".to_owned())),
                "False",
                "Invalid",
            ),
        ];
        for (state, is, reason) in table {
            let status = status(&report(state, 0), None, at(20));
            let condition = &status.conditions[0];
            assert_eq!(
                (&*condition.type_, &*condition.status, &*condition.reason),
                ("Active", is, reason)
            );
            assert_eq!(condition.observed_generation, Some(3));
        }
    }

    #[test]
    fn a_status_is_bounded_and_written_only_if_it_differs() {
        let many = report(ExemptionState::Active(at(900)), 12);
        let first = status(&many, None, at(20));
        assert_eq!((first.hides, first.hidden.len()), (12, MAX_HIDDEN));
        let again = status(&many, Some(&first), at(30));
        assert!(again.is_current(Some(&first)), "the time of the transition stays");
        let ended = status(&report(ExemptionState::Ended(at(900)), 0), Some(&first), at(900));
        assert!(!ended.is_current(Some(&first)));
        assert_ne!(
            ended.conditions[0].last_transition_time,
            first.conditions[0].last_transition_time
        );
    }
}
