//! A hash that is the same in every process and every version of Sidewatch: FNV-1a with 64 bits.
//!
//! The names of Events contain it, so that a restarted operator, a second replica or the next release does not write the
//! same Event twice. The algorithm is implemented here, so that no dependency can change it. It does not resist deliberate
//! collisions.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
/// Separates two parts. No UTF-8 text contains this byte, so `["ab", "c"]` and `["a", "bc"]` differ.
const SEPARATOR: u8 = 0xff;

/// The hash of `parts` in their order. The hash of a single part is the FNV-1a of its bytes. A part that is not text
/// should have a fixed length, because it can contain the separator.
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = OFFSET_BASIS;
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 {
            hash = step(hash, SEPARATOR);
        }
        hash = part.iter().fold(hash, |hash, byte| step(hash, *byte));
    }
    hash
}

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parts: &[&str]) -> u64 {
        stable_hash(parts.iter().map(|part| part.as_bytes()))
    }

    #[test]
    fn a_single_part_has_the_published_hash() {
        let table = [
            ("", 0xcbf2_9ce4_8422_2325, "nothing: the offset basis"),
            ("a", 0xaf63_dc4c_8601_ec8c, "one byte"),
            ("b", 0xaf63_df4c_8601_f1a5, "another byte"),
            ("foobar", 0x8594_4171_f739_67e8, "a word"),
        ];
        for (text, expected, why) in table {
            assert_eq!(hash(&[text]), expected, "{why}");
        }
    }

    #[test]
    fn the_hash_never_changes() {
        let event = ["3c9d-policy", "77aa-pod", "istio-proxy", "NotReady", "firing"];
        assert_eq!(
            hash(&event),
            0x0d28_35ce_ddb5_0ef1,
            "Events written by older versions carry this hash in their names"
        );
    }

    #[test]
    fn the_hash_depends_on_the_boundaries_of_parts() {
        let table = [
            (vec!["ab", "c"], vec!["a", "bc"], "another boundary"),
            (vec!["ab"], vec!["a", "b"], "another number of parts"),
            (vec!["a", ""], vec!["a"], "an empty part at the end"),
            (vec!["", "a"], vec!["a"], "an empty part at the start"),
            (vec!["a", "b"], vec!["b", "a"], "another order"),
        ];
        for (left, right, why) in table {
            assert_ne!(hash(&left), hash(&right), "{why}");
        }
    }
}
