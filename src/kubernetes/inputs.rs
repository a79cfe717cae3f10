//! The decoded watches of an installation, merged into one stream for the reconciler.
//!
//! Input: a client and the watches. Output: a stream of [`Input`]s. This module converts objects to values of the
//! domain. It logs, counts and skips objects that cannot be converted.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use futures::{
    Stream, StreamExt,
    stream::{BoxStream, select_all},
};
use kube::{Api, Client, Resource, core::DeserializeGuard};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::{
    api::{ClusterSidecarPolicy, SidecarExemption, SidecarExemptionStatus, SidecarPolicy},
    clock::Clock,
    domain::{
        exemption::ExemptionUpdate,
        index::Scope,
        observation::{NamespaceMetadata, Observation},
        policy::{InvalidSpec, PolicyKey, PolicyKind, PolicyUpdate},
    },
    kubernetes::{
        client::observed,
        decode::{
            MissingIdentity,
            exemption::exemption_update,
            intern::Interner,
            namespace::observe_namespace,
            pod::observe,
            policy::{PolicyObject, policy_update, status::ObservedStatus},
        },
        failure::Reason,
        list::namespaced,
        list_watch::watch_pods,
        watch::{Selectors, WatchEvent, watch},
    },
    telemetry::{
        logging::clean,
        metrics::Metrics,
        monitor::{Monitor, Resource as WatchedResource},
    },
};

/// Field selector that excludes finished Pods: they no longer change, and old Jobs leave many of them.
pub const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// A watch event for the reconciler.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event of the Pod watch of a scope.
    Pod(Scope, WatchEvent<Observation>),
    /// An event of the watch of one kind of policy in a scope.
    Policy(PolicyKind, Scope, WatchEvent<Box<ObservedPolicy>>),
    /// An event of the watch of exemptions in a scope.
    Exemption(Scope, WatchEvent<Box<ObservedExemption>>),
    /// An event of the Namespace watch: name and labels.
    Namespace(WatchEvent<(Arc<str>, Arc<NamespaceMetadata>)>),
}

/// A decoded policy object.
#[derive(Clone, Debug)]
pub struct ObservedPolicy {
    /// The identity and the spec.
    pub update: PolicyUpdate,
    /// The status.
    pub status: ObservedStatus,
}

/// A decoded exemption object.
#[derive(Clone, Debug)]
pub struct ObservedExemption {
    /// The identity and the spec.
    pub update: ExemptionUpdate,
    /// The status.
    pub status: ObservedStatus<SidecarExemptionStatus>,
}

/// The part of the cluster that an installation watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchScope {
    /// The watched namespaces. Empty: the whole cluster.
    pub namespaces: Vec<Arc<str>>,
}

impl WatchScope {
    /// Returns the scopes; each has its own watches of Pods, policies and exemptions.
    pub fn scopes(&self) -> Vec<Scope> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// Reports whether the whole cluster is watched, with its Namespaces and ClusterSidecarPolicies.
    pub fn is_cluster_wide(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Creates a monitor for each watch.
    pub fn monitors(&self, clock: &Arc<dyn Clock>) -> Vec<Arc<Monitor>> {
        let monitor = |resource, scope| Arc::new(Monitor::new(resource, scope, Arc::clone(clock)));
        let mut monitors = Vec::new();
        if self.is_cluster_wide() {
            monitors.push(monitor(WatchedResource::Namespaces, None));
            monitors.push(monitor(WatchedResource::ClusterSidecarPolicies, None));
        }
        for scope in self.scopes() {
            monitors.push(monitor(WatchedResource::SidecarPolicies, scope.clone()));
            monitors.push(monitor(WatchedResource::SidecarExemptions, scope.clone()));
            monitors.push(monitor(WatchedResource::Pods, scope));
        }
        monitors
    }
}

/// Starts the watches of these monitors and merges their events.
pub fn inputs(
    client: &Client,
    monitors: &[Arc<Monitor>],
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = Input> + Send + use<> {
    let interner = Arc::new(Mutex::new(Interner::default()));
    let streams = monitors.iter().map(|monitor| {
        let client = if monitor.resource == WatchedResource::Pods {
            client.clone()
        } else {
            observed(client.clone(), Arc::clone(&monitor.pulse))
        };
        let source = Source {
            client: client.clone(),
            monitor: Arc::clone(monitor),
            metrics: Arc::clone(metrics),
            interner: Arc::clone(&interner),
            logged_errors: BTreeMap::new(),
        };
        match monitor.resource {
            WatchedResource::Pods => source.pods(),
            WatchedResource::Namespaces => source.namespaces(),
            WatchedResource::SidecarPolicies => {
                source.policies::<SidecarPolicy>(namespaced(&client, &monitor.scope))
            }
            WatchedResource::SidecarExemptions => source.exemptions(),
            WatchedResource::ClusterSidecarPolicies => {
                source.policies::<ClusterSidecarPolicy>(Api::all(client))
            }
        }
    });
    select_all(streams.collect::<Vec<_>>())
}

/// One watch and the state that decoding its objects needs.
struct Source {
    client: Client,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    /// Shared by all watches, so that equal strings of Pods and Namespaces use the same memory.
    interner: Arc<Mutex<Interner>>,
    /// The invalid policies, each with the error that was logged last.
    logged_errors: BTreeMap<PolicyKey, InvalidSpec>,
}

impl Source {
    fn pods(self) -> BoxStream<'static, Input> {
        let events = watch_pods(
            self.client.clone(),
            Selectors {
                fields: LIVE_PODS,
                labels: "",
            },
            Arc::clone(&self.monitor),
            Arc::clone(&self.metrics),
        );
        let scope = self.monitor.scope.clone();
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, observe);
            std::future::ready(event.map(|event| Input::Pod(scope.clone(), event)))
        });
        inputs.boxed()
    }

    fn namespaces(self) -> BoxStream<'static, Input> {
        let events = self.watch(Api::all(self.client.clone()));
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, observe_namespace);
            std::future::ready(event.map(Input::Namespace))
        });
        inputs.boxed()
    }

    fn policies<K>(mut self, api: Api<DeserializeGuard<K>>) -> BoxStream<'static, Input>
    where
        K: PolicyObject + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Default,
    {
        let events = self.watch(api);
        let scope = self.monitor.scope.clone();
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |object, _| {
                if object.0.is_err() {
                    self.count_decode_error();
                }
                Ok(Box::new(ObservedPolicy {
                    update: policy_update(&object)?,
                    status: ObservedStatus::of(&object),
                }))
            });
            if let Some(WatchEvent::Listed(policy) | WatchEvent::Applied(policy)) = &event {
                self.log_invalid(&policy.update);
            }
            std::future::ready(event.map(|event| Input::Policy(K::KIND, scope.clone(), event)))
        });
        inputs.boxed()
    }

    fn exemptions(self) -> BoxStream<'static, Input> {
        let scope = self.monitor.scope.clone();
        let api: Api<DeserializeGuard<SidecarExemption>> = namespaced(&self.client, &scope);
        let events = self.watch(api);
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |object, _| {
                let update = exemption_update(&object)?;
                if let Err(error) = &object.0 {
                    self.count_decode_error();
                    warn!(exemption = %update.key, error = clean(&error.to_string()), "invalid exemption");
                }
                let decoded = object.0.as_ref().ok();
                let status = decoded.and_then(|object| object.status.clone());
                Ok(Box::new(ObservedExemption {
                    update,
                    status: ObservedStatus::new(object.meta(), status),
                }))
            });
            std::future::ready(event.map(|event| Input::Exemption(scope.clone(), event)))
        });
        inputs.boxed()
    }

    /// Logs an invalid policy when its error differs from the one logged last.
    fn log_invalid(&mut self, update: &PolicyUpdate) {
        match &update.spec {
            Ok(_) => {
                self.logged_errors.remove(&update.key);
            }
            Err(invalid) => {
                let known = self.logged_errors.insert(update.key.clone(), invalid.clone());
                if known.as_ref() != Some(invalid) {
                    warn!(policy = %update.key, error = clean(&invalid.to_string()), "invalid policy");
                }
            }
        }
    }

    /// Decodes the object of an event. Counts and logs an object without identity, and returns `None`.
    fn decoded<K, T>(
        &self,
        event: WatchEvent<K>,
        decode: impl FnOnce(K, &mut Interner) -> Result<T, MissingIdentity>,
    ) -> Option<WatchEvent<T>> {
        let mut interner = self.interner.lock();
        match event.try_map(|object| decode(object, &mut interner)) {
            Ok(event) => Some(event),
            Err(error) => {
                self.count_decode_error();
                let resource = self.monitor.resource.as_str();
                warn!(resource, error = clean(&error.to_string()), "object skipped");
                None
            }
        }
    }

    /// Counts an object that does not match the types of the API.
    fn count_decode_error(&self) {
        let resource = self.monitor.resource.as_str();
        self.metrics.watch_error(resource, Reason::Decode.as_str());
    }

    fn watch<K>(&self, api: Api<K>) -> impl Stream<Item = WatchEvent<K>> + Send + use<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (monitor, metrics) = (Arc::clone(&self.monitor), Arc::clone(&self.metrics));
        watch(api, Selectors::default(), monitor, metrics)
    }
}
