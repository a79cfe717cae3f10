//! Lists and watches for the command line: Pods that a user selects, and complete lists of policies, exemptions and
//! Namespaces.
//!
//! Input: a client, and the selected Pods. Output: the same decoded values that the operator's watches deliver, and errors
//! that name the resource and the namespace.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Client,
    api::DynamicObject,
    core::{Request, params::GetParams},
    runtime::watcher,
};
use parking_lot::Mutex;

use super::{
    decode::{
        custom::Checked,
        exemption::exemption_update,
        intern::Interner,
        namespace::{LeanNamespace, observe_namespace},
        object::{Decoded, Object, Undecodable},
        pod::{LeanPod, observe},
        policy::{PolicyObject, policy_update},
    },
    failure::{self, Reason},
    list_watch::{self, Selection, in_cluster, in_scope, list, single, watch},
    watch::{Selectors, WatchEvent},
};
use crate::{
    api::{ClusterSidecarPolicy, SidecarExemption, SidecarPolicy},
    clock::{Clock, SystemClock},
    domain::{
        exemption::ExemptionUpdate,
        index::Scope,
        observation::{NamespaceMetadata, Observation},
        policy::PolicyUpdate,
    },
    telemetry::{
        metrics::Metrics,
        monitor::{Monitor, Resource as WatchedResource},
    },
};

/// Maximum number of Pods that cannot be decoded and are named.
const MAX_UNDECODABLE: usize = 100;

/// The Pods that a user selects.
#[derive(Clone, Debug, Default)]
pub struct PodSelection {
    /// The namespace, or all namespaces.
    pub scope: Scope,
    /// A field selector.
    pub fields: String,
    /// A label selector.
    pub labels: String,
}

impl PodSelection {
    fn selectors(&self) -> Selectors<'_> {
        Selectors {
            fields: &self.fields,
            labels: &self.labels,
        }
    }

    fn monitor(&self, clock: Arc<dyn Clock>) -> Arc<Monitor> {
        let scope = self.scope.clone();
        Arc::new(Monitor::new(WatchedResource::Pods, scope, clock))
    }
}

/// A list or watch failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ListError {
    /// Why it failed.
    pub reason: Reason,
    /// What failed, and how to correct it where that is possible.
    pub message: String,
}

/// Why a list or watch has failed, and the objects that it has left out.
pub struct Problem {
    monitor: Arc<Monitor>,
    undecodable: Arc<Mutex<Vec<Undecodable>>>,
}

impl Problem {
    /// Returns the latest problem. Only before the first complete list.
    pub fn text(&self) -> String {
        self.monitor.not_ready_reason().unwrap_or_default()
    }

    /// Returns the objects that cannot be decoded, since the last list began.
    pub fn undecodable(&self) -> Vec<Undecodable> {
        self.undecodable.lock().clone()
    }
}

/// What a list contains, and the objects that were left out because they cannot be decoded.
#[derive(Debug)]
pub struct Listed<T> {
    /// The decoded objects.
    pub objects: Vec<T>,
    /// The others.
    pub undecodable: Vec<Undecodable>,
}

impl<T> Listed<T> {
    /// Decodes the objects of a list further. An object without identity comes from another server. The operator skips it
    /// too.
    fn decoded<K, E>(list: Vec<Decoded<K>>, mut decode: impl FnMut(K) -> Result<T, E>) -> Self {
        let (mut objects, mut undecodable) = (Vec::new(), Vec::new());
        for object in list {
            match object {
                Ok(object) => objects.extend(decode(object).ok()),
                Err(error) => undecodable.push(*error),
            }
        }
        Self { objects, undecodable }
    }
}

/// Lists and watches Pods without end. Skips objects that cannot be decoded or have no identity.
pub fn pods(
    client: &Client,
    selection: &PodSelection,
    clock: Arc<dyn Clock>,
) -> prometheus::Result<(
    impl Stream<Item = WatchEvent<Observation>> + Send + use<>,
    Problem,
)> {
    let (events, problem) = watched_pods::<LeanPod>(client, selection, clock)?;
    let mut interner = Interner::default();
    let pods = events
        .filter_map(move |event| std::future::ready(event.try_map(|pod| observe(pod, &mut interner)).ok()));
    Ok((pods, problem))
}

/// Lists and watches Pods without end, with all their fields except `managedFields`. Skips objects that cannot be decoded.
pub fn whole_pods(
    client: &Client,
    selection: &PodSelection,
    clock: Arc<dyn Clock>,
) -> prometheus::Result<(
    impl Stream<Item = WatchEvent<DynamicObject>> + Send + use<>,
    Problem,
)> {
    watched_pods(client, selection, clock)
}

fn watched_pods<T: Object>(
    client: &Client,
    selection: &PodSelection,
    clock: Arc<dyn Clock>,
) -> prometheus::Result<(impl Stream<Item = WatchEvent<T>> + Send + use<T>, Problem)> {
    let problem = Problem {
        monitor: selection.monitor(clock),
        undecodable: Arc::default(),
    };
    let events = watch(
        client.clone(),
        Selection::new(in_scope::<Pod>(&selection.scope), selection.selectors()),
        Arc::clone(&problem.monitor),
        Arc::new(Metrics::new()?),
    );
    let undecodable = Arc::clone(&problem.undecodable);
    let readable = events.filter_map(move |event| {
        let (event, error) = event.readable();
        if matches!(event, Some(WatchEvent::Restarted { .. })) {
            undecodable.lock().clear();
        }
        let mut known = undecodable.lock();
        if known.len() < MAX_UNDECODABLE {
            known.extend(error);
        }
        std::future::ready(event)
    });
    Ok((readable, problem))
}

/// Lists Pods once, with all their fields except `managedFields`.
pub async fn whole_pods_once(
    client: &Client,
    selection: &PodSelection,
) -> Result<Vec<DynamicObject>, ListError> {
    let selected = Selection::new(in_scope::<Pod>(&selection.scope), selection.selectors());
    let pods = complete(client, selected, WatchedResource::Pods, &selection.scope).await?;
    Ok(Listed::decoded(pods, Ok::<_, ()>).objects)
}

/// Lists the SidecarPolicies of a namespace, or of all namespaces.
pub async fn sidecar_policies(client: &Client, scope: &Scope) -> Result<Listed<PolicyUpdate>, ListError> {
    policies::<SidecarPolicy>(
        client,
        in_scope::<SidecarPolicy>(scope),
        WatchedResource::SidecarPolicies,
        scope,
    )
    .await
}

/// Lists the ClusterSidecarPolicies.
pub async fn cluster_sidecar_policies(client: &Client) -> Result<Listed<PolicyUpdate>, ListError> {
    policies::<ClusterSidecarPolicy>(
        client,
        in_cluster::<ClusterSidecarPolicy>(),
        WatchedResource::ClusterSidecarPolicies,
        &None,
    )
    .await
}

async fn policies<K: PolicyObject>(
    client: &Client,
    path: String,
    resource: WatchedResource,
    scope: &Scope,
) -> Result<Listed<PolicyUpdate>, ListError> {
    let all = Selection::new(path, Selectors::default());
    let objects = complete::<Checked<K>>(client, all, resource, scope).await?;
    Ok(Listed::decoded(objects, |object| policy_update(&object)))
}

/// Lists the SidecarExemptions of a namespace, or of all namespaces.
pub async fn exemptions(client: &Client, scope: &Scope) -> Result<Listed<ExemptionUpdate>, ListError> {
    let all = Selection::new(in_scope::<SidecarExemption>(scope), Selectors::default());
    let objects: Vec<Decoded<Checked<SidecarExemption>>> =
        complete(client, all, WatchedResource::SidecarExemptions, scope).await?;
    Ok(Listed::decoded(objects, |object| exemption_update(&object)))
}

/// Lists the Namespaces with their labels, or gets only the one in `scope`.
pub async fn namespaces(
    client: &Client,
    scope: &Scope,
) -> Result<Listed<(Arc<str>, Arc<NamespaceMetadata>)>, ListError> {
    let resource = WatchedResource::Namespaces;
    let mut interner = Interner::default();
    let found = if let Some(name) = scope {
        let request = Request::new(in_cluster::<Namespace>()).get(name, &GetParams::default());
        let found: Result<LeanNamespace, _> = single::object(client, request).await;
        vec![Ok(found.map_err(|error| list_error(error, resource, &None))?)]
    } else {
        let all = Selection::new(in_cluster::<Namespace>(), Selectors::default());
        complete(client, all, resource, scope).await?
    };
    Ok(Listed::decoded(found, |namespace| {
        observe_namespace(namespace, &mut interner)
    }))
}

/// Lists the names of the Pods of a namespace: one page.
pub async fn pod_names(client: &Client, namespace: &str) -> watcher::Result<Vec<String>> {
    names::<LeanPod>(client, in_scope::<Pod>(&Some(namespace.into()))).await
}

/// Lists the names of the Namespaces: one page.
pub async fn namespace_names(client: &Client) -> watcher::Result<Vec<String>> {
    names::<LeanNamespace>(client, in_cluster::<Namespace>()).await
}

async fn names<T: Object>(client: &Client, path: String) -> watcher::Result<Vec<String>> {
    let selected = Selection::new(path, Selectors::default());
    let page = list_watch::page::<T>(client, &selected, None).await?;
    let objects = page.objects.into_iter().flatten();
    Ok(objects
        .filter_map(|mut object| object.metadata().name.take())
        .collect())
}

/// Returns kind and name of the owners that control Pods of a namespace.
pub async fn pod_owners(client: &Client, namespace: &str) -> watcher::Result<Vec<OwnerReference>> {
    let selected = Selection::new(in_scope::<Pod>(&Some(namespace.into())), Selectors::default());
    let (mut owners, mut token) = (Vec::new(), None);
    loop {
        let page = list_watch::page::<LeanPod>(client, &selected, token).await?;
        for mut pod in page.objects.into_iter().flatten() {
            let of_pod = pod.metadata().owner_references.take().unwrap_or_default();
            owners.extend(of_pod.into_iter().filter(|owner| owner.controller == Some(true)));
        }
        token = page.next;
        if token.is_none() {
            return Ok(owners);
        }
    }
}

/// Reads the metadata of an object: its labels, and of its owners the one that controls it. Returns `None` if it does not exist.
pub async fn metadata(client: &Client, path: &str, name: &str) -> kube::Result<Option<ObjectMeta>> {
    let request = Request::new(path).get_metadata(name, &GetParams::default());
    let found: Option<LeanNamespace> = single::existing(client, request).await?;
    Ok(found.map(|found| found.metadata))
}

/// Reports whether a namespace has no SidecarPolicy.
pub async fn has_no_policy(client: &Client, namespace: &str) -> watcher::Result<bool> {
    let path = in_scope::<SidecarPolicy>(&Some(namespace.into()));
    let selected = Selection::new(path, Selectors::default()).with_limit(1);
    let page = list_watch::page::<Checked<SidecarPolicy>>(client, &selected, None).await?;
    Ok(page.objects.is_empty())
}

/// Lists all selected objects.
async fn complete<T: Object>(
    client: &Client,
    selection: Selection,
    resource: WatchedResource,
    scope: &Scope,
) -> Result<Vec<Decoded<T>>, ListError> {
    let other = |error: &prometheus::Error| ListError {
        reason: Reason::Other,
        message: error.to_string(),
    };
    let metrics = Metrics::new().map_err(|error| other(&error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let monitor = Arc::new(Monitor::new(resource, scope.clone(), clock));
    let listed = list(client.clone(), selection, monitor, Arc::new(metrics)).await;
    listed.map_err(|(reason, message)| ListError { reason, message })
}

fn list_error(error: kube::Error, resource: WatchedResource, scope: &Scope) -> ListError {
    let error = watcher::Error::InitialListFailed(error);
    ListError {
        reason: failure::reason(&error),
        message: failure::problem(&error, resource, scope),
    }
}
