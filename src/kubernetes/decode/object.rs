//! Decodes one object of a list or watch. An object that cannot be decoded is a value, not an error of its list.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use crate::kubernetes::{
    json::{members, repaired},
    protobuf::{self, Malformed},
};

/// An object that lists and watches deliver.
pub trait Object: Sized + Send + 'static {
    /// Whether an object that cannot be decoded is delivered with its identity, so that its status can say so. Otherwise the
    /// consumer sees such an object as deleted.
    const IS_DELIVERED: bool = false;
    /// Whether [`Self::from_protobuf`] reads the encoding of this kind.
    const HAS_PROTOBUF: bool = false;

    /// Decodes JSON.
    fn from_json(json: &[u8]) -> serde_json::Result<Self>;

    /// Decodes protobuf.
    fn from_protobuf(_: &[u8]) -> Result<Self, Malformed> {
        Err(Malformed("this kind is read in JSON"))
    }

    /// Creates an object that has only the identity of one that cannot be decoded.
    fn of_undecodable(undecodable: &Undecodable) -> Self;

    /// Returns the metadata.
    fn metadata(&mut self) -> &mut ObjectMeta;

    /// Returns `metadata.resourceVersion`; empty if there is none. A type that does not need it afterwards returns its own.
    fn version(&mut self) -> String {
        self.metadata().resource_version.clone().unwrap_or_default()
    }
}

/// An object, or what is known of one that cannot be decoded.
pub type Decoded<T> = Result<T, Box<Undecodable>>;

/// An object that cannot be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecodable {
    /// `metadata.namespace`; empty if there is none or it cannot be read.
    pub namespace: String,
    /// `metadata.name`; empty if it cannot be read.
    pub name: String,
    /// `metadata.uid`; empty if it cannot be read.
    pub uid: String,
    /// `metadata.resourceVersion`; empty if it cannot be read.
    pub version: String,
    /// Where the object does not decode, in bytes from its start, if that is known.
    pub offset: Option<usize>,
    /// Why it does not decode.
    pub error: String,
}

impl Undecodable {
    /// Returns the metadata that could be read.
    pub(in crate::kubernetes) fn metadata(&self) -> ObjectMeta {
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        ObjectMeta {
            name: known(&self.name),
            namespace: known(&self.namespace),
            uid: known(&self.uid),
            ..ObjectMeta::default()
        }
    }

    /// Reports whether the object can be identified.
    pub(in crate::kubernetes) fn has_identity(&self) -> bool {
        !self.name.is_empty() && !self.uid.is_empty()
    }

    /// Returns the namespace and the name, as far as they are known.
    pub fn location(&self) -> String {
        match (&*self.namespace, &*self.name) {
            ("", "") => "an object without a readable name".to_owned(),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location(), self.error)?;
        match self.offset {
            Some(offset) => write!(f, " (byte {offset} of the object)"),
            None => Ok(()),
        }
    }
}

/// Decodes an object from JSON. Text that is not UTF-8 is replaced as Go's decoder does.
pub fn from_json<T: Object>(json: &[u8]) -> Decoded<T> {
    lenient(json, T::from_json)
}

/// Decodes an object that is not listed, as [`from_json`] does.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Decoded<T> {
    lenient(json, |json| serde_json::from_slice(json))
}

fn lenient<T>(json: &[u8], decode: impl Fn(&[u8]) -> serde_json::Result<T>) -> Decoded<T> {
    decode(json).or_else(|error| match repaired(json) {
        Some(text) => decode(text.as_bytes()).map_err(|error| undecodable_json(text.as_bytes(), &error)),
        None => Err(undecodable_json(json, &error)),
    })
}

fn undecodable_json(json: &[u8], error: &serde_json::Error) -> Box<Undecodable> {
    let mut undecodable = Undecodable {
        offset: offset(json, error),
        error: error.to_string(),
        ..Undecodable::default()
    };
    let metadata = members(json).filter(|(name, _)| *name == br#""metadata""#);
    for (name, value) in metadata.flat_map(|(_, metadata)| members(metadata)) {
        let field = match name {
            br#""namespace""# => &mut undecodable.namespace,
            br#""name""# => &mut undecodable.name,
            br#""uid""# => &mut undecodable.uid,
            br#""resourceVersion""# => &mut undecodable.version,
            _ => continue,
        };
        *field = text(value);
    }
    Box::new(undecodable)
}

/// Decodes a string. Another type is an empty one.
fn text(json: &[u8]) -> String {
    serde_json::from_slice(json).unwrap_or_default()
}

/// Returns the place of an error, from its line and column.
fn offset(json: &[u8], error: &serde_json::Error) -> Option<usize> {
    let lines_before = error.line().checked_sub(1)?;
    let before: usize = json
        .split_inclusive(|byte| *byte == b'\n')
        .take(lines_before)
        .map(<[u8]>::len)
        .sum();
    Some(before + error.column().saturating_sub(1))
}

/// Decodes an object from protobuf.
pub fn from_protobuf<T: Object>(bytes: &[u8]) -> Decoded<T> {
    T::from_protobuf(bytes).map_err(|error| {
        Box::new(Undecodable {
            offset: protobuf::failing_field(bytes, |field| T::from_protobuf(field).is_err()),
            error: error.to_string(),
            ..protobuf::identity(bytes)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::decode::pod::LeanPod;

    #[test]
    fn an_object_that_cannot_be_decoded_is_named_with_the_place() {
        let metadata = r#""metadata":{"name":"x","namespace":"evil","uid":"u","resourceVersion":"7"}"#;
        let table = [
            (
                format!(r#"{{{metadata},"spec":{{"containers":{{}}}}}}"#),
                "evil/x",
                "a list of another type",
            ),
            (
                format!(r#"{{"spec":7,{metadata}}}"#),
                "evil/x",
                "before the metadata",
            ),
            (
                format!(r#"{{{metadata},"status":{{"phase":"Running","phase":"Failed"}}}}"#),
                "evil/x",
                "a duplicate field",
            ),
            (
                r#"{"metadata":{"name":7,"namespace":"evil"}}"#.to_owned(),
                "evil/",
                "a name of another type",
            ),
            ("7".to_owned(), "an object without a readable name", "no object"),
            ("null".to_owned(), "an object without a readable name", "null"),
        ];
        for (json, location, why) in table {
            let error = from_json::<LeanPod>(json.as_bytes()).unwrap_err();
            assert_eq!(error.location(), location, "{why}");
            assert!(
                error.offset.is_some_and(|offset| offset < json.len()),
                "{why}: {error:?}"
            );
            assert_eq!(error.uid.is_empty(), location != "evil/x", "{why}");
        }
    }

    #[test]
    fn text_that_go_replaces_does_not_prevent_decoding() {
        for json in [
            &b"{\"metadata\":{\"name\":\"x\",\"annotations\":{\"linkerd.io/inject\":\"enabled\xff\"}}}"[..],
            br#"{"metadata":{"name":"x","annotations":{"linkerd.io/inject":"enabled\ud800"}}}"#,
        ] {
            let pod: LeanPod = from_json(json).unwrap();
            let annotations = pod.metadata.annotations.unwrap();
            assert_eq!(
                annotations.get("linkerd.io/inject").map(String::as_str),
                Some("enabled\u{fffd}")
            );
        }
    }
}
