//! The sequence of Pod changes of every test. Two policies select the same Pods: one fires within seconds, one after the end
//! of the sequence, so that at any time there are pending and firing violations.
//!
//! ```text
//! first phase   web, gone: sidecar unready   cart: crashed twice   boot: blocked   report: Job held open   logs: OOM-killed
//! second phase  web: ready again   gone: deleted   cart: crash loop   fine: unready   late: created, crashed
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use e2e::ControlPlane;
use e2e::faults::env::FaultEnv;
use e2e::faults::pods::{CRASH, PodKind, START};
use e2e::faults::snapshot::{Snapshot, Tolerance};
use e2e::operator::{install_crds, install_rbac};
use e2e::simulated_kubelet::{SimulatedKubelet, SimulatedPod, Step};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Time between the phases. By then `fast` fires for all faults of the first phase, and its statuses are written.
const BETWEEN_PHASES: Duration = Duration::from_secs(12);
/// From the second phase until `late` has fired and the last status is written.
const LAST_STATUS: Duration = Duration::from_secs(62);
/// The same, with reserve for a busy machine.
pub(crate) const UNTIL_QUIET: Duration = Duration::from_secs(90);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The window of restarts is shorter than the time between the phases, so that an operator that is restarted in between can
/// read all relevant restarts of `cart` from the Pod.
fn fast() -> Value {
    json!({"checks": {
        "notReady": {"for": "2s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "1s", "keepFiringFor": "1s"},
        "frequentRestarts": {"count": 3, "window": "10s"},
        "startupBlocked": {"for": "3s"},
        "jobHeldOpen": {"for": "2s"},
    }})
}

/// Fires after the sequence, each check at another time.
fn late() -> Value {
    json!({"checks": {
        "notReady": {"for": "45s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "46s", "keepFiringFor": "1s"},
        "startupBlocked": {"for": "47s"},
        "jobHeldOpen": {"for": "48s"},
        "frequentRestarts": {"mode": "Off"},
        "oomKilled": {"mode": "Off"},
    }})
}

/// Permits delays of a busy machine, but not an onset that was lost in a restart at the end of [`BETWEEN_PHASES`].
pub(crate) const STRICT: Tolerance = Tolerance {
    onset: Duration::from_secs(9),
    sent: Duration::from_secs(9),
    restarted: false,
};
/// For faults that delay Events: a broken watch delays everything.
pub(crate) const DELAYED: Tolerance = Tolerance {
    sent: Duration::MAX,
    ..STRICT
};
/// For faults that delay the events of a watch that seems healthy: onsets are those of the delayed events.
pub(crate) const UNSEEN: Tolerance = Tolerance {
    onset: Duration::MAX,
    ..DELAYED
};
/// For operators that were restarted.
pub(crate) const RESTARTED: Tolerance = Tolerance {
    restarted: true,
    ..STRICT
};

/// All facts except those about `cart`, whose restarts count only within the window. For runs in which the second phase is much
/// later, or received much later.
pub(crate) fn not_of_cart(name: &str) -> bool {
    !name.contains("cart")
        && !name.contains("FrequentRestarts")
        && !name.starts_with("status of SidecarPolicy fast")
}

/// For runs in which the second phase is received after `late` has fired.
pub(crate) fn only_of_fast(name: &str) -> bool {
    not_of_cart(name)
        && !name.contains("policy=\"late\"")
        && !name.contains("SidecarPolicy late")
        && !name.starts_with("sidewatch_violation_duration_seconds_count")
}

/// The control plane that all environments share.
pub(crate) async fn plane() -> Result<&'static ControlPlane> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = e2e::shared().await?;
    INSTALLED.get_or_try_init(|| install(plane)).await?;
    Ok(plane)
}

/// Installs CRDs and RBAC.
pub(crate) async fn install(plane: &ControlPlane) -> Result<()> {
    install_crds(plane).await?;
    install_rbac(plane).await
}

/// Result of an undisturbed run, which runs once.
pub(crate) async fn undisturbed() -> Result<&'static Snapshot> {
    // An error is kept as well, or every test would repeat the run.
    static UNDISTURBED: OnceCell<Result<Snapshot, String>> = OnceCell::const_new();
    let undisturbed =
        UNDISTURBED.get_or_init(|| async { run_undisturbed().await.map_err(|error| format!("{error:#}")) });
    let undisturbed = undisturbed.await.as_ref();
    undisturbed.map_err(|error| anyhow::anyhow!("the undisturbed run failed: {error}"))
}

async fn run_undisturbed() -> Result<Snapshot> {
    let (mut env, mut sequence) = begin("undisturbed").await?;
    sequence.second_phase().await?;
    tokio::time::sleep(LAST_STATUS).await;
    env.operator()?.wait_until_ready().await?;
    let snapshot = env.snapshot(sequence.epoch()).await?;
    expect_all_of_it(&snapshot)?;
    Ok(snapshot)
}

/// Creates an environment on the shared control plane and runs the first phase.
pub(crate) async fn begin(name: &str) -> Result<(FaultEnv, Sequence)> {
    begin_on(plane().await?, name).await
}

/// The same on any control plane.
pub(crate) async fn begin_on(plane: &ControlPlane, name: &str) -> Result<(FaultEnv, Sequence)> {
    let _turn = turn().await?;
    let env = FaultEnv::start(plane, name).await?;
    let sequence = Sequence::begin(&env).await?;
    Ok((env, sequence))
}

/// Limits the concurrent first phases, which need CPU time; later phases mostly wait.
pub(crate) async fn turn() -> Result<SemaphorePermit<'static>> {
    static TURNS: Semaphore = Semaphore::const_new(2);
    Ok(TURNS.acquire().await?)
}

/// Checks that the undisturbed run has all expected Events: two runs without any would be equal too.
fn expect_all_of_it(snapshot: &Snapshot) -> Result<()> {
    let expected = [
        ("SidecarContainerNotReady", 8),
        ("MainContainerReadyButSidecarNot", 8),
        ("SidecarRecovered", 1),
        ("SidecarRestartingFrequently", 1),
        ("SidecarBlocksStartup", 2),
        ("SidecarHoldsJobOpen", 2),
        ("SidecarOOMKilled", 1),
    ];
    for (reason, count) in expected {
        let events = snapshot.lines(&format!("Event {reason} "));
        let sent = events.iter().filter(|line| line.contains(" sent: ")).count();
        anyhow::ensure!(sent == count, "{sent} of {count} {reason}: {events:#?}");
    }
    Ok(())
}

/// Applies the two policies.
pub(crate) async fn apply_policies(env: &FaultEnv) -> Result<()> {
    env.policy("fast", fast()).await?;
    env.policy("late", late()).await
}

/// A running sequence.
pub(crate) struct Sequence {
    kubelet: SimulatedKubelet,
    pods: Api<Pod>,
    namespace: String,
    first_phase_ended: tokio::time::Instant,
    web: SimulatedPod,
    cart: SimulatedPod,
    fine: SimulatedPod,
    /// Time of the step that caused the fault of each Pod.
    steps: BTreeMap<&'static str, Timestamp>,
    recovered: Timestamp,
}

impl Sequence {
    /// Applies the policies and runs the first phase.
    pub(crate) async fn begin(env: &FaultEnv) -> Result<Self> {
        apply_policies(env).await?;
        let namespace = env.namespace();
        let kubelet = SimulatedKubelet::new(env.client());
        let run = async |kind: PodKind, name: &str| {
            let spec = kind.pod(name);
            let mut pod = kubelet.create(namespace, spec.clone()).await?;
            pod.together(&spec.healthy_start()).await?;
            anyhow::Ok(pod)
        };
        let mut steps = BTreeMap::new();

        let fine = run(PodKind::Meshed, "fine").await?;
        let mut web = run(PodKind::Meshed, "web").await?;
        web.step(Step::Unready("proxy")).await?;
        steps.insert("web", Timestamp::now());
        let mut gone = run(PodKind::Meshed, "gone").await?;
        gone.step(Step::Unready("proxy")).await?;
        steps.insert("gone", Timestamp::now());

        let mut cart = run(PodKind::Cart, "cart").await?;
        cart.together(&[CRASH, START, CRASH, START]).await?;

        let mut boot = kubelet.create(namespace, PodKind::Boot.pod("boot")).await?;
        boot.together(&[Step::Admit, Step::SandboxReady, Step::Start("vault-agent")])
            .await?;
        steps.insert("boot", Timestamp::now());

        let mut report = run(PodKind::Report, "report").await?;
        report.step(Step::Exit("report", 0)).await?;
        steps.insert("report", Timestamp::now());

        let mut logs = run(PodKind::Logs, "logs").await?;
        logs.together(&[Step::OomKill("fluent-bit"), Step::Start("fluent-bit")])
            .await?;
        steps.insert("logs", Timestamp::now());

        Ok(Self {
            pods: Api::namespaced(env.client(), namespace),
            namespace: namespace.into(),
            kubelet,
            first_phase_ended: tokio::time::Instant::now(),
            web,
            cart,
            fine,
            steps,
            recovered: Timestamp::now(),
        })
    }

    /// Waits for the time of the second phase.
    pub(crate) async fn pause_between_phases(&self) {
        tokio::time::sleep_until(self.first_phase_ended + BETWEEN_PHASES).await;
    }

    /// Runs the second phase. Retries while the API server is unavailable.
    pub(crate) async fn second_phase(&mut self) -> Result<()> {
        self.pause_between_phases().await;
        // The time of the first attempt, because the status contains it.
        self.recovered = Timestamp::now();
        retry(&mut self.web, &[Step::Ready("proxy")]).await?;
        // It stays in back-off: the API does not show when a running container was restarted earlier.
        self.steps.insert("cart", Timestamp::now());
        retry(&mut self.cart, &[CRASH, START, CRASH, Step::BackOff("shipper")]).await?;
        self.steps.insert("fine", Timestamp::now());
        retry(&mut self.fine, &[Step::Unready("proxy")]).await?;
        self.remove("gone").await;
        let mut late = self.late().await?;
        // An exit in the second in which the sandbox becomes ready may belong to an earlier sandbox.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        self.steps.insert("late", Timestamp::now());
        // An operator that sees this Pod for the first time takes the onset from the exit of the container.
        retry(&mut late, &[Step::Exit("proxy", 1), Step::BackOff("proxy")]).await?;
        Ok(())
    }

    /// Creates another Pod; replaces it if the creation fails half-way.
    async fn late(&self) -> Result<SimulatedPod> {
        let spec = PodKind::Meshed.pod("late");
        let mut pod = loop {
            match self.kubelet.create(&self.namespace, spec.clone()).await {
                Err(error) if is_api_error(&error) => self.remove("late").await,
                pod => break pod?,
            }
        };
        retry(&mut pod, &spec.healthy_start()).await?;
        Ok(pod)
    }

    async fn remove(&self, name: &str) {
        let now = DeleteParams::default().grace_period(0);
        loop {
            match self.pods.delete(name, &now).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    }

    /// Times of the steps, for comparisons.
    pub(crate) fn epoch(&self) -> impl Fn(&str, bool) -> Timestamp + '_ {
        |pod, recovered| match self.steps.get(pod) {
            Some(step) if !recovered => *step,
            _ => self.recovered,
        }
    }

    /// Expects the result of an undisturbed run.
    pub(crate) async fn end(&self, env: &mut FaultEnv, tolerance: Tolerance, within: Duration) -> Result<()> {
        self.end_in(env, |_| true, tolerance, within).await
    }

    /// The same for wanted facts only.
    pub(crate) async fn end_in(
        &self,
        env: &mut FaultEnv,
        wanted: impl Fn(&str) -> bool,
        tolerance: Tolerance,
        within: Duration,
    ) -> Result<()> {
        let undisturbed = undisturbed().await?;
        env.operator()?.wait_until_ready().await?;
        env.converge(undisturbed, wanted, self.epoch(), tolerance, within)
            .await
    }
}

/// Applies steps and repeats the write of the status until the API server accepts it.
async fn retry(pod: &mut SimulatedPod, steps: &[Step<'_>]) -> Result<()> {
    let mut written = pod.together(steps).await;
    loop {
        match written {
            Err(error) if is_api_error(&error) => {
                tokio::time::sleep(RETRY_INTERVAL).await;
                written = pod.together(&[]).await;
            }
            written => return written,
        }
    }
}

/// Whether the error comes from the API server or the connection to it.
fn is_api_error(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<kube::Error>)
}
