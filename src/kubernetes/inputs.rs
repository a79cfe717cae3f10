//! The watches of an installation, decoded: every fact that reaches the reconciler.
//!
//! In: a client and where to look. Out: one stream of [`Input`]s. Objects are made into the domain's values here, at
//! once; one that cannot be is logged, counted and left out, and disturbs no other.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use futures::{
    Stream, StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, core::DeserializeGuard};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::{
    api::{ClusterSidecarPolicy, SidecarPolicy},
    clock::Clock,
    domain::{
        index::Scope,
        observation::{Labels, Observation},
        policy::{PolicyKey, PolicyKind, PolicyUpdate},
    },
    kubernetes::client::observed,
    kubernetes::decode::{
        MissingIdentity,
        intern::Interner,
        namespace::observe_namespace,
        pod::observe,
        policy::{PolicyObject, policy_update},
    },
    kubernetes::failure::Reason,
    kubernetes::watch::{WatchEvent, watch},
    sink::status::{ObservedStatus, parse_version},
    telemetry::{
        logging::clean,
        metrics::Metrics,
        monitor::{Monitor, Resource as WatchedResource},
    },
};

/// Pods that are done say nothing more, and old Jobs leave many of them.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// One fact for the reconciler.
#[derive(Clone, Debug)]
pub enum Input {
    /// Of the Pods in a scope.
    Pod(Scope, WatchEvent<Observation>),
    /// Of the policies of a kind in a scope.
    Policy(PolicyKind, Scope, WatchEvent<Box<SeenPolicy>>),
    /// Of the namespaces.
    Namespace(WatchEvent<(Arc<str>, Arc<Labels>)>),
}

/// A policy object.
#[derive(Clone, Debug)]
pub struct SeenPolicy {
    /// What it asks for.
    pub update: PolicyUpdate,
    /// What its status shows.
    pub shown: ObservedStatus,
}

/// What an installation watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchScope {
    /// The namespaces; without any, the whole cluster.
    pub namespaces: Vec<Arc<str>>,
}

impl WatchScope {
    /// One Pod watch each.
    pub fn scopes(&self) -> Vec<Scope> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// Whether the whole cluster is watched, with its namespaces and policies of the cluster kind.
    pub fn is_cluster_wide(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// A monitor per watch.
    pub fn monitors(&self, clock: &Arc<dyn Clock>) -> Vec<Arc<Monitor>> {
        let monitor = |resource, scope| Arc::new(Monitor::new(resource, scope, Arc::clone(clock)));
        let mut monitors = Vec::new();
        if self.is_cluster_wide() {
            monitors.push(monitor(WatchedResource::Namespaces, None));
            monitors.push(monitor(WatchedResource::ClusterSidecarPolicies, None));
        }
        for scope in self.scopes() {
            monitors.push(monitor(WatchedResource::SidecarPolicies, scope.clone()));
            monitors.push(monitor(WatchedResource::Pods, scope));
        }
        monitors
    }
}

/// Everything that these monitors' watches tell.
pub fn inputs(
    client: &Client,
    monitors: &[Arc<Monitor>],
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = Input> + Send + use<> {
    let interner = Arc::new(Mutex::new(Interner::default()));
    let streams = monitors.iter().map(|monitor| {
        let source = Source {
            client: observed(client.clone(), Arc::clone(&monitor.pulse)),
            monitor: Arc::clone(monitor),
            metrics: Arc::clone(metrics),
            interner: Arc::clone(&interner),
            complaints: BTreeMap::new(),
        };
        let client = source.client.clone();
        match monitor.resource {
            WatchedResource::Pods => source.pods(),
            WatchedResource::Namespaces => source.namespaces(),
            WatchedResource::SidecarPolicies => {
                let api = source.api();
                source.policies::<SidecarPolicy>(api)
            }
            WatchedResource::ClusterSidecarPolicies => {
                source.policies::<ClusterSidecarPolicy>(Api::all(client))
            }
        }
    });
    select_all(streams.collect::<Vec<_>>())
}

/// One watch, and what its objects are decoded with.
struct Source {
    client: Client,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    /// Shared, so that a namespace's name in a Pod and in the Namespace is one string.
    interner: Arc<Mutex<Interner>>,
    /// The invalid policies and what was logged about them.
    complaints: BTreeMap<PolicyKey, String>,
}

impl Source {
    fn pods(self) -> BoxStream<'static, Input> {
        let tells = self.watch(self.api(), Some(LIVE_PODS));
        let scope = self.monitor.scope.clone();
        let inputs = tells.filter_map(move |tell| {
            let tell = self.decoded(tell, observe);
            std::future::ready(tell.map(|tell| Input::Pod(scope.clone(), tell)))
        });
        inputs.boxed()
    }

    fn namespaces(self) -> BoxStream<'static, Input> {
        let tells = self.watch(Api::all(self.client.clone()), None);
        let inputs = tells.filter_map(move |tell| {
            let tell = self.decoded(tell, observe_namespace);
            std::future::ready(tell.map(Input::Namespace))
        });
        inputs.boxed()
    }

    fn policies<K>(mut self, api: Api<DeserializeGuard<K>>) -> BoxStream<'static, Input>
    where
        K: PolicyObject + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Default,
    {
        let tells = self.watch(api, None);
        let scope = self.monitor.scope.clone();
        let inputs = tells.filter_map(move |tell| {
            let tell = self.decoded(tell, |object, _| {
                if object.0.is_err() {
                    self.metrics
                        .watch_error(self.monitor.resource.as_str(), Reason::Decode.as_str());
                }
                Ok(Box::new(SeenPolicy {
                    update: policy_update(&object)?,
                    shown: shown(&object),
                }))
            });
            if let Some(WatchEvent::Listed(policy) | WatchEvent::Applied(policy)) = &tell {
                self.complain(&policy.update);
            }
            std::future::ready(tell.map(|tell| Input::Policy(K::KIND, scope.clone(), tell)))
        });
        inputs.boxed()
    }

    /// Logs an invalid policy: once for each version of the complaint, not each time the object passes.
    fn complain(&mut self, update: &PolicyUpdate) {
        match &update.spec {
            Ok(_) => {
                self.complaints.remove(&update.key);
            }
            Err(message) => {
                let known = self.complaints.insert(update.key.clone(), message.clone());
                if known.as_ref() != Some(message) {
                    warn!(policy = %update.key, "invalid policy: {}", clean(message));
                }
            }
        }
    }

    /// What is told, of the domain's values; nothing when the object cannot be told from others.
    fn decoded<K, T>(
        &self,
        tell: WatchEvent<K>,
        decode: impl FnOnce(K, &mut Interner) -> Result<T, MissingIdentity>,
    ) -> Option<WatchEvent<T>> {
        let mut interner = self.interner.lock();
        match tell.try_map(|object| decode(object, &mut interner)) {
            Ok(tell) => Some(tell),
            Err(error) => {
                let resource = self.monitor.resource.as_str();
                self.metrics.watch_error(resource, Reason::Decode.as_str());
                warn!(resource, "skipped an object: {}", clean(&error.to_string()));
                None
            }
        }
    }

    fn watch<K>(&self, api: Api<K>, fields: Option<&str>) -> impl Stream<Item = WatchEvent<K>> + Send + use<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        watch(api, fields, Arc::clone(&self.monitor), Arc::clone(&self.metrics))
    }

    /// The API of a namespaced resource, in the watch's scope.
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.monitor.scope {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// What a policy object shows. Of one that does not decode the status is unknown, and is written anew.
fn shown<K: PolicyObject>(object: &DeserializeGuard<K>) -> ObservedStatus {
    let metadata = object.meta();
    ObservedStatus {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        version: parse_version(metadata.resource_version.as_deref()),
        status: object.0.as_ref().ok().and_then(|object| object.status().cloned()),
    }
}
