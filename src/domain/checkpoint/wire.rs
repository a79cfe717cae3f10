//! How values are stored, where the derived form would be larger or would change with the code.

#![allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde passes references"
)]

/// A time in milliseconds since 1970.
pub(in crate::domain) mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// The latest time in whole milliseconds, which is less than one second before the latest timestamp.
    const LATEST: i64 = 253_402_207_200_000;

    pub(super) fn to_millis(at: Timestamp) -> i64 {
        at.as_millisecond().min(LATEST)
    }

    pub(in crate::domain) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(to_millis(*at))
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_millisecond(i64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A time that may be missing.
pub(in crate::domain) mod optional_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::time::to_millis;

    pub(in crate::domain) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(to_millis).serialize(to)
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let millis = Option::<i64>::deserialize(from)?;
        let at = millis.map(Timestamp::from_millisecond).transpose();
        at.map_err(D::Error::custom)
    }
}

/// A UID: 16 bytes in the form of the API server, else a text.
pub(in crate::domain) mod uid {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Uid<'a> {
        Uuid([u8; 16]),
        Text(&'a str),
    }

    pub(in crate::domain) fn serialize<S: Serializer>(uid: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        parse(uid).map_or(Uid::Text(uid), Uid::Uuid).serialize(to)
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        Ok(match Uid::deserialize(from)? {
            Uid::Uuid(bytes) => format(bytes).into(),
            Uid::Text(text) => text.into(),
        })
    }

    /// The bytes of a UUID in lower case with hyphens.
    fn parse(text: &str) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        // Any other form of the same bytes is stored as a text.
        (format(bytes) == text).then_some(bytes)
    }

    /// A UUID in lower case with hyphens.
    fn format(bytes: [u8; 16]) -> String {
        let mut text = String::with_capacity(36);
        for (i, byte) in bytes.into_iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
            }
        }
        text
    }
}

/// A hash: 8 bytes.
pub(in crate::domain) mod hash {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::domain) fn serialize<S: Serializer>(hash: &u64, to: S) -> Result<S::Ok, S::Error> {
        hash.to_le_bytes().serialize(to)
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        <[u8; 8]>::deserialize(from).map(u64::from_le_bytes)
    }
}

/// A check, by its name.
pub(in crate::domain) mod check {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::policy::Check;

    pub(in crate::domain) fn serialize<S: Serializer>(check: &Check, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(check.as_str())
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Check, D::Error> {
        Check::parse(<&str>::deserialize(from)?).ok_or_else(|| D::Error::custom("unknown check"))
    }
}

/// The reason of an Event that this version writes.
pub(in crate::domain) mod reason {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::{
        checks::rule,
        effects::RECOVERED,
        exemption::{EXEMPTION_ACTIVE, EXEMPTION_ENDED},
        policy::Check,
    };

    pub(in crate::domain) fn serialize<S: Serializer>(
        reason: &&'static str,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason)
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<&'static str, D::Error> {
        let text = <&str>::deserialize(from)?;
        let reasons = Check::ALL.into_iter().map(|check| rule(check).reason());
        let mut reasons = reasons.chain([RECOVERED, EXEMPTION_ACTIVE, EXEMPTION_ENDED]);
        reasons
            .find(|reason| *reason == text)
            .ok_or_else(|| D::Error::custom("unknown reason"))
    }
}

/// A duration in milliseconds.
pub(in crate::domain) mod millis {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::domain) fn serialize<S: Serializer>(
        duration: &SignedDuration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_i64(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<SignedDuration, D::Error> {
        i64::deserialize(from).map(SignedDuration::from_millis)
    }
}

/// Times in milliseconds, by identity.
pub(in crate::domain) mod occurrences {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::time::to_millis;
    use crate::domain::checkpoint::SmallMap;

    pub(in crate::domain) fn serialize<K: Ord + Serialize, S: Serializer>(
        times: &SmallMap<(K, u16), Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let times: Vec<_> = times.iter().map(|(id, at)| (id, to_millis(*at))).collect();
        times.serialize(to)
    }

    pub(in crate::domain) fn deserialize<'de, K: Ord + Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<SmallMap<(K, u16), Timestamp>, D::Error> {
        let times = Vec::<((K, u16), i64)>::deserialize(from)?;
        let times = times.into_iter().map(|(id, millis)| {
            let at = Timestamp::from_millisecond(millis);
            at.map(|at| (id, at)).map_err(D::Error::custom)
        });
        Ok(times.collect::<Result<Vec<_>, _>>()?.into())
    }
}
