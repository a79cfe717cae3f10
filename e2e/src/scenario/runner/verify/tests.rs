use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};

use super::*;
use crate::scenario::Scenario;

const NOTE: &str = "Sidecar 'proxy' (native) is not ready. The Pod is removed from its Services' endpoints.";
const RECOVERY: &str =
    "Sidecar 'proxy' (native) is ready now after 20s (NotReady under SidecarPolicy flaky/quick).";

fn started() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// A run of a scenario `flaky` that expects `NotReady` of `proxy`.
fn run(then: &str) -> ScenarioRun {
    let expected = format!(
        "{{check: NotReady, reason: SidecarContainerNotReady, container: proxy, note: [removed from its Services], \
         within: 60s, then: {then}}}"
    );
    let spec = format!("about: It fails.\nexpect: [{expected}]");
    ScenarioRun {
        scenario: Scenario {
            name: "flaky".into(),
            spec: serde_saphyr::from_str(&spec).unwrap(),
            objects: String::new(),
        },
        started: started(),
        stepped: started(),
        ended: started(),
        errors: Vec::new(),
    }
}

/// The expected Event with one field replaced.
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
    if let Some(field) = event.pointer_mut(pointer) {
        *field = value;
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

/// Asserts the errors, and whether all expected Events have arrived.
fn check(then: &str, events: &[Event], errors: &[&str], complete: bool) {
    let run = run(then);
    let found = super::events(&run, events);
    assert_eq!(found.len(), errors.len(), "{then}: {found:?}");
    for (found, error) in found.iter().zip(errors) {
        assert!(found.contains(error), "{then}: {found} instead of {error}");
    }
    assert_eq!(is_complete(&run, events), complete, "{then}: {errors:?}");
}

#[test]
fn expected_events_are_no_errors() {
    check("Stays", &[fault(none())], &[], true);
    check("Ends", &[fault(none())], &[], true);
    check("Recovers", &[fault(none()), recovery(none())], &[], true);
    let of_other_namespace = ("/regarding/namespace", json!("other"));
    check("Stays", &[fault(none()), fault(of_other_namespace)], &[], true);
}

#[test]
fn two_checks_that_report_one_fault_have_one_recovery() {
    let expected = |check: &str, reason: &str| {
        format!("{{check: {check}, reason: {reason}, container: proxy, note: [it], then: Recovers}}")
    };
    let spec = format!(
        "about: It fails.\nexpect: [{}, {}]",
        expected("MainReadySidecarNotReady", "MainContainerReadyButSidecarNot"),
        expected("NotReady", "SidecarContainerNotReady")
    );
    let mut run = run("Recovers");
    run.scenario.spec = serde_saphyr::from_str(&spec).unwrap();
    let fired = ["MainContainerReadyButSidecarNot", "SidecarContainerNotReady"];
    let mut events: Vec<_> = fired.map(|reason| event(reason, "it", none())).into();
    assert!(!is_complete(&run, &events), "no recovery");
    events.push(recovery(none()));
    assert!(is_complete(&run, &events));
    assert_eq!(super::events(&run, &events), Vec::<String>::new());
    events.push(event(
        "SidecarRecovered",
        "(MainReadySidecarNotReady under SidecarPolicy flaky/quick)",
        none(),
    ));
    let errors = super::events(&run, &events);
    assert!(
        errors.len() == 1 && errors[0].contains("false positive"),
        "{errors:?}"
    );
}

#[test]
fn a_violation_of_an_image_is_about_the_policy() {
    let expected = "{check: VersionDrift, reason: SidecarVersionDrift, image: reg.io/proxy, policy: p, note: [versions]}";
    let mut run = run("Stays");
    run.scenario.spec = serde_saphyr::from_str(&format!("about: Two.\nexpect: [{expected}]")).unwrap();
    let found = |kind: &str, name: &str, image: &str| {
        let regarding = json!({"namespace": "flaky", "kind": kind, "name": name});
        let note = format!("The sidecar image '{image}' runs in 2 versions");
        let mut found = event("SidecarVersionDrift", &note, ("/regarding", regarding));
        if let Some(related) = &mut found.related {
            related.name = Some("p".to_owned());
        }
        super::events(&run, &[found]).len()
    };
    assert_eq!(found("SidecarPolicy", "p", "reg.io/proxy"), 0);
    assert_eq!(found("Pod", "p", "reg.io/proxy"), 2);
    assert_eq!(found("SidecarPolicy", "q", "reg.io/proxy"), 2);
    assert_eq!(found("SidecarPolicy", "p", "reg.io/other"), 2);
    let series = |image: &str| {
        let metrics = format!(
            "sidewatch_violation{{check=\"VersionDrift\",container=\"{image}\",namespace=\"flaky\",pod=\"\",policy=\"p\",\
             state=\"firing\",workload=\"\",workload_kind=\"\"}} 1\n"
        );
        super::violations(&run, &metrics).unwrap().len()
    };
    assert_eq!(series("reg.io/proxy"), 0);
    assert_eq!(series("reg.io/other"), 2);
}

#[test]
fn a_violation_of_a_workload_has_no_pod() {
    let expected = "{check: SidecarMissing, reason: SidecarMissing, container: proxy, note: [lack], \
                    workload: {kind: Deployment, name: web}}";
    let mut run = run("Stays");
    run.scenario.spec = serde_saphyr::from_str(&format!("about: It lacks.\nexpect: [{expected}]")).unwrap();
    let found = |kind: &str, name: &str, path: Option<&str>| {
        let regarding = json!({"namespace": "flaky", "kind": kind, "name": name, "fieldPath": path});
        let note = "2 of 2 Pods of Deployment/web lack the sidecar 'proxy'";
        super::events(&run, &[event("SidecarMissing", note, ("/regarding", regarding))]).len()
    };
    assert_eq!(found("Deployment", "web", None), 0);
    assert_eq!(found("StatefulSet", "web", None), 2);
    assert_eq!(found("Deployment", "web-2", None), 2);
    assert_eq!(found("Deployment", "web", Some("spec.initContainers{proxy}")), 2);

    let differences = |pod: &str, workload: &str| {
        let series = format!(
            "sidewatch_violation{{check=\"SidecarMissing\",container=\"proxy\",namespace=\"flaky\",pod=\"{pod}\",\
             policy=\"quick\",state=\"firing\",workload=\"{workload}\",workload_kind=\"Deployment\"}} 1\n"
        );
        violations(&run, &series).unwrap().len()
    };
    assert_eq!(differences("", "web"), 0);
    assert_eq!(differences("web-1", "web"), 2);
    assert_eq!(differences("", "other"), 2);
}

#[test]
fn other_metrics_have_the_expected_values() {
    let mut run = run("Stays");
    let spec = "about: It starts.\nmetrics: [{name: starts_total, labels: {container: proxy}, value: 2}]";
    run.scenario.spec = serde_saphyr::from_str(spec).unwrap();
    let differences = |text: &str| metrics(&run, text).unwrap().len();
    assert_eq!(differences("starts_total{container=\"proxy\"} 2\n"), 0);
    let of_two =
        "starts_total{container=\"proxy\",until=\"a\"} 1\nstarts_total{container=\"proxy\",until=\"b\"} 1\n";
    assert_eq!(differences(of_two), 0);
    assert_eq!(differences("starts_total{container=\"proxy\"} 1\n"), 1);
    assert_eq!(differences("starts_total{container=\"app\"} 2\n"), 1);
}

#[test]
fn missing_events_are_errors() {
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
        &["no recovery", "false positive"],
        false,
    );
}

#[test]
fn unexpected_events_are_errors() {
    check(
        "Stays",
        &[fault(none()), fault(none())],
        &["false positive"],
        true,
    );
    check(
        "Stays",
        &[fault(none()), recovery(none())],
        &["false positive"],
        true,
    );
    for change in [
        ("/regarding/fieldPath", json!("spec.containers{app}")),
        ("/regarding/name", json!("other")),
        ("/related/name", json!("other")),
        ("/reason", json!("SidecarFlapping")),
    ] {
        check("Stays", &[fault(change)], &["missing", "false positive"], false);
    }
}

#[test]
fn repeated_events_are_errors() {
    let series = json!({"count": 2, "lastObservedTime": "2026-11-21T10:00:30.000000Z"});
    check("Stays", &[fault(("/series", series))], &["repeated"], true);
}

#[test]
fn wrong_notes_and_late_events_are_errors() {
    let silent = event("SidecarContainerNotReady", "It fails.", none());
    check("Stays", &[silent], &["lacks \"removed from its Services\""], true);
    let late = (started() + SignedDuration::from_secs(61)).to_string();
    check(
        "Stays",
        &[fault(("/eventTime", json!(late)))],
        &["came 1m 1s after"],
        true,
    );
}

#[test]
fn only_violations_that_stay_may_fire_at_the_end() {
    let series = |state: &str, container: &str, namespace: &str| {
        format!(
            "sidewatch_violation{{check=\"NotReady\",container=\"{container}\",mode=\"alert\",namespace=\"{namespace}\",\
             native=\"true\",pod=\"flaky\",policy=\"quick\",severity=\"warning\",state=\"{state}\"}} 1\n"
        )
    };
    let fires = series("firing", "proxy", "flaky");
    let others = series("firing", "proxy", "other") + &series("pending", "app", "flaky");
    assert_eq!(
        violations(&run("Stays"), &format!("{fires}{others}")).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(violations(&run("Ends"), &others).unwrap(), Vec::<String>::new());
    let missing = violations(&run("Stays"), &others).unwrap();
    assert!(
        missing.len() == 1 && missing[0].contains("no series"),
        "{missing:?}"
    );
    for then in ["Ends", "Recovers"] {
        let left = violations(&run(then), &fires).unwrap();
        assert!(left.len() == 1 && left[0].contains("unexpectedly"), "{left:?}");
    }
}
