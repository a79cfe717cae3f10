//! The two pattern languages in a policy: regular expressions for container names, globs for image repositories.
//!
//! Tenants write the patterns, so the cost of a regular expression is bounded when it is compiled.

mod portable;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
};

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::parse::ParserBuilder;

/// The size limit of a compiled pattern, in bytes. With everything that a match needs it takes at most twice this memory: the
/// 18 patterns of each of 50 policies take less than 40 MiB.
const SIZE_LIMIT: usize = 28 << 10;
/// The deepest nesting of groups.
const NEST_LIMIT: u32 = 64;
/// The registry of an image reference without a registry.
const DOCKER_HUB: &str = "docker.io";

/// A regular expression in RE2 syntax that matches whole names. The API server and Sidewatch read it in the same way.
///
/// The compiled form takes a hundred times the memory of the text. It exists from the first match on. Clones share it.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Box<str>,
    /// `None` inside: never, because the source was compiled before.
    regex: OnceLock<Option<Regex>>,
}

/// The pattern is not a regular expression, is too costly, or means something else to the API server. The text says what
/// to change, or is the last line of the parser's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

impl From<regex::Error> for InvalidPattern {
    fn from(error: regex::Error) -> Self {
        // The error shows its position on several lines. The last line contains the message.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        Self(last.strip_prefix("error: ").unwrap_or(last).to_owned())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.source == other.0.source
    }
}

impl Pattern {
    /// Reads `source`, anchored at both ends. Fails if it is not valid, needs too much memory, or has another meaning in the API
    /// server.
    pub fn parse(source: &str) -> Result<Self, InvalidPattern> {
        // An invalid source has no tree. The compilation below returns its error.
        if let Ok(tree) = ParserBuilder::new().nest_limit(NEST_LIMIT).build().parse(source) {
            portable::check(source, &tree).map_err(|error| InvalidPattern(error.to_string()))?;
        }
        // Compiles the source alone first: `a)|(b` is valid only inside the group that anchors it.
        compile(source)?;
        compile(&anchored(source))?;
        Ok(Self(Arc::new(Compiled {
            source: source.into(),
            regex: OnceLock::new(),
        })))
    }

    /// The same pattern with a compiled form of its own, which does not exist yet.
    #[must_use]
    pub fn uncompiled(&self) -> Self {
        Self(Arc::new(Compiled {
            source: self.0.source.clone(),
            regex: OnceLock::new(),
        }))
    }

    /// Whether the pattern matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let Compiled { source, regex } = &*self.0;
        let regex = regex.get_or_init(|| compile(&anchored(source)).ok());
        regex
            .as_ref()
            .is_some_and(|regex| regex.is_match(name.as_bytes()))
    }
}

/// The patterns of the active policies. Equal ones share their compiled form, which ends with the last of them.
#[derive(Debug, Default)]
pub struct Patterns {
    known: HashMap<Box<str>, Weak<Compiled>>,
    /// The number of known patterns at which those that are no longer used are removed.
    sweep_at: usize,
}

impl Patterns {
    /// Makes a pattern use the compiled form of the equal one in use.
    pub fn share(&mut self, pattern: &mut Pattern) {
        if let Some(known) = self.known.get(&pattern.0.source).and_then(Weak::upgrade) {
            pattern.0 = known;
            return;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, pattern| pattern.strong_count() > 0);
            self.sweep_at = 2 * self.known.len() + 16;
        }
        self.known
            .insert(pattern.0.source.clone(), Arc::downgrade(&pattern.0));
    }
}

fn anchored(source: &str) -> String {
    format!(r"\A(?:{source})\z")
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(SIZE_LIMIT)
        // No lazily built automaton: it takes as much memory again, and few names of containers are matched.
        .dfa_size_limit(0)
        .nest_limit(NEST_LIMIT)
        .build()
}

/// A glob over an image repository: `*` matches any sequence of characters, including `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Creates a glob from its text. Every text is valid.
    pub fn new(source: &str) -> Self {
        Self(source.into())
    }

    /// Whether the glob matches one of the names of the image's repository.
    pub fn matches(&self, image: &Repository<'_>) -> bool {
        image
            .names()
            .any(|name| glob_matches(self.0.as_bytes(), name.as_bytes()))
    }
}

/// Matches with backtracking to the last `*` only: constant memory, at most `glob * text` steps.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    // Rejects most pairs at once: the text must end like the glob.
    let end = glob.rsplit(|byte| *byte == b'*').next().unwrap_or_default();
    if !text.ends_with(end) {
        return false;
    }
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, t));
                g += 1;
            }
            Some(c) if Some(c) == text.get(t) => {
                g += 1;
                t += 1;
            }
            _ => match &mut retry {
                Some((after_star, from)) => {
                    *from += 1;
                    (g, t) = (*after_star, *from);
                }
                None => return false,
            },
        }
    }
    glob.get(g..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// The repository of an image reference, without tag and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository<'a> {
    full: String,
    written: &'a str,
    bare: &'a str,
}

impl<'a> Repository<'a> {
    /// Parses an image reference as container runtimes do. The first part is a registry if it contains a dot or a colon or
    /// is `localhost`; otherwise the registry is `docker.io`. A single part on `docker.io` is in `library/`.
    pub fn of(image: &'a str) -> Self {
        let name = Self::without_tag(image);
        let (registry, path) = match name.split_once('/') {
            Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => {
                (registry, path)
            }
            _ => (DOCKER_HUB, name),
        };
        let bare = path
            .strip_prefix("library/")
            .filter(|_| registry == DOCKER_HUB)
            .unwrap_or(path);
        let library = if registry == DOCKER_HUB && !path.contains('/') {
            "library/"
        } else {
            ""
        };
        Self {
            full: format!("{registry}/{library}{path}"),
            written: name,
            bare,
        }
    }

    /// The image reference as written, without tag and digest.
    pub fn without_tag(image: &str) -> &str {
        let name = image.split_once('@').map_or(image, |(name, _)| name);
        match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => name,
        }
    }

    /// The name with its registry. Equal for all ways to write the same repository.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The names that globs match: the full name, the name without the registry, the name as written, and for an image of
    /// the Docker library its bare name.
    fn names(&self) -> impl Iterator<Item = &str> {
        let path = self.full.split_once('/').map_or("", |(_, path)| path);
        [self.full.as_str(), path, self.written, self.bare].into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_as_equal_as_their_sources() {
        let pattern = |source| Pattern::parse(source).unwrap();
        assert_eq!(pattern("a|b"), pattern("a|b"));
        assert_ne!(pattern("a|b"), pattern("b|a"), "an edit, if one without effect");
    }

    #[test]
    fn equal_patterns_are_compiled_once_and_no_longer_than_they_are_used() {
        let mut patterns = Patterns::default();
        let mut shared = |source: &str| {
            let mut pattern = Pattern::parse(source).unwrap();
            patterns.share(&mut pattern);
            pattern
        };
        let (first, second, other) = (shared("a|b"), shared("a|b"), shared("a"));
        assert!(Arc::ptr_eq(&first.0, &second.0));
        assert!(!Arc::ptr_eq(&first.0, &other.0));
        assert!(
            first.0.regex.get().is_none(),
            "not compiled before the first match"
        );
        assert!(second.matches("b") && first.0.regex.get().is_some());
        drop((first, second, other));
        let again = shared("a|b");
        assert!(again.0.regex.get().is_none(), "the last one was dropped");
        for n in 0..1000 {
            drop(shared(&n.to_string()));
        }
        assert!(patterns.known.len() < 50, "{}", patterns.known.len());
    }

    #[test]
    fn patterns_are_anchored_and_bounded() {
        let table = [
            ("helper-.*", "helper-a", true, "a plain pattern"),
            ("helper-.*", "my-helper-a", false, "anchored at the start"),
            ("help", "helper", false, "anchored at the end"),
            ("a|b", "ab", false, "an alternation is anchored as a whole"),
            ("a|ab", "ab", true, "the longer alternative is found"),
            ("(?i)ENVOY", "envoy", true, "flags work"),
        ];
        for (pattern, name, expected, why) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), expected, "{why}");
        }
        for bad in [
            "(",
            "a)|(b",
            "(((a{99}){99}){99})",
            "[a-z]{1000}",
            &"(".repeat(100),
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad} must be refused");
        }
        let names: Vec<String> = (100..130).map(|n| format!("sidecar-{n}-x")).collect();
        let label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
        for good in [&*names.join("|"), label, "(?:[a-z]+-)*proxy(?:-[a-z0-9]{1,63})?"] {
            assert!(Pattern::parse(good).is_ok(), "{good} must be accepted");
        }
    }

    #[test]
    fn a_pattern_that_go_and_rust_read_differently_is_refused_with_a_correction() {
        #[rustfmt::skip]
        let table = [
            ("[a&&b]", "no set operation &&", "an intersection"),
            ("[&&]", "no set operation &&", "an intersection without operands"),
            ("[a-z--b]", r"no set operation --", "a difference"),
            ("[+--]", r"write the characters that match, and \- for a dash", "a range of Go to a dash"),
            ("[[:alpha:]~~b]", "no set operation ~~", "a symmetric difference"),
            ("[[a]b]", r"no class inside a character class: write \[", "a class in a class"),
            ("[x[:foo:]]", "no class inside", "an unknown POSIX class is a class in a class"),
            ("[^--a]", r"reads -- at this place of a character class as a range: write \-", "a range of Go"),
            ("[A-[b]", r"reads A-[ at this place of a character class as a range: write \[", "an open bracket"),
            (r"\pN", r"replace \pN by a class of ASCII characters, such as [0-9]", "a property"),
            (r"[a\p{Greek}]", r"\p{Greek}", "a property in a class"),
            ("a\u{e9}*", "ASCII characters only: remove \u{e9}", "a letter that no name contains"),
            (r"(?i)\x{212A}", r"remove \x{212A}", "the Kelvin sign, which is a k in Go"),
            (r"[a-\xFF]", r"remove \xFF", "a byte that is no character"),
            (r"\u0061", r"no escape \u0061: write the character", "an escape of Rust"),
            (r"\<a", r"no word boundary \<: write \b", "a word boundary of Rust, a less-than sign of Go"),
            (r"\b{start}a", r"no word boundary \b{start}", "the same, as a name"),
            ("(?x)a b", "no flag x: remove it", "spaces that are ignored"),
            ("(?i-u:a)", "no flag u", "Unicode off, as it always is here"),
            ("(?mR)a$", "no flag R", "line ends of Windows"),
            ("a{ 3 }", "reads { 3 } as characters, because of the space", "spaces in a repetition"),
            ("a{1001}", "at most 1000 times: reduce {1001}", "many repetitions"),
            ("a**", "cannot repeat a repetition: write (?:...) around the first one in a**", "two stars"),
            ("a{2}{3}", "around the first one in a{2}{3}", "two counts"),
        ];
        for (pattern, expected, why) in table {
            let error = Pattern::parse(pattern).expect_err(why).to_string();
            assert!(error.contains(expected), "{pattern}: {why}: {error}");
        }
    }

    #[test]
    fn a_pattern_that_go_and_rust_read_alike_is_accepted() {
        let table = [
            ("a--b", "a--b", "dashes outside of a class"),
            ("a&&b", "a&&b", "ampersands outside of a class"),
            (r"[a\-\-\[]+", "a-[", "escaped characters in a class"),
            ("[a-c-]+", "b-", "a dash at the end"),
            ("[-a]+", "-a", "a dash at the start"),
            ("[]a]+", "]a", "a bracket at the start"),
            ("[&~]", "~", "each sign once"),
            ("[[:alpha:][:^digit:]_-]+", "a_-", "POSIX classes"),
            (r"\Aa\b.\z", "a-", "the assertions of RE2"),
            ("(?i:A)b(?P<last>c)", "abc", "the groups of RE2"),
            (r"(?:a{2}){2}", "aaaa", "a repeated group"),
            (r"\x61\x{62}", "ab", "the escapes of RE2"),
        ];
        for (pattern, name, why) in table {
            let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {why}: {error}"));
            assert!(parsed.matches(name), "{pattern}: {why}");
        }
    }

    #[test]
    fn globs_see_the_repository() {
        #[rustfmt::skip]
        let table = [
            ("fluent/*", "fluent/fluent-bit:3.1", true, "the path without docker.io"),
            ("docker.io/fluent/*", "fluent/fluent-bit", true, "docker.io filled in"),
            ("docker.io/library/nginx", "nginx", true, "library filled in"),
            ("library/nginx", "nginx:1", true, "without the registry"),
            ("docker.io/library/nginx", "docker.io/nginx:1", true, "library filled in behind a written docker.io"),
            ("docker.io/nginx", "docker.io/nginx:1", true, "as it is written"),
            ("*/library/*", "reg.example/nginx", false, "no other registry has a library"),
            ("nginx", "docker.io/library/nginx@sha256:00", true, "by its bare name"),
            ("*/istio/proxyv2", "gcr.io/istio/proxyv2:1.24", true, "a star for the registry"),
            ("*/proxyv2", "reg.example:5000/a/b/proxyv2", true, "a star crosses slashes"),
            ("istio/proxyv2", "localhost/istio/proxyv2", true, "localhost is a registry"),
            ("envoy", "envoyproxy/envoy", false, "a bare name is not a suffix"),
            ("reg.example:5000/app", "reg.example:5000/app", true, "a port is not a tag"),
            ("*proxy*v2*", "x/proxy-a-v2", true, "several stars"),
            ("*b", "aab", true, "a star steps back"),
            ("", "nginx", false, "an empty glob matches nothing"),
        ];
        for (glob, image, expected, why) in table {
            assert_eq!(Glob::new(glob).matches(&Repository::of(image)), expected, "{why}");
        }
    }
}
