//! The sidecars that a policy expects in Pods.

use super::{DURATION, duration, field, pattern, texts};
use crate::{
    api::{self, ExpectedSidecar},
    domain::{
        expected::{ANNOTATIONS, Condition, Expected, MAX_EXPECTED, Preset, Rule, Sidecar, Source},
        pattern::Glob,
        policy::{InvalidField, InvalidSpec},
    },
};

/// Decodes the entries of `spec.expected`.
pub(super) fn decode(entries: &[api::Expected]) -> Result<Vec<Expected>, InvalidSpec> {
    if entries.len() > MAX_EXPECTED {
        return Err(invalid("spec.expected", "it has more than 16 entries"));
    }
    let mut decoded: Vec<Expected> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = format!("spec.expected[{i}]");
        let entry = decode_entry(entry, &path)?;
        if decoded.iter().any(|other| other.name == entry.name) {
            return Err(invalid(&format!("{path}.name"), "another entry has this name"));
        }
        decoded.push(entry);
    }
    Ok(decoded)
}

fn decode_entry(entry: &api::Expected, path: &str) -> Result<Expected, InvalidSpec> {
    let api::Expected {
        name,
        preset,
        sidecar,
        when,
        unless,
        r#for,
    } = entry;
    if name.is_empty() || name.contains('/') {
        return Err(invalid(&format!("{path}.name"), "it is not a DNS label"));
    }
    let rule = match (preset, sidecar) {
        (Some(_), None) if !when.is_empty() || !unless.is_empty() => {
            return Err(invalid(path, "a preset has its own conditions"));
        }
        (Some(preset), None) => Rule::Preset(match preset {
            api::Preset::Istio => Preset::Istio,
            api::Preset::Linkerd => Preset::Linkerd,
            api::Preset::Vault => Preset::Vault,
            api::Preset::Dapr => Preset::Dapr,
            api::Preset::OpenTelemetry => Preset::OpenTelemetry,
        }),
        (None, Some(sidecar)) => Rule::Custom {
            sidecar: decode_sidecar(sidecar, &format!("{path}.sidecar"))?,
            when: conditions(when, &format!("{path}.when"))?,
            unless: conditions(unless, &format!("{path}.unless"))?,
        },
        _ => return Err(invalid(path, "it needs either a preset or a sidecar")),
    };
    Ok(Expected {
        name: name.as_str().into(),
        rule,
        hold_for: duration(path, "for", r#for, DURATION)?,
    })
}

fn decode_sidecar(sidecar: &ExpectedSidecar, path: &str) -> Result<Sidecar, InvalidSpec> {
    let ExpectedSidecar {
        name,
        name_pattern,
        image,
    } = sidecar;
    let name_pattern = pattern(&format!("{path}.namePattern"), name_pattern)?;
    match (name.as_str(), name_pattern, image.as_str()) {
        ("", None, "") => Err(invalid(path, "it needs one of name, namePattern and image")),
        (name, None, "") => Ok(Sidecar::Name(name.into())),
        ("", Some(pattern), "") => Ok(Sidecar::NamePattern(pattern)),
        ("", None, image) => Ok(Sidecar::Image(Glob::new(image))),
        _ => Err(invalid(
            path,
            "it needs exactly one of name, namePattern and image",
        )),
    }
}

fn conditions(list: &[api::Condition], path: &str) -> Result<Vec<Condition>, InvalidSpec> {
    let conditions = list.iter().enumerate();
    conditions
        .map(|(i, condition)| decode_condition(condition, &format!("{path}[{i}]")))
        .collect()
}

fn decode_condition(condition: &api::Condition, path: &str) -> Result<Condition, InvalidSpec> {
    let api::Condition { from, key, values } = condition;
    let from = match from {
        api::Source::HostNetwork if key.is_empty() && values.is_empty() => return Ok(Condition::HostNetwork),
        api::Source::HostNetwork => return Err(invalid(path, "HostNetwork has no key and no values")),
        api::Source::PodLabel => Source::PodLabel,
        api::Source::PodAnnotation => Source::PodAnnotation,
        api::Source::NamespaceLabel => Source::NamespaceLabel,
        api::Source::NamespaceAnnotation => Source::NamespaceAnnotation,
    };
    if key.is_empty() {
        return Err(invalid(&format!("{path}.key"), "it is empty"));
    }
    let is_annotation = matches!(from, Source::PodAnnotation | Source::NamespaceAnnotation);
    if is_annotation && !ANNOTATIONS.contains(&key.as_str()) {
        let problem =
            "Sidewatch does not read this annotation: use a label, or one of the annotations of the presets";
        return Err(invalid(&format!("{path}.key"), problem));
    }
    Ok(Condition::Metadata {
        from,
        key: key.as_str().into(),
        values: texts(values),
    })
}

fn invalid(path: &str, problem: &'static str) -> InvalidSpec {
    field(path.to_owned(), InvalidField::Expected(problem))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{pattern::Pattern, policy::Policy},
        kubernetes::decode::policy::tests::{error, namespaced},
    };

    #[test]
    fn every_field_of_an_entry_is_decoded() {
        let spec = json!({"expected": [{
            "name": "logs", "sidecar": {"namePattern": "logs-.*"}, "for": "9s",
            "when": [{"from": "NamespaceLabel", "key": "logs", "values": ["on", "yes"]}],
            "unless": [{"from": "PodAnnotation", "key": "dapr.io/enabled"}, {"from": "HostNetwork"}],
        }]});
        let Policy { expected, .. } = namespaced(&spec).spec.unwrap();
        let metadata = |from, key: &str, values: &[&str]| Condition::Metadata {
            from,
            key: key.into(),
            values: values.iter().map(|value| Box::from(*value)).collect(),
        };
        let entry = Expected {
            name: "logs".into(),
            rule: Rule::Custom {
                sidecar: Sidecar::NamePattern(Pattern::parse("logs-.*").unwrap()),
                when: vec![metadata(Source::NamespaceLabel, "logs", &["on", "yes"])],
                unless: vec![
                    metadata(Source::PodAnnotation, "dapr.io/enabled", &[]),
                    Condition::HostNetwork,
                ],
            },
            hold_for: jiff::SignedDuration::from_secs(9),
        };
        assert_eq!(expected, [entry]);
        let default = namespaced(&json!({"expected": [{"name": "a", "preset": "Vault"}]}));
        let default = &default.spec.unwrap().expected[0];
        assert_eq!(default.hold_for, jiff::SignedDuration::from_mins(5));
    }

    #[test]
    fn invalid_entries_of_expected_are_errors() {
        assert_eq!(
            api::ANNOTATIONS,
            ANNOTATIONS,
            "the schema has the same annotations"
        );
        let table = [
            (json!({"name": "a"}), "spec.expected[0]: it needs either"),
            (
                json!({"name": "a", "preset": "Istio", "sidecar": {"name": "b"}}),
                "spec.expected[0]: it needs either",
            ),
            (
                json!({"name": "a", "preset": "Istio", "when": [{"from": "HostNetwork"}]}),
                "a preset has its own",
            ),
            (
                json!({"name": "a", "sidecar": {}}),
                "spec.expected[0].sidecar: it needs one",
            ),
            (
                json!({"name": "a", "sidecar": {"name": "b", "image": "c"}}),
                "it needs exactly one",
            ),
            (
                json!({"name": "a", "sidecar": {"namePattern": "("}}),
                "spec.expected[0].sidecar.namePattern",
            ),
            (json!({"name": "", "preset": "Istio"}), "spec.expected[0].name"),
            (
                json!({"name": "a", "preset": "Istio", "for": "25h"}),
                "spec.expected[0].for: 25h is not between",
            ),
            (
                json!({"name": "a", "sidecar": {"name": "b"}, "when": [{"from": "PodAnnotation", "key": "x"}]}),
                "spec.expected[0].when[0].key: Sidewatch does not read this annotation",
            ),
            (
                json!({"name": "a", "sidecar": {"name": "b"}, "unless": [{"from": "HostNetwork", "key": "x"}]}),
                "spec.expected[0].unless[0]: HostNetwork has no key",
            ),
            (
                json!({"name": "a", "sidecar": {"name": "b"}, "when": [{"from": "PodLabel"}]}),
                "it is empty",
            ),
        ];
        let preset = |name: String| json!({"name": name, "preset": "Istio"});
        let twice = json!([preset("a".to_owned()), preset("a".to_owned())]);
        let many = (0..17).map(|n| preset(format!("a{n}"))).collect();
        let lists = [(twice, "another entry"), (many, "more than 16")];
        for (list, problem) in table
            .map(|(entry, problem)| (json!([entry]), problem))
            .into_iter()
            .chain(lists)
        {
            let error = error(namespaced(&json!({"expected": list})));
            assert!(error.contains(problem), "{list}: {error}");
        }
    }
}
