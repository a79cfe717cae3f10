//! Decodes `ObjectMeta` and times.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::reader::{Fields, Malformed, Value};
use crate::kubernetes::decode::{identity::known_annotation, is_known_time, object::Undecodable};

/// Decodes `metadata` with the same fields as [`crate::kubernetes::decode`]: most annotations and `managedFields` are
/// skipped. Of the owner references, only the controller is kept.
pub(super) fn object_meta(mut fields: Fields<'_>) -> Result<ObjectMeta, Malformed> {
    let mut metadata = ObjectMeta::default();
    let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.name = Some(value.identifier()?),
            3 => metadata.namespace = Some(value.string()?),
            5 => metadata.uid = Some(value.identifier()?),
            6 => metadata.resource_version = Some(value.string()?),
            8 => metadata.creation_timestamp = time(value)?.map(Time),
            // Only the presence matters: a time out of range still means that the object is being deleted.
            9 => {
                let seconds = seconds(value)?;
                metadata.deletion_timestamp = seconds
                    .map(|seconds| Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)));
            }
            11 => {
                let (key, value) = entry(value)?;
                let value = value.map(Value::string).transpose()?.unwrap_or_default();
                labels.insert(key, value);
            }
            12 => {
                if let Some((key, value)) = annotation(value)? {
                    annotations.insert(key.to_owned(), value);
                }
            }
            13 if metadata.owner_references.is_none() => {
                metadata.owner_references = controller(value)?.map(|owner| vec![owner]);
            }
            _ => {}
        }
    }
    if !labels.is_empty() {
        metadata.labels = Some(labels);
    }
    if !annotations.is_empty() {
        metadata.annotations = Some(annotations);
    }
    Ok(metadata)
}

/// Returns the identity of an object that cannot be decoded, as far as it can be read.
pub fn identity(object: &[u8]) -> Undecodable {
    let mut identity = Undecodable::default();
    let mut fields = Fields::new(object);
    while let Ok(Some((number, value))) = fields.next() {
        let Ok(mut metadata) = value.message() else {
            continue;
        };
        while number == 1
            && let Ok(Some((number, value))) = metadata.next()
        {
            let (field, text) = match number {
                1 => (&mut identity.name, value.identifier()),
                3 => (&mut identity.namespace, value.string()),
                5 => (&mut identity.uid, value.identifier()),
                6 => (&mut identity.version, value.string()),
                _ => continue,
            };
            *field = text.unwrap_or_default();
        }
    }
    identity
}

/// Returns the start of the first field of a message that alone does not decode.
pub fn failing_field(message: &[u8], fails: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut fields = Fields::new(message);
    loop {
        let start = message.len() - fields.left();
        match fields.next() {
            Ok(None) => return None,
            Ok(Some(_)) => {
                let end = message.len() - fields.left();
                if message.get(start..end).is_some_and(&fails) {
                    return Some(start);
                }
            }
            Err(_) => return Some(start),
        }
    }
}

/// Decodes an annotation that is kept. No memory is allocated for the others.
fn annotation(value: Value<'_>) -> Result<Option<(&'static str, String)>, Malformed> {
    let (mut key, mut mapped) = (None, None);
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => key = known_annotation(&value.text()?),
            2 => mapped = Some(value),
            _ => {}
        }
    }
    let Some(key) = key else { return Ok(None) };
    let value = mapped.map(Value::string).transpose()?;
    Ok(Some((key, value.unwrap_or_default())))
}

/// Decodes an `OwnerReference`. Returns `None` if it is not the controller.
fn controller(value: Value<'_>) -> Result<Option<OwnerReference>, Malformed> {
    let mut owner = OwnerReference::default();
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => owner.kind = value.string()?,
            3 => owner.name = value.string()?,
            5 => owner.api_version = value.string()?,
            6 => owner.controller = Some(value.boolean()?),
            _ => {}
        }
    }
    Ok((owner.controller == Some(true)).then_some(owner))
}

/// Decodes key and value of an entry of a map with string keys.
pub(super) fn entry(value: Value<'_>) -> Result<(String, Option<Value<'_>>), Malformed> {
    let (mut key, mut mapped) = (String::new(), None);
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => key = value.string()?,
            2 => mapped = Some(value),
            _ => {}
        }
    }
    Ok((key, mapped))
}

/// Decodes a time that the API server or the kubelet wrote, by the rules of the JSON decoder.
pub(super) fn time(value: Value<'_>) -> Result<Option<Timestamp>, Malformed> {
    let time = seconds(value)?.and_then(|seconds| Timestamp::from_second(seconds).ok());
    Ok(time.filter(|time| is_known_time(*time)))
}

/// Decodes a `Time` to seconds since 1970. Go's zero time is an empty message, and null in JSON. Fractions are dropped,
/// because the JSON format has none.
fn seconds(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    value.field(1)?.map(Value::integer).transpose()
}
