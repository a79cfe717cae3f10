//! A tolerant decoder of Pods in protobuf: it accepts what the Go types accept, by the fields that the operator reads.
//!
//! Go does not validate strings, skips unknown fields of every wire type, and refuses a known field of another wire type.

/// The type of a field.
enum Type {
    /// A string or bytes.
    Bytes,
    Varint,
    Message(&'static [(u64, Type)]),
}

use Type::{Bytes, Message, Varint};

const TIME: &[(u64, Type)] = &[(1, Varint), (2, Varint)];
const ENTRY: &[(u64, Type)] = &[(1, Bytes), (2, Bytes)];
const OWNER: &[(u64, Type)] = &[
    (1, Bytes),
    (3, Bytes),
    (4, Bytes),
    (5, Bytes),
    (6, Varint),
    (7, Varint),
];
const METADATA: &[(u64, Type)] = &[
    (1, Bytes),
    (2, Bytes),
    (3, Bytes),
    (5, Bytes),
    (6, Bytes),
    (7, Varint),
    (8, Message(TIME)),
    (9, Message(TIME)),
    (11, Message(ENTRY)),
    (12, Message(ENTRY)),
    (13, Message(OWNER)),
];
const QUANTITIES: &[(u64, Type)] = &[(1, Bytes), (2, Message(&[(1, Bytes)]))];
const RULE: &[(u64, Type)] = &[(1, Bytes), (2, Message(&[(1, Bytes), (2, Varint)]))];
const CONTAINER: &[(u64, Type)] = &[
    (1, Bytes),
    (2, Bytes),
    (8, Message(&[(1, Message(QUANTITIES)), (2, Message(QUANTITIES))])),
    (10, Message(&[])),
    (11, Message(&[])),
    (12, Message(&[(1, Message(&[])), (2, Message(&[]))])),
    (22, Message(&[])),
    (23, Message(ENTRY)),
    (24, Bytes),
    (25, Message(RULE)),
];
const SPEC: &[(u64, Type)] = &[
    (2, Message(CONTAINER)),
    (3, Bytes),
    (10, Bytes),
    (11, Varint),
    (20, Message(CONTAINER)),
];
const TERMINATED: &[(u64, Type)] = &[
    (1, Varint),
    (2, Varint),
    (3, Bytes),
    (4, Bytes),
    (5, Message(TIME)),
    (6, Message(TIME)),
    (7, Bytes),
];
const STATE: &[(u64, Type)] = &[
    (1, Message(ENTRY)),
    (2, Message(&[(1, Message(TIME))])),
    (3, Message(TERMINATED)),
];
const CONTAINER_STATUS: &[(u64, Type)] = &[
    (1, Bytes),
    (2, Message(STATE)),
    (3, Message(STATE)),
    (4, Varint),
    (5, Varint),
    (6, Bytes),
    (7, Bytes),
    (8, Bytes),
    (9, Varint),
];
const CONDITION: &[(u64, Type)] = &[
    (1, Bytes),
    (2, Bytes),
    (3, Message(TIME)),
    (4, Message(TIME)),
    (5, Bytes),
    (6, Bytes),
    (7, Varint),
];
const STATUS: &[(u64, Type)] = &[
    (1, Bytes),
    (2, Message(CONDITION)),
    (8, Message(CONTAINER_STATUS)),
    (10, Message(CONTAINER_STATUS)),
];
const POD: &[(u64, Type)] = &[(1, Message(METADATA)), (2, Message(SPEC)), (3, Message(STATUS))];

/// Reports whether Go reads these bytes as a Pod.
pub(super) fn is_pod(bytes: &[u8]) -> bool {
    accepts(bytes, POD).is_some()
}

fn accepts(mut rest: &[u8], fields: &[(u64, Type)]) -> Option<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let known = fields.iter().find(|(number, _)| *number == key >> 3);
        match (known.map(|(_, known)| known), key & 7) {
            (None | Some(Varint), 0) => drop(varint(&mut rest)?),
            (None, 1) => drop(take(&mut rest, 8)?),
            (None | Some(Bytes), 2) => drop(length_delimited(&mut rest)?),
            (Some(Message(fields)), 2) => accepts(length_delimited(&mut rest)?, fields)?,
            (None, 3) => skip_group(&mut rest)?,
            (None, 5) => drop(take(&mut rest, 4)?),
            _ => return None,
        }
    }
    Some(())
}

fn skip_group(rest: &mut &[u8]) -> Option<()> {
    let mut depth = 1;
    while depth > 0 {
        match varint(rest)? & 7 {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            2 => drop(length_delimited(rest)?),
            3 => depth += 1,
            4 => depth -= 1,
            5 => drop(take(rest, 4)?),
            _ => return None,
        }
    }
    Some(())
}

fn length_delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(rest)?;
    take(rest, usize::try_from(length).ok()?)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
