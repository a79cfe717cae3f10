//! Flapping: a sidecar goes from ready to unready again and again within the same run, so that no restart explains it.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Rule, View};
use crate::domain::{policy::Check, roles::Role, time::Human};

pub(super) struct Flapping;

impl Rule for Flapping {
    fn check(&self) -> Check {
        Check::Flapping
    }

    fn reason(&self) -> &'static str {
        "SidecarFlapping"
    }

    fn hold_for(&self, _: &View<'_>, _: usize) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        let settings = view.policy.settings(Check::Flapping);
        for container in view.roles.with(Role::Sidecar) {
            let history = view.history(container);
            if let Some(until) =
                history.and_then(|p| p.flapped_often(settings.count, settings.window, view.now))
            {
                found.push(Fault {
                    container,
                    since: None,
                    until: Some(until),
                    instant: false,
                });
            }
        }
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        let settings = case.view.policy.settings(Check::Flapping);
        let window = Human(settings.window);
        format!(
            "ready to unready at least {} times within {window} without a restart",
            settings.count
        )
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let settings = case.view.policy.settings(Check::Flapping);
        let flaps = case
            .view
            .history(case.at)
            .map_or(0, |history| history.flaps_within(settings.window, case.view.now));
        format!(
            "{} went from ready to unready {flaps} times within {} without a restart (limit {}, {}). \
             Each time the Pod leaves its Services.",
            case.subject(),
            Human(settings.window),
            settings.count,
            case.policy,
        )
    }

    fn recovered(&self, case: &MessageContext<'_>) -> String {
        let window = Human(case.view.policy.settings(Check::Flapping).window);
        format!("changes its readiness less often than the limit within {window} again")
    }

    fn episode(&self, case: &MessageContext<'_>) -> String {
        case.containers_ready_since()
    }
}
