//! The decoded watches of an installation, merged into one stream for the reconciler.
//!
//! Input: a client and the watches. Output: a stream of [`Input`]s. This module converts objects to values of the
//! domain. It logs, counts and skips objects that cannot be converted.

use std::sync::Arc;

use futures::{
    Stream, StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use parking_lot::Mutex;
use tracing::warn;

use crate::{
    api::{ClusterSidecarPolicy, SidecarExemption, SidecarExemptionStatus, SidecarPolicy},
    clock::Clock,
    domain::{
        exemption::ExemptionUpdate,
        index::Scope,
        observation::{NamespaceMetadata, Observation},
        policy::{InvalidSpec, PolicyKind, PolicyUpdate},
    },
    kubernetes::{
        decode::{
            MissingIdentity,
            custom::Checked,
            exemption::exemption_update,
            intern::Interner,
            namespace::{LeanNamespace, observe_namespace},
            object::{Decoded, Object},
            pod::{LeanPod, observe},
            policy::{PolicyObject, policy_update, status::ObservedStatus},
        },
        failure::Reason,
        invalid_objects::InvalidObjects,
        list_watch::{Selection, in_cluster, in_scope, watch},
        watch::{Selectors, WatchEvent},
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
        let source = Source {
            client: client.clone(),
            monitor: Arc::clone(monitor),
            metrics: Arc::clone(metrics),
            interner: Arc::clone(&interner),
            invalid: InvalidObjects::default(),
        };
        match monitor.resource {
            WatchedResource::Pods => source.pods(),
            WatchedResource::Namespaces => source.namespaces(),
            WatchedResource::SidecarPolicies => {
                source.policies::<SidecarPolicy>(in_scope::<SidecarPolicy>(&monitor.scope))
            }
            WatchedResource::SidecarExemptions => source.exemptions(),
            WatchedResource::ClusterSidecarPolicies => {
                source.policies::<ClusterSidecarPolicy>(in_cluster::<ClusterSidecarPolicy>())
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
    /// The objects that cannot be decoded or have an invalid spec.
    invalid: InvalidObjects,
}

impl Source {
    fn pods(mut self) -> BoxStream<'static, Input> {
        let scope = self.monitor.scope.clone();
        let selectors = Selectors {
            fields: LIVE_PODS,
            labels: "",
        };
        let events = self.watch::<LeanPod>(in_scope::<Pod>(&scope), selectors);
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |pod, interner| observe(pod, interner).map(Entry::of_pod));
            std::future::ready(event.map(|event| Input::Pod(scope.clone(), event)))
        });
        inputs.boxed()
    }

    fn namespaces(mut self) -> BoxStream<'static, Input> {
        let events = self.watch::<LeanNamespace>(in_cluster::<Namespace>(), Selectors::default());
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |namespace, interner| {
                observe_namespace(namespace, interner).map(Entry::of_namespace)
            });
            std::future::ready(event.map(Input::Namespace))
        });
        inputs.boxed()
    }

    fn policies<K: PolicyObject>(mut self, path: String) -> BoxStream<'static, Input> {
        let events = self.watch::<Checked<K>>(path, Selectors::default());
        let scope = self.monitor.scope.clone();
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |object: Checked<K>, _| {
                let update = policy_update(&object)?;
                Ok(Entry {
                    namespace: Arc::clone(&update.key.namespace),
                    name: Arc::clone(&update.key.name),
                    error: update.spec.as_ref().err().cloned(),
                    value: Box::new(ObservedPolicy {
                        update,
                        status: ObservedStatus::of(&object),
                    }),
                })
            });
            std::future::ready(event.map(|event| Input::Policy(K::KIND, scope.clone(), event)))
        });
        inputs.boxed()
    }

    fn exemptions(mut self) -> BoxStream<'static, Input> {
        let scope = self.monitor.scope.clone();
        let path = in_scope::<SidecarExemption>(&scope);
        let events = self.watch::<Checked<SidecarExemption>>(path, Selectors::default());
        let inputs = events.filter_map(move |event| {
            let event = self.decoded(event, |object: Checked<SidecarExemption>, _| {
                let update = exemption_update(&object)?;
                let decoded = object.0.as_ref().ok();
                let status = decoded.and_then(|object| object.status.clone());
                Ok(Entry {
                    namespace: Arc::clone(&update.key.namespace),
                    name: Arc::clone(&update.key.name),
                    error: update.spec.as_ref().err().cloned(),
                    value: Box::new(ObservedExemption {
                        update,
                        status: ObservedStatus::new(object.meta(), status),
                    }),
                })
            });
            std::future::ready(event.map(|event| Input::Exemption(scope.clone(), event)))
        });
        inputs.boxed()
    }

    /// Decodes the object of an event further. Counts and logs an object that cannot be decoded, has no identity or has an
    /// invalid spec.
    fn decoded<K: Object, T>(
        &mut self,
        event: WatchEvent<Decoded<K>>,
        decode: impl FnOnce(K, &mut Interner) -> Result<Entry<T>, MissingIdentity>,
    ) -> Option<WatchEvent<T>> {
        match event {
            WatchEvent::Restarted { .. } => self.invalid.begin_list(),
            WatchEvent::Complete => self.invalid.end_list(),
            _ => {}
        }
        let is_deleted = matches!(event, WatchEvent::Deleted(_));
        let (event, undecodable) = event.readable();
        let decoded = event.map(|event| event.try_map(|object| decode(object, &mut self.interner.lock())));
        let event = match decoded.transpose() {
            Ok(Some(event)) => Some(event.map(
                |Entry {
                     namespace,
                     name,
                     error,
                     value,
                 }| {
                    match (error, &undecodable) {
                        (Some(error), None) if !is_deleted => self.invalid(&namespace, &name, &error),
                        (_, None) => self.invalid.remove(&namespace, &name),
                        (_, Some(_)) if is_deleted => self.invalid.remove(&namespace, &name),
                        (_, Some(_)) => {}
                    }
                    value
                },
            )),
            Ok(None) => None,
            Err(error) => {
                let MissingIdentity { namespace, name, .. } = &error;
                self.undecodable(namespace, name, &error.to_string(), None);
                None
            }
        };
        if let Some(error) = undecodable.filter(|_| !is_deleted) {
            self.undecodable(&error.namespace, &error.name, &error.error, error.offset);
        }
        self.monitor.set_undecodable(self.invalid.undecodable());
        event
    }

    /// Counts and logs an object whose spec is invalid.
    fn invalid(&mut self, namespace: &str, name: &str, invalid: &InvalidSpec) {
        if let InvalidSpec::Undecodable(error) = invalid {
            return self.undecodable(namespace, name, error, None);
        }
        let error = invalid.to_string();
        if self.invalid.record(namespace, name, &error, false) {
            let resource = self.monitor.resource.as_str();
            warn!(resource, namespace, name, error = clean(&error), "invalid object");
        }
    }

    /// Counts and logs an object that does not match the types of the API.
    fn undecodable(&mut self, namespace: &str, name: &str, error: &str, offset: Option<usize>) {
        let resource = self.monitor.resource.as_str();
        self.metrics.watch_error(resource, Reason::Decode.as_str());
        if self.invalid.record(namespace, name, error, true) {
            let (namespace, name, error) = (clean(namespace), clean(name), clean(error));
            warn!(
                resource,
                namespace, name, offset, error, "object cannot be decoded"
            );
        }
    }

    fn watch<K: Object>(
        &self,
        path: String,
        selectors: Selectors<'_>,
    ) -> impl Stream<Item = WatchEvent<Decoded<K>>> + Send + use<K> {
        let (monitor, metrics) = (Arc::clone(&self.monitor), Arc::clone(&self.metrics));
        watch(
            self.client.clone(),
            Selection::new(path, selectors),
            monitor,
            metrics,
        )
    }
}

/// A decoded object with its name, and the error of its spec.
struct Entry<T> {
    namespace: Arc<str>,
    name: Arc<str>,
    error: Option<InvalidSpec>,
    value: T,
}

impl Entry<Observation> {
    fn of_pod(pod: Observation) -> Self {
        Self {
            namespace: Arc::clone(&pod.namespace),
            name: Arc::clone(&pod.name),
            error: None,
            value: pod,
        }
    }
}

impl Entry<(Arc<str>, Arc<NamespaceMetadata>)> {
    fn of_namespace(namespace: (Arc<str>, Arc<NamespaceMetadata>)) -> Self {
        Self {
            namespace: Arc::default(),
            name: Arc::clone(&namespace.0),
            error: None,
            value: namespace,
        }
    }
}
