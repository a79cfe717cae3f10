//! Decodes objects with all their fields except `managedFields`, which clients can write with any time and any nesting.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, TypeMeta};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::object::{Decoded, Object, Undecodable, from_json, read};
use crate::kubernetes::json::{elements, members};

impl Object for DynamicObject {
    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        let Fields::<Metadata> {
            known: metadata,
            mut others,
        } = serde_json::from_slice(json)?;
        let mut text = |name: &str| match others.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let types = TypeMeta {
            api_version: text("apiVersion"),
            kind: text("kind"),
        };
        Ok(Self {
            types: (types != TypeMeta::default()).then_some(types),
            metadata: metadata.0,
            data: Value::Object(others),
        })
    }

    fn of_undecodable(undecodable: &Undecodable) -> Self {
        Self {
            types: None,
            metadata: undecodable.metadata(),
            data: Value::Null,
        }
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Decodes an object, or the objects of a list, to the fields that they have. An object whose `managedFields` cannot be decoded
/// is without them, and one that cannot be decoded otherwise is left out of its list, or null.
pub fn value(json: &[u8]) -> Value {
    if let Ok(value) = read(json) {
        return value;
    }
    if let Some((_, items)) = members(json).find(|(name, _)| *name == br#""items""#) {
        let items = elements(items).map(value).filter(|item| !item.is_null());
        return json!({ "items": items.collect::<Vec<_>>() });
    }
    let object: Decoded<DynamicObject> = from_json(json);
    object.map_or(Value::Null, |object| {
        serde_json::to_value(object).unwrap_or_default()
    })
}

/// The fields of an object, of which one is decoded to a type of its own.
#[derive(Default)]
struct Fields<K> {
    known: K,
    others: Map<String, Value>,
}

/// A field with a type of its own.
trait Known: Default {
    const NAME: &'static str;

    fn decode<'de, A: MapAccess<'de>>(fields: &mut A) -> Result<Self, A::Error>;
}

/// `metadata` of an object.
#[derive(Default)]
struct Metadata(ObjectMeta);

impl Known for Metadata {
    const NAME: &'static str = "metadata";

    fn decode<'de, A: MapAccess<'de>>(fields: &mut A) -> Result<Self, A::Error> {
        let metadata: Option<Fields<ManagedFields>> = fields.next_value()?;
        let mut others = metadata.unwrap_or_default().others;
        // jiff has no times after the year 9999.
        for name in ["creationTimestamp", "deletionTimestamp"] {
            let is_time = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
            };
            if others.get(name).is_some_and(|value| !is_time(value)) {
                others.remove(name);
            }
        }
        let metadata = serde_json::from_value(Value::Object(others));
        metadata.map(Self).map_err(serde::de::Error::custom)
    }
}

/// `metadata.managedFields`, which is skipped.
#[derive(Default)]
struct ManagedFields;

impl Known for ManagedFields {
    const NAME: &'static str = "managedFields";

    fn decode<'de, A: MapAccess<'de>>(fields: &mut A) -> Result<Self, A::Error> {
        fields.next_value::<IgnoredAny>().map(|_| Self)
    }
}

impl<'de, K: Known> Deserialize<'de> for Fields<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(Self::default()))
    }
}

struct FieldsVisitor<K>(Fields<K>);

impl<'de, K: Known> Visitor<'de> for FieldsVisitor<K> {
    type Value = Fields<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Self::Value, A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            if name == K::NAME {
                self.0.known = K::decode(&mut fields)?;
            } else {
                self.0.others.insert(name, fields.next_value()?);
            }
        }
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_every_object_that_can_be_decoded() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let object =
            |name: &str, fields: &str| format!(r#"{{"metadata":{{"name":"{name}",{fields}}},"spec":{{}}}}"#);
        let readable = object("a", r#""managedFields":[{"manager":"m"}]"#);
        let unreadable = object("b", &format!(r#""managedFields":{deep}"#));
        let other = object("c", &format!(r#""labels":{deep}"#));
        let list = format!(r#"{{"kind":"List","items":[{readable}, {unreadable},{other}]}}"#);
        let bare = json!({"metadata": {"name": "b"}, "spec": {}});
        let expected = json!({"items": [serde_json::from_str::<Value>(&readable).unwrap(), bare]});
        assert_eq!(value(list.as_bytes()), expected);
        assert_eq!(value(b"not JSON"), Value::Null);
        let text = b"{\"metadata\":{\"name\":\"\xff\"}}";
        assert_eq!(value(text)["metadata"]["name"], "\u{fffd}");
    }

    #[test]
    fn an_object_has_all_fields_except_managed_fields() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "b", "labels": {"c": "d"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "app"}]},
        });
        let mut stored = object.clone();
        let entry = json!({"manager": "x", "time": "9999-12-31T23:59:59Z", "fieldsV1": {}});
        stored["metadata"]["managedFields"] = json!([entry]);
        stored["metadata"]["deletionTimestamp"] = json!("9999-12-31T23:59:59Z");
        let decoded: DynamicObject = from_json(stored.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(decoded).unwrap(), object);
        let decoded: DynamicObject = from_json(b"{\"metadata\":null}").unwrap();
        assert_eq!(decoded.types, None);
    }
}
