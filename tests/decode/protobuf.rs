//! The protobuf decoder returns the same values as the JSON decoder.

use serde_json::Value;
use sidewatch::kubernetes::{
    decode::{
        MissingIdentity,
        intern::Interner,
        pod::{LeanPod, observe},
    },
    protobuf::decode_pod,
};

use testkit::protobuf as encoder;

use crate::recorded::recorded;

/// Decodes a Pod from JSON and from protobuf. The observations and the resource versions must be equal.
pub(crate) fn assert_equal(pod: &Value) {
    let json: LeanPod = serde_json::from_value(pod.clone()).unwrap();
    let protobuf = decode_pod(&encoder::pod(pod)).unwrap();
    assert_eq!(
        protobuf.metadata.resource_version, json.metadata.resource_version,
        "{pod}"
    );
    let observe = |pod: LeanPod| -> Result<_, MissingIdentity> { observe(pod, &mut Interner::default()) };
    assert_eq!(observe(protobuf), observe(json), "{pod}");
}

#[test]
fn recorded_pods_decode_from_protobuf_as_from_json() {
    for pod in recorded() {
        assert_equal(&pod);
    }
    assert_equal(&testkit::pods::meshed_pod(7));
}
