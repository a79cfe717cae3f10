//! SC016: a sidecar with more privileges than the app.

use super::{Draft, Rule};
use crate::lint::{
    field::Field,
    finding::Severity,
    pod::{Container, Pod},
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

/// Only what the manifest sets explicitly counts. The user of an image is not known here.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let mains: Vec<_> = pod.mains().collect();
    if mains.is_empty() || mains.iter().any(|main| is_privileged(main).is_some()) {
        return Vec::new();
    }
    let mut drafts = Vec::new();
    for sidecar in pod.sidecars() {
        let mut report = |field: &Field<'_>, what: &str| {
            drafts.push(Draft::container(
                pod,
                sidecar,
                field,
                format!(
                    "sidecar {} {what}, and the app does not: the sidecar is the weaker side of the Pod",
                    sidecar.name
                ),
                "remove the privilege, or do the work that needs it in an init container",
            ));
        };
        if let Some(field) = is_privileged(sidecar) {
            report(&field, "is privileged");
            continue;
        }
        if let Some((field, names)) = more_capabilities(sidecar, &mains) {
            report(&field, &format!("has the capability {names}"));
        }
        if let Some(field) = is_root(sidecar)
            && mains.iter().all(|main| is_not_root(pod, main))
        {
            report(&field, "runs as root");
        }
    }
    drafts
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
