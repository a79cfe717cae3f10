//! Patterns, globs, durations and image names, compared with slow and simple implementations.

use sidewatch::{
    api::Duration,
    domain::pattern::{Glob, Pattern, Repository},
};

use crate::glob::glob;

/// The first line is a pattern, a glob and a duration. The other lines are names or images to match.
pub fn patterns(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some(source) = lines.next().filter(|source| source.len() <= 512) else {
        return;
    };
    drop(Duration::new(source).parse());
    let pattern = Pattern::parse(source);
    let unanchored = regex::bytes::RegexBuilder::new(source)
        .unicode(false)
        .size_limit(28 << 10)
        .nest_limit(64)
        .build();
    if pattern.is_ok() {
        assert!(
            unanchored.is_ok(),
            "{source:?} is not valid without the added anchors"
        );
        assert!(!has_set_operation(source), "{source:?} has another meaning in Go");
    }
    let tested = Glob::new(source);
    for subject in lines.take(8).map(|line| &line[..line.floor_char_boundary(256)]) {
        if let (Ok(pattern), Ok(unanchored)) = (&pattern, &unanchored)
            && pattern.matches(subject)
        {
            assert!(
                unanchored.is_match(subject.as_bytes()),
                "{source:?} on {subject:?}"
            );
        }
        let names = names(subject);
        let expected = names.iter().any(|name| glob(source, name));
        let image = Repository::of(subject);
        assert_eq!(
            tested.matches(&image),
            expected,
            "{source:?} on {subject:?}, which is {names:?}"
        );
        assert!(Glob::new("*").matches(&image), "* matches {subject:?}");
    }
}

/// Reports whether a character class has a set operation of Rust or a class inside it. Reads the text only, so the syntax
/// must be valid.
fn has_set_operation(source: &str) -> bool {
    let mut rest = source;
    let mut in_class = false;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        if first == '\\' {
            length += rest[1..].chars().next().map_or(0, char::len_utf8);
        } else if !in_class {
            if first == '[' {
                in_class = true;
                let class = rest[1..].strip_prefix('^').unwrap_or(&rest[1..]);
                let class = class.strip_prefix(']').unwrap_or(class);
                length = rest.len() - class.len();
            }
        } else if rest.starts_with("[:") {
            length = rest.find(":]").map_or(rest.len(), |end| end + 2);
        } else if first == '[' || ["&&", "--", "~~"].iter().any(|sign| rest.starts_with(sign)) {
            return true;
        } else if first == ']' {
            in_class = false;
        }
        rest = &rest[length..];
    }
    false
}

/// Returns the names of an image's repository that a glob may match.
fn names(image: &str) -> Vec<String> {
    let name = image.split('@').next().unwrap_or_default();
    let tag = name.rfind(':').filter(|colon| !name[*colon..].contains('/'));
    let name = &name[..tag.unwrap_or(name.len())];
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let (registry, path) = match name.split_once('/') {
        Some((registry, path)) if is_registry(registry) => (registry, path),
        _ => ("docker.io", name),
    };
    if registry == "docker.io" {
        let bare = path.strip_prefix("library/");
        if bare.is_some() || !path.contains('/') {
            let bare = bare.unwrap_or(path);
            let names = ["docker.io/library/", "library/", ""].map(|prefix| format!("{prefix}{bare}"));
            return [names.as_slice(), &[name.to_owned()]].concat();
        }
    }
    vec![format!("{registry}/{path}"), path.to_owned(), name.to_owned()]
}
