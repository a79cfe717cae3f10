//! SC004: a classic sidecar in a Job that nothing ends.

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
