//! The state of one container and its `ContainerStatus`.
//!
//! A back-off is not a separate state: it shows the last exit as `lastState` instead of `state`.

use jiff::Timestamp;
use serde_json::{Value, json};
use sidewatch::domain::hash::stable_hash;

use super::spec::{Container, Kind, RestartPolicy};

#[derive(Debug, Clone)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) reason: &'static str,
    /// Start and end; unknown after the kubelet removed the container.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    pub(super) id: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Run {
    NotCreated,
    Running { id: String, since: Timestamp },
    Exited(Exit),
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug, Clone)]
pub(super) struct ContainerState {
    pub(super) spec: Container,
    /// Its own restart policy, or that of the Pod. For a plain init container, Always means OnFailure.
    policy: RestartPolicy,
    pub(super) run: Run,
    /// Exit of the previous run.
    pub(super) previous: Option<Exit>,
    /// Reported instead of the run.
    pub(super) waiting: Option<Waiting>,
    pub(super) restarts: i32,
    pub(super) started: bool,
    pub(super) ready: bool,
    /// The time since which it is reported as running without a sandbox.
    pub(super) lost: Option<Timestamp>,
    /// UID of the Pod, a part of container ids.
    uid: String,
    runs: u32,
}

impl ContainerState {
    pub(super) fn new(spec: Container, pod_policy: RestartPolicy, uid: &str) -> Self {
        let policy = match (spec.kind, spec.restart_policy.unwrap_or(pod_policy)) {
            (Kind::Native, _) => RestartPolicy::Always,
            (Kind::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
            (_, policy) => policy,
        };
        Self {
            spec,
            policy,
            run: Run::NotCreated,
            previous: None,
            waiting: None,
            restarts: 0,
            started: false,
            ready: false,
            lost: None,
            uid: uid.into(),
            runs: 0,
        }
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.spec.kind == kind
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    pub(super) fn not_created(&self) -> bool {
        matches!(self.run, Run::NotCreated)
    }

    /// Whether it has exited and is not restarted.
    pub(super) fn finished(&self) -> bool {
        matches!(&self.run, Run::Exited(exit) if !self.policy.restarts(exit.code))
    }

    /// Whether it has exited and is restarted.
    pub(super) fn restartable(&self) -> bool {
        matches!(&self.run, Run::Exited(exit) if self.policy.restarts(exit.code))
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        if let Run::Exited(exit) = &self.run {
            Some(exit.code)
        } else {
            None
        }
    }

    /// Whether the next container may start: a plain init container has completed, a native sidecar has started.
    pub(super) fn lets_the_next_start(&self) -> bool {
        match self.spec.kind {
            Kind::Init => self.exit_code() == Some(0),
            Kind::Native => self.started,
            Kind::Regular => true,
        }
    }

    /// Starts a new run.
    pub(super) fn start(&mut self, now: Timestamp) {
        if let Run::Exited(exit) = std::mem::replace(&mut self.run, Run::NotCreated) {
            self.previous = Some(exit);
            self.restarts += 1;
        }
        self.runs += 1;
        self.waiting = None;
        self.run = Run::Running {
            id: self.id(),
            since: now,
        };
        self.started = !self.spec.startup;
        self.ready = self.started && !self.spec.readiness && !self.is(Kind::Init);
    }

    /// Ends the current run. The kubelet reports a completed plain init container as ready.
    pub(super) fn exit(&mut self, code: i32, reason: &'static str, now: Timestamp) {
        if let Run::Running { id, since } = &self.run {
            self.run = Run::Exited(Exit {
                code,
                reason,
                times: Some((*since, now)),
                id: Some(id.clone()),
            });
        }
        self.started = false;
        self.ready = self.is(Kind::Init) && code == 0;
    }

    /// Fails to run its program. containerd reports 1970 as the start time.
    pub(super) fn start_fails(&mut self, now: Timestamp) {
        self.start(now);
        let times = Some((Timestamp::UNIX_EPOCH, now));
        self.run = Run::Exited(Exit {
            code: 128,
            reason: "StartError",
            times,
            id: Some(self.id()),
        });
        self.started = false;
        self.ready = false;
        let message = format!(
            "failed to start containerd task {:?}: no such file or directory",
            self.spec.name
        );
        self.waiting = Some(Waiting {
            reason: "RunContainerError",
            message,
        });
    }

    pub(super) fn wait(&mut self, reason: &'static str, message: String) {
        self.waiting = Some(Waiting { reason, message });
    }

    /// Whether the status shows no back-off: after exit 0 the kubelet reports a native sidecar as completed until it restarts.
    pub(super) fn hides_back_off(&self) -> bool {
        self.is(Kind::Native) && self.exit_code() == Some(0)
    }

    /// Removes it together with all other containers, before they restart.
    pub(super) fn remove(&mut self) {
        self.run = Run::NotCreated;
        self.previous = Some(Exit {
            code: 137,
            reason: "RestartingAllContainers",
            times: None,
            id: None,
        });
        self.restarts += 1;
        self.started = false;
        self.ready = self.ready && self.is(Kind::Init);
        self.wait(
            "RestartingAllContainers",
            "The container is removed because RestartAllContainers in place".into(),
        );
    }

    /// The `ContainerStatus`; `waits_for` is the reason of a container that was never created.
    pub(super) fn status(&self, waits_for: &str) -> Value {
        let (state, last) = match (&self.waiting, &self.run) {
            (Some(Waiting { reason, message }), run) => {
                let last = if let Run::Exited(exit) = run {
                    Some(exit)
                } else {
                    self.previous.as_ref()
                };
                (json!({"waiting": {"reason": reason, "message": message}}), last)
            }
            (None, Run::NotCreated) => (json!({"waiting": {"reason": waits_for}}), self.previous.as_ref()),
            (None, Run::Running { since, .. }) => (
                json!({"running": {"startedAt": seconds(*since)}}),
                self.previous.as_ref(),
            ),
            (None, Run::Exited(exit)) => (terminated(exit), self.previous.as_ref()),
        };
        let id = match &self.run {
            Run::NotCreated => None,
            Run::Running { id, .. } => Some(id.clone()),
            Run::Exited(exit) => exit.id.clone(),
        };
        let mut status = json!({
            "name": self.spec.name,
            "state": state,
            "lastState": last.map_or_else(|| json!({}), terminated),
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "image": self.spec.image,
            "imageID": if id.is_some() { format!("sha256:{}", digest(&self.spec.image)) } else { String::new() },
        });
        if let Some(id) = id {
            let limits = self.spec.memory_limit.as_ref();
            let resources = limits.map_or_else(|| json!({}), |limit| json!({"limits": {"memory": limit}}));
            status["containerID"] = json!(id);
            status["resources"] = resources;
            status["user"] = json!({"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}});
        }
        status
    }

    fn id(&self) -> String {
        format!(
            "containerd://{}",
            digest(&format!("{}/{}/{}", self.uid, self.spec.name, self.runs))
        )
    }
}

fn terminated(exit: &Exit) -> Value {
    let mut state = json!({
        "exitCode": exit.code,
        "reason": exit.reason,
        "startedAt": exit.times.map(|(started, _)| seconds(started)),
        "finishedAt": exit.times.map(|(_, finished)| seconds(finished)),
    });
    if let Some(id) = &exit.id {
        state["containerID"] = json!(id);
    }
    json!({"terminated": state})
}

/// Timestamp in whole seconds, truncated as in the API.
pub(super) fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// Returns 64 hexadecimal digits like those of a SHA-256, different for different texts.
fn digest(text: &str) -> String {
    let part = |seed: u8| stable_hash([&[seed], text.as_bytes()]);
    format!("{:016x}{:016x}{:016x}{:016x}", part(1), part(2), part(3), part(4))
}
