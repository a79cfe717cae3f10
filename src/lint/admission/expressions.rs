//! The CEL expressions of the policies. `c` is a container.
//!
//! CEL has no local variables: `[value].exists(t, ...)` names a value. The words of a command are joined with the character
//! U+001F, which no command contains, so that one regular expression (RE2) can look at all of them.

use crate::{
    domain::catalogue,
    lint::rules::classic_in_job::{ONCE, QUIT},
};

/// The object that has the Pod spec. `dyn` switches off the check of types, because the kinds have different types.
pub(super) const TEMPLATE: &str = "object.kind == 'Pod' ? dyn(object) : \
     object.kind == 'CronJob' ? dyn(object).spec.jobTemplate.spec.template : dyn(object).spec.template";
/// The annotations that suppress findings.
pub(super) const IGNORES: &str = "[dyn(object), variables.template]\
     .filter(o, has(o.metadata) && has(o.metadata.annotations) && 'sidewatch.dev/ignore' in o.metadata.annotations)\
     .map(o, o.metadata.annotations['sidewatch.dev/ignore'])";
/// A Pod of a Deployment repeats the warning of the Deployment.
pub(super) const NOT_CONTROLLED: &str = "!(object.kind in ['Pod', 'ReplicaSet', 'Job']) || \
     !has(object.metadata.ownerReferences) || \
     !object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller)";
/// A change of labels or annotations is no reason to repeat a warning.
pub(super) const SPEC_HAS_CHANGED: &str =
    "request.operation == 'CREATE' || dyn(object).spec != dyn(oldObject).spec";

/// A sleep that does not end within the life of a Pod.
const DURATION: &str = r"(infinity|inf|[0-9]{9,}s?|[0-9]{4,}d)";
/// The words until the script of `sh -c`.
const SHELL: &str =
    r"^([^\x1f]*\x1f){0,3}([^\x1f]*/)?(sh|bash|ash|dash|zsh)(\x1f[^\x1f]*)*\x1f-[a-zA-Z]*c[a-zA-Z]*\x1f";
/// Words that can end a script, and texts whose meaning is not certain without a parser.
const UNCERTAIN: &str =
    r"\b(exit|return|break|trap|kill)\b|\bexec\b[^\x1f]*[;&\n]|<<|#[^\n\x1f]*(sleep|tail|while|until)";
/// A loop that is inside of another command, or is not the last one.
const INNER_LOOP: &str =
    r#"\bdone\b[^\x1f]*\bdone\b|(\b(if|case|for|do|while|until)\b|[({'"])[^\x1f]*\b(while|until)\b"#;

/// A list of containers, which can be missing.
pub(super) fn list(of: &str, name: &str) -> String {
    format!("(has({of}.{name}) ? {of}.{name} : [])")
}

/// The names of the plain init containers that never exit.
pub(super) fn endless_init_containers(containers: &str, code: &str) -> String {
    format!(
        "{containers}.filter(c, !{} && [{}].exists(t, {}) && !{}).map(c, c.name)",
        is_always("c"),
        command("c"),
        endless("t"),
        is_ignored("c", code)
    )
}

/// The containers that the catalogue has as sidecars.
pub(super) fn catalogue_containers(containers: &str) -> String {
    format!(
        "{containers}.filter(c, c.name.matches(r'{}') || has(c.image) && c.image.matches(r'{}'))",
        name_pattern(),
        image_pattern(),
    )
}

/// A regular expression for the container names of the catalogue.
pub(super) fn name_pattern() -> String {
    format!("^({})$", alternatives(catalogue::names(), ".*"))
}

/// A regular expression for the images of the catalogue.
pub(super) fn image_pattern() -> String {
    format!(
        "^(.*/)?({})(:[^/@]*)?(@.*)?$",
        alternatives(catalogue::images(), "[^/@]*")
    )
}

/// The texts as a regular expression, with `any` for `*`.
fn alternatives(texts: impl Iterator<Item = &'static str>, any: &str) -> String {
    let texts = texts.map(|text| {
        let parts: Vec<_> = text.split('*').map(regex_syntax::escape).collect();
        parts.join(any)
    });
    texts.collect::<Vec<_>>().join("|")
}

/// The names of the sidecars of a Job that nothing ends.
pub(super) fn sidecars_that_nothing_ends(code: &str) -> String {
    let quits = format!(
        "(variables.init + variables.regular).exists(c, {})",
        mentions("c", &QUIT)
    );
    let lists_once =
        "(has(c.env) && c.env.exists(e, e.name == 'METHOD' && has(e.value) && e.value == 'LIST'))";
    let can_end = format!(
        "[{}].exists(t, t.matches(r'{SHELL}') && !({}))",
        command("c"),
        endless("t")
    );
    format!(
        "variables.sidecars.size() == variables.regular.size() || {quits} ? [] : \
         variables.sidecars.filter(c, !{} && !{} && !{lists_once} && !{can_end} && !{}).map(c, c.name)",
        is_always("c"),
        mentions("c", &ONCE),
        is_ignored("c", code)
    )
}

/// The names of the init containers that end before the next container starts.
pub(super) fn plain_init_names(spec: &str) -> String {
    format!(
        "{}.filter(c, !{}).map(c, c.name)",
        list(spec, "initContainers"),
        is_always("c")
    )
}

/// The names of the containers with a port of a container before them that is still running.
pub(super) fn containers_with_a_port_of_an_earlier_one(code: &str) -> String {
    let protocol = |port: &str| format!("(has({port}.protocol) ? {port}.protocol : 'TCP')");
    format!(
        "variables.all.filter(c, has(c.ports) && variables.all.exists(o, has(o.ports) && !(o.name in variables.plain) && \
         variables.names.indexOf(o.name) < variables.names.indexOf(c.name) && \
         c.ports.exists(p, o.ports.exists(q, p.containerPort == q.containerPort && {} == {}))) && !{}).map(c, c.name)",
        protocol("p"),
        protocol("q"),
        is_ignored("c", code)
    )
}

fn is_always(container: &str) -> String {
    format!("(has({container}.restartPolicy) && {container}.restartPolicy == 'Always')")
}

fn is_ignored(container: &str, code: &str) -> String {
    format!(
        r"variables.ignores.exists(i, i.matches('(^|[;\n])\\s*{code}(/' + {container}.name + ')?\\s*:[ \\t]*[^; \\t\\n]'))"
    )
}

/// The words of `command` and `args`.
fn words(container: &str) -> String {
    format!("({} + {})", list(container, "command"), list(container, "args"))
}

fn command(container: &str) -> String {
    format!(r"{}.join('\x1f')", words(container))
}

/// Whether a command certainly never exits.
fn endless(text: &str) -> String {
    let direct = format!(r"^([^\x1f]*/)?(sleep\x1f{DURATION}|tail\x1f-[fF]\x1f/dev/null)$");
    let last = format!(
        r"{SHELL}([^\x1f]*(;|&|[^\\|]\n)\s*)?(exec\s+)?([^\s;\x1f]*/)?(sleep\s+{DURATION}|tail\s+-[fF]\s+/dev/null)\s*(;\s*)?(#[^\n\x1f]*)?\s*(\x1f|$)"
    );
    let loops = format!(
        r"{SHELL}([^\x1f]*[;&\n])?\s*(while\s+(true|:|/bin/true|\[\[?\s+(1|true)\s+\]\]?)|until\s+false)\s*[;\n]\s*do\b[^\x1f]*[;\n]\s*done\s*;?\s*(\x1f|$)"
    );
    let inner = INNER_LOOP.replace('\'', r"\x27");
    format!(
        "{text}.matches(r'{direct}') || !{text}.matches(r'{UNCERTAIN}') && \
         ({text}.matches(r'{last}') || {text}.matches(r'{loops}') && !{text}.matches(r'{inner}'))"
    )
}

/// Whether a command, a hook or a variable of the container contains one of the texts.
fn mentions(container: &str, texts: &[&str]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| regex_syntax::escape(text)).collect();
    let env = list(container, "env");
    let hook = |name: &str| {
        let (hooks, hook) = (
            format!("{container}.lifecycle"),
            format!("{container}.lifecycle.{name}"),
        );
        format!(
            "(has({hooks}) && has({hook}) && has({hook}.exec) && has({hook}.exec.command) ? {hook}.exec.command : [])"
        )
    };
    format!(
        "({} + {env}.map(e, e.name) + {env}.filter(e, has(e.value)).map(e, e.value) + {} + {})\
         .exists(t, t.matches(r'(?i){}'))",
        words(container),
        hook("postStart"),
        hook("preStop"),
        texts.join("|")
    )
}
