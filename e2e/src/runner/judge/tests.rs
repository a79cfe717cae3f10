use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

use super::*;
use crate::scenario::Scenario;

const NOTE: &str = "Sidecar 'proxy' (native) is not ready. The Pod is out of its Services.";
const RECOVERY: &str =
    "Sidecar 'proxy' (native) is ready now after 20s (NotReady under SidecarPolicy flaky/quick).";

fn began() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// A scenario `flaky` that expects `NotReady` of `proxy`, and what comes of it.
fn played(then: &str) -> Played {
    let expected = format!(
        "{{check: NotReady, container: proxy, says: [out of its Services], within: 60s, then: {then}}}"
    );
    let story = format!("about: It fails.\nexpect: [{expected}]");
    Played {
        scenario: Scenario {
            name: "flaky".into(),
            story: serde_saphyr::from_str(&story).unwrap(),
            objects: String::new(),
        },
        began: began(),
        stepped: began(),
        until: began(),
        errors: Vec::new(),
    }
}

/// The Event that is expected, with something else in one place.
fn event(reason: &str, note: &str, change: (&str, Value)) -> Event {
    let mut event = json!({
        "metadata": {"name": "flaky.1", "namespace": "flaky"},
        "eventTime": "2026-11-21T10:00:20.000000Z",
        "reason": reason,
        "note": note,
        "regarding": {"namespace": "flaky", "name": "flaky", "fieldPath": "spec.initContainers{proxy}"},
        "related": {"name": "quick"},
        "series": null,
    });
    let (pointer, value) = change;
    if let Some(place) = event.pointer_mut(pointer) {
        *place = value;
    }
    serde_json::from_value(event).unwrap()
}

fn fault(change: (&str, Value)) -> Event {
    event("SidecarContainerNotReady", NOTE, change)
}

fn recovery(change: (&str, Value)) -> Event {
    event("SidecarRecovered", RECOVERY, change)
}

fn none() -> (&'static str, Value) {
    ("/nothing", Value::Null)
}

/// What is wrong, and whether there is anything to wait for.
fn check(then: &str, events: &[Event], errors: &[&str], complete: bool) {
    let played = played(then);
    let found = judge(&played, events);
    assert_eq!(found.len(), errors.len(), "{then}: {found:?}");
    for (found, error) in found.iter().zip(errors) {
        assert!(found.contains(error), "{then}: {found} instead of {error}");
    }
    assert_eq!(is_complete(&played, events), complete, "{then}: {errors:?}");
}

#[test]
fn what_is_expected_is_right() {
    check("Stays", &[fault(none())], &[], true);
    check("Ends", &[fault(none())], &[], true);
    check("Recovers", &[fault(none()), recovery(none())], &[], true);
    let of_another = ("/regarding/namespace", json!("other"));
    check("Stays", &[fault(none()), fault(of_another)], &[], true);
}

#[test]
fn what_is_missing_is_wrong() {
    check("Stays", &[], &["missing: NotReady of proxy under quick"], false);
    check("Recovers", &[fault(none())], &["no recovery"], false);
    let recovered_from_another = event(
        "SidecarRecovered",
        "(Flapping under SidecarPolicy flaky/quick)",
        none(),
    );
    check(
        "Recovers",
        &[fault(none()), recovered_from_another],
        &["no recovery", "a false alarm"],
        false,
    );
}

#[test]
fn what_nobody_expected_is_wrong() {
    check("Stays", &[fault(none()), fault(none())], &["a false alarm"], true);
    check(
        "Stays",
        &[fault(none()), recovery(none())],
        &["a false alarm"],
        true,
    );
    for change in [
        ("/regarding/fieldPath", json!("spec.containers{app}")),
        ("/regarding/name", json!("other")),
        ("/related/name", json!("other")),
        ("/reason", json!("SidecarFlapping")),
    ] {
        check("Stays", &[fault(change)], &["missing", "a false alarm"], false);
    }
}

#[test]
fn what_is_said_twice_in_one_event_is_wrong() {
    let series = json!({"count": 2, "lastObservedTime": "2026-11-21T10:00:30.000000Z"});
    check("Stays", &[fault(("/series", series))], &["said again"], true);
}

#[test]
fn the_wrong_words_and_the_wrong_time_are_wrong() {
    let silent = event("SidecarContainerNotReady", "It fails.", none());
    check(
        "Stays",
        &[silent],
        &["does not say \"out of its Services\""],
        true,
    );
    let late = (began() + SignedDuration::from_secs(61)).to_string();
    check(
        "Stays",
        &[fault(("/eventTime", json!(late)))],
        &["came 1m 1s after"],
        true,
    );
}

#[test]
fn what_fires_in_the_end_is_what_stays() {
    let series = |state: &str, container: &str, namespace: &str| {
        format!(
            "sidewatch_violation{{check=\"NotReady\",container=\"{container}\",mode=\"alert\",namespace=\"{namespace}\",\
             native=\"true\",pod=\"flaky\",policy=\"quick\",severity=\"warning\",state=\"{state}\"}} 1\n"
        )
    };
    let fires = series("firing", "proxy", "flaky");
    let others = series("firing", "proxy", "other") + &series("pending", "app", "flaky");
    assert_eq!(
        firing(&played("Stays"), &format!("{fires}{others}")),
        Vec::<String>::new()
    );
    assert_eq!(firing(&played("Ends"), &others), Vec::<String>::new());
    let missing = firing(&played("Stays"), &others);
    assert!(
        missing.len() == 1 && missing[0].contains("no series"),
        "{missing:?}"
    );
    for then in ["Ends", "Recovers"] {
        let left = firing(&played(then), &fires);
        assert!(left.len() == 1 && left[0].contains("should not"), "{left:?}");
    }
}
