//! The fault proxy in front of a real API server: without rules nobody notices it, and each fault is what it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

mod bench;
mod requests;
mod watches;

use e2e::ControlPlane;
use e2e::fault_proxy::{FaultProxy, Verb};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::timeout;

use bench::{Bench, SOON, WHILE, client, code, create, describe};

#[tokio::test]
async fn without_rules_nobody_notices_it() {
    let bench = Bench::new().await;
    let before = bench.proxy.calls().len();
    let mut watch = bench.watch().await;
    bench.create("one").await.unwrap();
    let first = timeout(SOON, watch.next())
        .await
        .expect("events pass as they come");
    assert_eq!(describe(&first.unwrap()), "one");
    assert!(timeout(WHILE, watch.next()).await.is_err(), "a quiet watch stays");
    create(&bench.direct, "two").await.unwrap();
    let second = timeout(SOON, watch.next()).await.expect("after a silence too");
    assert_eq!(describe(&second.unwrap()), "two");
    assert_eq!(
        bench.maps.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
    bench.maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(bench.maps.get("one").await), 404, "errors pass as they are");

    let calls = bench.proxy.calls().split_off(before);
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.verb, call.server_status, call.status))
        .collect();
    let same = |verb, status| (verb, Some(status), Some(status));
    assert_eq!(
        seen,
        [
            same(Verb::Watch, 200),
            same(Verb::Create, 201),
            same(Verb::List, 200),
            same(Verb::Delete, 200),
            same(Verb::Get, 404)
        ]
    );
    let [watching, creating, ..] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(
        creating.path,
        format!("/api/v1/namespaces/{}/configmaps", bench.namespace)
    );
    assert!(watching.query.contains("watch=true"), "{}", watching.query);
    assert!(watching.ended.is_none(), "the watch goes on");
    assert!(creating.ended.is_some() && !creating.faulted);
    assert!(String::from_utf8_lossy(&creating.body).contains("\"one\""));
    assert_ne!(creating.body_hash(), watching.body_hash());
}

#[tokio::test]
async fn the_server_judges_the_caller_and_the_client_the_proxy() {
    let bench = Bench::new().await;
    let stranger = client(bench.plane, &bench.proxy, "no such token").await;
    let maps: Api<ConfigMap> = Api::namespaced(stranger, &bench.namespace);
    assert_eq!(code(maps.list(&ListParams::default()).await), 401);

    let files = bench.proxy.kubeconfig(bench.plane, "any").unwrap();
    let mut kubeconfig = Kubeconfig::read_from(files.path()).unwrap();
    let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
    let ours = bench.plane.dir().join("cluster-authority.crt");
    std::fs::write(&ours, bench.plane.ca_pem()).unwrap();
    cluster.certificate_authority = Some(ours.to_str().unwrap().to_owned());
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config).unwrap(), &bench.namespace);
    let error = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(
        !matches!(error, kube::Error::Api(_)),
        "another authority is not trusted: {error}"
    );
}

#[tokio::test]
async fn in_a_partition_nothing_passes_and_after_it_everything() {
    let bench = Bench::new().await;
    let mut watch = bench.watch().await;
    bench.proxy.partition();
    create(&bench.direct, "meanwhile").await.unwrap();
    assert!(timeout(WHILE, watch.next()).await.is_err(), "the watch is silent");
    let creating = bench.create("held");
    tokio::pin!(creating);
    assert!(
        timeout(WHILE, &mut creating).await.is_err(),
        "a request gets no answer"
    );
    assert!(!bench.exists("held").await, "nor does it arrive");
    bench.proxy.heal();
    timeout(SOON, creating).await.expect("it goes on").unwrap();
    let event = timeout(SOON, watch.next())
        .await
        .expect("so does the watch")
        .unwrap();
    assert_eq!(describe(&event), "meanwhile");
}

#[tokio::test]
async fn without_a_server_the_client_is_let_down_at_once() {
    let mut plane = ControlPlane::start().await.unwrap();
    let proxy = FaultProxy::start(&plane).await.unwrap();
    let client = client(&plane, &proxy, "any").await;
    plane.kill_api_server().unwrap();
    let version = timeout(SOON, client.apiserver_version())
        .await
        .expect("no waiting");
    let error = version.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "{error}");
    plane.restart_api_server().await.unwrap();
    assert_eq!(
        code(client.apiserver_version().await),
        401,
        "the server is asked again"
    );
}
