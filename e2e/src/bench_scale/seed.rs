//! Many Pods in etcd, without a request for each.
//!
//! One Pod of each kind and one Namespace go through the API server. Their stored bytes become templates, and the copies
//! are written while the API server is down, so that its watch cache starts with them.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::etcd::{Entry, Etcd};
use super::pods;
use super::population::{self, Identity, NAMESPACES, PodKind, Population};
use super::template::Template;
use crate::ControlPlane;
use crate::operator::install_crds;
use crate::poll::eventually;

const SERVED_WITHIN: Duration = Duration::from_mins(5);
/// What must be served before a client starts: Pods from the watch cache, and the custom resources.
const SERVED: [&str; 3] = [
    "/api/v1/pods?resourceVersion=0&limit=1&fieldSelector=metadata.name%3Dnone",
    "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies?limit=1",
    "/apis/sidewatch.dev/v1alpha1/sidecarpolicies?limit=1",
];

/// What was seeded.
pub(super) struct Seeded {
    pub(super) population: Population,
    /// Bytes of a Pod in JSON, on average.
    pub(super) json_bytes: usize,
}

/// [`POLICY`](super::POLICY), but faults that begin with the first observation of a Pod fire soon.
const IMPATIENT_POLICY: &str = "{apiVersion: sidewatch.dev/v1alpha1, kind: ClusterSidecarPolicy, metadata: {name: all}, \
     spec: {checks: {notReady: {for: 5s}, mainReadySidecarNotReady: {for: 5s}}}}";

struct PodTemplate {
    template: Template,
    json_bytes: usize,
}

/// Starts a control plane with these Pods and a policy. The sidecars of the first `faulty` Pods are not ready.
pub(super) async fn faulty_cluster(pods: u32, faulty: u32) -> Result<ControlPlane> {
    let mut plane = ControlPlane::start().await?;
    install_crds(&plane).await?;
    plane.apply(IMPATIENT_POLICY).await?;
    seed(&mut plane, pods, faulty).await?;
    Ok(plane)
}

/// Writes the Pods and their Namespaces, and returns when the API server has them in its watch cache. The sidecars of the
/// first `faulty` Pods are not ready.
pub(super) async fn seed(plane: &mut ControlPlane, count: u32, faulty: u32) -> Result<Seeded> {
    let etcd = Etcd::new(plane.etcd_url());
    let namespace = namespace_template(plane, &etcd).await?;
    let mut templates = Vec::new();
    for is_faulty in [false, true] {
        for kind in [PodKind::Native, PodKind::Classic] {
            let template = pod_template(plane, &etcd, kind, is_faulty).await?;
            templates.push(((kind, is_faulty), template));
        }
    }
    let template_of = |number: u32| {
        let wanted = (population::kind(number), number < faulty);
        let mut templates = templates.iter();
        let found = templates.find(|(of, _)| *of == wanted);
        found
            .map(|(_, template)| template)
            .context("a kind without a template")
    };
    let placeholder = Identity::placeholders().namespace;
    plane.kill_api_server()?;
    etcd.delete(&namespace_key(&placeholder)).await?;

    let namespaces = (0..NAMESPACES).map(|number| {
        let name = population::namespace(number);
        let value = namespace.copy(&[&name, &population::uid(2, number)])?;
        Ok(Entry {
            key: namespace_key(&name),
            value,
        })
    });
    etcd.put_all(namespaces).await?;
    let copies = (0..count).map(|number| copy(&template_of(number)?.template, &Identity::of(number)));
    etcd.put_all(copies).await?;

    plane.restart_api_server().await?;
    for path in SERVED {
        wait_until_served(plane, path).await?;
    }
    let json_bytes: Result<usize> = (0..count).map(|number| Ok(template_of(number)?.json_bytes)).sum();
    let count_or_one = usize::try_from(count.max(1))?;
    Ok(Seeded {
        population: Population { pods: count },
        json_bytes: json_bytes? / count_or_one,
    })
}

fn copy(template: &Template, identity: &Identity) -> Result<Entry> {
    let value = template.copy(&identity.values())?;
    Ok(Entry {
        key: pod_key(identity),
        value,
    })
}

async fn namespace_template(plane: &ControlPlane, etcd: &Etcd) -> Result<Template> {
    let name = Identity::placeholders().namespace;
    let api: Api<Namespace> = Api::all(plane.client().await?);
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let namespace = api.create(&PostParams::default(), &namespace).await?;
    let uid = namespace.uid().context("a Namespace without a UID")?;
    Template::new(etcd.get(&namespace_key(&name)).await?, &[&name, &uid])
}

async fn pod_template(
    plane: &ControlPlane,
    etcd: &Etcd,
    kind: PodKind,
    is_faulty: bool,
) -> Result<PodTemplate> {
    let mut identity = Identity::placeholders();
    let api: Api<Pod> = Api::namespaced(plane.client().await?, &identity.namespace);
    let pod: Pod = serde_json::from_value(pods::pod(kind, &identity))?;
    let create = PostParams {
        field_manager: Some("kube-controller-manager".into()),
        ..PostParams::default()
    };
    let created = api
        .create(&create, &pod)
        .await
        .context("create the template Pod")?;
    let kubelet = PatchParams {
        field_manager: Some("kubelet".into()),
        ..PatchParams::default()
    };
    let status = Patch::Merge(json!({"status": pods::status(kind, &identity, is_faulty)}));
    let written = api
        .patch_status(&identity.pod_name(), &kubelet, &status)
        .await
        .context("write the status of the template Pod")?;
    identity.uid = created.uid().context("a Pod without a UID")?;
    let key = pod_key(&identity);
    let template = Template::new(etcd.get(&key).await?, &identity.values())?;
    etcd.delete(&key).await?;
    Ok(PodTemplate {
        template,
        json_bytes: serde_json::to_vec(&written)?.len(),
    })
}

async fn wait_until_served(plane: &ControlPlane, path: &str) -> Result<()> {
    let client = plane.client().await?;
    let served = eventually(SERVED_WITHIN, async || {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(client.request_text(request).await?)
    });
    served
        .await
        .map(drop)
        .with_context(|| format!("the API server does not serve {path}"))
}

fn namespace_key(name: &str) -> String {
    format!("/registry/namespaces/{name}")
}

fn pod_key(identity: &Identity) -> String {
    format!("/registry/pods/{}/{}", identity.namespace, identity.pod_name())
}
