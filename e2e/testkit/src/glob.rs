//! Globs of the tests. The fuzz target `patterns` compares the globs of the product with this implementation.

/// Returns whether a glob matches the whole text. `*` matches any characters. Tries all splits, with one table row per byte
/// of the glob.
pub fn glob(glob: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for byte in glob.bytes() {
        if byte == b'*' {
            let first = reach.iter().position(|reached| *reached).unwrap_or(reach.len());
            reach[first..].fill(true);
        } else {
            for at in (0..text.len()).rev() {
                reach[at + 1] = reach[at] && text[at] == byte;
            }
            reach[0] = false;
        }
    }
    reach[text.len()]
}
