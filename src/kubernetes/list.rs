//! Lists and watches for the command line: Pods that a user selects, and complete lists of policies, exemptions and
//! Namespaces.
//!
//! Input: a client, and the selected Pods. Output: the same decoded values that the operator's watches deliver, and errors
//! that name the resource and the namespace.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    core::{DeserializeGuard, params::ListParams},
    runtime::watcher,
};
use serde::de::DeserializeOwned;

use super::{
    client::observed,
    decode::{
        exemption::exemption_update,
        intern::Interner,
        namespace::{LeanNamespace, observe_namespace},
        pod::observe,
        policy::{PolicyObject, policy_update},
    },
    failure::{self, Reason},
    list_watch::watch_pods,
    watch::{Selectors, WatchEvent, watch},
};
use crate::{
    api::{ClusterSidecarPolicy, SidecarExemption, SidecarPolicy},
    clock::Clock,
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

/// Number of objects in a page.
const PAGE: u32 = 500;

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

/// Why a list or watch has failed.
pub struct Problem(Arc<Monitor>);

impl Problem {
    /// Returns the latest problem. Only before the first complete list.
    pub fn text(&self) -> String {
        self.0.not_ready_reason().unwrap_or_default()
    }
}

/// Lists and watches Pods without end. Skips objects without identity.
pub fn pods(
    client: &Client,
    selection: &PodSelection,
    clock: Arc<dyn Clock>,
) -> prometheus::Result<(
    impl Stream<Item = WatchEvent<Observation>> + Send + use<>,
    Problem,
)> {
    let monitor = selection.monitor(clock);
    let events = watch_pods(
        client.clone(),
        selection.selectors(),
        Arc::clone(&monitor),
        Arc::new(Metrics::new()?),
    );
    let mut interner = Interner::default();
    let pods = events
        .filter_map(move |event| std::future::ready(event.try_map(|pod| observe(pod, &mut interner)).ok()));
    Ok((pods, Problem(monitor)))
}

/// Lists and watches Pods without end, with all their fields.
pub fn whole_pods(
    client: &Client,
    selection: &PodSelection,
    clock: Arc<dyn Clock>,
) -> prometheus::Result<(
    impl Stream<Item = WatchEvent<DynamicObject>> + Send + use<>,
    Problem,
)> {
    let monitor = selection.monitor(clock);
    let client = observed(client.clone(), Arc::clone(&monitor.pulse));
    let api = dynamic(client, &selection.scope, &ApiResource::erase::<Pod>(&()));
    let selectors = selection.selectors();
    let events = watch(api, selectors, Arc::clone(&monitor), Arc::new(Metrics::new()?));
    Ok((events, Problem(monitor)))
}

/// Lists Pods once, with all their fields.
pub async fn whole_pods_once(
    client: &Client,
    selection: &PodSelection,
) -> Result<Vec<DynamicObject>, ListError> {
    let mut params = ListParams::default().limit(PAGE);
    (params.field_selector, params.label_selector) = selection.selectors().options();
    let api = dynamic(client.clone(), &selection.scope, &ApiResource::erase::<Pod>(&()));
    list_with(api, params, WatchedResource::Pods, &selection.scope).await
}

/// Lists the SidecarPolicies of a namespace, or of all namespaces.
pub async fn sidecar_policies(client: &Client, scope: &Scope) -> Result<Vec<PolicyUpdate>, ListError> {
    let objects = list::<DeserializeGuard<SidecarPolicy>>(
        namespaced(client, scope),
        WatchedResource::SidecarPolicies,
        scope,
    );
    Ok(updates(&objects.await?))
}

/// Lists the ClusterSidecarPolicies.
pub async fn cluster_sidecar_policies(client: &Client) -> Result<Vec<PolicyUpdate>, ListError> {
    let api = Api::<DeserializeGuard<ClusterSidecarPolicy>>::all(client.clone());
    let objects = list(api, WatchedResource::ClusterSidecarPolicies, &None).await?;
    Ok(updates(&objects))
}

/// Lists the SidecarExemptions of a namespace, or of all namespaces. Tenants can write many of them, so each page is decoded
/// before the next one is read.
pub async fn exemptions(client: &Client, scope: &Scope) -> Result<Vec<ExemptionUpdate>, ListError> {
    let mut updates = Vec::new();
    list_pages(
        namespaced::<DeserializeGuard<SidecarExemption>>(client, scope),
        ListParams::default().limit(PAGE),
        WatchedResource::SidecarExemptions,
        scope,
        |page| updates.extend(page.iter().filter_map(|object| exemption_update(object).ok())),
    )
    .await?;
    Ok(updates)
}

/// Lists the Namespaces with their labels, or gets only the one in `scope`.
pub async fn namespaces(
    client: &Client,
    scope: &Scope,
) -> Result<Vec<(Arc<str>, Arc<NamespaceMetadata>)>, ListError> {
    let api = Api::<LeanNamespace>::all(client.clone());
    let mut interner = Interner::default();
    let found = match scope {
        Some(name) => vec![
            api.get(name)
                .await
                .map_err(|error| list_error(error, WatchedResource::Namespaces, &None))?,
        ],
        None => list(api, WatchedResource::Namespaces, scope).await?,
    };
    let observed = found
        .into_iter()
        .map(|namespace| observe_namespace(namespace, &mut interner));
    // An object without identity comes from another server. The operator skips it too.
    Ok(observed.filter_map(Result::ok).collect())
}

/// Returns the API of a namespaced resource in this scope, for objects with all their fields.
pub(super) fn dynamic(client: Client, scope: &Scope, resource: &ApiResource) -> Api<DynamicObject> {
    match scope {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}

/// Returns the API of a namespaced resource in this scope.
pub(super) fn namespaced<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn updates<K: PolicyObject>(objects: &[DeserializeGuard<K>]) -> Vec<PolicyUpdate> {
    let updates = objects.iter().map(policy_update);
    updates.filter_map(Result::ok).collect()
}

/// Lists all objects in pages.
async fn list<K>(api: Api<K>, resource: WatchedResource, scope: &Scope) -> Result<Vec<K>, ListError>
where
    K: Clone + DeserializeOwned + Debug,
{
    list_with(api, ListParams::default().limit(PAGE), resource, scope).await
}

async fn list_with<K>(
    api: Api<K>,
    params: ListParams,
    resource: WatchedResource,
    scope: &Scope,
) -> Result<Vec<K>, ListError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    list_pages(api, params, resource, scope, |page| objects.extend(page)).await?;
    Ok(objects)
}

/// Calls `each` with the objects of each page of a list.
async fn list_pages<K>(
    api: Api<K>,
    mut params: ListParams,
    resource: WatchedResource,
    scope: &Scope,
    mut each: impl FnMut(Vec<K>),
) -> Result<(), ListError>
where
    K: Clone + DeserializeOwned + Debug,
{
    loop {
        let page = api
            .list(&params)
            .await
            .map_err(|error| list_error(error, resource, scope))?;
        each(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

fn list_error(error: kube::Error, resource: WatchedResource, scope: &Scope) -> ListError {
    let error = watcher::Error::InitialListFailed(error);
    ListError {
        reason: failure::reason(&error),
        message: failure::problem(&error, resource, scope),
    }
}
