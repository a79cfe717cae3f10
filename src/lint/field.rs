//! A value of a document, with its path from the root.

use std::{borrow::Cow, rc::Rc};

use super::yaml::{Location, Node, Value};

/// A value with its path, such as `spec.containers[0].name`.
#[derive(Clone, Debug)]
pub struct Field<'t> {
    node: Rc<Node<'t>>,
    /// The key of the value in its mapping.
    key: Option<Rc<Node<'t>>>,
    /// The path from the root of the document. Empty for the root.
    pub path: String,
}

impl<'t> Field<'t> {
    /// The root of a document.
    pub fn root(node: Rc<Node<'t>>) -> Self {
        Self {
            node,
            key: None,
            path: String::new(),
        }
    }

    /// The place of a finding about this value: a scalar itself, the key of a list or mapping, or its first key.
    pub fn location(&self) -> Location {
        match (&self.node.value, &self.key) {
            (Value::Scalar { .. }, _) => self.node.location,
            (_, Some(key)) => key.location,
            (Value::Mapping { entries, .. }, None) => entries
                .first()
                .map_or(self.node.location, |(key, _)| key.location),
            (Value::List(_), None) => Location {
                end: self.node.location.start,
                ..self.node.location
            },
        }
    }

    /// The value with its place.
    pub(super) fn node(&self) -> &Node<'t> {
        &self.node
    }

    /// The whole value.
    pub fn extent(&self) -> Location {
        self.node.location
    }

    /// The key of the value in its mapping.
    pub fn key_location(&self) -> Option<Location> {
        self.key.as_ref().map(|key| key.location)
    }

    /// Whether the value is a mapping in block style.
    pub fn is_block_mapping(&self) -> bool {
        matches!(&self.node.value, Value::Mapping { is_block: true, .. })
    }

    /// Whether the value is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(&self.node.value, Value::Mapping { .. })
    }

    /// The value of a key. `None` if there is none, or if it is null. A key of the mapping itself has precedence over a merged
    /// one (`<<: *base`).
    pub fn get(&self, name: &str) -> Option<Self> {
        let (key, node) = find(&self.node, name)?;
        let field = Self {
            path: self.join(name),
            node,
            key: Some(key),
        };
        (!field.is_null()).then_some(field)
    }

    /// The value of a key of a key, and so on.
    pub fn at(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |field, name| field.get(name))
    }

    /// The items of a list without nulls. No items if the value is not a list.
    pub fn items(&self) -> impl Iterator<Item = Self> + '_ {
        let items: &[Rc<Node<'t>>] = match &self.node.value {
            Value::List(items) => items,
            _ => &[],
        };
        items
            .iter()
            .enumerate()
            .map(|(i, node)| Self {
                node: Rc::clone(node),
                key: None,
                path: format!("{}[{i}]", self.path),
            })
            .filter(|field| !field.is_null())
    }

    /// The keys and values of a mapping, without merged keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Self)> + '_ {
        let entries: &[_] = match &self.node.value {
            Value::Mapping { entries, .. } => entries,
            _ => &[],
        };
        entries.iter().filter_map(|(key, node)| {
            let name = text(key)?;
            let field = Self {
                node: Rc::clone(node),
                key: Some(Rc::clone(key)),
                path: self.join(name),
            };
            Some((name, field))
        })
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        text(&self.node)
    }

    /// The text of a key's value.
    pub fn text_of(&self, name: &str) -> Option<String> {
        self.get(name)?.text().map(str::to_owned)
    }

    /// The value as a whole number. Kubernetes reads `30.0` as one.
    pub fn number(&self) -> Option<i64> {
        let text = self.text()?;
        let whole = match text.split_once('.') {
            Some((whole, zeros)) if zeros.chars().all(|c| c == '0') => whole,
            _ => text,
        };
        whole.parse().ok()
    }

    /// Whether the value is `true`.
    pub fn is_true(&self) -> bool {
        matches!(&self.node.value, Value::Scalar { text, is_plain: true } if is_true(text))
    }

    /// The texts of a list, or none.
    pub fn texts(&self) -> Vec<String> {
        self.items()
            .filter_map(|item| item.text().map(str::to_owned))
            .collect()
    }

    /// Whether the value is null.
    pub(super) fn is_null(&self) -> bool {
        match &self.node.value {
            Value::Scalar { text, is_plain: true } => matches!(&**text, "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    fn join(&self, name: &str) -> String {
        // A key with a dot would look like several keys.
        let name: Cow<'_, str> = if name.contains(['.', '/']) {
            format!("[{name:?}]").into()
        } else {
            name.into()
        };
        match (self.path.is_empty(), name.starts_with('[')) {
            (true, _) => name.into_owned(),
            (false, true) => format!("{}{name}", self.path),
            (false, false) => format!("{}.{name}", self.path),
        }
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE")
}

fn text<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

type Entry<'t> = (Rc<Node<'t>>, Rc<Node<'t>>);

fn find<'t>(node: &Rc<Node<'t>>, name: &str) -> Option<Entry<'t>> {
    let Value::Mapping { entries, .. } = &node.value else {
        return None;
    };
    let own = entries.iter().find(|(key, _)| text(key) == Some(name));
    if let Some((key, value)) = own {
        return Some((Rc::clone(key), Rc::clone(value)));
    }
    let merged = entries.iter().filter(|(key, _)| text(key) == Some("<<"));
    merged
        .flat_map(|(_, value)| match &value.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(value),
        })
        .find_map(|node| find(node, name))
}

#[cfg(test)]
mod tests {
    use super::{super::yaml::Documents, *};

    fn root(text: &str) -> Field<'_> {
        Field::root(Documents::new(text).next().unwrap().unwrap())
    }

    #[test]
    fn values_are_found_by_their_path() {
        let root =
            root("a:\n  b: [x, null, {c.d/e: '1'}]\n  f: ~\nbase: &b {g: h, i: j}\nk: {<<: *b, i: own}\n");
        let items: Vec<_> = root.at(&["a", "b"]).unwrap().items().collect();
        assert_eq!(items.len(), 2, "without null");
        let value = items[1].get("c.d/e").unwrap();
        assert_eq!(value.path, "a.b[2][\"c.d/e\"]");
        assert_eq!(value.number(), Some(1));
        assert!(root.at(&["a", "f"]).is_none(), "null is no value");
        let merged = root.get("k").unwrap();
        assert_eq!(merged.text_of("g").as_deref(), Some("h"));
        assert_eq!(merged.text_of("i").as_deref(), Some("own"));
    }

    #[test]
    fn only_a_plain_true_is_true() {
        let root = root("a: true\nb: 'true'\nc: yes\n");
        let is_true = |name: &str| root.get(name).unwrap().is_true();
        assert!(is_true("a") && !is_true("b") && !is_true("c"));
    }
}
