//! Mutated Pods: a Pod decodes with any value null or missing.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use sidewatch::kubernetes::decode::{
    intern::Interner,
    pod::{LeanPod, observe},
};

static RECORDED: LazyLock<Vec<Value>> = LazyLock::new(crate::recorded::recorded);

/// A mutation of one value in a Pod.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Null,
    Missing,
}

/// Collects every place below `value`, as a JSON pointer.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
            fields.iter().map(|(key, child)| (escaped(key), child)).collect()
        }
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .map(|(i, child)| (i.to_string(), child))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let place = format!("{at}/{key}");
        places(child, &place, into);
        into.push(place);
    }
}

fn apply(mutation: Mutation, place: &str, pod: &mut Value) {
    if let Mutation::Null = mutation {
        *pod.pointer_mut(place).unwrap() = Value::Null;
        return;
    }
    let (parent, key) = place.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Object(fields) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~")).unwrap();
        }
        Value::Array(entries) => {
            entries.remove(key.parse().unwrap());
        }
        other => panic!("{other} has no children"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_with_null_and_missing_values_decodes(
        pod in any::<Index>(),
        mutations in prop::collection::vec((any::<Index>(), prop_oneof![Just(Mutation::Null), Just(Mutation::Missing)]), 1..12),
    ) {
        let mut pod = pod.get(&RECORDED).clone();
        for (at, mutation) in mutations {
            let mut all = Vec::new();
            places(&pod, "", &mut all);
            if !all.is_empty() {
                apply(mutation, at.get::<String>(&all), &mut pod);
            }
        }
        let text = pod.to_string();
        let lean = serde_json::from_str::<LeanPod>(&text);
        prop_assert!(lean.is_ok(), "{lean:?}: {text}");
        let identified = ["name", "namespace", "uid"].iter().all(|field| pod["metadata"][field].is_string());
        let observation = observe(lean.unwrap(), &mut Interner::default());
        prop_assert_eq!(observation.is_ok(), identified, "{}", text);
        if let Ok(observation) = observation {
            prop_assert_eq!(observation.statuses.len(), observation.shape.containers.len(), "{}", text);
        }
        crate::protobuf::assert_equal(&pod);
    }
}
