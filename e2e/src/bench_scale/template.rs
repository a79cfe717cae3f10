//! Copies of a stored object whose names differ.
//!
//! A protobuf message stores the length of each string. A placeholder and its replacement have the same length, so a
//! replacement changes no other byte.

use anyhow::{Result, ensure};

/// The stored bytes of an object, and the offsets of its placeholders.
pub(super) struct Template {
    bytes: Vec<u8>,
    placeholders: Vec<Placeholder>,
}

struct Placeholder {
    text: String,
    offsets: Vec<usize>,
}

impl Template {
    /// Finds the placeholders. Each of them must occur.
    pub(super) fn new(bytes: Vec<u8>, placeholders: &[&str]) -> Result<Self> {
        let mut found = Vec::new();
        for text in placeholders {
            let windows = bytes.windows(text.len()).enumerate();
            let offsets: Vec<usize> = windows
                .filter(|(_, window)| *window == text.as_bytes())
                .map(|(offset, _)| offset)
                .collect();
            ensure!(!offsets.is_empty(), "the stored object has no {text}");
            found.push(Placeholder {
                text: (*text).to_owned(),
                offsets,
            });
        }
        Ok(Self {
            bytes,
            placeholders: found,
        })
    }

    /// A copy with these values, in the order of the placeholders.
    pub(super) fn copy(&self, values: &[&str]) -> Result<Vec<u8>> {
        ensure!(
            values.len() == self.placeholders.len(),
            "{} values for {} placeholders",
            values.len(),
            self.placeholders.len()
        );
        let mut copy = self.bytes.clone();
        for (Placeholder { text, offsets }, value) in self.placeholders.iter().zip(values) {
            ensure!(text.len() == value.len(), "{text} and {value} differ in length");
            for offset in offsets {
                if let Some(place) = copy.get_mut(*offset..offset + value.len()) {
                    place.copy_from_slice(value.as_bytes());
                }
            }
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_replaces_every_occurrence() {
        let template = Template::new(b"k8s\0 pod-zz in ns-z, pod-zz".to_vec(), &["pod-zz", "ns-z"]).unwrap();
        let copy = template.copy(&["pod-07", "ns-3"]).unwrap();
        assert_eq!(copy, b"k8s\0 pod-07 in ns-3, pod-07");
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        let template = Template::new(b"pod-zz".to_vec(), &["pod-zz"]).unwrap();
        let error = template.copy(&["pod-100"]).unwrap_err().to_string();
        assert!(error.contains("pod-100"), "{error}");
    }

    #[test]
    fn a_placeholder_that_does_not_occur_is_refused() {
        assert!(Template::new(b"pod-zz".to_vec(), &["pod-zz", "ns-z"]).is_err());
    }
}
