//! Setup of the tests: a proxy in front of the shared control plane, and ConfigMaps behind it.

use std::time::Duration;

use e2e::faults::proxy::FaultProxy;
use e2e::poll::eventually;
use e2e::shared;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::time::timeout;

pub(crate) const MAPS: &str = "*/configmaps";
/// Time limit of an answer on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// Time without an answer that counts as none.
pub(crate) const WHILE: Duration = Duration::from_millis(400);

/// A proxy and a namespace, with clients of its ConfigMaps through the proxy and directly.
pub(crate) struct Setup {
    pub(crate) proxy: FaultProxy,
    pub(crate) maps: Api<ConfigMap>,
    pub(crate) direct: Api<ConfigMap>,
    pub(crate) namespace: String,
}

impl Setup {
    pub(crate) async fn new() -> Self {
        let plane = shared().await.unwrap();
        let namespace = plane.namespace("faults").await.unwrap();
        plane.service_account(&namespace, "editor").await.unwrap();
        let binding = format!(
            "create rolebinding editor --clusterrole=cluster-admin --serviceaccount={namespace}:editor -n {namespace}"
        );
        plane.kubectl(binding.split(' ')).await.unwrap();
        let token = plane.token(&namespace, "editor", Duration::ZERO).await.unwrap();
        let proxy = FaultProxy::start(plane).await.unwrap();
        let client = proxy.kubeconfig(plane, &token).unwrap().client().await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let direct = Api::namespaced(plane.client().await.unwrap(), &namespace);
        let setup = Self {
            proxy,
            maps,
            direct,
            namespace,
        };
        // The authorizer of the API server follows by a watch.
        eventually(SOON, || async {
            Ok(setup.maps.list(&ListParams::default()).await?)
        })
        .await
        .expect("allowed with the role");
        setup
    }

    pub(crate) async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        create(&self.maps, name).await
    }

    pub(crate) async fn exists(&self, name: &str) -> bool {
        self.direct.get_opt(name).await.unwrap().is_some()
    }

    /// A watch through the proxy that starts now.
    pub(crate) async fn watch(
        &self,
    ) -> impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin + use<> {
        let now = self.direct.list(&ListParams::default()).await.unwrap();
        let version = now.metadata.resource_version.unwrap();
        let stream = self
            .maps
            .watch(&WatchParams::default().timeout(60), &version)
            .await
            .unwrap();
        stream.boxed()
    }

    /// Events of a watch while these objects are created, as many as are expected. `silence` means no event.
    pub(crate) async fn watched(&self, names: &[String], expected: &[&str]) -> Vec<String> {
        let mut watch = self.watch().await;
        for name in names {
            create(&self.direct, name).await.unwrap();
        }
        let mut events = Vec::new();
        for word in expected {
            let limit = if *word == "silence" { WHILE } else { SOON };
            events.push(match timeout(limit, watch.next()).await {
                Ok(Some(event)) => describe(&event),
                Ok(None) => "end".into(),
                Err(_) => "silence".into(),
            });
        }
        events
    }

    /// Waits until an object exists.
    pub(crate) async fn committed(&self, name: &str) {
        eventually(SOON, || async { Ok(self.direct.get(name).await?) })
            .await
            .expect(name);
    }
}

pub(crate) async fn create(maps: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    let object = serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap();
    maps.create(&PostParams::default(), &object).await
}

pub(crate) fn describe(event: &kube::Result<WatchEvent<ConfigMap>>) -> String {
    match event {
        Ok(WatchEvent::Added(map)) => map.metadata.name.clone().unwrap(),
        Ok(WatchEvent::Error(status)) => format!("error {}", status.code),
        Ok(other) => panic!("unexpected: {other:?}"),
        Err(_) => "broken".into(),
    }
}

pub(crate) fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not an answer of the API server: {other:?}"),
    }
}
