//! The RBAC verb of a request, from method, path and query.

use std::fmt;

use http::Method;

/// Verb of a request, as in RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// One object, or a path that is not a resource.
    Get,
    /// A collection.
    List,
    /// A watch.
    Watch,
    /// A new object, or a subresource such as `binding`.
    Create,
    /// Replaces an object (PUT).
    Update,
    /// Changes an object, including server-side apply.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
}

impl Verb {
    /// The verb of a request.
    pub fn of(method: &Method, path: &str, query: Option<&str>) -> Self {
        let named = names_an_object(path);
        match *method {
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE if named => Self::Delete,
            Method::DELETE => Self::DeleteCollection,
            _ if asks_to_watch(query) => Self::Watch,
            _ if named => Self::Get,
            _ => Self::List,
        }
    }

    /// The name in RBAC.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it is a write.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn asks_to_watch(query: Option<&str>) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// Whether the path is not a collection: `/api/VERSION[/namespaces/NAME]/RESOURCE`, or the same below `/apis/GROUP`.
fn names_an_object(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = segments.as_slice() else {
        return true;
    };
    // `namespaces/NAME` is an object, `namespaces/NAME/RESOURCE` a collection.
    !matches!(rest, [_] | ["namespaces", _, _]) || matches!(rest, ["namespaces", _, "status" | "finalize"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_verbs_of_rbac() {
        #[rustfmt::skip]
        let table = [
            ("GET", "/api/v1/pods", None, Verb::List),
            ("GET", "/api/v1/pods", Some("limit=500&watch=false"), Verb::List),
            ("GET", "/api/v1/pods", Some("resourceVersion=7&watch=true"), Verb::Watch),
            ("GET", "/api/v1/namespaces", Some("watch=1"), Verb::Watch),
            ("GET", "/api/v1/namespaces", None, Verb::List),
            ("GET", "/api/v1/namespaces/shop", None, Verb::Get),
            ("GET", "/api/v1/namespaces/shop/pods", None, Verb::List),
            ("GET", "/api/v1/namespaces/shop/pods/web", None, Verb::Get),
            ("GET", "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies", None, Verb::List),
            ("GET", "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies/a", None, Verb::Get),
            ("PATCH", "/apis/sidewatch.dev/v1alpha1/namespaces/a/sidecarpolicies/b/status", None, Verb::Patch),
            ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events", None, Verb::Create),
            ("POST", "/api/v1/namespaces/shop/pods/web/binding", None, Verb::Create),
            ("PUT", "/api/v1/namespaces/shop/finalize", None, Verb::Update),
            ("DELETE", "/api/v1/namespaces/shop/pods/web", None, Verb::Delete),
            ("DELETE", "/api/v1/namespaces/shop/pods", None, Verb::DeleteCollection),
            ("GET", "/api/v1/namespaces/shop/status", None, Verb::Get),
            ("GET", "/version", None, Verb::Get),
            ("GET", "/readyz", None, Verb::Get),
        ];
        for (method, path, query, expected) in table {
            let method: Method = method.parse().unwrap();
            assert_eq!(
                Verb::of(&method, path, query),
                expected,
                "{method} {path} {query:?}"
            );
        }
    }
}
