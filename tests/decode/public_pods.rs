//! The roles in public Pods. `tests/roles/public-pods.tsv` has a line per Pod: where it is published (repository, commit,
//! path), its workload, the label `app.kubernetes.io/name`, the annotation with the default container, and each container
//! as `name=image>role`, with the prefix `init:` or `native:`. The roles were written by what each container does.

use serde_json::{Value, json};
use sidewatch::{
    domain::roles::{Role, Roles},
    kubernetes::decode::{
        intern::Interner,
        pod::{LeanPod, observe},
    },
};
use testkit::fleet;

const ROWS: &str = include_str!("../roles/public-pods.tsv");

/// Returns the Pod of a row and the roles of its containers.
fn pod_of(row: &str) -> (Value, Vec<&str>) {
    let columns: Vec<&str> = row.split('\t').collect();
    let [source, workload, label, default_container, containers] = columns[..] else {
        panic!("a row has five columns: {row}");
    };
    assert_eq!(
        source.split(' ').count(),
        3,
        "repository, commit and path: {source}"
    );
    let (kind, name) = workload.split_once('/').unwrap();
    let value = |text: &str| (text != "-").then(|| text.to_owned());
    let (mut init, mut regular, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for container in containers.split(' ') {
        let (container, role) = container.rsplit_once('>').unwrap();
        let (name, image) = container.split_once('=').unwrap();
        let (list, name) = name.split_once(':').unwrap_or(("", name));
        let restart_policy = (list == "native").then_some("Always");
        let spec = json!({"name": name, "image": image, "restartPolicy": restart_policy});
        let containers = if list.is_empty() { &mut regular } else { &mut init };
        containers.push(spec);
        roles.push(role);
    }
    let pod = json!({
        "metadata": {
            "name": "p", "namespace": "n", "uid": "u",
            "labels": {"app.kubernetes.io/name": value(label)},
            "annotations": {"kubectl.kubernetes.io/default-container": value(default_container)},
            "ownerReferences": [{"apiVersion": "", "kind": kind, "name": name, "controller": kind != "Pod"}],
        },
        "spec": {"initContainers": init, "containers": regular},
    });
    (pod, roles)
}

#[test]
fn the_roles_in_public_pods_are_those_of_the_table() {
    let policy = fleet::policy("defaults", 1, &json!({})).spec.unwrap();
    let mut wrong = Vec::new();
    let rows = ROWS.lines().filter(|row| !row.starts_with('#'));
    for row in rows.clone() {
        let (pod, expected) = pod_of(row);
        let pod: LeanPod = serde_json::from_value(pod).unwrap();
        let shape = observe(pod, &mut Interner::default()).unwrap().shape;
        let assigned = Roles::assign(&policy, &shape);
        let rules = Roles::rules(&policy, &shape);
        for (idx, expected) in expected.into_iter().enumerate() {
            let found = match assigned.of(idx) {
                Role::Sidecar => "sidecar",
                Role::Main => "main",
                Role::Init => "init",
                Role::Ignored => "ignored",
            };
            if found != expected {
                let name = &shape.containers[idx].name;
                let rule = rules[idx];
                wrong.push(format!("{name} is {found} by {rule:?}, not {expected}: {row}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.count() >= 150, "rows have been lost");
}
