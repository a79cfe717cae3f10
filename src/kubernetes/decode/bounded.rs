//! Limits the length of texts that users of the cluster choose, and their characters, so that every output can carry them.
//!
//! Owners and images become labels of metrics, and alerts put these labels into chat messages. There, `<`, `@` and `:` begin
//! links and mentions. The API server validates neither.

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

/// Cuts the kind or the name of an owner to 253 bytes. Replaces characters that no kind or name of a workload has by `_`.
pub(super) fn bounded_owner(text: &str) -> Cow<'_, str> {
    restricted(text, MAX_NAME, |_, c| is_of_name(c))
}

/// Cuts an image reference to 512 bytes. Replaces characters that no image reference has by `_`, but leaves placeholders such
/// as `${IMAGE}`. An `@` stays before a digest only.
pub(super) fn bounded_image(text: &str) -> Cow<'_, str> {
    let digest = text.rfind('@').filter(|at| {
        let digest = text.get(at + 1..).unwrap_or_default();
        let parts = digest.split_once(':');
        parts.is_some_and(|(algorithm, hex)| {
            algorithm.starts_with("sha") && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    restricted(text, MAX_IMAGE, |at, c| match c {
        '@' => Some(at) == digest,
        '/' | ':' | '+' | '$' | '{' | '}' => true,
        c => is_of_name(c),
    })
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// Cuts an ASCII text to a number of bytes, and replaces the characters that are not allowed by `_`. `is_allowed` gets the
/// position and the character.
fn restricted(text: &str, limit: usize, is_allowed: impl Fn(usize, char) -> bool) -> Cow<'_, str> {
    if text.len() <= limit && text.char_indices().all(|(at, c)| is_allowed(at, c)) {
        return Cow::Borrowed(text);
    }
    let characters = text
        .char_indices()
        .map(|(at, c)| if is_allowed(at, c) { c } else { '_' });
    Cow::Owned(characters.take(limit).collect())
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
    fn owners_and_images_have_no_links_and_mentions() {
        let digest = format!("docker.io/istio/proxyv2:1.28.1@sha256:{}", "0a".repeat(32));
        let table = [
            ("docker.io/istio/proxyv2:1.28.1", "docker.io/istio/proxyv2:1.28.1"),
            (&*digest, &*digest),
            ("${IMAGE}", "${IMAGE}"),
            ("@channel", "_channel"),
            ("a@here:1", "a_here:1"),
            ("<http://x|click>", "_http://x_click_"),
            ("a\u{1b}[2J b\u{202e}", "a__2J_b_"),
        ];
        for (image, expected) in table {
            assert_eq!(bounded_image(image), expected);
        }
        let table = [
            ("ReplicaSet", "ReplicaSet"),
            ("web-7d9.v1", "web-7d9.v1"),
            ("<!channel>", "__channel_"),
            ("[x](http://x)", "_x__http___x_"),
            ("a @here", "a__here"),
        ];
        for (owner, expected) in table {
            assert_eq!(bounded_owner(owner), expected);
        }
        assert_eq!(bounded_owner(&"ä".repeat(300)), "_".repeat(253));
    }

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
