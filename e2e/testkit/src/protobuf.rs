//! An encoder from JSON to protobuf, in the formats of the API server. It supports the fields that the operator reads
//! and many that the operator skips.

use jiff::Timestamp;
use serde_json::Value;

/// The content type of an object.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The content type of a watch.
pub const WATCH_CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Returns whether this test run uses JSON instead of protobuf: `SIDEWATCH_TEST_ENCODING=json`.
pub fn is_disabled() -> bool {
    std::env::var("SIDEWATCH_TEST_ENCODING").is_ok_and(|encoding| encoding == "json")
}

/// The type of a field.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Boolean,
    Time,
    Quantity,
    /// A number or a text.
    IntOrString,
    Message(&'static [Field]),
    /// A message whose fields stand among those of the object in JSON.
    Inline(&'static [Field]),
    List(&'static Type),
    /// A map with string keys.
    Map(&'static Type),
}

use Type::{Boolean, Inline, IntOrString, Integer, List, Map, Message, Quantity, Text, Time};

/// Name, number and type of a field.
type Field = (&'static str, u64, Type);

const LIST_META: &[Field] = &[
    ("selfLink", 1, Text),
    ("resourceVersion", 2, Text),
    ("continue", 3, Text),
    ("remainingItemCount", 4, Integer),
];
const STATUS: &[Field] = &[
    ("metadata", 1, Message(LIST_META)),
    ("status", 2, Text),
    ("message", 3, Text),
    ("reason", 4, Text),
    (
        "details",
        5,
        Message(&[
            ("name", 1, Text),
            ("kind", 3, Text),
            ("retryAfterSeconds", 5, Integer),
        ]),
    ),
    ("code", 6, Integer),
];
const POD_LIST: &[Field] = &[
    ("metadata", 1, Message(LIST_META)),
    ("items", 2, List(&Message(POD))),
];
const POD: &[Field] = &[
    ("metadata", 1, Message(OBJECT_META)),
    ("spec", 2, Message(SPEC)),
    ("status", 3, Message(POD_STATUS)),
];
const OBJECT_META: &[Field] = &[
    ("name", 1, Text),
    ("generateName", 2, Text),
    ("namespace", 3, Text),
    ("uid", 5, Text),
    ("resourceVersion", 6, Text),
    ("generation", 7, Integer),
    ("creationTimestamp", 8, Time),
    ("deletionTimestamp", 9, Time),
    ("deletionGracePeriodSeconds", 10, Integer),
    ("labels", 11, Map(&Text)),
    ("annotations", 12, Map(&Text)),
    (
        "ownerReferences",
        13,
        List(&Message(&[
            ("kind", 1, Text),
            ("name", 3, Text),
            ("uid", 4, Text),
            ("apiVersion", 5, Text),
            ("controller", 6, Boolean),
            ("blockOwnerDeletion", 7, Boolean),
        ])),
    ),
    ("finalizers", 14, List(&Text)),
    (
        "managedFields",
        17,
        List(&Message(&[
            ("manager", 1, Text),
            ("operation", 2, Text),
            ("apiVersion", 3, Text),
            ("time", 4, Time),
        ])),
    ),
];
const SPEC: &[Field] = &[
    ("volumes", 1, List(&Message(&[("name", 1, Text)]))),
    ("containers", 2, List(&Message(CONTAINER))),
    ("restartPolicy", 3, Text),
    ("terminationGracePeriodSeconds", 4, Integer),
    ("activeDeadlineSeconds", 5, Integer),
    ("dnsPolicy", 6, Text),
    ("nodeSelector", 7, Map(&Text)),
    ("serviceAccountName", 8, Text),
    ("nodeName", 10, Text),
    ("hostNetwork", 11, Boolean),
    ("schedulerName", 19, Text),
    ("initContainers", 20, List(&Message(CONTAINER))),
    ("priority", 25, Integer),
    ("enableServiceLinks", 30, Boolean),
    ("preemptionPolicy", 31, Text),
    ("ephemeralContainers", 34, List(&Message(&[("name", 1, Text)]))),
];
const RESOURCES: Type = Message(&[("limits", 1, Map(&Quantity)), ("requests", 2, Map(&Quantity))]);
#[rustfmt::skip]
const CONTAINER: &[Field] = &[
    ("name", 1, Text),
    ("image", 2, Text),
    ("command", 3, List(&Text)),
    ("args", 4, List(&Text)),
    ("workingDir", 5, Text),
    ("ports", 6, List(&Message(&[("name", 1, Text), ("containerPort", 3, Integer)]))),
    ("env", 7, List(&Message(&[("name", 1, Text), ("value", 2, Text)]))),
    ("resources", 8, RESOURCES),
    ("volumeMounts", 9, List(&Message(&[("name", 1, Text), ("readOnly", 2, Boolean), ("mountPath", 3, Text)]))),
    ("livenessProbe", 10, Message(PROBE)),
    ("readinessProbe", 11, Message(PROBE)),
    ("lifecycle", 12, Message(&[("postStart", 1, Message(&[])), ("preStop", 2, Message(&[]))])),
    ("terminationMessagePath", 13, Text),
    ("imagePullPolicy", 14, Text),
    ("terminationMessagePolicy", 20, Text),
    ("startupProbe", 22, Message(PROBE)),
    ("resizePolicy", 23, List(&Message(&[("resourceName", 1, Text), ("restartPolicy", 2, Text)]))),
    ("restartPolicy", 24, Text),
    (
        "restartPolicyRules",
        25,
        List(&Message(&[
            ("action", 1, Text),
            (
                "exitCodes",
                2,
                Message(&[("operator", 1, Text), ("values", 2, List(&Integer))]),
            ),
        ])),
    ),
];
const HTTP_GET: Type = Message(&[("path", 1, Text), ("port", 2, IntOrString), ("scheme", 4, Text)]);
const PROBE: &[Field] = &[
    ("handler", 1, Inline(&[("httpGet", 2, HTTP_GET)])),
    ("initialDelaySeconds", 2, Integer),
    ("timeoutSeconds", 3, Integer),
    ("periodSeconds", 4, Integer),
    ("successThreshold", 5, Integer),
    ("failureThreshold", 6, Integer),
];
const POD_STATUS: &[Field] = &[
    ("phase", 1, Text),
    ("conditions", 2, List(&Message(CONDITION))),
    ("message", 3, Text),
    ("reason", 4, Text),
    ("hostIP", 5, Text),
    ("podIP", 6, Text),
    ("startTime", 7, Time),
    ("containerStatuses", 8, List(&Message(CONTAINER_STATUS))),
    ("qosClass", 9, Text),
    ("initContainerStatuses", 10, List(&Message(CONTAINER_STATUS))),
    ("podIPs", 12, List(&Message(&[("ip", 1, Text)]))),
    ("ephemeralContainerStatuses", 13, List(&Message(CONTAINER_STATUS))),
    ("observedGeneration", 17, Integer),
];
const CONDITION: &[Field] = &[
    ("type", 1, Text),
    ("status", 2, Text),
    ("lastProbeTime", 3, Time),
    ("lastTransitionTime", 4, Time),
    ("reason", 5, Text),
    ("message", 6, Text),
    ("observedGeneration", 7, Integer),
];
const CONTAINER_STATUS: &[Field] = &[
    ("name", 1, Text),
    ("state", 2, Message(STATE)),
    ("lastState", 3, Message(STATE)),
    ("ready", 4, Boolean),
    ("restartCount", 5, Integer),
    ("image", 6, Text),
    ("imageID", 7, Text),
    ("containerID", 8, Text),
    ("started", 9, Boolean),
    ("allocatedResources", 10, Map(&Quantity)),
    ("resources", 11, RESOURCES),
];
const STATE: &[Field] = &[
    (
        "waiting",
        1,
        Message(&[("reason", 1, Text), ("message", 2, Text)]),
    ),
    ("running", 2, Message(&[("startedAt", 1, Time)])),
    (
        "terminated",
        3,
        Message(&[
            ("exitCode", 1, Integer),
            ("signal", 2, Integer),
            ("reason", 3, Text),
            ("message", 4, Text),
            ("startedAt", 5, Time),
            ("finishedAt", 6, Time),
            ("containerID", 7, Text),
        ]),
    ),
];

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn bytes(number: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(value.len().try_into().unwrap(), out);
    out.extend_from_slice(value);
}

fn integer(number: u64, value: i64, out: &mut Vec<u8>) {
    varint(number << 3, out);
    varint(value.cast_unsigned(), out);
}

fn message(fields: &[Field], json: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, number, kind) in fields {
        if let Inline(fields) = kind {
            let inner = message(fields, json);
            if !inner.is_empty() {
                bytes(*number, &inner, &mut out);
            }
        } else {
            field(*number, *kind, &json[*name], &mut out);
        }
    }
    out
}

fn field(number: u64, kind: Type, json: &Value, out: &mut Vec<u8>) {
    if json.is_null() {
        return;
    }
    match kind {
        Text => bytes(number, json.as_str().unwrap().as_bytes(), out),
        Integer => integer(number, json.as_i64().unwrap(), out),
        Boolean => integer(number, json.as_bool().unwrap().into(), out),
        Time => {
            let mut time = Vec::new();
            if let Ok(parsed) = json.as_str().unwrap().parse::<Timestamp>() {
                integer(1, parsed.as_second(), &mut time);
                integer(2, 0, &mut time);
            }
            bytes(number, &time, out);
        }
        Quantity => {
            let mut quantity = Vec::new();
            bytes(1, json.as_str().unwrap().as_bytes(), &mut quantity);
            bytes(number, &quantity, out);
        }
        IntOrString => {
            let mut value = Vec::new();
            if let Some(number) = json.as_i64() {
                integer(2, number, &mut value);
            } else {
                integer(1, 1, &mut value);
                bytes(3, json.as_str().unwrap().as_bytes(), &mut value);
            }
            bytes(number, &value, out);
        }
        Message(fields) | Inline(fields) => bytes(number, &message(fields, json), out),
        List(kind) => {
            for entry in json.as_array().unwrap() {
                field(number, *kind, entry, out);
            }
        }
        Map(kind) => {
            for (key, value) in json.as_object().unwrap() {
                let mut entry = Vec::new();
                bytes(1, key.as_bytes(), &mut entry);
                field(2, *kind, value, &mut entry);
                bytes(number, &entry, out);
            }
        }
    }
}

/// Returns the bytes of a Pod, without an envelope.
pub fn pod(json: &Value) -> Vec<u8> {
    message(POD, json)
}

/// Returns the body of a response with this object: a list of Pods, a Status or a Pod.
pub fn object(json: &Value) -> Vec<u8> {
    let kind = json["kind"].as_str().unwrap_or("Pod");
    let raw = match kind {
        "Status" => message(STATUS, json),
        "Pod" => pod(json),
        _ => message(POD_LIST, json),
    };
    enveloped(kind, &raw)
}

/// Returns the body of a page of the list of Pods, from encoded Pods. `next` is the token of the next page.
pub fn page<'a>(version: &str, next: Option<&str>, pods: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut metadata = Vec::new();
    bytes(2, version.as_bytes(), &mut metadata);
    if let Some(next) = next {
        bytes(3, next.as_bytes(), &mut metadata);
    }
    let mut list = Vec::new();
    bytes(1, &metadata, &mut list);
    for pod in pods {
        bytes(2, pod, &mut list);
    }
    enveloped("PodList", &list)
}

/// Returns an object with the bytes of its message.
fn enveloped(kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    bytes(1, b"v1", &mut type_meta);
    bytes(2, kind.as_bytes(), &mut type_meta);
    let mut out = b"k8s\0".to_vec();
    bytes(1, &type_meta, &mut out);
    bytes(2, raw, &mut out);
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

/// Returns a frame of a watch with an event.
pub fn event(kind: &str, json: &Value) -> Vec<u8> {
    event_with(kind, &object(json))
}

/// Returns the frame of a watch event with the bytes of a `Pod` message.
pub fn event_of(kind: &str, pod: &[u8]) -> Vec<u8> {
    event_with(kind, &enveloped("Pod", pod))
}

fn event_with(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    bytes(1, object, &mut raw);
    let mut event = Vec::new();
    bytes(1, kind.as_bytes(), &mut event);
    bytes(2, &raw, &mut event);
    frame(&event)
}

/// Returns a frame with these bytes.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}
