//! Refused specs: the limits of checks and Events.

use super::{Invalid, at};
use serde_json::json;
use testkit::policies::CHECKS;

#[rustfmt::skip]
pub(super) fn checks() -> Vec<Invalid> {
    let count = "checks.frequentRestarts.count";
    let mut rows = vec![
        at("checks.frequentRestarts.scope", "nobody's restarts", json!("Mains"), "",
            &["supported values: \"Sidecars\", \"AllContainers\""]),
        at(count, "a number in words", json!("3"), "", &["must be of type integer"]),
        at(count, "less than none", json!(-1), "", &["should be greater than or equal to 1"]),
    ];
    for check in CHECKS {
        rows.push(at(&format!("checks.{check}.mode"), "an unknown mode", json!("Silent"), "",
            &["supported values: \"Alert\", \"Observe\", \"Off\""]));
        rows.push(at(&format!("checks.{check}.severity"), "severities are CamelCase", json!("critical"), "",
            &["supported values: \"Info\", \"Warning\", \"Critical\""]));
    }
    for count in [count, "checks.frequentRestarts.slow.count", "checks.flapping.count"] {
        rows.push(at(count, "none", json!(0), "", &["should be greater than or equal to 1"]));
        rows.push(at(count, "more than 1000", json!(1001), "", &["should be less than or equal to 1000"]));
    }
    rows
}

/// Every duration of a spec: its path below `spec`, its bounds, and what lies just outside of them.
#[rustfmt::skip]
pub const DURATIONS: [(&str, &str, &str, &[&str]); 17] = [
    ("checks.notReady.for", "0s", "24h", &["24h1ms"]),
    ("checks.notReady.keepFiringFor", "0s", "24h", &["24h1s"]),
    ("checks.mainReadySidecarNotReady.for", "0s", "24h", &["25h"]),
    ("checks.mainReadySidecarNotReady.keepFiringFor", "0s", "24h", &["1441m"]),
    ("checks.frequentRestarts.window", "10s", "24h", &["24h1ms", "9s999ms", "0s"]),
    ("checks.frequentRestarts.slow.window", "10s", "24h", &["24h1ms", "9s999ms"]),
    ("checks.frequentRestarts.keepFiringFor", "0s", "24h", &["86401s"]),
    ("checks.startupBlocked.for", "0s", "24h", &["24h1ms"]),
    ("checks.startupBlocked.initContainersFor", "0s", "24h", &["48h"]),
    ("checks.startupBlocked.keepFiringFor", "0s", "24h", &["24h1m"]),
    ("checks.jobHeldOpen.for", "0s", "24h", &["24h1ms"]),
    ("checks.jobHeldOpen.keepFiringFor", "0s", "24h", &["99999h99999h99999h99999h"]),
    ("checks.oomKilled.keepFiringFor", "0s", "24h", &["24h1ms"]),
    ("checks.flapping.window", "10s", "24h", &["24h1ms", "9999ms"]),
    ("checks.flapping.keepFiringFor", "0s", "24h", &["24h1ms"]),
    ("checks.versionDrift.for", "0s", "720h", &["720h1ms"]),
    ("events.repeatPeriod", "15m", "24h", &["24h1ms", "14m59s", "0s"]),
];

/// Texts that are no durations, and why.
const NO_DURATIONS: [(&str, &str); 9] = [
    ("", "empty"),
    ("5", "no unit"),
    ("five minutes", "words"),
    ("-5m", "a sign"),
    ("1.5h", "a fraction"),
    ("5 m", "a space"),
    ("1d", "days"),
    ("100000s", "six digits"),
    ("1h1m1s1ms1h", "five parts"),
];

pub(super) fn durations() -> Vec<Invalid> {
    let mut rows = Vec::new();
    for (path, min, max, outside) in DURATIONS {
        let field = path.strip_prefix("checks.").unwrap_or(path);
        let says = format!("{field} must be a duration between {min} and {max}, such as ");
        rows.extend(
            outside
                .iter()
                .map(|text| at(path, "out of bounds", json!(text), "", &[&says])),
        );
        rows.push(at(path, "no duration", json!("soon"), "", &[&says]));
        rows.push(at(
            path,
            "a long text",
            json!("1s".repeat(15)),
            "",
            &["may not be more than 28"],
        ));
    }
    let path = "checks.notReady.for";
    let says = "notReady.for must be a duration between 0s and 24h, such as 5m";
    rows.extend(NO_DURATIONS.map(|(text, why)| at(path, why, json!(text), "", &[says])));
    rows.push(at(path, "a number", json!(300), "", &["must be of type string"]));
    rows
}
