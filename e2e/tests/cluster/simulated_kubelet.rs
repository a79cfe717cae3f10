//! The simulated kubelet with a real API server: the server accepts its writes, and deletions are as with a real kubelet.

use std::time::Duration;

use e2e::compat::{OBSERVED_GENERATION, RESTART_ALL};
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, SimulatedPod, Step};
use e2e::{ControlPlane, shared};
use futures::{StreamExt, TryStreamExt};
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

fn mesh(name: &str) -> PodSpec {
    PodSpec::new(name)
        .container(Container::init("setup"))
        .container(Container::native("envoy").startup_probe().readiness_probe())
        .container(Container::regular("app"))
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

    pod.delete().await.unwrap();
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
    let mut expected = vec![
        "Running, all run, deleted",
        // the observed generation of the deletion
        "Running, all run, deleted",
        "Failed, none runs, deleted",
        // the removal of the object begins with a grace period of 0
        "Failed, none runs, deleted",
    ];
    if !OBSERVED_GENERATION.is_selected().unwrap() {
        expected.remove(1);
    }
    assert_eq!(events_seen, expected);
}

/// Phase, running containers and deletion.
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
    summary.join(", ")
}

#[tokio::test]
async fn every_kind_of_fault_is_accepted_by_the_server() {
    let (_, kubelet, namespace) = prepare("faults").await;
    let restarts_all = RESTART_ALL.is_selected().unwrap();
    let watcher = || {
        let watcher = Container::regular("watcher");
        if restarts_all {
            watcher.restarts_all_on(88)
        } else {
            watcher
        }
    };
    let spec = |name: &str| {
        PodSpec::new(name)
            .label("pod-template-hash", "7d9c")
            .container(Container::native("proxy").liveness_probe().memory_limit("64Mi"))
            .container(Container::regular("app"))
            .container(watcher())
    };
    let healthy = spec("any").healthy_start().len();
    assert_eq!(healthy, 5, "admitted, a sandbox, three containers");
    let up = [Step::Admit, Step::SandboxReady, Step::Start("proxy")];
    #[rustfmt::skip]
    let rows: [(&str, &[Step<'_>]); 6] = [
        ("image", &[Step::ImagePullFails("app"), Step::ImagePullBackOff("app"), Step::Start("app")]),
        ("start", &[Step::StartFails("app"), Step::BackOff("app"), Step::Start("app")]),
        ("memory", &[Step::Start("app"), Step::OomKill("proxy"), Step::Start("proxy")]),
        ("probe", &[Step::ProbeKill("proxy", 137), Step::ProbeKillIntoBackOff("proxy", 143), Step::Start("proxy")]),
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
    let possible = rows
        .into_iter()
        .filter(|(name, _)| *name != "restart-all" || restarts_all);
    for (name, steps) in possible {
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
