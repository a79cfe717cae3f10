//! Limits the length of texts that users of the cluster choose, so that every output can carry them.

use std::borrow::Cow;

/// Maximum length of a name in Kubernetes, in bytes. The API server does not validate reasons and names of owners.
const MAX_NAME: usize = 253;

/// Maximum length of an image reference, in bytes. Registries allow less: 255 bytes for the repository, 128 for the
/// tag, 71 for the digest.
const MAX_IMAGE: usize = 512;

/// Maximum length of the reason of an exemption, in bytes: the length of the note of an Event.
const MAX_REASON: usize = 1024;

/// Cuts a name, reason or quantity to 253 bytes. Replaces control characters by U+FFFD.
pub(super) fn bounded(text: &str) -> Cow<'_, str> {
    bounded_to(text, MAX_NAME)
}

/// Cuts an image reference to 512 bytes. Replaces control characters by U+FFFD.
pub(super) fn bounded_image(text: &str) -> Cow<'_, str> {
    bounded_to(text, MAX_IMAGE)
}

/// Cuts the reason of an exemption to 1024 bytes. Replaces control characters by U+FFFD.
pub(super) fn bounded_reason(text: &str) -> Cow<'_, str> {
    bounded_to(text, MAX_REASON)
}

fn bounded_to(text: &str, limit: usize) -> Cow<'_, str> {
    let is_printable_ascii = || text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.len() <= limit && (is_printable_ascii() || !text.contains(char::is_control)) {
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
