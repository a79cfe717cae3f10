//! The API server: its version, its clock, and the CustomResourceDefinitions.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    access::{Access, Answer},
    diagnosis::{Code, Diagnosis},
};
use crate::{api::crds, cli::exit::Failure, domain::time::Human};

/// The oldest minor version of Kubernetes 1 that the chart accepts, and the one that the tests use.
const SUPPORTED: (u32, u32) = (30, 37);
/// A difference of two clocks up to which they agree. `Date` has whole seconds, and an answer takes time.
pub(super) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
const INSTALL_CRDS: &str =
    "install the CRDs of this version: sidewatch crds | kubectl apply --server-side -f -";

/// The facts that later examinations need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    /// How far the clock of the API server is ahead of the clock of this machine. `None` if it does not show its time.
    pub(super) ahead: Option<SignedDuration>,
    /// Both CRDs are served.
    pub(super) has_crds: bool,
}

pub(super) async fn examine(access: &Access<'_>, diagnosis: &mut Diagnosis) -> Result<Server, Failure> {
    let before = access.cluster.now();
    let (answer, time) = access.get_with_time("/version").await?;
    let after = access.cluster.now();
    match answer {
        Answer::Found(version) => examine_version(&version, diagnosis),
        Answer::Missing => diagnosis.skip(Code::SD001, "the API server does not show its version"),
        Answer::Unknown(reason) => diagnosis.skip(Code::SD001, reason),
    }
    let ahead = time.map(|time| time.duration_since(middle(before, after)));
    match ahead {
        None => diagnosis.skip(Code::SD004, "the API server does not show its time"),
        Some(ahead) if ahead.abs() <= CLOCK_TOLERANCE => {
            diagnosis.ok(Code::SD004, "agrees with the clock of the API server");
        }
        Some(ahead) => diagnosis.warn(
            Code::SD004,
            format!("is {} the clock of the API server", difference(-ahead)),
            "synchronize the clocks; onsets and durations in the output of this command are wrong by the difference",
        ),
    }
    let has_crds = examine_crds(access, diagnosis).await?;
    Ok(Server { ahead, has_crds })
}

fn middle(before: Timestamp, after: Timestamp) -> Timestamp {
    before
        .checked_add(after.duration_since(before) / 2)
        .unwrap_or(before)
}

/// Describes the difference of a clock to another one.
pub(super) fn difference(ahead: SignedDuration) -> String {
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    format!("{} {direction}", Human(ahead.abs()))
}

fn examine_version(version: &Value, diagnosis: &mut Diagnosis) {
    let shown = version["gitVersion"].as_str().unwrap_or("of unknown version");
    // Some providers add a plus sign.
    let minor = version["minor"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('+');
    let (oldest, newest) = SUPPORTED;
    match minor.parse::<u32>() {
        Ok(minor) if minor < oldest => diagnosis.fail(
            Code::SD001,
            format!("{shown} is older than 1.{oldest}"),
            "upgrade the cluster",
        ),
        Ok(minor) if minor > newest => diagnosis.warn(
            Code::SD001,
            format!("{shown} is newer than 1.{newest}, the newest version with which Sidewatch is tested"),
            "look for a newer release of Sidewatch",
        ),
        Ok(_) => diagnosis.ok(Code::SD001, shown),
        Err(_) => diagnosis.skip(Code::SD001, format!("{shown} has no minor version")),
    }
}

async fn examine_crds(access: &Access<'_>, diagnosis: &mut Diagnosis) -> Result<bool, Failure> {
    let (mut served, mut problems, mut differences) = (0, Vec::new(), Vec::new());
    let mut unknown = None;
    for definition in crds::definitions() {
        let name = format!("{}.{}", definition.spec.names.plural, definition.spec.group);
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        match access.get(&path).await? {
            Answer::Found(found) => {
                if !is_established(&found) {
                    problems.push(format!("{name} is not established"));
                    continue;
                }
                served += 1;
                let mut shipped = serde_json::to_value(&definition.spec.versions)?;
                remove_unsupported(&mut shipped, &found["spec"]["versions"]);
                if let Some(place) = first_difference(&shipped, &found["spec"]["versions"], "") {
                    differences.push(format!("{name} differs at {place}"));
                }
            }
            Answer::Missing => problems.push(format!("{name} is not installed")),
            Answer::Unknown(reason) => unknown = Some(reason),
        }
    }
    if let Some(reason) = unknown {
        diagnosis.skip_all(&[Code::SD002, Code::SD003], &reason);
        // The lists of policies show whether the CRDs exist.
        return Ok(true);
    }
    if problems.is_empty() {
        diagnosis.ok(Code::SD002, format!("{served} are installed"));
    } else {
        diagnosis.fail(Code::SD002, problems.join(", "), INSTALL_CRDS);
    }
    if served == 0 {
        diagnosis.skip(Code::SD003, "no CRD is served");
    } else if differences.is_empty() {
        diagnosis.ok(Code::SD003, concat!("are those of ", env!("CARGO_PKG_VERSION")));
    } else {
        diagnosis.warn(Code::SD003, differences.join(", "), INSTALL_CRDS);
    }
    Ok(problems.is_empty())
}

/// Removes the selectable fields if the API server has none: Kubernetes 1.30 drops them by default.
fn remove_unsupported(shipped: &mut Value, found: &Value) {
    let versions = shipped.as_array_mut().into_iter().flatten();
    for (n, version) in versions.enumerate() {
        if found[n].get("selectableFields").is_none()
            && let Some(fields) = version.as_object_mut()
        {
            fields.remove("selectableFields");
        }
    }
}

fn is_established(definition: &Value) -> bool {
    condition(definition, "Established").is_some_and(|condition| condition["status"] == "True")
}

/// Returns a condition in the status of an object.
pub(super) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)
}

/// Returns the path of the first difference, or `None`. Numbers are equal if their values are: the API server writes `1` for
/// `1.0`. Fields that are null are absent.
fn first_difference(shipped: &Value, found: &Value, path: &str) -> Option<String> {
    let here = || {
        Some(if path.is_empty() {
            "the list of versions".to_owned()
        } else {
            path.to_owned()
        })
    };
    match (shipped, found) {
        (Value::Object(shipped), Value::Object(found)) => {
            let names = shipped
                .keys()
                .chain(found.keys().filter(|name| !shipped.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let (one, other) = (shipped.get(name), found.get(name));
                let path = format!("{path}.{name}");
                first_difference(one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null), &path)
            })
        }
        (Value::Array(shipped), Value::Array(found)) => {
            if shipped.len() != found.len() {
                return here();
            }
            let pairs = shipped.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .find_map(|(n, (one, other))| first_difference(one, other, &format!("{path}[{n}]")))
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        _ if shipped == found => None,
        _ => here(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_has_a_path() {
        let table = [
            (json!([{"a": 1.0}]), json!([{"a": 1}]), None),
            (json!([{"a": null}]), json!([{}]), None),
            (
                json!([{"a": {"b": 1}}]),
                json!([{"a": {"b": 2}}]),
                Some("[0].a.b"),
            ),
            (json!([{"a": 1}]), json!([{"a": 1, "c": 2}]), Some("[0].c")),
            (json!([{"a": 1}]), json!([{}]), Some("[0].a")),
            (json!([1]), json!([1, 2]), Some("the list of versions")),
            (json!([1]), json!(null), Some("the list of versions")),
        ];
        for (shipped, found, expected) in table {
            assert_eq!(
                first_difference(&shipped, &found, "").as_deref(),
                expected,
                "{shipped} {found}"
            );
        }
    }

    #[test]
    fn selectable_fields_that_the_api_server_drops_are_no_difference() {
        let shipped = || json!([{"name": "v1alpha1", "selectableFields": [{"jsonPath": ".spec.mode"}]}]);
        let table = [
            (json!([{"name": "v1alpha1"}]), None),
            (shipped(), None),
            (
                json!([{"name": "v1alpha1", "selectableFields": [{"jsonPath": ".spec.x"}]}]),
                Some("[0].selectableFields[0].jsonPath"),
            ),
        ];
        for (found, expected) in table {
            let mut shipped = shipped();
            remove_unsupported(&mut shipped, &found);
            assert_eq!(
                first_difference(&shipped, &found, "").as_deref(),
                expected,
                "{found}"
            );
        }
    }

    #[test]
    fn the_oldest_version_is_that_of_the_chart() {
        let chart = include_str!("../../../charts/sidewatch/Chart.yaml");
        let required = format!("kubeVersion: \">=1.{}.0-0\"", SUPPORTED.0);
        assert!(chart.lines().any(|line| line == required), "{required}: {chart}");
    }

    #[test]
    fn the_version_of_the_api_server_is_compared() {
        use super::super::diagnosis::Verdict;
        let table = [
            ("29", Verdict::Failed),
            ("30", Verdict::Ok),
            ("33+", Verdict::Ok),
            ("37", Verdict::Ok),
            ("38", Verdict::Warning),
            ("", Verdict::Skipped),
        ];
        for (minor, expected) in table {
            let mut diagnosis = Diagnosis::default();
            examine_version(
                &json!({"gitVersion": format!("v1.{minor}.0"), "minor": minor}),
                &mut diagnosis,
            );
            assert_eq!(diagnosis.lines[0].verdict, expected, "{minor}");
        }
    }
}
