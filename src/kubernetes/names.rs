//! The forms of names that the API server accepts.

/// Reports whether a text is a DNS label (RFC 1123), such as the name of a namespace or of a container.
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Reports whether a text is a DNS subdomain (RFC 1123), such as the name of a Deployment.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(is_allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains_are_recognized() {
        let long = "a".repeat(63);
        for (text, label, subdomain) in [
            ("a", true, true),
            ("0-a", true, true),
            (&*long, true, true),
            (&*format!("{long}a"), false, true),
            ("a.b", false, true),
            (&*format!("{long}.{long}.{long}.{}", &long[2..]), false, true),
            (&*format!("{long}.{long}.{long}.{}", &long[1..]), false, false),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("a..b", false, false),
            ("a.-b", false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text}");
        }
    }
}
