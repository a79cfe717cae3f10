//! An operator that nobody disturbs, installed by the chart with rights to read only. It can neither renew a Lease nor write
//! a checkpoint, so it stays a standby: it evaluates the same Pods and policies, and writes nothing.

use anyhow::Result;
use e2e::images::OPERATOR;
use e2e::operator::helm::{CHART, Helm};
use e2e::tools::Tool;

use crate::installation::Installation;

/// Its namespace, release and ServiceAccount.
pub(crate) const NAMESPACE: &str = "undisturbed";

const RIGHTS: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: undisturbed}
rules:
  - {apiGroups: [''], resources: [pods, namespaces], verbs: [list, watch]}
  - {apiGroups: [sidewatch.dev], resources: [sidecarpolicies, clustersidecarpolicies, sidecarexemptions], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: undisturbed}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: undisturbed}
subjects: [{kind: ServiceAccount, name: undisturbed, namespace: undisturbed}]
";

/// Installs it, waits until it is ready, and returns the name of its Pod.
pub(crate) async fn install(installation: &Installation) -> Result<String> {
    installation.create(NAMESPACE, RIGHTS).await?;
    let helm = Helm::on(&installation.cluster, Tool::Helm).await?;
    let image = OPERATOR.replacen(':', ",image.tag=", 1);
    let values = format!(
        "fullnameOverride={NAMESPACE},replicas=1,crds.enabled=false,rbac.create=false,rbac.aggregate=false,\
         image.pullPolicy=Never,image.repository={image}"
    );
    let install = [
        "install",
        NAMESPACE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--set",
        &values,
    ];
    helm.run(&install).await?;
    let status = format!("rollout status deployment/{NAMESPACE} --timeout=2m");
    installation.kubectl(NAMESPACE, &status).await?;
    let name = "get pods --output=jsonpath={.items[0].metadata.name}";
    installation.kubectl(NAMESPACE, name).await
}
