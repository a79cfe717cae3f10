//! The control plane of the other tests: clients, kubectl, faults of the API server, and clean-up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::process::{Process, Spec};
use e2e::{ControlPlane, shared};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};

#[tokio::test]
async fn kubectl_and_clients_work() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("serves").await.unwrap();

    let printed = plane
        .kubectl(["get", "namespace", &namespace, "-o", "name"])
        .await
        .unwrap();
    assert_eq!(printed.trim(), format!("namespace/{namespace}"));

    let error = plane
        .kubectl(["get", "namespace", "missing"])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("NotFound"),
        "the error contains the message of kubectl: {error}"
    );

    let other = plane.namespace("serves").await.unwrap();
    assert_ne!(namespace, other, "namespaces are unique");
}

#[tokio::test]
async fn permissions_are_enforced() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("rights").await.unwrap();
    let list = async |client: Client| {
        Api::<Pod>::namespaced(client, &namespace)
            .list(&ListParams::default())
            .await
            .map(|list| list.items.len())
    };
    let code = |result: kube::Result<usize>| match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no refusal: {other:?}"),
    };

    assert_eq!(
        list(plane.client().await.unwrap()).await.unwrap(),
        0,
        "the administrator may list"
    );
    let nobody = plane
        .client_as("nobody", &["system:authenticated"])
        .await
        .unwrap();
    assert_eq!(code(list(nobody).await), 403, "a user without a role may not");
    let master = plane.client_as("somebody", &["system:masters"]).await.unwrap();
    assert_eq!(list(master).await.unwrap(), 0, "permission by a group");
    let stranger = plane.client_with_token("not-a-token").await.unwrap();
    assert_eq!(code(list(stranger).await), 401, "an invalid token");
}

#[tokio::test]
async fn the_api_server_can_be_killed_frozen_and_restarted() {
    let mut plane = ControlPlane::start().await.unwrap();
    let url = plane.url().to_owned();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("kept".into()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("key".into(), "value".into())])),
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();

    plane.kill_api_server().unwrap();
    let start = Instant::now();
    maps.get("kept")
        .await
        .expect_err("a killed server does not answer");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "a killed server refuses at once"
    );

    let etcd = plane.process_ids()[0];
    plane.restart_api_server().await.unwrap();
    assert_eq!(plane.url(), url, "the same address");
    assert_eq!(plane.process_ids()[0], etcd, "the same etcd");
    assert_eq!(
        maps.get("kept").await.unwrap().data,
        map.data,
        "the same data, for a client made before"
    );

    plane.freeze_api_server().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(1), maps.get("kept")).await;
    assert!(
        answer.is_err(),
        "a frozen server neither answers nor refuses: {answer:?}"
    );
    plane.thaw_api_server().unwrap();
    maps.get("kept").await.unwrap();

    let dir = plane.dir().to_owned();
    assert!(
        processes_of(&dir).len() >= 2,
        "the servers are found by their directory"
    );
    plane.stop().unwrap();
    assert_eq!(processes_of(&dir), Vec::<String>::new(), "no process is left");
    assert!(!dir.exists(), "no file is left");
}

#[tokio::test]
async fn servers_end_with_a_killed_harness() {
    let scratch = e2e::process::Scratch::new().unwrap();
    let log = scratch.path().join("log");
    // The servers have their own watchdogs: this handle kills the harness only.
    let mut holder = Process::start(&Spec::new(env!("CARGO_BIN_EXE_e2e")).arg("up"), &log).unwrap();
    let kubeconfig = until("a kubeconfig", Duration::from_mins(2), || {
        let said = fs::read_to_string(&log).unwrap();
        assert!(holder.try_wait().unwrap().is_none(), "the harness exited: {said}");
        said.lines()
            .find_map(|line| line.strip_prefix("export KUBECONFIG=").map(str::to_owned))
    });
    let dir = Path::new(&kubeconfig).parent().unwrap();
    assert!(processes_of(dir).len() >= 2, "the servers run");

    holder.kill().unwrap();
    until(
        "the end of the servers and their files",
        Duration::from_secs(10),
        || (processes_of(dir).is_empty() && !dir.exists()).then_some(()),
    );
}

/// Command lines of running processes that contain the directory.
fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        // A zombie has no command line, and a process may exit concurrently.
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(dir))
        .collect()
}

fn until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not come within {timeout:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
