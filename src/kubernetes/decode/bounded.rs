//! Texts that a tenant can choose freely, cut to a length that every output can carry.

use std::borrow::Cow;

/// The longest name in Kubernetes, in bytes. Reasons and the names of owners are not validated by the API server.
const MAX_NAME: usize = 253;

/// More than the longest image reference of the registries: 255 bytes for the repository, 128 for the tag, 71 for the
/// digest.
const MAX_IMAGE: usize = 512;

/// A name, reason or quantity: at most 253 bytes, control characters replaced by U+FFFD.
pub(super) fn bounded(text: &str) -> Cow<'_, str> {
    bounded_to(text, MAX_NAME)
}

/// An image reference: at most 512 bytes, control characters replaced by U+FFFD.
pub(super) fn bounded_image(text: &str) -> Cow<'_, str> {
    bounded_to(text, MAX_IMAGE)
}

fn bounded_to(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut bounded = String::new();
    for c in text.chars() {
        let c = if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        };
        if bounded.len() + c.len_utf8() > limit {
            break;
        }
        bounded.push(c);
    }
    Cow::Owned(bounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_control_characters_replaced() {
        let long = "n".repeat(300);
        let wide = "ä".repeat(200);
        let table = [
            ("CrashLoopBackOff", "CrashLoopBackOff", "a reason"),
            ("", "", "empty"),
            (&long, &"n".repeat(253), "too long"),
            (&wide, &"ä".repeat(126), "253 bytes end within a character"),
            (
                "a\nb\0c\u{85}",
                "a\u{fffd}b\u{fffd}c\u{fffd}",
                "control characters",
            ),
        ];
        for (text, expected, why) in table {
            assert_eq!(bounded(text), expected, "{why}");
        }
        assert_eq!(bounded_image(&"i".repeat(600)).len(), 512);
    }
}
