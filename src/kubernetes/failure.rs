//! Classifies a failed list or watch: a reason for the counters, a message for logs, and whether the watch can resume.

use std::{error, io, iter, time::Duration};

use http::{HeaderMap, header};
use kube::{core::Status, runtime::watcher::Error};

use crate::{domain::index::Scope, telemetry::monitor::Resource};

/// Why a list or watch failed; the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 401: the API server does not accept the credentials.
    Unauthorized,
    /// 403: an RBAC permission is missing.
    Forbidden,
    /// 404: the CRD is missing.
    NotFound,
    /// 410: the API server no longer has the resource version.
    Gone,
    /// 429: too many requests.
    Throttled,
    /// 5xx: an error of the API server.
    Server,
    /// The API server did not respond in time.
    Timeout,
    /// The connection could not be made or was lost.
    Transport,
    /// The response could not be decoded.
    Decode,
    /// Anything else.
    Other,
}

impl Reason {
    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Decode => "decode",
            Self::Other => "other",
        }
    }
}

/// Returns the wait that a response requests: `Retry-After` in seconds, the form that Kubernetes uses.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Returns the reason of a failure.
pub fn reason(error: &Error) -> Reason {
    match cause(error) {
        Cause::Status(status) => match status.code {
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            404 => Reason::NotFound,
            410 => Reason::Gone,
            429 => Reason::Throttled,
            408 | 504 => Reason::Timeout,
            500..=599 => Reason::Server,
            _ => Reason::Other,
        },
        Cause::Client(error) => match error {
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Reason::Decode,
            kube::Error::ReadEvents(_) | kube::Error::HyperError(_) | kube::Error::Service(_) => {
                if timed_out(error) {
                    Reason::Timeout
                } else {
                    Reason::Transport
                }
            }
            _ => Reason::Other,
        },
        Cause::Unreadable | Cause::NoVersion => Reason::Decode,
    }
}

/// Describes a failure, and how to correct it where that is possible.
pub fn problem(error: &Error, resource: Resource, scope: &Scope) -> String {
    let name = resource.as_str();
    if reason(error) == Reason::NotFound && resource.has_own_crd() {
        return format!(
            "CRD {name}.{} is not installed: sidewatch crds | kubectl apply -f -",
            crate::api::GROUP
        );
    }
    sentence(error, name, scope)
}

/// Describes the failure of a list or watch of any resource. `name` is its plural name, as in RBAC rules.
pub fn sentence(error: &Error, name: &str, scope: &Scope) -> String {
    let verb = match error {
        Error::InitialListFailed(_) => "list",
        _ => "watch",
    };
    let location = scope
        .as_ref()
        .map(|ns| format!(" in namespace {ns}"))
        .unwrap_or_default();
    let prefix = match reason(error) {
        Reason::Forbidden => "forbidden: ",
        Reason::Decode => "invalid response: ",
        _ => "",
    };
    format!("cannot {verb} {name}{location}: {prefix}{}", describe(error))
}

/// Reports whether the watch can resume from the last resource version. A new list is needed if the API server no
/// longer has that version (kube would retry it without end), or if an event could not be decoded and is lost.
pub fn can_resume(error: &Error) -> bool {
    match error {
        Error::WatchStartFailed(_) => reason(error) != Reason::Gone,
        Error::WatchFailed(kube::Error::ReadEvents(_)) => true,
        _ => false,
    }
}

/// Reports whether the API server was unavailable or is starting, so that etcd may have been restored. Resource versions
/// are then lower than before. A server that is starting also answers 429.
pub fn is_outage(error: &Error) -> bool {
    let reasons = [
        Reason::Server,
        Reason::Timeout,
        Reason::Transport,
        Reason::Throttled,
    ];
    reasons.contains(&reason(error))
}

enum Cause<'a> {
    Status(&'a Status),
    Client(&'a kube::Error),
    /// An event could not be decoded.
    Unreadable,
    NoVersion,
}

fn cause(error: &Error) -> Cause<'_> {
    match error {
        // kube decodes an unknown event as a Status, because all fields of a Status are optional.
        Error::WatchFailed(kube::Error::Api(status)) if status.code == 0 => Cause::Unreadable,
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            match error {
                kube::Error::Api(status) => Cause::Status(status),
                error => Cause::Client(error),
            }
        }
        Error::WatchError(status) => Cause::Status(status),
        Error::NoResourceVersion => Cause::NoVersion,
    }
}

fn describe(error: &Error) -> String {
    match cause(error) {
        Cause::Status(status) => describe_status(status),
        Cause::Client(error) => chain(error),
        Cause::Unreadable => "unexpected event".to_owned(),
        Cause::NoVersion => "metadata.resourceVersion is missing".to_owned(),
    }
}

/// Returns the message of a Status.
pub fn describe_status(status: &Status) -> String {
    if status.message.is_empty() {
        format!("status {} {}", status.code, status.reason)
    } else {
        status.message.clone()
    }
}

/// Returns the messages of an error and its sources, without repetitions.
pub fn chain(error: &kube::Error) -> String {
    let mut text = match error {
        // The messages of these errors only repeat their sources.
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => String::new(),
        error => error.to_string(),
    };
    for source in causes(error).skip(1) {
        let cause = source.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// Returns an error and its sources.
pub(super) fn causes<'a>(
    error: &'a (dyn error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn error::Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

fn timed_out(error: &kube::Error) -> bool {
    let mut kinds = causes(error).filter_map(|cause| cause.downcast_ref().map(io::Error::kind));
    kinds.any(|kind| kind == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Box<Status> {
        Status::failure(message, "").with_code(code).boxed()
    }

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(status(code, "pods is forbidden: no role"))
    }

    fn decode() -> kube::Error {
        kube::Error::SerdeError(serde_json::from_str::<u8>("x").unwrap_err())
    }

    fn io(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "it broke")
    }

    #[test]
    fn every_failure_has_a_reason_and_can_resume_or_not() {
        use io::ErrorKind::{ConnectionReset, TimedOut};
        let table = [
            (Error::InitialListFailed(api(403)), "forbidden", false),
            (Error::InitialListFailed(api(401)), "unauthorized", false),
            (Error::InitialListFailed(decode()), "decode", false),
            (Error::WatchStartFailed(api(410)), "gone", false),
            (Error::WatchStartFailed(api(429)), "throttled", true),
            (Error::WatchStartFailed(api(503)), "server", true),
            (Error::WatchStartFailed(api(504)), "timeout", true),
            (
                Error::WatchStartFailed(kube::Error::Service(Box::new(io(ConnectionReset)))),
                "transport",
                true,
            ),
            (
                Error::WatchStartFailed(kube::Error::Service(Box::new(io(TimedOut)))),
                "timeout",
                true,
            ),
            (
                Error::WatchFailed(kube::Error::ReadEvents(io(ConnectionReset))),
                "transport",
                true,
            ),
            (Error::WatchFailed(decode()), "decode", false),
            (Error::WatchFailed(api(0)), "decode", false),
            (Error::WatchError(status(410, "too old")), "gone", false),
            (Error::WatchError(status(500, "etcd")), "server", false),
            (Error::NoResourceVersion, "decode", false),
            (Error::InitialListFailed(api(418)), "other", false),
        ];
        for (error, expected, resumes) in table {
            assert_eq!(reason(&error).as_str(), expected, "{error:?}");
            assert_eq!(can_resume(&error), resumes, "{error:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_no_outage() {
        let outages = [401, 403, 404, 429, 500, 503, 504]
            .into_iter()
            .filter(|code| is_outage(&Error::WatchStartFailed(api(*code))));
        assert_eq!(outages.collect::<Vec<_>>(), [429, 500, 503, 504]);
    }

    #[test]
    fn a_problem_names_the_resource_and_the_correction() {
        let table = [
            (
                Error::InitialListFailed(api(403)),
                Resource::Pods,
                Some("pay".into()),
                "cannot list pods in namespace pay: forbidden: pods is forbidden: no role",
            ),
            (
                Error::InitialListFailed(api(404)),
                Resource::SidecarPolicies,
                None,
                "CRD sidecarpolicies.sidewatch.dev is not installed: sidewatch crds | kubectl apply -f -",
            ),
            (
                Error::WatchStartFailed(kube::Error::Service(Box::new(io(io::ErrorKind::Other)))),
                Resource::Namespaces,
                None,
                "cannot watch namespaces: it broke",
            ),
            (
                Error::WatchError(status(500, "")),
                Resource::Pods,
                None,
                "cannot watch pods: status 500 ",
            ),
        ];
        for (error, resource, scope, expected) in table {
            assert_eq!(problem(&error, resource, &scope), expected);
        }
    }
}
