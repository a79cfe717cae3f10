//! Reads files with a limit on their size, and the YAML or JSON documents in them.
//!
//! The YAML parser limits depth, nodes and aliases, so a small file that expands to a large value is refused.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

use super::exit::Failure;

/// The name of standard input on the command line.
const STDIN: &str = "-";
/// The byte order mark that some editors write at the start of UTF-8 text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Opens a file, or standard input for `-`. Skips a byte order mark. Fails for UTF-16, which `>` of PowerShell writes.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    let fail = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut input: Box<dyn BufRead> = if path == Path::new(STDIN) {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(format!("cannot read {}: it is a directory", path.display()).into());
        }
        Box::new(BufReader::new(file))
    };
    let start = input.fill_buf().map_err(fail)?;
    if is_utf16(start) {
        return Err(format!(
            "cannot read {}: it is UTF-16 text, as > of PowerShell writes it: write it with | Out-File -Encoding utf8",
            path.display()
        )
        .into());
    }
    if start.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(input)
}

/// Whether a text starts with the mark of UTF-16, or with letters that have zeros between them.
fn is_utf16(start: &[u8]) -> bool {
    let is_letter = |byte: u8| byte != 0 && byte.is_ascii();
    match *start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] => is_letter(a) && is_letter(b),
        _ => false,
    }
}

/// Reads a text file of at most `limit` megabytes, or standard input for `-`.
pub fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let name = path.display();
    let mut bytes = Vec::new();
    let length = u64::try_from(limit << 20)?;
    open(path)?
        .take(length + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() > limit << 20 {
        return Err(format!("cannot read {name}: it is larger than {limit} MB").into());
    }
    String::from_utf8(bytes).map_err(|_| format!("cannot read {name}: it is not UTF-8 text").into())
}

/// Reads the documents of a YAML or JSON file of at most `limit` megabytes. Skips empty documents. Objects in a `List` or a
/// `PodList` are documents of their own.
pub fn documents(path: &Path, limit: usize) -> Result<Vec<Value>, Failure> {
    documents_in(&read_text(path, limit)?, path)
}

/// Returns the documents of a text from a file, as [`documents`] does.
pub fn documents_in(text: &str, path: &Path) -> Result<Vec<Value>, Failure> {
    let found: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| format!("{} is not valid YAML: {error}", path.display()))?;
    let mut documents = Vec::new();
    // jq '.items' writes a list without a kind.
    let found = found.into_iter().flat_map(|document| match document {
        Value::Array(items) => items,
        document => vec![document],
    });
    for mut document in found.filter(|document| !document.is_null()) {
        let kind = document.get("kind").and_then(Value::as_str);
        let item_kind = kind.and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
        match (item_kind, document.get_mut("items").map(Value::take)) {
            (Some(kind), Some(Value::Array(items))) => {
                documents.extend(items.into_iter().map(|item| with_kind(item, &kind)));
            }
            _ => documents.push(document),
        }
    }
    Ok(documents)
}

/// Sets the kind of an item of a list, which has none in a `PodList`.
fn with_kind(mut item: Value, kind: &str) -> Value {
    if let Some(fields) = item.as_object_mut().filter(|_| !kind.is_empty()) {
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    item
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn file(name: &str, text: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sidewatch-files-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    fn names(text: &str, name: &str) -> Result<Vec<String>, String> {
        let path = file(name, text.as_bytes());
        let documents = documents(&path, 1).map_err(|error| error.to_string());
        fs::remove_file(path).unwrap();
        let name = |document: &Value| document["metadata"]["name"].as_str().unwrap_or("?").to_owned();
        Ok(documents?.iter().map(name).collect())
    }

    #[test]
    fn documents_and_the_items_of_lists_are_found() {
        let yaml = "metadata: {name: a}\n---\n---\nkind: List\nitems: [{metadata: {name: b}}]\n";
        assert_eq!(names(yaml, "yaml").unwrap(), ["a", "b"]);
        assert_eq!(names(r#"{"metadata": {"name": "c"}}"#, "json").unwrap(), ["c"]);
        let list = documents_in("{kind: PodList, items: [{metadata: {name: d}}]}", Path::new("x")).unwrap();
        assert_eq!(list[0]["kind"], "Pod");
        assert_eq!(names("", "empty").unwrap(), Vec::<String>::new());
        let marked = "\u{feff}metadata: {name: a}\r\n";
        assert_eq!(
            names(marked, "mark").unwrap(),
            ["a"],
            "a byte order mark is skipped"
        );
    }

    #[test]
    fn an_unreadable_file_is_an_error_with_its_name() {
        let missing = documents(Path::new("/missing/policy.yaml"), 1)
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("/missing/policy.yaml") && missing.contains("No such file"),
            "{missing}"
        );
        let directory = documents(Path::new("/"), 1).unwrap_err().to_string();
        assert!(directory.contains("is a directory"), "{directory}");
        let large = file("large", &vec![b'#'; (1 << 20) + 1]);
        let error = documents(&large, 1).unwrap_err().to_string();
        assert!(error.ends_with("it is larger than 1 MB"), "{error}");
        fs::remove_file(large).unwrap();
        let wide = |text: &str| text.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<_>>();
        let encodings = [
            (vec![0xc3, 0x28], "it is not UTF-8 text"),
            (
                [vec![0xff, 0xfe], wide("a: b")].concat(),
                "Out-File -Encoding utf8",
            ),
            (wide("a: b"), "Out-File -Encoding utf8"),
        ];
        for (bytes, expected) in encodings {
            let binary = file("binary", &bytes);
            let error = documents(&binary, 1).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
            fs::remove_file(binary).unwrap();
        }
        let invalid = names("a: [", "invalid").unwrap_err();
        assert!(invalid.contains("is not valid YAML"), "{invalid}");
    }

    #[test]
    fn a_small_file_that_expands_to_a_large_value_is_refused() {
        let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            lines.push(format!("a{level}: &a{level} [{list}]"));
        }
        let bomb = lines.join("\n");
        let error = names(&bomb, "bomb").unwrap_err();
        assert!(error.contains("is not valid YAML"), "{error}");
    }
}
