//! The Pods of a real API server are the same in protobuf and in JSON.

use std::collections::BTreeMap;

use e2e::{
    shared,
    simulated_kubelet::{Container, PodSpec, SimulatedKubelet, Step},
};
use http::Request;
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::Value;
use sidewatch::{
    domain::observation::Observation,
    kubernetes::{
        decode::{
            intern::Interner,
            pod::{LeanPod, observe},
        },
        protobuf::{Page, PageReader, decode_pod},
    },
};

type Versions = BTreeMap<String, (Option<String>, Observation)>;

async fn list(client: &Client, namespace: &str, accept: &str) -> (String, Vec<u8>) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let request = Request::get(path).header("accept", accept).body(Body::empty());
    let response = client.send(request.unwrap()).await.unwrap();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap();
    (content_type, body.to_bytes().to_vec())
}

fn insert(versions: &mut Versions, pod: LeanPod) {
    let version = pod.metadata.resource_version.clone();
    let observation = observe(pod, &mut Interner::default()).unwrap();
    versions.insert(observation.name.to_string(), (version, observation));
}

#[tokio::test]
async fn pods_decode_from_protobuf_as_from_json() {
    let plane = shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespace = plane.namespace("encodings").await.unwrap();
    let kubelet = SimulatedKubelet::new(client.clone());
    for steps in 0..6 {
        let spec = PodSpec::new(&format!("web-{steps}"))
            .container(Container::init("setup"))
            .container(Container::native("envoy").startup_probe().readiness_probe())
            .container(Container::regular("app"));
        let mut pod = kubelet.create(&namespace, spec).await.unwrap();
        pod.schedule().await.unwrap();
        let life = [
            Step::Admit,
            Step::SandboxReady,
            Step::Start("setup"),
            Step::Exit("setup", 0),
            Step::Start("envoy"),
        ];
        pod.steps(&life[..steps.min(life.len())]).await.unwrap();
    }

    let (content_type, json) = list(&client, &namespace, "application/json").await;
    assert_eq!(content_type, "application/json");
    let mut from_json = Versions::new();
    for item in serde_json::from_slice::<Value>(&json).unwrap()["items"]
        .as_array()
        .unwrap()
    {
        insert(&mut from_json, serde_json::from_value(item.clone()).unwrap());
    }
    let accept = "application/vnd.kubernetes.protobuf, application/json";
    let (content_type, protobuf) = list(&client, &namespace, accept).await;
    assert_eq!(content_type, "application/vnd.kubernetes.protobuf");
    let mut from_protobuf = Versions::new();
    let mut reader = PageReader::default();
    reader.push(&protobuf);
    loop {
        match reader.next_part().unwrap().unwrap() {
            Page::Item(item) => insert(&mut from_protobuf, decode_pod(item).unwrap()),
            Page::End { version, .. } => {
                assert!(!version.is_empty());
                break;
            }
        }
    }
    assert_eq!(from_json.len(), 6);
    assert_eq!(from_protobuf, from_json);
}
