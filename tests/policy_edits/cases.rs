//! The values to try for each field.

use serde_json::{Value, json};
use testkit::policies::CHECKS;

use crate::{expected, fields};

/// The values of one field.
pub(crate) struct Case {
    /// The path of the field below `spec`.
    pub(crate) field: String,
    /// The spec before the edit, with what the field requires.
    pub(crate) before: Value,
    /// Values with an effect.
    pub(crate) valid: Vec<Value>,
    /// Values at the bounds of the schema.
    pub(crate) boundary: Vec<Value>,
    /// Values that cannot be evaluated.
    pub(crate) invalid: Vec<Value>,
    /// Values that only the API server refuses. If one is stored, it has no effect on other policies.
    pub(crate) refused: Vec<Value>,
    /// Whether every value of another type is invalid.
    pub(crate) is_typed: bool,
}

impl Case {
    /// The value before the edit, if it is explicit.
    pub(crate) fn value_before(&self) -> Option<&Value> {
        fields::get(&self.before, &self.field)
    }

    pub(crate) fn before(mut self, before: Value) -> Self {
        self.before = before;
        self
    }

    /// Marks a field that takes objects with any fields.
    fn untyped(mut self) -> Self {
        self.is_typed = false;
        self
    }
}

pub(crate) fn case<const V: usize, const B: usize, const I: usize, const H: usize>(
    field: impl Into<String>,
    valid: [Value; V],
    boundary: [Value; B],
    invalid: [Value; I],
    refused: [Value; H],
) -> Case {
    Case {
        field: field.into(),
        before: json!({}),
        valid: valid.into(),
        boundary: boundary.into(),
        invalid: invalid.into(),
        refused: refused.into(),
        is_typed: true,
    }
}

pub(crate) fn choice<const V: usize>(field: impl Into<String>, valid: [&str; V]) -> Case {
    let invalid = [json!("Nonsense"), json!("")];
    case(field, valid.map(Value::from), [], invalid, [])
}

fn duration(field: &str, valid: &str, (min, max): (&str, &str), outside: &str) -> Case {
    let invalid = [outside, "25h", "", "5", "-5m", "1.5h", "5 m", "5d", "100000s"].map(Value::from);
    case(field, [json!(valid)], [json!(min), json!(max)], invalid, [])
}

/// A duration for which a fault must be present, or absent.
pub(crate) fn hold(field: &str, valid: &str) -> Case {
    duration(field, valid, ("0s", "24h"), "24h1ms")
}

fn window(field: &str, valid: &str) -> Case {
    duration(field, valid, ("10s", "24h"), "9s")
}

fn count(field: &str, valid: u32) -> Case {
    let invalid = [
        json!(0),
        json!(1001),
        json!(-1),
        json!(4_294_967_296_u64),
        json!("3"),
    ];
    case(field, [json!(valid)], [json!(1), json!(1000)], invalid, [])
}

fn names(field: &str, valid: Value) -> Case {
    let many: Vec<_> = (0..64).map(|n| format!("name-{n}")).collect();
    let refused = [json!(["Not a name"]), json!([""]), json!(["x".repeat(1000)])];
    case(
        field,
        [valid],
        [json!([]), json!(many)],
        [json!(["a", 1])],
        refused,
    )
}

fn pattern(field: &str, valid: &str) -> Case {
    let costly = "((a{99}){99}){99}";
    let invalid = ["(", "a)|(b", "*", r"\p{Greek}", costly, &"(".repeat(512)].map(Value::from);
    case(
        field,
        [json!(valid)],
        [json!("a".repeat(512)), json!("")],
        invalid,
        [],
    )
}

/// The cases of a selector. One of the two labels excludes Pods with faults.
#[rustfmt::skip]
fn selector(root: &str, labels: [(&str, &str); 2]) -> [Case; 4] {
    let [(label, value), (other_label, other)] = labels;
    let match_labels = format!("{root}.matchLabels");
    let [key, operator, values] =
        ["key", "operator", "values"].map(|name| format!("{root}.matchExpressions[].{name}"));
    let requirement = |requirement: Value| {
        let mut spec = json!({});
        fields::set(
            &mut spec,
            &format!("{root}.matchExpressions"),
            Some(json!([requirement])),
        );
        spec
    };
    let among = |values: Value| requirement(json!({"key": label, "operator": "In", "values": values}));
    let many: serde_json::Map<_, _> = (0..64).map(|n| (format!("k{n}"), json!("v"))).collect();
    let many_values: Vec<_> = (0..64).map(|n| format!("v{n}")).collect();
    let exists = requirement(json!({"key": label, "operator": "Exists"}));
    [
        case(match_labels, [json!({label: other})], [json!({}), json!(many), json!({label: value})],
            [json!({label: 1}), json!([label]), json!(1.5), json!(true)], [json!({"not a key!": "v"}), json!({"": ""})])
        .untyped(),
        case(key, [json!(other_label)], [json!("k".repeat(317))], [json!(1), json!([label]), json!(null)],
            [json!("not a key!"), json!("")])
        .before(among(json!([value]))),
        Case {
            // Some operators require values, the others forbid them.
            valid: vec![json!("DoesNotExist")],
            invalid: ["In", "NotIn", "Nonsense", ""].map(Value::from).into(),
            ..case(operator, [], [], [], [])
        }
        .before(exists),
        case(values, [json!([other])], [json!(many_values), json!([value])], [json!([]), json!(value), json!([1])],
            [json!(["not a value!"]), json!(["v".repeat(1000)])])
        .before(among(json!([value, "both"]))),
    ]
}

/// The cases of all fields.
pub(crate) fn cases() -> Vec<Case> {
    #[rustfmt::skip]
    let mut cases = vec![
        choice("mode", ["Observe", "Off"]),
        choice("sidecars.native", ["Exclude"]),
        choice("sidecars.wellKnown", ["Exclude"]),
        names("sidecars.names", json!(["tool"])),
        pattern("sidecars.namePattern", "to+l"),
        case("sidecars.images", [json!(["*/acme/tool"])],
            [json!([]), json!((0..64).map(|n| format!("a/{n}*")).collect::<Vec<_>>()), json!(["*".repeat(512)])],
            [json!(["a", 1])], [json!(["has a blank"]), json!(["acme/tool:1.0"])]),
        names("sidecars.exclude.names", json!(["envoy"])),
        pattern("sidecars.exclude.namePattern", "env.y"),
        names("mainContainers.names", json!(["second"])),
        choice("events.onRecovery", ["Disabled"]),
        duration("events.repeatPeriod", "20m", ("15m", "24h"), "14m59s"),
        case("runbookURL", [json!("https://example.com/sidecars")],
            [json!(format!("https://example.com/{}", "a".repeat(492)))], [],
            [json!("not a URL"), json!("ftp://example.com"), json!("x".repeat(5000))]),
        case("exemptions.maxDuration", [json!("30m")], [json!("1m"), json!("8760h")],
            ["59s", "8760h1ms", "", "5", "-5m", "1.5h", "7d"].map(Value::from), []),
        hold("checks.notReady.for", "10m"),
        hold("checks.notReady.keepFiringFor", "5m"),
        hold("checks.mainReadySidecarNotReady.for", "10m"),
        hold("checks.mainReadySidecarNotReady.keepFiringFor", "5m"),
        count("checks.frequentRestarts.count", 7),
        window("checks.frequentRestarts.window", "20s"),
        count("checks.frequentRestarts.slow.count", 1),
        window("checks.frequentRestarts.slow.window", "20s")
            .before(json!({"checks": {"frequentRestarts": {"slow": {"count": 1}}}})),
        hold("checks.frequentRestarts.keepFiringFor", "1m"),
        choice("checks.frequentRestarts.scope", ["AllContainers"]),
        hold("checks.startupBlocked.for", "20m"),
        hold("checks.startupBlocked.initContainersFor", "1m"),
        hold("checks.startupBlocked.keepFiringFor", "5m"),
        hold("checks.jobHeldOpen.for", "20m"),
        hold("checks.jobHeldOpen.keepFiringFor", "5m"),
        hold("checks.oomKilled.keepFiringFor", "1m"),
        count("checks.flapping.count", 5),
        window("checks.flapping.window", "3h"),
        hold("checks.flapping.keepFiringFor", "1h"),
    ];
    for check in &CHECKS[..7] {
        cases.push(choice(format!("checks.{check}.mode"), ["Observe", "Off"]));
        cases.push(choice(format!("checks.{check}.severity"), ["Info", "Critical"]));
    }
    cases.extend(expected::cases());
    cases.extend(selector("podSelector", [("app", "web"), ("tier", "db")]));
    cases.extend(selector("namespaceSelector", [("team", "pay"), ("zone", "shop")]));
    let allowed = selector(
        "exemptions.namespaceSelector",
        [("team", "shop"), ("zone", "pay")],
    );
    cases.extend(allowed.map(|mut case| {
        fields::set(&mut case.before, "exemptions.maxDuration", Some(json!("2h")));
        case
    }));
    cases
}
