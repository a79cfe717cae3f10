//! The fault proxy in front of a real API server: without rules nobody notices it, and each fault is what it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

use std::time::{Duration, Instant};

use e2e::fault_proxy::{Fault, FaultProxy, Point, Rule, Verb};
use e2e::{ControlPlane, shared};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::timeout;

const MAPS: &str = "*/configmaps";
/// Long enough for an answer, on a busy machine too.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to see that something does not come.
const WHILE: Duration = Duration::from_millis(400);

/// A proxy, a namespace, and ConfigMaps in it: through the proxy, and directly.
struct Bench {
    plane: &'static ControlPlane,
    proxy: FaultProxy,
    maps: Api<ConfigMap>,
    direct: Api<ConfigMap>,
    namespace: String,
}

async fn client(plane: &ControlPlane, proxy: &FaultProxy, token: &str) -> Client {
    let files = proxy.kubeconfig(plane, token).unwrap();
    let kubeconfig = Kubeconfig::read_from(files.path()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

impl Bench {
    async fn new() -> Self {
        let plane = shared().await.unwrap();
        let namespace = plane.namespace("faults").await.unwrap();
        plane.service_account(&namespace, "editor").await.unwrap();
        let account = format!("--serviceaccount={namespace}:editor");
        let args = [
            "create",
            "rolebinding",
            "editor",
            "--clusterrole=cluster-admin",
            "--namespace",
            &namespace,
            &account,
        ];
        plane.kubectl(args).await.unwrap();
        let token = plane.token(&namespace, "editor", Duration::ZERO).await.unwrap();
        let proxy = FaultProxy::start(plane).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client(plane, &proxy, &token).await, &namespace);
        let direct = Api::namespaced(plane.client().await.unwrap(), &namespace);
        let bench = Self {
            plane,
            proxy,
            maps,
            direct,
            namespace,
        };
        // the server's authorizer follows its own watch
        let granted = async {
            while bench.maps.list(&ListParams::default()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, granted).await.expect("allowed with the role");
        bench
    }

    async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        create(&self.maps, name).await
    }

    async fn exists(&self, name: &str) -> bool {
        self.direct.get_opt(name).await.unwrap().is_some()
    }

    /// A watch through the proxy that begins now.
    async fn watch(&self) -> impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin + use<> {
        let now = self.direct.list(&ListParams::default()).await.unwrap();
        let version = now.metadata.resource_version.unwrap();
        let stream = self
            .maps
            .watch(&WatchParams::default().timeout(60), &version)
            .await
            .unwrap();
        stream.boxed()
    }

    /// What a watch says while these objects come into being, until it is silent.
    async fn watched(&self, names: &[String]) -> Vec<String> {
        let mut watch = self.watch().await;
        for name in names {
            create(&self.direct, name).await.unwrap();
        }
        let mut said = Vec::new();
        loop {
            match timeout(WHILE, watch.next()).await {
                Ok(Some(event)) => said.push(describe(&event)),
                Ok(None) => said.push("end".into()),
                Err(_) => said.push("silence".into()),
            }
            if matches!(
                said.last().map(String::as_str),
                Some("end" | "silence" | "broken")
            ) {
                return said;
            }
        }
    }
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    let object = serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap();
    maps.create(&PostParams::default(), &object).await
}

fn describe(event: &kube::Result<WatchEvent<ConfigMap>>) -> String {
    match event {
        Ok(WatchEvent::Added(map)) => map.metadata.name.clone().unwrap(),
        Ok(WatchEvent::Error(status)) => format!("error {}", status.code),
        Ok(other) => panic!("unexpected: {other:?}"),
        Err(_) => "broken".into(),
    }
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not an answer of a server: {other:?}"),
    }
}

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
    let came = Instant::now();
    let second = timeout(SOON, watch.next()).await.expect("after a silence too");
    assert_eq!(describe(&second.unwrap()), "two");
    assert!(
        came.elapsed() < Duration::from_secs(1),
        "without delay: {:?}",
        came.elapsed()
    );
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
async fn a_request_is_stopped_before_or_after_the_server() {
    let bench = Bench::new().await;
    let table = [
        ("close-before", Fault::Close(Point::Request), false),
        ("close-after", Fault::Close(Point::Answer), true),
        ("close-in-head", Fault::Close(Point::Body), true),
        ("close-in-body", Fault::Close(Point::Byte(20)), true),
    ];
    for (name, fault, committed) in table {
        let rule = bench.proxy.add(Rule::new(Verb::Create, MAPS, fault));
        let error = timeout(SOON, bench.create(name)).await.unwrap().unwrap_err();
        assert!(!matches!(error, kube::Error::Api(_)), "{name}: {error}");
        assert_eq!(rule.hits(), 1, "{name}");
        rule.lift();
        let call = bench.proxy.calls_of(Verb::Create, MAPS).pop().unwrap();
        assert_eq!(call.server_status.is_some(), committed, "{name}");
        assert_eq!(bench.exists(name).await, committed, "{name}");
    }
    bench.create("after-it-all").await.unwrap();
}

#[tokio::test]
async fn a_request_hangs_until_the_rule_is_lifted() {
    let bench = Bench::new().await;
    let table = [
        ("hang-before", Fault::Hang(Point::Request), false),
        ("hang-after", Fault::Hang(Point::Answer), true),
        ("hang-in-head", Fault::Hang(Point::Body), true),
        ("hang-in-body", Fault::Hang(Point::Byte(20)), true),
    ];
    for (name, fault, committed) in table {
        let rule = bench.proxy.add(Rule::new(Verb::Create, MAPS, fault));
        let creating = bench.create(name);
        tokio::pin!(creating);
        assert!(timeout(WHILE, &mut creating).await.is_err(), "{name}: it hangs");
        assert_eq!(bench.exists(name).await, committed, "{name}");
        rule.lift();
        timeout(SOON, creating).await.expect(name).expect(name);
        assert!(bench.exists(name).await, "{name}");
    }
}

#[tokio::test]
async fn answers_come_late_or_from_the_proxy() {
    let bench = Bench::new().await;
    let busy = Fault::Answer {
        status: 429,
        retry_after: Some(3),
        after_commit: false,
    };
    let rule = bench.proxy.add(Rule::new(Verb::Create, MAPS, busy).calls(2..=2));
    bench.create("first").await.unwrap();
    assert_eq!(code(bench.create("second").await), 429);
    assert!(!bench.exists("second").await);
    bench.create("second").await.unwrap();
    rule.lift();

    let lost = Fault::Answer {
        status: 504,
        retry_after: None,
        after_commit: true,
    };
    let rule = bench.proxy.add(Rule::new(Verb::Create, MAPS, lost));
    assert_eq!(code(bench.create("third").await), 504);
    assert!(bench.exists("third").await, "it was committed");
    let call = bench.proxy.calls_of(Verb::Create, MAPS).pop().unwrap();
    assert_eq!(
        (call.server_status, call.status, call.faulted),
        (Some(201), Some(504), true)
    );
    rule.lift();

    let rule = bench.proxy.add(Rule::new(Verb::List, MAPS, Fault::Delay(WHILE)));
    let began = Instant::now();
    bench.maps.list(&ListParams::default()).await.unwrap();
    assert!(began.elapsed() >= WHILE, "{:?}", began.elapsed());
    rule.lift();

    let rule = bench
        .proxy
        .add(Rule::new(Verb::List, MAPS, Fault::Throttle(2000)));
    let began = Instant::now();
    let slow = bench.maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(slow.items.len(), 3, "slow and whole");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(300), "some 1000 bytes: {took:?}");
    rule.lift();

    let rule = bench
        .proxy
        .add(Rule::new(Verb::List, MAPS, Fault::Garble(30..=32)));
    let error = bench.maps.list(&ListParams::default()).await.unwrap_err();
    assert!(!matches!(error, kube::Error::Api(_)), "not readable: {error}");
    rule.lift();
    bench.maps.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_passed_to_the_client() {
    let bench = Bench::new().await;
    let busy = Fault::Answer {
        status: 503,
        retry_after: Some(7),
        after_commit: false,
    };
    let _rule = bench.proxy.add(Rule::new(Verb::Get, "/version", busy));
    let request = http::Request::get("/version")
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = bench.maps.clone().into_client().send(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn watches_go_wrong_as_told() {
    let bench = Bench::new().await;
    let endless = u64::MAX;
    let table: [(&str, Fault, &[&str]); 10] = [
        ("drop", Fault::Drop(2..=2), &["1", "3", "silence"]),
        (
            "repeat",
            Fault::Repeat(1..=2),
            &["1", "1", "2", "2", "3", "silence"],
        ),
        ("lose-all", Fault::Drop(1..=endless), &["silence"]),
        ("stop", Fault::End(2), &["1", "2", "end"]),
        ("expire", Fault::error_event(1, 410), &["1", "error 410", "end"]),
        ("fail", Fault::error_event(0, 500), &["error 500", "end"]),
        ("hold", Fault::Hang(Point::BeforeEvent(2)), &["1", "silence"]),
        ("hang", Fault::Hang(Point::MidEvent(3)), &["1", "2", "silence"]),
        // kube's client takes a connection that breaks for the end of a watch
        ("break", Fault::Close(Point::MidEvent(2)), &["1", "end"]),
        (
            "break-between",
            Fault::Close(Point::BeforeEvent(3)),
            &["1", "2", "end"],
        ),
    ];
    for (name, fault, expected) in table {
        let rule = bench.proxy.add(Rule::new(Verb::Watch, MAPS, fault));
        let names: Vec<String> = ["1", "2", "3"].iter().map(|n| format!("{name}-{n}")).collect();
        let said = bench.watched(&names).await;
        let said: Vec<&str> = said
            .iter()
            .map(|event| event.trim_start_matches(name).trim_start_matches('-'))
            .collect();
        assert_eq!(said, expected, "{name}");
        rule.lift();
    }
}

#[tokio::test]
async fn events_that_were_held_back_come_when_the_rule_is_lifted() {
    let bench = Bench::new().await;
    for (name, point) in [("whole", Point::BeforeEvent(1)), ("half", Point::MidEvent(1))] {
        let rule = bench.proxy.add(Rule::new(Verb::Watch, MAPS, Fault::Hang(point)));
        let mut watch = bench.watch().await;
        create(&bench.direct, name).await.unwrap();
        assert!(timeout(WHILE, watch.next()).await.is_err(), "{name}: held back");
        rule.lift();
        let event = timeout(SOON, watch.next()).await.expect(name).expect(name);
        assert_eq!(describe(&event), name);
    }
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
async fn exchanges_can_be_cut() {
    let bench = Bench::new().await;
    let mut watch = bench.watch().await;
    assert_eq!(
        bench.proxy.cut(Verb::Watch, "*/secrets"),
        0,
        "others are left alone"
    );
    assert_eq!(bench.proxy.cut(Verb::Watch, MAPS), 1);
    let event = timeout(SOON, watch.next()).await.expect("at once");
    assert!(!matches!(event, Some(Ok(_))), "{event:?}");
    bench
        .proxy
        .wait_for_call(Verb::Watch, MAPS, 1, SOON)
        .await
        .unwrap()
        .ended
        .expect("it is over");
    assert_eq!(bench.proxy.cut(None, "*"), 0, "nothing goes on");
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
