//! Changes of a Pod on its node.

/// A change of a Pod, followed by a write of its status. Containers are identified by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The kubelet admits the Pod: all containers are listed as waiting.
    Admit,
    /// The sandbox has its network; also the new one after [`Step::SandboxLost`].
    SandboxReady,
    /// A container starts: for the first time, after an exit (`restartCount` increases), or after the loss of its sandbox. It
    /// is started unless it has a startup probe, and ready unless it has a readiness probe.
    Start(&'a str),
    /// The startup probe has passed.
    Started(&'a str),
    /// The readiness probe has passed.
    Ready(&'a str),
    /// The readiness probe has failed often enough.
    Unready(&'a str),
    /// A container exits with this code.
    Exit(&'a str, i32),
    /// A container is OOM-killed.
    OomKill(&'a str),
    /// The kubelet reports the back-off before a restart. It does so some seconds after the exit, and never for a native
    /// sidecar that exited 0.
    BackOff(&'a str),
    /// A liveness or startup probe fails: the container is killed, exits with this code (137, or its own code after SIGTERM)
    /// and restarts, without a status in between.
    ProbeKill(&'a str, i32),
    /// The same with a back-off, which shows immediately (see [`Step::BackOff`] for exit code 0).
    ProbeKillIntoBackOff(&'a str, i32),
    /// The container's program cannot be run (`RunContainerError`, `StartError`).
    StartFails(&'a str),
    /// Pulling the image failed.
    ImagePullFails(&'a str),
    /// The kubelet waits before the next pull.
    ImagePullBackOff(&'a str),
    /// The image is missing and must not be pulled.
    ImageNeverPull(&'a str),
    /// All regular containers have finished, and the kubelet has stopped the native sidecars, which exited with this code.
    StopSidecars(i32),
    /// The finished Pod gets its last phase, Succeeded or Failed.
    Settle,
    /// The node is lost: the node controller sets `Ready` to False without a reason.
    NodeLost,
    /// The kubelet has returned, and has not run any probe.
    NodeBack,
    /// The sandbox is lost; the containers are reported as before.
    SandboxLost,
    /// A container exits with the code of its rule to restart all containers.
    RestartAll(&'a str),
    /// All containers have been removed for the restart; [`Step::Start`] follows for each, in order.
    AllRemoved,
    /// A deleted Pod ends: all running containers exit with the given codes or 0.
    End(&'a [(&'a str, i32)]),
}
