//! The simulated kubelet with a real API server, checked through kubectl, whose columns depend on the whole status, and the
//! API.

use std::time::Duration;

use e2e::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, SimulatedPod, Step};
use e2e::{ControlPlane, shared};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};

async fn prepare(prefix: &str) -> (&'static ControlPlane, SimulatedKubelet, String) {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace(prefix).await.unwrap();
    (
        plane,
        SimulatedKubelet::new(plane.client().await.unwrap()),
        namespace,
    )
}

/// READY, STATUS and RESTARTS of the only Pod of the namespace.
async fn printed(plane: &ControlPlane, namespace: &str) -> String {
    let line = plane
        .kubectl(["get", "pods", "--no-headers", "--namespace", namespace])
        .await
        .unwrap();
    line.split_whitespace()
        .skip(1)
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

fn mesh(name: &str) -> PodSpec {
    PodSpec::new(name)
        .container(Container::init("setup"))
        .container(Container::native("envoy").startup_probe().readiness_probe())
        .container(Container::regular("app"))
}

#[tokio::test]
async fn a_native_crash_loop_looks_like_one() {
    let (plane, kubelet, namespace) = prepare("crashloop").await;
    let mut pod = kubelet.create(&namespace, mesh("web")).await.unwrap();
    assert_eq!(printed(plane, &namespace).await, "0/2 Pending 0", "created");
    pod.schedule().await.unwrap();
    pod.steps(&[Step::Admit, Step::SandboxReady, Step::Start("setup")])
        .await
        .unwrap();
    assert_eq!(
        printed(plane, &namespace).await,
        "0/2 Init:0/2 0",
        "the init container runs"
    );
    pod.steps(&[Step::Exit("setup", 0), Step::Start("envoy")])
        .await
        .unwrap();
    assert_eq!(
        printed(plane, &namespace).await,
        "0/2 Init:1/2 0",
        "the sidecar has not started"
    );
    pod.steps(&[Step::Started("envoy"), Step::Start("app")])
        .await
        .unwrap();
    assert_eq!(
        printed(plane, &namespace).await,
        "1/2 Running 0",
        "the sidecar is not ready"
    );
    pod.step(Step::Ready("envoy")).await.unwrap();
    assert_eq!(printed(plane, &namespace).await, "2/2 Running 0");

    pod.crash("envoy", 1).await.unwrap();
    pod.step(Step::Started("envoy")).await.unwrap();
    let at_once = printed(plane, &namespace).await;
    assert!(
        at_once.starts_with("1/2 Running 1"),
        "restarted at once: {at_once}"
    );
    pod.crash("envoy", 1).await.unwrap();
    let waits = printed(plane, &namespace).await;
    assert!(
        waits.starts_with("1/2 Init:CrashLoopBackOff 1"),
        "then it waits: {waits}"
    );
    pod.steps(&[Step::Start("envoy"), Step::Started("envoy"), Step::Ready("envoy")])
        .await
        .unwrap();
    let back = printed(plane, &namespace).await;
    assert!(back.starts_with("2/2 Running 2"), "and comes back: {back}");
    pod.step(Step::Exit("envoy", 0)).await.unwrap();
    let hidden = printed(plane, &namespace).await;
    assert!(
        hidden.starts_with("1/2 Running 2"),
        "after exit 0 nothing is said of a back-off: {hidden}"
    );
}

#[tokio::test]
async fn a_classic_sidecar_holds_its_job_open_and_a_native_one_does_not() {
    let (plane, kubelet, namespace) = prepare("job").await;
    let job = |name, sidecar| {
        let spec = PodSpec::new(name)
            .restart_policy(RestartPolicy::Never)
            .owned_by("batch/v1", "Job", name);
        spec.container(sidecar).container(Container::regular("main"))
    };
    let mut pod = kubelet
        .run(&namespace, job("classic", Container::regular("logs")))
        .await
        .unwrap();
    pod.step(Step::Exit("main", 0)).await.unwrap();
    assert_eq!(printed(plane, &namespace).await, "1/2 NotReady 0");
    pod.step(Step::Settle)
        .await
        .expect_err("it goes on for as long as the sidecar runs");
    pod.remove().await.unwrap();

    let mut pod = kubelet
        .run(&namespace, job("native", Container::native("logs")))
        .await
        .unwrap();
    pod.steps(&[Step::Exit("main", 0), Step::StopSidecars(137), Step::Settle])
        .await
        .unwrap();
    assert_eq!(printed(plane, &namespace).await, "0/2 Completed 0");
    let owners = pod.get().await.unwrap().metadata.owner_references.unwrap();
    assert_eq!(
        (owners[0].kind.as_str(), owners[0].controller),
        ("Job", Some(true))
    );
}

#[tokio::test]
async fn termination_is_one_event_and_then_the_pod_is_deleted() {
    let (plane, kubelet, namespace) = prepare("ending").await;
    let mut pod = kubelet
        .run(&namespace, mesh("web").container(Container::regular("logs")))
        .await
        .unwrap();
    let since = pod.get().await.unwrap().metadata.resource_version.unwrap();
    let api: Api<Pod> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let events = api.watch(&WatchParams::default(), &since).await.unwrap();

    pod.evict().await.unwrap();
    pod.end(&[("logs", 9)]).await.unwrap();

    let events_seen = events
        .map_ok(|event| match event {
            WatchEvent::Modified(pod) => summary(&pod),
            WatchEvent::Deleted(pod) => format!("gone, {}", summary(&pod)),
            other => panic!("{other:?}"),
        })
        .take_while(|line| std::future::ready(!line.as_ref().is_ok_and(|line| line.starts_with("gone"))))
        .try_collect::<Vec<_>>();
    let events_seen = tokio::time::timeout(Duration::from_secs(10), events_seen)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        events_seen,
        [
            "Running, all run, DisruptionTarget",
            "Running, all run, deleted, DisruptionTarget",
            "Running, all run, deleted, DisruptionTarget",
            "Failed, none runs, deleted, DisruptionTarget",
            // the removal of the object begins with a grace period of 0
            "Failed, none runs, deleted, DisruptionTarget",
        ]
    );
    assert_eq!(printed(plane, &namespace).await, "", "it is deleted");
}

/// Phase, running containers, deletion and disruption.
fn summary(pod: &Pod) -> String {
    let status = pod.status.as_ref().unwrap();
    let init = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|status| status.name == "envoy");
    let containers: Vec<_> = init.chain(status.container_statuses.iter().flatten()).collect();
    let run = containers
        .iter()
        .filter(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
        .count();
    let mut summary = vec![status.phase.clone().unwrap()];
    summary.push(if run == containers.len() {
        "all run".into()
    } else if run == 0 {
        "none runs".into()
    } else {
        format!("{run} run")
    });
    summary.extend(pod.metadata.deletion_timestamp.as_ref().map(|_| "deleted".into()));
    let mut conditions = status.conditions.iter().flatten();
    summary.extend(
        conditions
            .find(|c| c.type_ == "DisruptionTarget")
            .map(|c| c.type_.clone()),
    );
    summary.join(", ")
}

#[tokio::test]
async fn times_may_be_in_the_past() {
    let (plane, kubelet, namespace) = prepare("past").await;
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let mut pod = kubelet
        .create(&namespace, mesh("web").on_node("node-7"))
        .await
        .unwrap();
    pod.set_time(Some(hour_ago));
    pod.run().await.unwrap();
    pod.step(Step::NodeLost).await.unwrap();
    let object = pod.get().await.unwrap();
    assert_eq!(object.spec.as_ref().unwrap().node_name.as_deref(), Some("node-7"));
    let ready = ready(&object);
    assert_eq!(
        (ready.0.as_str(), ready.1),
        ("False", None),
        "a lost node gives no reason"
    );
    assert_eq!(ready.2, hour_ago.as_second(), "the given time");
    assert!(
        printed(plane, &namespace).await.starts_with("2/2 Running"),
        "and kubectl does not see it"
    );
}

/// Status, reason and transition time of the condition `Ready`.
fn ready(pod: &Pod) -> (String, Option<String>, i64) {
    let conditions = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .unwrap();
    let time = ready.last_transition_time.as_ref().unwrap().0.as_second();
    (ready.status.clone(), ready.reason.clone(), time)
}

#[tokio::test]
async fn every_kind_of_fault_is_accepted_by_the_server() {
    let (_, kubelet, namespace) = prepare("faults").await;
    let spec = |name: &str| {
        PodSpec::new(name)
            .label("pod-template-hash", "7d9c")
            .container(Container::native("proxy").liveness_probe().memory_limit("64Mi"))
            .container(Container::regular("app"))
            .container(Container::regular("watcher").restarts_all_on(88))
    };
    let healthy = spec("any").healthy_start().len();
    assert_eq!(healthy, 5, "admitted, a sandbox, three containers");
    let up = [Step::Admit, Step::SandboxReady, Step::Start("proxy")];
    let rows: [(&str, &[Step<'_>]); 6] = [
        (
            "image",
            &[
                Step::ImagePullFails("app"),
                Step::ImagePullBackOff("app"),
                Step::Start("app"),
            ],
        ),
        (
            "start",
            &[Step::StartFails("app"), Step::BackOff("app"), Step::Start("app")],
        ),
        (
            "memory",
            &[Step::Start("app"), Step::OomKill("proxy"), Step::Start("proxy")],
        ),
        (
            "probe",
            &[
                Step::ProbeKill("proxy", 137),
                Step::ProbeKillIntoBackOff("proxy", 143),
                Step::Start("proxy"),
            ],
        ),
        (
            "restart-all",
            &[
                Step::Start("app"),
                Step::Start("watcher"),
                Step::RestartAll("watcher"),
                Step::AllRemoved,
                Step::Start("proxy"),
                Step::Start("app"),
                Step::Start("watcher"),
            ],
        ),
        (
            "sandbox",
            &[
                Step::Start("app"),
                Step::Start("watcher"),
                Step::SandboxLost,
                Step::SandboxReady,
                Step::Start("proxy"),
                Step::Start("app"),
                Step::NodeLost,
                Step::NodeBack,
            ],
        ),
    ];
    for (name, steps) in rows {
        let mut pod: SimulatedPod = kubelet.create(&namespace, spec(name)).await.unwrap();
        pod.schedule().await.unwrap();
        pod.steps(&up).await.unwrap();
        pod.steps(steps)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        pod.remove()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}
