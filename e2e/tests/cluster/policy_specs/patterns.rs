//! Regular expressions in the API server and in Sidewatch: a pattern that both accept matches the same names.

use kube::Client;
use serde_json::{Value, json};
use sidewatch::domain::pattern::Pattern;
use testkit::rng::Rng;

use super::{causes, plane};

/// A kind whose objects contain pairs of a pattern and a name. The API server rejects the pairs that do not match.
const PROBES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: patternprobes.test.sidewatch.dev}
spec:
  group: test.sidewatch.dev
  names: {kind: PatternProbe, plural: patternprobes}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          pairs:
            type: array
            maxItems: 100
            items:
              type: object
              properties:
                pattern: {type: string, maxLength: 64}
                name: {type: string, maxLength: 64}
              x-kubernetes-validations:
              - rule: self.name.matches('^(?:' + self.pattern + ')$')
                message: no match
";
/// The largest number of pairs in one object.
const PAIRS: usize = 100;

/// Parts of patterns, most of which Go and Rust read in the same way.
#[rustfmt::skip]
const PARTS: [&str; 44] = [
    "a", "b", "-", "0", "_", ".", "[", "]", "[a-c]", "[^a]", "[a-", "-c]", "^", "$", "|", "(", ")", "(?:", "(?i)", "(?i:A)",
    "(?s-i:b)", "*", "+", "?", "{2}", "{1,3}", "{,2}", "{ 2 }", "&&", "--", "~~", "&", "~", r"\d", r"\w", r"\b", r"\B", r"\-",
    r"\[", r"\x61", "[[:alpha:]]", "[:alpha:]", r"\A", r"\z",
];
const NAMES: [&str; 8] = ["a", "b", "ab", "a-b", "aa", "-", "abc-0", "a&&b"];

/// Returns whether the API server finds a match for each pair; `None` for an invalid pattern.
async fn matches_in_go(client: &Client, pairs: &[(String, &str)]) -> Vec<Option<bool>> {
    let mut found = Vec::new();
    for pairs in pairs.chunks(PAIRS) {
        let listed: Vec<Value> = pairs
            .iter()
            .map(|(pattern, name)| json!({"pattern": pattern, "name": name}))
            .collect();
        let object = json!({
            "apiVersion": "test.sidewatch.dev/v1", "kind": "PatternProbe", "metadata": {"name": "tried"}, "pairs": listed,
        });
        let request = http::Request::post("/apis/test.sidewatch.dev/v1/patternprobes?dryRun=All")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        let rejected = match client.request::<Value>(request).await {
            Ok(_) => Vec::new(),
            Err(kube::Error::Api(status)) => causes(&status),
            Err(error) => panic!("request failed: {error}"),
        };
        let mut verdicts = vec![Some(true); pairs.len()];
        for (field, message) in rejected {
            let position = field.trim_start_matches("pairs[").trim_end_matches(']');
            let position: usize = position.parse().unwrap_or_else(|_| panic!("{field}: {message}"));
            let is_invalid = message.contains("error parsing regexp");
            assert!(is_invalid || message.contains("no match"), "{field}: {message}");
            verdicts[position] = (!is_invalid).then_some(false);
        }
        found.extend(verdicts);
    }
    found
}

/// Returns random patterns. They are the same in each run.
fn patterns(count: usize) -> Vec<String> {
    let mut rng = Rng::new(0x5eed);
    let mut pattern = || (0..=rng.below(6)).map(|_| rng.pick(&PARTS)).collect();
    (0..count).map(|_| pattern()).collect()
}

#[tokio::test]
async fn a_pattern_that_go_and_rust_accept_matches_the_same_names() {
    let (plane, client) = plane().await;
    plane.apply(PROBES).await.unwrap();
    let mut accepted = 0;
    let mut differences = Vec::new();
    let mut pairs = Vec::new();
    let mut parsed = Vec::new();
    for source in patterns(20_000) {
        if let Ok(pattern) = Pattern::parse(&source) {
            accepted += 1;
            for name in NAMES {
                parsed.push(pattern.matches(name));
                pairs.push((source.clone(), name));
            }
        }
        if pairs.len() >= 8_000 {
            break;
        }
    }
    let in_go = matches_in_go(&client, &pairs).await;
    for (((source, name), in_rust), in_go) in pairs.iter().zip(&parsed).zip(&in_go) {
        match in_go {
            Some(in_go) if in_go == in_rust => {}
            Some(in_go) => differences.push(format!("{source} on {name}: Go {in_go}, Rust {in_rust}")),
            None => differences.push(format!("{source}: the API server refuses it")),
        }
    }
    differences.dedup();
    assert!(accepted >= 500, "enough patterns are valid: {accepted}");
    let matched = parsed.iter().filter(|matched| **matched).count();
    assert!(matched >= 200, "enough patterns match: {matched}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
