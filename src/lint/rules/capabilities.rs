//! SC016: a sidecar with more privileges than the app
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! A sidecar shares the network and often the volumes of the app. If it is privileged, adds capabilities, or runs as root while
//! the app does not, an attacker who controls the sidecar has more rights than one who controls the app.
//!
//! Some sidecars cannot work without the privilege. Docker in Docker is one: the help does not propose to remove the privilege, but
//! nodes of their own for these Pods, or another build tool.
//!
//! Only settings that are explicit in the manifest count. If the sidecar adds a capability that containers have by default, it counts
//! only if the app drops this capability.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     securityContext:
//!       capabilities:
//!         add: [NET_ADMIN]
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: istio-init
//!     image: istio/proxyv2:1.27.1
//!     securityContext:
//!       capabilities:
//!         add: [NET_ADMIN]
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//! ```
//!
//! ## Source
//!
//! [Pod security standards](https://kubernetes.io/docs/concepts/security/pod-security-standards/)

use super::{Draft, Rule};
use crate::{
    domain::pattern::Repository,
    lint::{
        field::Field,
        finding::Severity,
        pod::{Container, Pod},
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC016",
    title: "a sidecar with more privileges than the app",
    severity: Severity::Warning,
    check,
};

/// Capabilities that container runtimes give to each container that does not drop them.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Capabilities with which proxies redirect the traffic of the app.
const NETWORK: [&str; 2] = ["NET_ADMIN", "NET_RAW"];

/// Only what the manifest sets explicitly counts. The user of an image is not known here.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let mains: Vec<_> = pod.mains().collect();
    if mains.is_empty() || mains.iter().any(|main| is_privileged(main).is_some()) {
        return Vec::new();
    }
    let mut drafts = Vec::new();
    for sidecar in pod.sidecars() {
        let name = &sidecar.name;
        let mut report = |field: &Field<'_>, message: String, help: &str| {
            drafts.push(Draft::container(pod, sidecar, field, message, help));
        };
        if let Some(field) = is_privileged(sidecar) {
            let message = format!(
                "sidecar {name} is privileged, and no main container is: whoever controls {name} controls the node"
            );
            report(&field, message, privileged_help(sidecar));
            continue;
        }
        if let Some((field, names)) = more_capabilities(sidecar, &mains) {
            let message = format!(
                "sidecar {name} adds the capability {names}, which no main container has: it is the weaker side of the Pod"
            );
            let is_network = names.split(", ").all(|name| NETWORK.contains(&name));
            let help = if is_network {
                "set the network up in an init container or with a CNI plugin, if the sidecar needs the capability only for that"
            } else {
                "remove the capability if the sidecar works without it"
            };
            report(&field, message, help);
        }
        if let Some(field) = is_root(sidecar)
            && mains.iter().all(|main| is_not_root(pod, main))
        {
            let message = format!(
                "sidecar {name} runs as root, and the main containers do not: it is the weaker side of the Pod"
            );
            report(
                &field,
                message,
                "set runAsUser to another user, if the image works with one",
            );
        }
    }
    drafts
}

/// Docker in Docker needs the privilege, so it cannot be removed.
fn privileged_help(sidecar: &Container<'_>) -> &'static str {
    let image = Repository::without_tag(&sidecar.image);
    let is_docker = sidecar.name == "dind" || image.ends_with("docker");
    let is_rootless = sidecar.image.contains("rootless");
    if is_docker && is_rootless {
        "rootless Docker in Docker needs the privilege for its user namespace: run these Pods on nodes of their own"
    } else if is_docker {
        "Docker in Docker needs the privilege: run these Pods on nodes of their own, or build with a tool that needs no daemon, such as BuildKit in rootless mode"
    } else {
        "remove the privilege if the sidecar works without it; otherwise run these Pods on nodes of their own"
    }
}

fn is_privileged<'t>(container: &Container<'t>) -> Option<Field<'t>> {
    let field = container.field.at(&["securityContext", "privileged"])?;
    field.is_true().then_some(field)
}

fn capabilities(container: &Container<'_>, list: &str) -> Vec<String> {
    let field = container.field.at(&["securityContext", "capabilities", list]);
    let names = field.map(|list| list.texts()).unwrap_or_default();
    let bare = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
    names.iter().map(bare).collect()
}

/// Returns the capabilities that the sidecar adds and that no main container has.
fn more_capabilities<'t>(sidecar: &Container<'t>, mains: &[&Container<'_>]) -> Option<(Field<'t>, String)> {
    let has = |main: &Container<'_>, name: &String| {
        let contains = |list: &str| {
            let names = capabilities(main, list);
            names.contains(name) || names.iter().any(|other| other == "ALL")
        };
        contains("add") || DEFAULT.contains(&name.as_str()) && !contains("drop")
    };
    let more: Vec<_> = capabilities(sidecar, "add")
        .into_iter()
        .filter(|name| !mains.iter().any(|main| has(main, name)))
        .collect();
    let field = sidecar.field.at(&["securityContext", "capabilities", "add"])?;
    (!more.is_empty()).then(|| (field, more.join(", ")))
}

fn is_root<'t>(sidecar: &Container<'t>) -> Option<Field<'t>> {
    let user = sidecar.field.at(&["securityContext", "runAsUser"])?;
    (user.number() == Some(0)).then_some(user)
}

fn is_not_root(pod: &Pod<'_>, main: &Container<'_>) -> bool {
    let user = |owner: &Field<'_>| {
        let user = owner.at(&["securityContext", "runAsUser"]);
        user.and_then(|user| user.number())
    };
    user(&main.field)
        .or_else(|| user(&pod.spec))
        .is_some_and(|user| user != 0)
}
