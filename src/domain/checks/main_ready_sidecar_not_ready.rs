//! MainReadySidecarNotReady: as NotReady, and a main container is ready beside the unready sidecar. The subject is the
//! sidecar, which is what somebody has to repair; the mains stand in the detail.

use super::{Fault, MessageContext, Rule, View, messages::name_list, not_ready::readiness_recovered};
use crate::domain::policy::Check;

pub(super) struct MainReadySidecarNotReady;

impl Rule for MainReadySidecarNotReady {
    fn check(&self) -> Check {
        Check::MainReadySidecarNotReady
    }

    fn reason(&self) -> &'static str {
        "MainContainerReadyButSidecarNot"
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        let main_ready = view.ready_mains().next().is_some();
        let ready_since = view
            .ready_mains()
            .filter_map(|(_, status)| status.running_since())
            .min();
        found.extend(
            view.missed_sidecars()
                .filter(|_| main_ready)
                .map(|container| Fault {
                    container,
                    since: view.unready_since(container).max(ready_since),
                    until: None,
                    instant: false,
                }),
        );
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        format!("{}; ready: {}", case.cause(), mains(case))
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let plural = case.view.ready_mains().count() > 1;
        let (containers, are) = if plural {
            ("containers", "are")
        } else {
            ("container", "is")
        };
        let since = case.since(self.hold_for(case.view, case.at));
        format!(
            "Main {containers} {} {are} ready but {} is not, {since}: {}. The Pod is out of its Services.",
            mains(case),
            case.subject_inside(),
            case.cause()
        )
    }

    fn recovered(&self, case: &MessageContext<'_>) -> String {
        readiness_recovered(case)
    }

    fn episode(&self, case: &MessageContext<'_>) -> String {
        case.containers_ready_since()
    }
}

fn mains(case: &MessageContext<'_>) -> String {
    name_list(case.view.ready_mains().map(|(container, _)| &*container.name))
}
