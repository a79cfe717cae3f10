//! NotReady: the Pod is initialized, its app is still there, and a sidecar is unready.

use super::{Fault, MessageContext, Rule, View};
use crate::domain::policy::Check;

pub(super) struct NotReady;

impl Rule for NotReady {
    fn check(&self) -> Check {
        Check::NotReady
    }

    fn reason(&self) -> &'static str {
        "SidecarContainerNotReady"
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        found.extend(view.missed_sidecars().map(|container| Fault {
            container,
            since: view.unready_since(container),
            until: None,
            instant: false,
        }));
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        case.cause()
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let since = case.since(self.hold_for(case.view, case.at));
        format!(
            "{} is not ready {since}: {}. The Pod is out of its Services.",
            case.subject(),
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

/// What ended a time of not being ready: readiness, or that nobody needs it any more.
pub(super) fn readiness_recovered(case: &MessageContext<'_>) -> String {
    let is_ready = case
        .view
        .container(case.at)
        .is_some_and(|(_, status)| status.ready);
    let words = match () {
        () if is_ready => "is ready again",
        () if case.view.mains_finished() => "is no longer needed, every main container has finished,",
        () if case.view.is_finished(case.at) => "has finished",
        () if !case.view.pod.conditions.initialized => "is starting over with its Pod",
        () => "no longer fails beside a main container",
    };
    words.to_owned()
}
