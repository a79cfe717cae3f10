//! Finds values of a wrong type, which the API server refuses: a number where a text is needed, and so on. Of values of the right
//! type it finds only a wrong `restartPolicy`: `always` makes a sidecar a plain init container.
//!
//! Plain scalars have the type that kubectl gives them, which reads YAML 1.1: `yes` is a boolean, and `1e3` a number.

use serde_json::{Value as Schema, json};

use super::{
    field::Field,
    workload::objects,
    yaml::{SyntaxError, Value},
};
use crate::kubernetes::schema::Schemas;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Fraction,
    Boolean,
    List,
    Mapping,
}

/// The values of `restartPolicy` of a Pod and of a container.
const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

/// Returns the values of the wrong type in the objects of a document.
pub(super) fn problems(document: &Field<'_>) -> Vec<SyntaxError> {
    let schemas = Schemas::get();
    let mut problems = Vec::new();
    if matches!(document.node().value, Value::Scalar { .. }) && !document.is_null() {
        problems.push(SyntaxError {
            location: document.location(),
            message: format!("the document is {}, but must be an object", shown(document)),
        });
    }
    let text = json!({"type": "string"});
    for (kind, object) in objects(document) {
        let version = object.text_of("apiVersion");
        if let Some(schema) = schemas.kind(version.as_deref(), &kind) {
            check(&object, schema, schemas, &mut problems);
            continue;
        }
        // Files for other tools have one of the fields.
        if let (Some(version), Some(kind)) = (object.get("apiVersion"), object.get("kind")) {
            check(&version, &text, schemas, &mut problems);
            check(&kind, &text, schemas, &mut problems);
        }
        if version.is_none() {
            continue;
        }
        if let Some(metadata) = object.get("metadata") {
            check(&metadata, schemas.metadata(), schemas, &mut problems);
        }
        let template = object.at(&["spec", "template"]);
        if let Some(template) = template.filter(|template| template.at(&["spec", "containers"]).is_some()) {
            check(&template, schemas.template(), schemas, &mut problems);
        }
    }
    problems
}

fn check(field: &Field<'_>, schema: &Schema, schemas: &Schemas, problems: &mut Vec<SyntaxError>) {
    let schema = schemas.resolve(schema);
    if field.is_null() || is_placeholder(field) {
        return;
    }
    let found = kind_of(field);
    let is_quantity = schema.get("x-kubernetes-int-or-string").is_some();
    let wanted = schema.get("type").and_then(Schema::as_str).unwrap_or_default();
    let expected = match (wanted, found) {
        _ if is_quantity && matches!(found, Kind::Mapping | Kind::List | Kind::Boolean) => {
            "a number or a text"
        }
        ("object", Kind::Mapping) => {
            let properties = schema.get("properties");
            let others = schema.get("additionalProperties");
            for (name, value) in field.entries() {
                if let Some(schema) = properties.and_then(|all| all.get(name)).or(others) {
                    check(&value, schema, schemas, problems);
                }
            }
            return;
        }
        ("array", Kind::List) => {
            if let Some(schema) = schema.get("items") {
                for item in field.items() {
                    check(&item, schema, schemas, problems);
                }
            }
            return;
        }
        ("string", kind) if kind != Kind::Text => "a text",
        ("string", _) if is_wrong_restart_policy(field) => "Always, OnFailure or Never",
        ("integer", kind) if kind != Kind::Integer => "a whole number",
        ("number", kind) if !matches!(kind, Kind::Integer | Kind::Fraction) => "a number",
        ("boolean", kind) if kind != Kind::Boolean => "true or false",
        ("object", _) => "a mapping",
        ("array", _) => "a list",
        _ => return,
    };
    let can_be_quoted = wanted == "string" && matches!(found, Kind::Integer | Kind::Fraction | Kind::Boolean);
    let help = if can_be_quoted { ": write it in quotes" } else { "" };
    problems.push(SyntaxError {
        location: field.location(),
        message: format!("{} is {}, but must be {expected}{help}", field.path, shown(field)),
    });
}

/// Returns the type of a value, and the value if it is a scalar.
fn shown(field: &Field<'_>) -> String {
    let text = field.text().unwrap_or_default();
    match kind_of(field) {
        Kind::Text => format!("the text {text:?}"),
        Kind::Integer | Kind::Fraction => format!("the number {text}"),
        Kind::Boolean => format!("the boolean {text}"),
        Kind::List => "a list".to_owned(),
        Kind::Mapping => "a mapping".to_owned(),
    }
}

fn is_wrong_restart_policy(field: &Field<'_>) -> bool {
    let path = &field.path;
    // That of a resizePolicy has other values.
    path.ends_with(".restartPolicy")
        && !path.contains(".resizePolicy")
        && field
            .text()
            .is_some_and(|text| !text.is_empty() && !RESTART_POLICIES.contains(&text))
}

/// Whether a tool replaces the value before the object is written.
fn is_placeholder(field: &Field<'_>) -> bool {
    field.text().is_some_and(|text| {
        ["${", "$(", "{{", "($"].iter().any(|begin| text.contains(begin))
            || text.starts_with('$')
            || text.starts_with('<') && text.ends_with('>')
    })
}

fn kind_of(field: &Field<'_>) -> Kind {
    match &field.node().value {
        Value::List(_) => Kind::List,
        Value::Mapping { .. } => Kind::Mapping,
        Value::Scalar { text, is_plain: true } => kind_of_plain(text),
        Value::Scalar { .. } => Kind::Text,
    }
}

fn kind_of_plain(text: &str) -> Kind {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off") {
        return Kind::Boolean;
    }
    let unsigned = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    let has_radix = ["0x", "0o", "0b"].iter().any(|prefix| {
        let digits = unsigned.strip_prefix(prefix);
        digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()))
    });
    if has_radix {
        return Kind::Integer;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Kind::Text;
    }
    match unsigned.parse::<f64>() {
        // Go reads 30.0 as a whole number.
        Ok(number) if number.fract() == 0.0 => Kind::Integer,
        Ok(_) => Kind::Fraction,
        Err(_) => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::yaml::Documents, *};

    fn found(text: &str) -> Vec<String> {
        let root = Field::root(Documents::new(text).next().unwrap().unwrap());
        problems(&root)
            .into_iter()
            .map(|problem| problem.message)
            .collect()
    }

    fn deployment(metadata: &str, template: &str) -> String {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{template: {{metadata: {{{metadata}}}, spec: {{{template}}}}}}}}}"
        )
    }

    #[test]
    fn a_wrong_type_is_named_with_its_field() {
        let container = |fields: &str| deployment("", &format!("containers: [{{name: app, {fields}}}]"));
        #[rustfmt::skip]
        let table = [
            (deployment("labels: {version: 1.0}", ""), "spec.template.metadata.labels.version is the number 1.0, but must be a text: write it in quotes"),
            (deployment("annotations: {sidecar.istio.io/inject: true}", ""), "spec.template.metadata.annotations[\"sidecar.istio.io/inject\"] is the boolean true, but must be a text: write it in quotes"),
            (deployment("labels: [a]", ""), "spec.template.metadata.labels is a list, but must be a mapping"),
            (deployment("", "containers: {name: app}"), "spec.template.spec.containers is a mapping, but must be a list"),
            (container("env: [{name: DEBUG, value: yes}]"), "spec.template.spec.containers[0].env[0].value is the boolean yes, but must be a text: write it in quotes"),
            (container("args: [--port, 80]"), "spec.template.spec.containers[0].args[1] is the number 80, but must be a text: write it in quotes"),
            (container("command: sleep"), "spec.template.spec.containers[0].command is the text \"sleep\", but must be a list"),
            (container("ports: [{containerPort: '80'}]"), "spec.template.spec.containers[0].ports[0].containerPort is the text \"80\", but must be a whole number"),
            (container("livenessProbe: {periodSeconds: 0.5}"), "spec.template.spec.containers[0].livenessProbe.periodSeconds is the number 0.5, but must be a whole number"),
            (container("tty: 'true'"), "spec.template.spec.containers[0].tty is the text \"true\", but must be true or false"),
            (container("resources: {limits: {cpu: [1]}}"), "spec.template.spec.containers[0].resources.limits.cpu is a list, but must be a number or a text"),
            (deployment("", "initContainers: [{name: proxy, restartPolicy: always}]"), "spec.template.spec.initContainers[0].restartPolicy is the text \"always\", but must be Always, OnFailure or Never"),
            ("[{apiVersion: v1, kind: Pod, spec: {restartPolicy: never}}]".to_owned(), "[0].spec.restartPolicy is the text \"never\", but must be Always, OnFailure or Never"),
            ("{apiVersion: apps/v1, kind: Deployment, spec: {replicas: '3'}}".to_owned(), "spec.replicas is the text \"3\", but must be a whole number"),
            ("{apiVersion: v1, kind: ConfigMap, metadata: {labels: {a: 1}}}".to_owned(), "metadata.labels.a is the number 1, but must be a text: write it in quotes"),
            ("{apiVersion: v1, kind: 5}".to_owned(), "kind is the number 5, but must be a text: write it in quotes"),
            ("{apiVersion: 1, kind: Pod}".to_owned(), "apiVersion is the number 1, but must be a text: write it in quotes"),
            ("{kind: List, items: [{apiVersion: v1, kind: [Pod]}]}".to_owned(), "items[0].kind is a list, but must be a text"),
            ("hello world".to_owned(), "the document is the text \"hello world\", but must be an object"),
            ("5".to_owned(), "the document is the number 5, but must be an object"),
            ("{apiVersion: serving.knative.dev/v1, kind: Service, spec: {template: {spec: {containers: [{image: 3}]}}}}".to_owned(), "spec.template.spec.containers[0].image is the number 3, but must be a text: write it in quotes"),
        ];
        for (text, expected) in table {
            assert_eq!(found(&text), [expected], "{text}");
        }
    }

    #[test]
    fn values_that_kubernetes_reads_are_no_problem() {
        let fine = [
            "name: app, resources: {limits: {cpu: 1, memory: 134217728}, requests: {cpu: 0.5, memory: 64Mi}}",
            "name: app, livenessProbe: {httpGet: {port: 80}, periodSeconds: 30.0}",
            "name: app, livenessProbe: {httpGet: {port: http}}, tty: on, env: null, unknown: {field: 1}",
            "name: app, restartPolicy: Never, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]",
            "name: app, image: '1', ports: [{containerPort: '${PORT}'}]",
        ];
        for container in fine {
            let text = deployment(
                "labels: {version: '1.0', tag: v1}",
                &format!("containers: [{{{container}}}]"),
            );
            assert_eq!(found(&text), [""; 0], "{text}");
        }
        for text in [
            "{apiVersion: batch.volcano.sh/v1, kind: Job, spec: {replicas: x}}",
            "{apiVersion: 1, providers: []}",
            "{kind: 5}",
            "[a, 5]",
            "null",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
