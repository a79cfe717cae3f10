//! The explanation of one Pod, for people and for programs.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    order::{self, Step},
    probes::{Consequence, Setting, consequences},
    source::Subject,
};
use crate::{
    cli::{
        roles::role_name,
        table::{Cell, Table},
        terminal::{Style, Terminal},
    },
    domain::{
        catalogue,
        index::{
            HidingExemption, MatchedPod,
            check_states::{CheckState, NotEvaluated, State},
        },
        observation::{Container, ContainerKind, Observation, Phase},
        pattern::Repository,
        policy::Check,
        roles::{Role, Roles, Rule},
        time::Moment,
    },
};

/// The explanation of one Pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    subject: String,
    /// Set if the Pod has ended or is being deleted: then the kubelet starts nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<String>,
    /// Empty if the Pod is ending.
    start: Vec<Step>,
    containers: Vec<ContainerRow>,
    /// Empty if the Pod has ended.
    stop: Vec<Step>,
    /// Empty for a manifest, which has no status, and for a Pod that was deleted.
    checks: Vec<CheckRow>,
    #[serde(skip)]
    is_manifest: bool,
    #[serde(skip)]
    is_deleted: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerRow {
    name: String,
    kind: &'static str,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_as: Option<Known>,
    roles: Vec<RoleRow>,
    failures: Vec<Consequence>,
}

/// The entry of the catalogue for a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    title: &'static str,
    class: &'static str,
    purpose: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoleRow {
    policy: String,
    role: &'static str,
    rule: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckRow {
    policy: String,
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    onset: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firing: Option<Timestamp>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_by: Option<HiddenBy>,
}

/// The exemption that hides a violation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HiddenBy {
    exemption: String,
    until: Timestamp,
    reason: String,
}

impl Report {
    /// Explains a Pod.
    pub(super) fn new(subject: &Subject) -> Self {
        let Subject {
            title,
            pod,
            observation,
            evaluation,
            now,
            deleted,
            is_manifest,
            notes: _,
        } = subject;
        let shape = &*observation.shape;
        let index = evaluation.index();
        let matched = index
            .matched_pods()
            .find(|other| other.pod.uid == observation.uid);
        let containers = shape.containers.iter().enumerate();
        let states = index.check_states(&observation.namespace, &observation.uid);
        let ending = ending(observation, *deleted);
        let has_ended = deleted.is_some() || has_ended(observation);
        Self {
            subject: title.clone(),
            start: if ending.is_none() {
                order::start(shape)
            } else {
                Vec::new()
            },
            containers: containers
                .map(|(idx, container)| {
                    ContainerRow::new(idx, container, matched.as_ref(), observation, ending.is_some())
                })
                .collect(),
            stop: if has_ended {
                Vec::new()
            } else {
                order::stop(shape, pod)
            },
            ending,
            checks: if *is_manifest {
                Vec::new()
            } else {
                states.iter().map(|state| CheckRow::new(state, *now)).collect()
            },
            is_manifest: *is_manifest,
            is_deleted: deleted.is_some(),
        }
    }

    /// Reports whether a violation fires that no exemption hides.
    pub(super) fn is_firing(&self) -> bool {
        self.checks.iter().any(|row| row.state == FIRING)
    }

    /// Returns the text for people.
    pub(super) fn text(&self, terminal: Terminal) -> String {
        let heading = |text: &str| format!("\n{}\n", terminal.paint(Style::Bold, text));
        let mut text = terminal.paint(Style::Bold, &self.subject) + "\n";
        if let Some(ending) = &self.ending {
            let _written = writeln!(text, "{ending}");
        }
        if !self.start.is_empty() {
            text += &heading("START");
            text += &steps(&self.start).render(terminal);
        }
        for container in &self.containers {
            text += &heading(&format!("CONTAINER {}", container.name));
            text += &container.text(terminal);
        }
        if !self.stop.is_empty() {
            text += &heading("STOP");
            text += &steps(&self.stop).render(terminal);
        }
        text += &heading("CHECKS");
        if self.is_manifest {
            text += "A manifest has no status, so no check has a result.\n";
        } else if self.is_deleted {
            text += "The Pod is gone, so no check has a result.\n";
        } else if self.checks.is_empty() {
            text += "No policy selects this Pod.\n";
        } else {
            text += &self.check_table().render(terminal);
        }
        text
    }

    fn check_table(&self) -> Table {
        let mut table = Table::new(["POLICY", "CHECK", "CONTAINER", "STATE", "REASON"]).with_text();
        for row in &self.checks {
            let style = match row.state {
                FIRING => Style::Red,
                PENDING => Style::Yellow,
                FINE => Style::Green,
                _ => Style::Dim,
            };
            table.push([
                row.policy.as_str().into(),
                row.check.into(),
                row.container.as_deref().unwrap_or("-").into(),
                Cell::styled(row.state, style),
                row.reason_with_exemption().into(),
            ]);
        }
        table
    }
}

/// Whether all containers have ended for good.
fn has_ended(pod: &Observation) -> bool {
    matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

/// Says that the Pod has ended or is being deleted.
fn ending(pod: &Observation, deleted: Option<Timestamp>) -> Option<String> {
    if let Some(at) = deleted {
        return Some(format!("The Pod was deleted at {at}."));
    }
    let and_deleted = if pod.terminating {
        " and is being deleted"
    } else {
        ""
    };
    match pod.phase {
        Phase::Succeeded => Some(format!("The Pod has succeeded{and_deleted}.")),
        Phase::Failed => Some(format!("The Pod has failed{and_deleted}.")),
        _ => pod
            .terminating
            .then(|| "The Pod is being deleted: no container starts or restarts.".to_owned()),
    }
}

/// Returns a table of steps.
fn steps(steps: &[Step]) -> Table {
    let mut table = Table::new(["STEP", "CONTAINERS", "WHAT HAPPENS"]).with_text();
    for (number, step) in steps.iter().enumerate() {
        let containers = if step.containers.is_empty() {
            "all".to_owned()
        } else {
            step.containers.join(", ")
        };
        table.push([
            (number + 1).to_string().into(),
            containers.into(),
            step.then.as_str().into(),
        ]);
    }
    table
}

impl Known {
    /// A plain init container with the image of a sidecar does another work (`istio-init`), unless its name says that it is the
    /// sidecar.
    fn new(container: &Container, pod: &Observation, is_app: bool) -> Option<Self> {
        let names = pod.shape.containers.iter().map(|container| &*container.name);
        let product = catalogue::find(&container.name, &Repository::of(&container.image), &names)?;
        let is_init = container.kind == ContainerKind::Init;
        if product.is_generic() || is_init && !catalogue::is_misplaced_init(&container.name) {
            return None;
        }
        Some(Self {
            title: product.title,
            class: product.class.as_str(),
            purpose: if is_init {
                "a sidecar that does not exit: without restartPolicy: Always, no container after it starts"
            } else if is_app {
                "the app of this Pod"
            } else {
                product.class.purpose()
            },
        })
    }
}

impl ContainerRow {
    /// `is_ending`: no container starts, and a failure leads to nothing.
    fn new(
        idx: usize,
        container: &Container,
        matched: Option<&MatchedPod<'_>>,
        pod: &Observation,
        is_ending: bool,
    ) -> Self {
        let shape = &*pod.shape;
        let policies = || matched.into_iter().flat_map(|matched| &matched.policies);
        let rows = policies().map(|(key, policy, roles)| RoleRow {
            policy: key.to_string(),
            role: role_name(roles.of(idx)),
            rule: Roles::rules(policy, shape)
                .get(idx)
                .copied()
                .map_or("", rule_text),
        });
        let has_role = |role| policies().any(|(_, _, roles)| roles.of(idx) == role);
        let setting = Setting {
            container,
            pod: shape,
            is_sidecar: has_role(Role::Sidecar),
            is_job: ["Job", "CronJob"].contains(&&*pod.workload.kind),
        };
        let is_app = has_role(Role::Main) && !has_role(Role::Sidecar);
        Self {
            name: container.name.to_string(),
            kind: match container.kind {
                ContainerKind::Init => "init container",
                ContainerKind::Native => "native sidecar",
                ContainerKind::Regular => "regular container",
            },
            image: container.image.to_string(),
            known_as: Known::new(container, pod, is_app),
            roles: rows.collect(),
            failures: if is_ending {
                Vec::new()
            } else {
                consequences(&setting)
            },
        }
    }

    fn text(&self, terminal: Terminal) -> String {
        let mut table = Table::new(["FACT", "MEANING"]).with_text();
        table.push([self.kind.into(), self.image.as_str().into()]);
        if let Some(Known {
            title,
            class,
            purpose,
        }) = &self.known_as
        {
            table.push([format!("{title} ({class})").into(), (*purpose).into()]);
        }
        for RoleRow { policy, role, rule } in &self.roles {
            table.push([format!("{role} under {policy}").into(), (*rule).into()]);
        }
        for failure in &self.failures {
            table.push([failure.cause.into(), failure.effect.into()]);
        }
        // The facts need no headings.
        let rendered = table.render(terminal);
        let mut text = String::new();
        for line in rendered.lines().skip(1) {
            let _written = writeln!(text, "{line}");
        }
        text
    }
}

fn rule_text(rule: Rule) -> &'static str {
    match rule {
        Rule::Excluded => "sidecars.exclude names it",
        Rule::PlainInit => "it is a plain init container",
        Rule::Native => "it is a native sidecar",
        Rule::NativeExcluded => "sidecars.native is Exclude",
        Rule::MainName => "mainContainers.names has its name",
        Rule::SidecarName => "sidecars.names has its name",
        Rule::NamePattern => "sidecars.namePattern matches its name",
        Rule::Image => "sidecars.images matches its image",
        Rule::DefaultContainer => "the annotation kubectl.kubernetes.io/default-container names it",
        Rule::Catalogue => "the catalogue of sidecars has its name or its image",
        Rule::Workload => "the workload has its name or that of its image",
        Rule::SameImage => "it has the image of a main container",
        Rule::BesideMain => "the catalogue has its name or its image, and the Pod has another main container",
        Rule::App => "the catalogue has its name or its image, and the Pod has no other main container",
        Rule::NotNamed => "mainContainers.names names other containers of the Pod",
        Rule::Other => "no rule makes it a sidecar",
        Rule::OnlyContainer => "the Pod would have no main container otherwise",
    }
}

const FIRING: &str = "firing";
const PENDING: &str = "pending";
const HIDDEN: &str = "hidden";
const FINE: &str = "fine";

impl CheckRow {
    fn new(state: &CheckState<'_>, now: Timestamp) -> Self {
        let time = |at| Moment { at, now };
        let mut row = Self {
            policy: state.policy.to_string(),
            check: state.check.as_str(),
            container: state.container.map(str::to_owned),
            state: FINE,
            onset: None,
            firing: None,
            reason: String::new(),
            hidden_by: state.hidden_by.map(HiddenBy::new),
        };
        (row.state, row.reason) = match state.state {
            State::Off => ("off", "the mode of the policy or of the check is Off".to_owned()),
            State::NotCovered => ("not applicable", not_covered(state.check).to_owned()),
            State::NotEvaluated(reason) => ("not evaluated", not_evaluated(reason).to_owned()),
            State::Held => (
                "held",
                "the status is not reliable now: all containers restart together, or the node is lost"
                    .to_owned(),
            ),
            State::Fine => (FINE, "no covered container has a fault".to_owned()),
            State::Pending { onset, fires_at } => {
                row.onset = Some(onset);
                let times = format!("since {}, fires at {}", time(onset), time(fires_at));
                (PENDING, format!("{times}: {}", state.cause))
            }
            State::Undated { earliest } => {
                let text = format!("unready, at most since {}: {}", time(earliest), state.cause);
                (PENDING, text)
            }
            State::Firing { onset, since } => {
                (row.onset, row.firing) = (Some(onset), Some(since));
                let times = format!("since {}, the fault began at {}", time(since), time(onset));
                (FIRING, format!("{times}: {}", state.cause))
            }
        };
        if row.hidden_by.is_some() {
            row.state = HIDDEN;
        }
        row
    }

    /// Returns the reason, and which exemption hides the violation.
    fn reason_with_exemption(&self) -> String {
        let reason = &self.reason;
        match &self.hidden_by {
            Some(HiddenBy {
                exemption,
                until,
                reason: why,
            }) => format!("{reason}; {exemption} hides it until {until}: {why}"),
            None => reason.clone(),
        }
    }
}

impl HiddenBy {
    fn new(hiding: HidingExemption<'_>) -> Self {
        Self {
            exemption: hiding.key.to_string(),
            until: hiding.until,
            reason: hiding.reason.to_owned(),
        }
    }
}

fn not_covered(check: Check) -> &'static str {
    match check {
        Check::SidecarMissing => "the policy expects no sidecar in the Pod",
        _ => "no container has a role that the check covers",
    }
}

fn not_evaluated(reason: NotEvaluated) -> &'static str {
    match reason {
        NotEvaluated::NotScheduled => "the Pod is not on a node",
        NotEvaluated::Terminating => "the Pod is being deleted",
        NotEvaluated::Disrupted => "the Pod is about to be evicted or preempted",
        NotEvaluated::Finished => "the Pod has finished",
    }
}
