//! The history that every test plays: two policies over the same Pods, one that fires within seconds and one that fires after
//! everything else has happened, so that at any moment something is pending and something is firing.
//!
//! ```text
//! first act   web, gone: sidecar unready   cart: crashed twice   boot: held up   report: Job held open   logs: OOM-killed
//! second act  web: ready again   gone: deleted   cart: crashed for good   fine: unready   late: new, and unready
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use e2e::ControlPlane;
use e2e::compare::{Snapshot, Tolerance};
use e2e::fault_env::FaultEnv;
use e2e::operator::{install_crds, install_rbac};
use e2e::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, SimulatedPod, Step};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Between the two acts. By then `fast` fires for all that the first act did, and its statuses are written.
const BETWEEN_ACTS: Duration = Duration::from_secs(12);
/// From the second act until `late` has fired too and the last status is written.
const LAST_STATUS: Duration = Duration::from_secs(62);
/// The same with much to spare.
pub(crate) const UNTIL_QUIET: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(100);

/// The restarts of `cart` lie too far apart to be too many in one window, and are too many when it is down: that much an operator
/// that is started in between can read from the Pod.
fn fast() -> Value {
    json!({"checks": {
        "notReady": {"for": "2s", "keepFiringFor": "1s"},
        "mainReadySidecarNotReady": {"for": "1s", "keepFiringFor": "1s"},
        "frequentRestarts": {"count": 3, "window": "10s"},
        "startupBlocked": {"for": "3s"},
        "jobHeldOpen": {"for": "2s"},
    }})
}

/// Fires after everything has happened, each check at another time.
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

/// Times as far apart as a busy machine makes them, and nearer than those of an operator that lost an onset when it was started
/// anew between the acts.
pub(crate) const STRICT: Tolerance = Tolerance {
    onset: Duration::from_secs(5),
    sent: Duration::from_secs(9),
    restarted: false,
};
/// For what could not fire in time: a broken watch holds everything.
pub(crate) const DELAYED: Tolerance = Tolerance {
    sent: Duration::MAX,
    ..STRICT
};
/// For what was seen late, on a watch that seemed well: it begins when it is seen.
pub(crate) const UNSEEN: Tolerance = Tolerance {
    onset: Duration::MAX,
    ..DELAYED
};
/// For operators that were started again.
pub(crate) const RESTARTED: Tolerance = Tolerance {
    restarted: true,
    ..STRICT
};

/// The restarts of `cart` count only if they lie no further apart than in an undisturbed run. For runs in which the second act
/// comes much later, or is seen much later.
pub(crate) fn not_of_cart(name: &str) -> bool {
    !name.contains("cart")
        && !name.contains("FrequentRestarts")
        && !name.starts_with("status of SidecarPolicy fast")
}

/// For runs in which the second act is not seen before `late` has found what it ends.
pub(crate) fn only_of_fast(name: &str) -> bool {
    not_of_cart(name)
        && !name.contains("policy=\"late\"")
        && !name.contains("SidecarPolicy late")
        && !name.starts_with("sidewatch_violation_duration_seconds_count")
}

/// The control plane that all stages share.
pub(crate) async fn plane() -> Result<&'static ControlPlane> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = e2e::shared().await?;
    INSTALLED.get_or_try_init(|| install(plane)).await?;
    Ok(plane)
}

/// What stages need on a control plane.
pub(crate) async fn install(plane: &ControlPlane) -> Result<()> {
    install_crds(plane).await?;
    install_rbac(plane).await
}

/// What an undisturbed run leaves; played once.
pub(crate) async fn undisturbed() -> Result<&'static Snapshot> {
    // Its failure is kept too, or every test would play it again.
    static CALM: OnceCell<Result<Snapshot, String>> = OnceCell::const_new();
    let calm = CALM.get_or_init(|| async { play_undisturbed().await.map_err(|error| format!("{error:#}")) });
    let calm = calm.await.as_ref();
    calm.map_err(|error| anyhow::anyhow!("no undisturbed run to compare with: {error}"))
}

async fn play_undisturbed() -> Result<Snapshot> {
    let (mut stage, mut story) = begin("calm").await?;
    story.second_act().await?;
    tokio::time::sleep(LAST_STATUS).await;
    stage.operator()?.wait_until_ready().await?;
    let snapshot = stage.snapshot(story.epoch()).await?;
    expect_all_of_it(&snapshot)?;
    Ok(snapshot)
}

/// A stage on the shared control plane, and the first act played on it.
pub(crate) async fn begin(name: &str) -> Result<(FaultEnv, Story)> {
    begin_on(plane().await?, name).await
}

/// The same on any control plane.
pub(crate) async fn begin_on(plane: &ControlPlane, name: &str) -> Result<(FaultEnv, Story)> {
    let _turn = turn().await?;
    let stage = FaultEnv::start(plane, name).await?;
    let story = Story::begin(&stage).await?;
    Ok((stage, story))
}

/// Beginnings are work, and all that follows is waiting: they take turns, so that the times in each history are those of a machine
/// that has time.
pub(crate) async fn turn() -> Result<SemaphorePermit<'static>> {
    static TURNS: Semaphore = Semaphore::const_new(2);
    Ok(TURNS.acquire().await?)
}

/// Against a history in which nothing is found, and two runs that agree on it.
fn expect_all_of_it(snapshot: &Snapshot) -> Result<()> {
    let expected = [
        ("SidecarContainerNotReady", 8),
        ("MainContainerReadyButSidecarNot", 8),
        ("SidecarRecovered", 2),
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

/// Makes the two policies, anew or again.
pub(crate) async fn apply_policies(stage: &FaultEnv) -> Result<()> {
    stage.policy("fast", fast()).await?;
    stage.policy("late", late()).await
}

/// A history on its way.
pub(crate) struct Story {
    kubelet: SimulatedKubelet,
    pods: Api<Pod>,
    namespace: String,
    first_act_ended: tokio::time::Instant,
    web: SimulatedPod,
    cart: SimulatedPod,
    fine: SimulatedPod,
    /// When the step was that each Pod's findings come from.
    steps: BTreeMap<&'static str, Timestamp>,
    recovered: Timestamp,
}

impl Story {
    /// Applies the policies and plays the first act.
    pub(crate) async fn begin(stage: &FaultEnv) -> Result<Self> {
        apply_policies(stage).await?;
        let namespace = stage.namespace();
        let kubelet = SimulatedKubelet::new(stage.client());
        let run = async |spec: PodSpec| {
            let mut pod = kubelet.create(namespace, spec.clone().on_node("node-1")).await?;
            pod.together(&spec.healthy_start()).await?;
            anyhow::Ok(pod)
        };
        let mut steps = BTreeMap::new();

        let fine = run(meshed("fine")).await?;
        let mut web = run(meshed("web")).await?;
        web.step(Step::Unready("proxy")).await?;
        steps.insert("web", Timestamp::now());
        let mut gone = run(meshed("gone")).await?;
        gone.step(Step::Unready("proxy")).await?;
        steps.insert("gone", Timestamp::now());

        let shipper = || Container::native("shipper");
        let cart = PodSpec::new("cart").container(shipper()).container(app());
        let mut cart = run(cart).await?;
        cart.together(&[CRASH, START, CRASH, START]).await?;

        let boot = PodSpec::new("boot")
            .container(Container::native("vault-agent").startup_probe())
            .container(app());
        let mut boot = kubelet.create(namespace, boot.on_node("node-1")).await?;
        boot.together(&[Step::Admit, Step::SandboxReady, Step::Start("vault-agent")])
            .await?;
        steps.insert("boot", Timestamp::now());

        let report = PodSpec::new("report")
            .restart_policy(RestartPolicy::Never)
            .container(Container::regular("report"))
            .container(Container::regular("log-sidecar"));
        run(report).await?.step(Step::Exit("report", 0)).await?;
        steps.insert("report", Timestamp::now());

        let logs = PodSpec::new("logs")
            .container(app())
            .container(Container::regular("fluent-bit").memory_limit("64Mi"));
        let mut logs = run(logs).await?;
        logs.together(&[Step::OomKill("fluent-bit"), Step::Start("fluent-bit")])
            .await?;
        steps.insert("logs", Timestamp::now());

        Ok(Self {
            pods: Api::namespaced(stage.client(), namespace),
            namespace: namespace.into(),
            kubelet,
            first_act_ended: tokio::time::Instant::now(),
            web,
            cart,
            fine,
            steps,
            recovered: Timestamp::now(),
        })
    }

    /// Waits for the time between the acts.
    pub(crate) async fn intermission(&self) {
        tokio::time::sleep_until(self.first_act_ended + BETWEEN_ACTS).await;
    }

    /// Plays the second act when it is time, through an API server that comes and goes if it must.
    pub(crate) async fn second_act(&mut self) -> Result<()> {
        self.intermission().await;
        // Each at the first try: that is the time which the kubelet gives it.
        self.recovered = Timestamp::now();
        insist(&mut self.web, &[Step::Ready("proxy")]).await?;
        // It stays down: how often a container that runs was restarted, and when, the API does not say.
        self.steps.insert("cart", Timestamp::now());
        insist(&mut self.cart, &[CRASH, START, CRASH, Step::BackOff("shipper")]).await?;
        self.steps.insert("fine", Timestamp::now());
        insist(&mut self.fine, &[Step::Unready("proxy")]).await?;
        self.remove("gone").await;
        let mut late = self.late().await?;
        self.steps.insert("late", Timestamp::now());
        insist(&mut late, &[Step::Unready("proxy")]).await?;
        Ok(())
    }

    /// Brings up another Pod; when that fails half-way, one of the same name.
    async fn late(&self) -> Result<SimulatedPod> {
        let spec = meshed("late").on_node("node-1");
        let mut pod = loop {
            match self.kubelet.create(&self.namespace, spec.clone()).await {
                Err(error) if is_the_servers(&error) => self.remove("late").await,
                pod => break pod?,
            }
        };
        insist(&mut pod, &spec.healthy_start()).await?;
        Ok(pod)
    }

    async fn remove(&self, name: &str) {
        let now = DeleteParams::default().grace_period(0);
        loop {
            match self.pods.delete(name, &now).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// When it happened; for comparisons.
    pub(crate) fn epoch(&self) -> impl Fn(&str, bool) -> Timestamp + '_ {
        |pod, recovered| match self.steps.get(pod) {
            Some(step) if !recovered => *step,
            _ => self.recovered,
        }
    }

    /// Expects in the end what an undisturbed run leaves.
    pub(crate) async fn end(
        &self,
        stage: &mut FaultEnv,
        tolerance: Tolerance,
        within: Duration,
    ) -> Result<()> {
        self.end_in(stage, |_| true, tolerance, within).await
    }

    /// The same for the wanted facts only.
    pub(crate) async fn end_in(
        &self,
        stage: &mut FaultEnv,
        wanted: impl Fn(&str) -> bool,
        tolerance: Tolerance,
        within: Duration,
    ) -> Result<()> {
        let undisturbed = undisturbed().await?;
        stage.operator()?.wait_until_ready().await?;
        stage
            .converge(undisturbed, wanted, self.epoch(), tolerance, within)
            .await
    }
}

const CRASH: Step<'static> = Step::Exit("shipper", 1);
const START: Step<'static> = Step::Start("shipper");

/// A Pod with a native sidecar and a main, both probed.
fn meshed(name: &str) -> PodSpec {
    PodSpec::new(name)
        .container(Container::native("proxy").readiness_probe())
        .container(app())
}

fn app() -> Container {
    Container::regular("app").readiness_probe()
}

/// Steps of a kubelet that writes its status again until the API server takes it.
async fn insist(pod: &mut SimulatedPod, steps: &[Step<'_>]) -> Result<()> {
    let mut written = pod.together(steps).await;
    loop {
        match written {
            Err(error) if is_the_servers(&error) => {
                tokio::time::sleep(AGAIN).await;
                written = pod.together(&[]).await;
            }
            written => return written,
        }
    }
}

/// Whether the API server, or the way to it, is to blame.
fn is_the_servers(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<kube::Error>)
}
