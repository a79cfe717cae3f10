//! A Pod of a test with a virtual clock. Its times are whole seconds after the start of the test.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Container, Kind, PodSpec, PodState, RestartPolicy, Step};

/// The instant this many seconds after the start of a test.
pub fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(second)
}

/// A Pod on its node.
#[derive(Clone, Debug)]
#[must_use]
pub struct Pod {
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
    namespace: &'static str,
    created: i64,
    terminating: bool,
    spec: PodSpec,
    state: PodState,
}

impl Pod {
    /// Creates a Pod without containers. It is created and scheduled at this second. Its UID is `uid-of-` and the name, and
    /// its label `app` is the name without its last part.
    pub fn new(namespace: &'static str, name: &str, created: i64) -> Self {
        let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
        let spec = PodSpec::new(name).label("app", app).on_node("node-1");
        let uid = format!("uid-of-{name}");
        Self {
            state: PodState::new(&spec, namespace, &uid),
            name: name.to_owned(),
            uid,
            namespace,
            created,
            terminating: false,
            spec,
        }
    }

    /// Sets the UID. Call it before the first container.
    pub fn uid(mut self, uid: &str) -> Self {
        uid.clone_into(&mut self.uid);
        self
    }

    /// Sets a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.spec = self.spec.label(key, value);
        self
    }

    /// Sets the restart policy of the Pod. Call it before the first container.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.spec = self.spec.restart_policy(policy);
        self
    }

    /// Adds a container with a readiness probe. All containers run and are ready since the creation of the Pod, and plain
    /// init containers have completed.
    pub fn container(mut self, kind: Kind, name: &str, image: &str) -> Self {
        let mut container = Container::new(name, kind).image(image);
        if kind != Kind::Init {
            container = container.readiness_probe();
        }
        self.spec = self.spec.container(container);
        let created = self.created;
        self.reset().start(|_| true, created)
    }

    /// The Pod has just been created, and this container starts: a native sidecar whose startup probe has not passed, or a
    /// plain init container. The containers after it wait.
    pub fn starting(mut self, name: &str, now: i64) -> Self {
        let container = self.spec.containers.iter_mut().find(|c| c.name == name);
        let container = container.unwrap();
        container.startup = container.kind == Kind::Native;
        let mut waits = false;
        let until_started = move |step: &Step<'_>| {
            let wanted = !waits;
            waits |= *step == Step::Start(name);
            wanted
        };
        self.reset().start(until_started, now)
    }

    /// The startup probe of a starting native sidecar passes, or a plain init container completes. The containers after it
    /// start and become ready.
    pub fn started(self, name: &str, now: i64) -> Self {
        let mut waits = true;
        let after_start = move |step: &Step<'_>| {
            let wanted = !waits;
            waits &= *step != Step::Start(name);
            wanted
        };
        self.start(after_start, now)
    }

    /// The readiness probe starts to pass or to fail.
    pub fn ready(self, name: &str, ready: bool, now: i64) -> Self {
        let step = if ready {
            Step::Ready(name)
        } else {
            Step::Unready(name)
        };
        self.apply(&[step], now)
    }

    /// The container exits and is not restarted.
    pub fn exits(self, name: &str, code: i32, now: i64) -> Self {
        self.apply(&[Step::Exit(name, code)], now)
    }

    /// The container exits with code 137 and is ready again at once, `times` in a row.
    pub fn restarted(mut self, name: &str, times: u32, now: i64) -> Self {
        for _ in 0..times {
            self = self.exits(name, 137, now).starts_again(name, now);
        }
        self
    }

    /// The container is OOM-killed, and is ready again at once.
    pub fn oom_killed(self, name: &str, now: i64) -> Self {
        self.apply(&[Step::OomKill(name)], now).starts_again(name, now)
    }

    /// The container exits with code 1 and waits for its next start.
    pub fn backs_off(self, name: &str, now: i64) -> Self {
        self.apply(&[Step::Exit(name, 1), Step::BackOff(name)], now)
    }

    /// The container starts again and is ready.
    pub fn starts_again(self, name: &str, now: i64) -> Self {
        let startup = self.spec.containers.iter().any(|c| c.name == name && c.startup);
        let started = startup.then_some(Step::Started(name));
        let steps = [Some(Step::Start(name)), started, Some(Step::Ready(name))];
        self.apply(&steps.into_iter().flatten().collect::<Vec<_>>(), now)
    }

    /// A user deletes the Pod. Its containers continue to run.
    pub fn terminating(mut self, now: i64) -> Self {
        self.terminating = true;
        self.state.deleted(2, at(now));
        self
    }

    /// The node is lost.
    pub fn node_lost(self, now: i64) -> Self {
        self.apply(&[Step::NodeLost], now)
    }

    /// The node is found again, and all readiness probes pass.
    pub fn node_found(self, now: i64) -> Self {
        let spec = self.spec.clone();
        let probed = spec.containers.iter().filter(|c| c.readiness);
        let ready = probed.map(|c| Step::Ready(&c.name));
        let steps: Vec<_> = [Step::NodeBack].into_iter().chain(ready).collect();
        self.apply(&steps, now)
    }

    /// Returns the Pod as the API server does.
    pub fn object(&self) -> Value {
        let mut pod = self.spec.pod();
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod["metadata"]["uid"] = json!(self.uid);
        pod["metadata"]["creationTimestamp"] = json!(at(self.created));
        if self.terminating {
            pod["metadata"]["deletionTimestamp"] = json!(at(self.created));
        }
        pod["status"] = self.state.status();
        pod
    }

    /// Returns the Pod before its first step.
    fn reset(mut self) -> Self {
        self.state = PodState::new(&self.spec, self.namespace, &self.uid);
        self.state.scheduled(at(self.created));
        self
    }

    /// Applies the wanted steps of a healthy start.
    fn start(self, mut wanted: impl FnMut(&Step<'_>) -> bool, now: i64) -> Self {
        let spec = self.spec.clone();
        let mut steps = spec.healthy_start();
        steps.retain(|step| wanted(step));
        self.apply(&steps, now)
    }

    fn apply(mut self, steps: &[Step<'_>], now: i64) -> Self {
        for step in steps {
            self.state.apply(*step, at(now)).unwrap();
        }
        self
    }
}
