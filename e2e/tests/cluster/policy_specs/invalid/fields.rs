//! Refused specs: their shape, and the fields that are no limits and no selectors.

use super::{Invalid, Kinds, at, body, numbered};
use serde_json::{Value, json};

const NAME: &str = "a container name has at most 63 lower-case letters, digits and '-'";
const GLOB: &str =
    "an image glob is an image's repository, such as */istio/proxyv2, in which * is the only wildcard";
const TAG: &str = "an image glob has no tag or digest: write envoyproxy/envoy for";
const CLASS: &str = "must not contain &&, --, ~~ or [ inside a character class: write each character once";
const URL: &str = "runbookURL must be an http or https URL, such as https://";
const MODES: &str = "supported values: \"Alert\", \"Observe\", \"Off\"";
const INCLUSIONS: &str = "supported values: \"Include\", \"Exclude\"";
const SWITCHES: &str = "supported values: \"Enabled\", \"Disabled\"";

#[rustfmt::skip]
pub(super) fn whole_objects() -> Vec<Invalid> {
    let unknown = |why: &str, object: Value, field: &str| body(why, object, "", &[&*format!("unknown field {field:?}")]);
    vec![
        body("a list for a spec", json!({"spec": []}), "spec", &["must be of type object"]),
        unknown("a field beside spec", json!({"spec": {}, "sepc": {}}), "sepc"),
        unknown("a field of the other kind", json!({"spec": {"namespaceSelector": {}}}), "spec.namespaceSelector")
            .of(Kinds::Namespaced),
        unknown("a misspelt field", json!({"spec": {"runbookUrl": ""}}), "spec.runbookUrl"),
        unknown("a misspelt check", json!({"spec": {"checks": {"notready": {}}}}), "spec.checks.notready"),
        unknown("a limit that the check does not have", json!({"spec": {"checks": {"oomKilled": {"for": "5m"}}}}),
            "spec.checks.oomKilled.for"),
        unknown("a rule that exclude does not have", json!({"spec": {"sidecars": {"exclude": {"images": []}}}}),
            "spec.sidecars.exclude.images"),
        unknown("a rule that main containers do not have", json!({"spec": {"mainContainers": {"namePattern": "a"}}}),
            "spec.mainContainers.namePattern"),
        unknown("a selector's misspelt field", json!({"spec": {"podSelector": {"labels": {}}}}),
            "spec.podSelector.labels"),
    ]
}

#[rustfmt::skip]
pub(super) fn plain() -> Vec<Invalid> {
    let mains = "mainContainers.names";
    let recovery = "events.onRecovery";
    vec![
        at("mode", "an unknown mode", json!("Loud"), "", &[MODES]),
        at("mode", "modes are CamelCase", json!("alert"), "", &[MODES]),
        at("mode", "an empty mode", json!(""), "", &[MODES]),
        at(mains, "a name with a space", json!(["My App"]), "[0]", &[NAME]),
        at(mains, "a name twice", json!(["app", "app"]), "[1]", &["Duplicate value: \"app\""]),
        at(mains, "a long name", json!(["a".repeat(64)]), "[0]", &["may not be more than 63"]),
        at(mains, "too many names", numbered(65), "", &["must have at most 64 items"]),
        at(mains, "a number for a list", json!(3), "", &["must be of type array"]),
        at(recovery, "an unknown switch", json!("Always"), "", &[SWITCHES]),
        at(recovery, "a boolean in words", json!("true"), "", &[SWITCHES]),
        at("runbookURL", "a path", json!("/runbooks"), "", &[URL]),
        at("runbookURL", "no scheme", json!("example.com/runbook"), "", &[URL]),
        at("runbookURL", "another scheme", json!("ftp://example.com"), "", &[URL]),
        at("runbookURL", "a script", json!("javascript:alert(1)"), "", &[URL]),
        at("runbookURL", "no host", json!("https:///runbook"), "", &[URL]),
        at("runbookURL", "a line break", json!("https://example.com/\na"), "", &[URL]),
        at("runbookURL", "a long URL", json!(format!("https://example.com/{}", "a".repeat(493))), "",
            &["may not be more than 512"]),
    ]
}

#[rustfmt::skip]
pub(super) fn sidecars() -> Vec<Invalid> {
    let names = "sidecars.names";
    let pattern = "sidecars.namePattern";
    let images = "sidecars.images";
    let excluded = "sidecars.exclude.names";
    let excluded_pattern = "sidecars.exclude.namePattern";
    vec![
        at("sidecars.native", "an unknown inclusion", json!("Ignore"), "", &[INCLUSIONS]),
        at("sidecars.wellKnown", "an unknown inclusion", json!("None"), "", &[INCLUSIONS]),
        at(names, "a name in upper case", json!(["ok", "Envoy"]), "[1]", &[NAME]),
        at(names, "an empty name", json!([""]), "[0]", &[NAME]),
        at(names, "a name with a dot", json!(["a.b"]), "[0]", &[NAME]),
        at(names, "a name that ends with a dash", json!(["agent-"]), "[0]", &[NAME]),
        at(names, "a glob for a name", json!(["*-sidecar"]), "[0]", &[NAME]),
        at(names, "a long name", json!(["a".repeat(64)]), "[0]", &["may not be more than 63"]),
        at(names, "a name twice", json!(["a", "b", "a"]), "[2]", &["Duplicate value: \"a\""]),
        at(names, "too many names", numbered(65), "", &["must have at most 64 items"]),
        at(pattern, "an open group", json!("helper-(.*"), "", &[
            "missing closing )",
            "sidecars.namePattern must be a regular expression in RE2 syntax, such as helper-.*",
        ]),
        at(pattern, "a glob for a pattern", json!("*-sidecar"), "", &["missing argument", "RE2 syntax"]),
        at(pattern, "a look-ahead", json!("(?!app).*"), "", &["unsupported Perl syntax", "RE2 syntax"]),
        at(pattern, "a back-reference", json!(r"(a)\1"), "", &["invalid escape sequence", "RE2 syntax"]),
        at(pattern, "too many repetitions", json!("a{1001}"), "", &["invalid repeat count", "RE2 syntax"]),
        at(pattern, "a set operation of Rust", json!("[a-z&&[^x]]"), "", &["sidecars.namePattern", CLASS]),
        at(pattern, "a difference of Rust", json!("[a-z--b]"), "", &[CLASS]),
        at(pattern, "a symmetric difference of Rust", json!("[[:alpha:]~~b]"), "", &[CLASS]),
        at(pattern, "a class inside a class", json!("[[a]b]"), "", &[CLASS]),
        at(pattern, "a range of Go that starts with a dash", json!("[^--a]"), "", &[CLASS]),
        at(pattern, "a bracket that is not escaped", json!(r"\\[]a\]&&]"), "", &[CLASS]),
        at(pattern, "a long pattern", json!("a".repeat(513)), "", &["may not be more than 512"]),
        at(images, "an empty glob", json!([""]), "[0]", &[GLOB]),
        at(images, "a space", json!(["fluent/fluent bit"]), "[0]", &[GLOB]),
        at(images, "another wildcard", json!(["fluent/*", "fluent/fluent-bi?"]), "[1]", &[GLOB]),
        at(images, "alternatives", json!(["fluent/{bit,d}"]), "[0]", &[GLOB]),
        at(images, "a tag", json!(["envoyproxy/envoy:v1.36.0"]), "[0]", &[TAG]),
        at(images, "any tag", json!(["envoyproxy/envoy:*"]), "[0]", &[TAG]),
        at(images, "a digest", json!([format!("fluent/fluent-bit@sha256:{}", "0".repeat(64))]), "[0]", &[TAG]),
        at(images, "a long glob", json!(["a".repeat(513)]), "[0]", &["may not be more than 512"]),
        at(images, "a glob twice", json!(["fluent/*", "fluent/*"]), "[1]", &["Duplicate value: \"fluent/*\""]),
        at(images, "too many globs", numbered(65), "", &["must have at most 64 items"]),
        at(excluded, "a name in upper case", json!(["Envoy"]), "[0]", &[NAME]),
        at(excluded, "a long name", json!(["a".repeat(64)]), "[0]", &["may not be more than 63"]),
        at(excluded, "a name twice", json!(["a", "a"]), "[1]", &["Duplicate value: \"a\""]),
        at(excluded, "too many names", numbered(65), "", &["must have at most 64 items"]),
        at(excluded_pattern, "an open class", json!("[a-z"), "", &[
            "missing closing ]",
            "sidecars.exclude.namePattern must be a regular expression in RE2 syntax, such as helper-.*",
        ]),
        at(excluded_pattern, "a class inside a class", json!("[[a]b]"), "", &[
            "sidecars.exclude.namePattern must not contain &&, --, ~~ or [ inside a character class",
        ]),
        at(excluded_pattern, "a long pattern", json!("a".repeat(513)), "", &["may not be more than 512"]),
    ]
}
