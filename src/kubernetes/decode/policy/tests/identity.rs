//! The identity of a policy, and objects that do not decode.

use super::*;

#[test]
fn an_update_has_the_identity_of_its_object() {
    let update = namespaced(&json!({}));
    assert_eq!(update.key.to_string(), "SidecarPolicy pay/mesh");
    assert_eq!((&*update.uid, update.generation), ("u-1", 3));
    let update = cluster(&json!({}));
    assert_eq!(update.key.to_string(), "ClusterSidecarPolicy platform");
    assert_eq!(
        (&*update.uid, update.generation),
        ("u-2", 0),
        "a missing generation is 0"
    );
}

#[test]
fn an_object_that_does_not_decode_is_an_invalid_policy() {
    let update = namespaced(&json!({"mode": "Loud"}));
    assert_eq!(
        update.key.to_string(),
        "SidecarPolicy pay/mesh",
        "the key is decoded"
    );
    assert_eq!(update.generation, 3, "the generation is decoded");
    let error = error(update);
    assert!(
        error.contains("Loud") && error.contains("correct it"),
        "the error says what is wrong and what to do: {error}"
    );
}

#[test]
fn an_object_without_an_identity_is_an_error() {
    let table = [
        (json!({"namespace": "pay", "uid": "u"}), "name"),
        (json!({"name": "mesh", "namespace": "pay"}), "uid"),
        (json!({"name": "mesh", "uid": "u"}), "namespace"),
    ];
    for (metadata, missing) in table {
        let object: Checked<SidecarPolicy> =
            serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap();
        assert_eq!(policy_update(&object).unwrap_err().missing, missing);
        assert_eq!(policy_key(&object).unwrap_err().missing, missing);
    }
}
