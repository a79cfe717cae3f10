//! SC004: a classic sidecar in a Job or CronJob, which never completes
//!
//! Default severity: Error, Warning without an entry in the catalogue.
//!
//! ## Reason
//!
//! A Job completes when all containers in `spec.containers` have ended. A classic sidecar does not end by itself, so the Job
//! stays active after its work is done, and a CronJob with `concurrencyPolicy: Forbid` never runs again. A native sidecar is
//! stopped when the main containers have ended.
//!
//! The rule is silent if something ends the sidecar:
//!
//! * a command, hook or variable of the Pod that contains `quitquitquit`, `/shutdown`, `linkerd-await`, `scuttle`, `pkill` or a similar
//!   word, or a container of such a tool, such as `envoy-sidecar-helper`;
//! * a script with such a word in a ConfigMap of the same file that the Pod mounts;
//! * the product itself: the CSI driver of Cloud Storage FUSE ends `gke-gcsfuse-sidecar`;
//! * a mode in which the sidecar runs only once, such as `-exit-after-auth` or `--one-time`;
//! * a shell script as the command of the sidecar, unless the script certainly runs forever.
//!
//! If only the suffix `-sidecar` of its name says that the
//! container is a sidecar, the severity is Warning.
//!
//! The rule shows how to move the container.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Job
//! spec:
//!   template:
//!     spec:
//!       restartPolicy: Never
//!       containers:
//!       - name: app
//!         image: shop/report:1.0
//!       - name: cloud-sql-proxy
//!         image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Job
//! spec:
//!   template:
//!     spec:
//!       restartPolicy: Never
//!       initContainers:
//!       - name: cloud-sql-proxy
//!         image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//!         restartPolicy: Always
//!       containers:
//!       - name: app
//!         image: shop/report:1.0
//! ```
//!
//! ## Source
//!
//! [Jobs with sidecar
//! containers](https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#jobs-with-sidecar-containers),
//! [KEP-753](https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers)

use super::{Draft, Rule};
use crate::lint::{
    finding::Severity,
    pod::{Container, Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC004",
    title: "a classic sidecar in a Job or CronJob, which never completes",
    severity: Severity::Error,
    check,
};

/// Parts of names, images, commands and variables that end a sidecar of the same Pod.
pub(in crate::lint) const QUIT: [&str; 13] = [
    "quitquitquit",
    "/shutdown",
    "linkerd-await",
    "scuttle",
    "kubexit",
    "envoy-preflight",
    "envoy-sidecar-helper",
    "sidecar-terminator",
    // OpenKruise
    "kruise_terminate_sidecar",
    "pkill",
    "killall",
    "kill ",
    "main-terminated",
];
/// Options and variables of sidecars that do their work once.
pub(in crate::lint) const ONCE: [&str; 9] = [
    "-exit-after-auth",
    "exit_after_auth",
    "--one-time",
    "--onetime",
    "-once",
    "one_time",
    "onetime",
    "exit_on_eof",
    "oneshot",
];

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let is_ended =
        || pod.ends_with_script || pod.containers.iter().any(|container| mentions(container, &QUIT));
    if !pod.is_job() || is_ended() {
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar())
        // SC002 reports it.
        .filter(|sidecar| sidecar.field.text_of("restartPolicy").as_deref() != Some("Always"))
        .filter(|sidecar| !runs_once(sidecar) && !can_end(sidecar) && !ends_by_itself(sidecar))
        .map(|sidecar| {
            let kind = &pod.object.kind;
            let draft = Draft::container(
                pod,
                sidecar,
                &sidecar.title(),
                format!(
                    "sidecar {} keeps running after the main container has ended: the {kind} never completes",
                    sidecar.name
                ),
                "make it a native sidecar, which is stopped when the main container has ended; or let the main container end it",
            )
            .suggest_native();
            match sidecar.product() {
                Some(_) => draft,
                // Only the suffix of the name says that it is a sidecar. The program may end by itself.
                None => draft.with_severity(Severity::Warning),
            }
        })
        .collect()
}

/// Whether a text ends a sidecar.
pub(in crate::lint) fn ends_a_sidecar(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    QUIT.iter().any(|quit| text.contains(quit))
}

/// Whether an option or a variable makes the sidecar do its work once.
pub(super) fn runs_once(sidecar: &Container<'_>) -> bool {
    mentions(sidecar, &ONCE)
}

/// Whether the product ends when the main containers have ended: the CSI driver of Cloud Storage FUSE ends its sidecar.
fn ends_by_itself(sidecar: &Container<'_>) -> bool {
    sidecar.name == "gke-gcsfuse-sidecar"
}

/// Whether the sidecar runs a script that is not known to run forever.
fn can_end(sidecar: &Container<'_>) -> bool {
    let program = sidecar.program();
    program.is_script() && program.endless_command().is_none()
}

/// Whether the name, the image, a command, a hook or a variable of the container contains one of the texts.
fn mentions(container: &Container<'_>, texts: &[&str]) -> bool {
    let mut words = container.words();
    // A command can be several words: kill -TERM 1.
    words.push(words.join(" "));
    words.extend([container.name.clone(), container.image.clone()]);
    let env = container.field.get("env");
    for variable in env.iter().flat_map(crate::lint::field::Field::items) {
        words.extend(variable.text_of("name"));
        words.extend(variable.text_of("value"));
        // k8s-sidecar of the Grafana charts lists once and ends.
        let is_list = variable.text_of("name").as_deref() == Some("METHOD")
            && variable.text_of("value").as_deref() == Some("LIST");
        if is_list {
            words.push("oneshot".to_owned());
        }
    }
    let hooks = ["postStart", "preStop"]
        .iter()
        .filter_map(|hook| container.field.at(&["lifecycle", hook, "exec", "command"]));
    words.extend(hooks.flat_map(|command| command.texts()));
    words.iter().any(|word| {
        let word = word.to_ascii_lowercase();
        texts.iter().any(|text| word.contains(text))
    })
}
