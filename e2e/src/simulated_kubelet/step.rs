//! What may happen to a Pod on its node.

/// One thing that happens, followed by one write of the Pod's status. Containers go by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The kubelet takes the Pod over: every container is listed, as waiting to be created.
    Admit,
    /// The sandbox has its network; also the new one after [`Step::SandboxLost`].
    SandboxReady,
    /// A container begins to run: for the first time, after an exit (`restartCount` rises), or after its sandbox was lost. It
    /// has started unless it has a startup probe, and then is ready unless it has a readiness probe.
    Start(&'a str),
    /// The startup probe has passed.
    Started(&'a str),
    /// The readiness probe has passed.
    Ready(&'a str),
    /// The readiness probe has failed often enough.
    Unready(&'a str),
    /// A container exits by itself with this code.
    Exit(&'a str, i32),
    /// A container is killed for memory.
    OomKill(&'a str),
    /// The kubelet reports that it waits before it starts the container again. It does so some seconds after the exit, and
    /// for a native sidecar that exited 0 never.
    BackOff(&'a str),
    /// A liveness or startup probe fails: the container is killed, exits with this code (137, or what it answers SIGTERM
    /// with) and runs again, without a status in between.
    ProbeKill(&'a str, i32),
    /// The same, when it must wait: the back-off shows at once (but see [`Step::BackOff`] for exit code 0).
    ProbeKillIntoBackOff(&'a str, i32),
    /// The container's program cannot be run (`RunContainerError`, `StartError`).
    StartFails(&'a str),
    /// Pulling the image failed.
    ImagePullFails(&'a str),
    /// The kubelet waits before it pulls the image again.
    ImagePullBackOff(&'a str),
    /// The image is not there and must not be pulled.
    ImageNeverPull(&'a str),
    /// All regular containers have finished: the kubelet has stopped the native sidecars, last one first, and each exited
    /// with this code.
    StopSidecars(i32),
    /// The finished Pod gets its last phase, Succeeded or Failed.
    Settle,
    /// The node controller has not heard of the node: `Ready` becomes False without a reason, the rest stays as it is.
    NodeLost,
    /// The kubelet is back, and has not probed anything yet.
    NodeBack,
    /// The sandbox is gone; the containers are still reported as they were.
    SandboxLost,
    /// A container exits with the code for which it has a rule to restart all.
    RestartAll(&'a str),
    /// All containers have been removed for that; [`Step::Start`] them again, in order.
    AllRemoved,
    /// A Pod that is being deleted has come to its end: everything that ran has exited at once, with the code given here or 0.
    End(&'a [(&'a str, i32)]),
}
