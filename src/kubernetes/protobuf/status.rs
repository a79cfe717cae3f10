//! Decodes `Status`: the response to a failed request, and the object of an ERROR event.

use std::time::Duration;

use kube::core::Status;

use super::reader::{Malformed, Value};

/// A `Status`, and the wait that the API server requests.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Code, reason and message.
    pub status: Box<Status>,
    /// `details.retryAfterSeconds`
    pub retry_after: Option<Duration>,
}

/// Decodes a `Status` message.
pub(super) fn status(value: Value<'_>) -> Result<Refusal, Malformed> {
    let (mut message, mut reason, mut code, mut retry_after) = (String::new(), String::new(), 0, None);
    let mut fields = value.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            3 => message = value.string()?,
            4 => reason = value.string()?,
            5 => retry_after = retry_after_seconds(value)?,
            6 => code = u16::try_from(value.integer()?).unwrap_or_default(),
            _ => {}
        }
    }
    let status = Status::failure(&message, &reason).with_code(code).boxed();
    Ok(Refusal { status, retry_after })
}

fn retry_after_seconds(value: Value<'_>) -> Result<Option<Duration>, Malformed> {
    let seconds = value.field(5)?.map(Value::integer).transpose()?;
    let seconds = u64::try_from(seconds.unwrap_or_default()).unwrap_or_default();
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}
