//! Pods that change step by step as a kubelet changes them.

use std::{num::NonZeroU32, sync::Arc};

use super::at;
use crate::domain::observation::{
    Condition, Conditions, Container, ContainerKind, ContainerStatus, Exit, Observation, Phase, Probes,
    RestartPolicy, Shape, State, Workload,
};

/// A Pod as in a watch event.
#[derive(Clone, Debug)]
pub(crate) struct Pod(pub(crate) Observation);

/// The Pod of most tests: main container `app` and native sidecar `envoy`, both ready since second 0.
pub(crate) fn web() -> Pod {
    web_named("web-1")
}

/// The same with another name.
pub(crate) fn web_named(name: &str) -> Pod {
    Pod::named(name).native("envoy").regular("app")
}

/// The Pod of most tests, whose sidecar has been unready since this second.
pub(crate) fn unready_since(second: i64) -> Pod {
    web().unready("envoy").containers_unready_since(second)
}

impl Pod {
    /// A running Pod of `Deployment/web` without containers, in the namespace `pay`, created at second 0.
    pub(crate) fn named(name: &str) -> Self {
        let condition = |holds| {
            Some(Condition {
                holds,
                since: Some(at(0)).into(),
            })
        };
        let pod = Observation {
            uid: format!("uid-of-{name}").into(),
            namespace: "pay".into(),
            name: name.into(),
            labels: Arc::default(),
            annotations: Arc::default(),
            host_network: false,
            workload: workload("Deployment", "web"),
            created: Some(at(0)).into(),
            scheduled: true,
            terminating: false,
            phase: Phase::Running,
            conditions: Conditions {
                initialized: true,
                containers_ready: condition(true),
                sandbox_ready: condition(true),
                ..Conditions::default()
            },
            shape: Arc::new(Shape {
                restart_policy: RestartPolicy::Always,
                containers: Box::default(),
            }),
            statuses: Box::default(),
            stray_statuses: 0,
        };
        Self(pod)
    }

    /// Changes the observation.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Observation)) -> Self {
        change(&mut self.0);
        self
    }

    /// Sets the workload.
    pub(crate) fn of(self, kind: &str, name: &str) -> Self {
        self.with(|pod| pod.workload = workload(kind, name))
    }

    /// Sets the namespace.
    pub(crate) fn in_namespace(self, namespace: &str) -> Self {
        self.with(|pod| pod.namespace = namespace.into())
    }

    /// Sets the labels.
    pub(crate) fn labels(self, labels: &[(&str, &str)]) -> Self {
        self.with(|pod| pod.labels = Arc::new(labels.iter().copied().collect()))
    }

    /// Sets the annotations.
    pub(crate) fn annotations(self, annotations: &[(&str, &str)]) -> Self {
        self.with(|pod| pod.annotations = Arc::new(annotations.iter().copied().collect()))
    }

    // The spec. Containers have the order of the calls, so init containers must come first.

    /// Adds a plain init container that has completed.
    pub(crate) fn init(self, name: &str) -> Self {
        self.container(ContainerKind::Init, name)
            .status(name, |status| status.state = State::Running(Some(at(0))))
            .exits(name, 0, 0)
            .ready(name)
    }

    /// Adds a ready native sidecar with a readiness probe.
    pub(crate) fn native(self, name: &str) -> Self {
        self.container(ContainerKind::Native, name)
    }

    /// Adds a ready regular container with a readiness probe.
    pub(crate) fn regular(self, name: &str) -> Self {
        self.container(ContainerKind::Regular, name)
    }

    fn container(mut self, kind: ContainerKind, name: &str) -> Self {
        let index = self.0.statuses.len();
        self = self.reshape(|shape| {
            let container = Container {
                name: name.into(),
                image: format!("registry.example/{name}:1").into(),
                kind,
                named_by: None,
                restart_policy: None,
                restart_rules: Box::default(),
                probes: Probes {
                    readiness: true,
                    ..Probes::default()
                },
                has_post_start: false,
                restarts_on_resize: false,
                memory_limit: None,
            };
            shape.containers = shape.containers.iter().cloned().chain([container]).collect();
        });
        let status = ContainerStatus {
            ready: true,
            started: true,
            restart_count: 0,
            run: 1000 * (index as u64 + 1),
            state: State::Running(Some(at(0))),
            last_exit: None,
        };
        self.0.statuses = self.0.statuses.iter().cloned().chain([Some(status)]).collect();
        self
    }

    /// Changes the spec.
    pub(crate) fn reshape(self, change: impl FnOnce(&mut Shape)) -> Self {
        self.with(|pod| {
            let mut shape = (*pod.shape).clone();
            change(&mut shape);
            pod.shape = Arc::new(shape);
        })
    }

    /// Changes one container of the spec.
    pub(crate) fn spec(self, name: &str, change: impl FnOnce(&mut Container)) -> Self {
        let index = self.index(name);
        self.reshape(|shape| change(&mut shape.containers[index]))
    }

    /// Sets the restart policy of the Pod.
    pub(crate) fn restart_policy(self, policy: RestartPolicy) -> Self {
        self.reshape(|shape| shape.restart_policy = policy)
    }

    /// Sets the restart policy of one container.
    pub(crate) fn restarts_container(self, name: &str, policy: RestartPolicy) -> Self {
        self.spec(name, |container| container.restart_policy = Some(policy))
    }

    // The status.

    fn index(&self, name: &str) -> usize {
        self.0.shape.position(name).unwrap()
    }

    /// Changes the conditions.
    pub(crate) fn conditions(self, change: impl FnOnce(&mut Conditions)) -> Self {
        self.with(|pod| change(&mut pod.conditions))
    }

    /// `ContainersReady=False` since that second.
    pub(crate) fn containers_unready_since(self, since: i64) -> Self {
        self.conditions(|c| {
            c.containers_ready = Some(Condition {
                holds: false,
                since: Some(at(since)).into(),
            });
        })
    }

    /// `PodReadyToStartContainers` since that second.
    pub(crate) fn sandbox(self, holds: bool, since: i64) -> Self {
        self.conditions(|c| {
            c.sandbox_ready = Some(Condition {
                holds,
                since: Some(at(since)).into(),
            });
        })
    }

    /// Sets the conditions that the node controller writes for a lost node.
    pub(crate) fn node_lost(self) -> Self {
        self.conditions(|c| c.ready_false_without_reason = true)
    }

    /// `Initialized=False`, and the regular containers have not been created in this sandbox.
    pub(crate) fn uninitialized(self) -> Self {
        let containers = self.0.shape.containers.iter();
        let regular = containers.filter(|container| container.kind == ContainerKind::Regular);
        let regular: Vec<Arc<str>> = regular.map(|container| Arc::clone(&container.name)).collect();
        let pod = self.conditions(|c| c.initialized = false);
        regular
            .iter()
            .fold(pod, |pod, name| pod.waiting(name, "PodInitializing"))
    }

    /// `PodResizeInProgress=True` with this `observedGeneration`.
    pub(crate) fn resizing(self, generation: u32) -> Self {
        self.conditions(|c| c.resize_in_progress = NonZeroU32::new(generation))
    }

    /// Removes `PodResizeInProgress`.
    pub(crate) fn resized(self) -> Self {
        self.conditions(|c| c.resize_in_progress = None)
    }

    /// `resizePolicy: RestartContainer` for a resource of the container.
    pub(crate) fn restarts_on_resize(self, name: &str) -> Self {
        self.spec(name, |container| container.restarts_on_resize = true)
    }

    /// Removes the status of a container.
    pub(crate) fn unreported(self, name: &str) -> Self {
        let index = self.index(name);
        self.with(|pod| pod.statuses[index] = None)
    }

    /// Changes the status of one container.
    pub(crate) fn status(self, name: &str, change: impl FnOnce(&mut ContainerStatus)) -> Self {
        let index = self.index(name);
        self.with(|pod| change(pod.statuses[index].as_mut().unwrap()))
    }

    /// `ready: true`
    pub(crate) fn ready(self, name: &str) -> Self {
        self.status(name, |status| status.ready = true)
    }

    /// `ready: false`, and no other change: the readiness probe fails.
    pub(crate) fn unready(self, name: &str) -> Self {
        self.status(name, |status| status.ready = false)
    }

    /// The container waits with this reason. It has never started unless it has restarted.
    pub(crate) fn waiting(self, name: &str, reason: &str) -> Self {
        self.status(name, |status| {
            (status.ready, status.started) = (false, false);
            status.state = State::Waiting(reason.into());
        })
    }

    /// The container runs. Its startup probe or postStart hook has not succeeded yet.
    pub(crate) fn starting(self, name: &str, since: i64) -> Self {
        self.status(name, |status| {
            (status.ready, status.started) = (false, false);
            status.state = State::Running(Some(at(since)));
        })
    }

    /// The current run ends: `state.terminated`.
    pub(crate) fn exits(self, name: &str, code: i32, second: i64) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.exits_with(name, code, reason, second)
    }

    /// The current run is OOM-killed.
    pub(crate) fn oom_killed(self, name: &str, second: i64) -> Self {
        self.exits_with(name, 137, "OOMKilled", second)
    }

    pub(crate) fn exits_with(self, name: &str, code: i32, reason: &str, second: i64) -> Self {
        self.status(name, |status| {
            (status.ready, status.started) = (false, false);
            status.state = State::Terminated(Box::new(Exit {
                code,
                reason: reason.into(),
                started_at: status.running_since(),
                finished_at: Some(at(second)),
                run: status.run,
            }));
        })
    }

    /// The last run moves to `lastState`, and the container waits in `CrashLoopBackOff`.
    pub(crate) fn backs_off(self, name: &str) -> Self {
        self.status(name, |status| {
            status.last_exit = status.latest_exit().cloned().map(Box::new);
            status.state = State::Waiting("CrashLoopBackOff".into());
        })
    }

    /// The container runs again. The last run is in `lastState`, and `restartCount` is one higher. A current run first
    /// ends with exit code 1.
    pub(crate) fn restarted(self, name: &str, second: i64) -> Self {
        let index = self.index(name);
        let runs = matches!(self.0.statuses[index].as_ref().unwrap().state, State::Running(_));
        let pod = if runs { self.exits(name, 1, second) } else { self };
        pod.status(name, |status| {
            status.last_exit = status.latest_exit().cloned().map(Box::new);
            status.state = State::Running(Some(at(second)));
            status.restart_count += 1;
            status.run += 1;
            (status.ready, status.started) = (true, true);
        })
    }
}

fn workload(kind: &str, name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        kind: kind.into(),
        name: name.into(),
    })
}
