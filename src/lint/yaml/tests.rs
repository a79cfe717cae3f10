use std::fmt::Write;

use super::*;

fn show(node: &Node<'_>) -> String {
    match &node.value {
        Value::Scalar { text, .. } => text.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| show(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping { entries, .. } => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(k, v)| format!("{}: {}", show(k), show(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn parse(text: &str) -> Vec<Result<String, (u32, String)>> {
    Documents::with_limit(text, 1000)
        .map(|document| {
            document
                .map(|node| show(&node))
                .map_err(|e| (e.location.line, e.message))
        })
        .collect()
}

#[test]
fn documents_are_parsed() {
    let ok = |text: &str| Ok(text.to_owned());
    let table = [
        ("", vec![]),
        ("---\n---\n# only a comment\n", vec![]),
        (
            "a: 1\n---\nb: [x, {c: d}]\n",
            vec![ok("{a: 1}"), ok("{b: [x, {c: d}]}")],
        ),
        (
            "{\"a\": [1, true, null],\n\t\"b\":\"x\\ny\\/z\"}",
            vec![ok("{a: [1, true, null], b: x\ny/z}")],
        ),
        ("\u{feff}a: ü\r\nb: c\r\n", vec![ok("{a: ü, b: c}")]),
        ("a: &x {b: c}\nd: *x\n", vec![ok("{a: {b: c}, d: {b: c}}")]),
        ("a: |\n  one\n  two\n", vec![ok("{a: one\ntwo\n}")]),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text), expected, "{text:?}");
    }
}

#[test]
fn documents_after_an_invalid_one_are_parsed() {
    let found = parse("a: 1\n---\nb: [\n---\nc: 2\n---\nd: *missing\n---\ne: 3\n");
    let lines: Vec<_> = found.iter().map(|d| d.as_ref().map_err(|e| e.0)).collect();
    let (a, c, e) = ("{a: 1}".to_owned(), "{c: 2}".to_owned(), "{e: 3}".to_owned());
    assert_eq!(lines, [Ok(&a), Err(3), Ok(&c), Err(7), Ok(&e)], "{found:?}");
}

#[test]
fn a_value_has_its_position() {
    let text = "a: ü\nb:\n  - c: 'dé'\n    e: f\n";
    let root = Documents::new(text).next().unwrap().unwrap();
    let Value::Mapping { entries, .. } = &root.value else {
        panic!("{root:?}")
    };
    let Value::List(items) = &entries[1].1.value else {
        panic!("{root:?}")
    };
    assert_eq!((items[0].location.line, items[0].location.column), (3, 5));
    let Value::Mapping { entries, is_block } = &items[0].value else {
        panic!("{root:?}")
    };
    assert!(is_block);
    let value = entries[0].1.location;
    assert_eq!((value.line, value.column), (3, 8));
    assert_eq!(&text[value.range()], "'dé'");
    assert_eq!(&text[entries[1].0.location.range()], "e");
}

#[test]
fn a_small_text_that_expands_to_many_values_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    let found: Vec<_> = Documents::new(&bomb).collect();
    assert_eq!(found.len(), 1);
    let error = found[0].as_ref().unwrap_err();
    assert!(error.message.contains("more than 2000000 values"), "{error:?}");
    assert_eq!(error.location.line, 7, "nothing after the limit is read");
    let recursive = parse("a: &x [*x]\n");
    assert!(matches!(&recursive[..], [Err((1, message))] if message.contains("contains it")));
}

#[test]
fn a_key_that_is_in_a_mapping_twice_is_refused() {
    let found = parse("kind: 1\nb: {c: 1}\nb: 2\n---\n{c: 3}\n");
    let message = "the key \"b\" is in the mapping twice, first in line 2: remove one of both";
    assert_eq!(found, [Err((3, message.to_owned())), Ok("{c: 3}".to_owned())]);
    assert_eq!(
        parse("a: 1\na: 2\n"),
        [Ok("{a: 1, a: 2}".to_owned())],
        "no object of Kubernetes"
    );
    assert!(parse("- {a: 1}\n- {a: 2}\n")[0].is_ok(), "two mappings");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = parse(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    assert!(matches!(&deep[..], [Err(_)]), "{deep:?}");
}
