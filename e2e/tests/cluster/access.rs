//! ServiceAccounts with the permissions of a manifest, and manifests with CRDs.

use std::time::Duration;

use e2e::cluster::tokens::SHORTEST_TOKEN_LIFE;
use e2e::poll::eventually;
use e2e::shared;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [''], resources: [pods], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: ServiceAccount, name: reader, namespace: NAMESPACE}
";

fn code<T>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("not an answer: {error}"),
        Ok(_) => 200,
    }
}

#[tokio::test]
async fn a_service_account_has_the_permissions_of_its_role() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("rbac").await.unwrap();
    let files = plane.kubeconfig_for(&namespace, "reader").await.unwrap();
    let kubeconfig = Kubeconfig::read_from(files.path()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let all = ListParams::default();

    assert_eq!(code(pods.list(&all).await), 403, "before the role");
    plane
        .apply_in(&namespace, &ROLE.replace("NAMESPACE", &namespace))
        .await
        .unwrap();
    // The authorizer of the API server follows by a watch.
    eventually(Duration::from_secs(10), || async { Ok(pods.list(&all).await?) })
        .await
        .expect("allowed with the role");
    assert_eq!(code(secrets.list(&all).await), 403, "without a role");
}

#[tokio::test]
async fn a_token_can_be_replaced() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("token").await.unwrap();
    let files = plane.kubeconfig_for_token("stale").unwrap();
    let path = files.path().to_str().unwrap();
    let whoami = || {
        plane.kubectl([
            "auth",
            "whoami",
            "--output=jsonpath={.status.userInfo.username}",
            "--kubeconfig",
            path,
        ])
    };

    whoami().await.expect_err("an invalid token");
    plane.service_account(&namespace, "rotated").await.unwrap();
    let token = plane
        .token(&namespace, "rotated", SHORTEST_TOKEN_LIFE)
        .await
        .unwrap();
    files.replace_token(&token).unwrap();
    assert_eq!(
        whoami().await.unwrap(),
        format!("system:serviceaccount:{namespace}:rotated")
    );
    plane
        .token(&namespace, "missing", SHORTEST_TOKEN_LIFE)
        .await
        .expect_err("no token without a ServiceAccount");
}

#[tokio::test]
async fn a_crd_is_served_when_apply_returns() {
    let plane = shared().await.unwrap();
    let crd = |plural: &str, kind: &str| {
        format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.e2e.sidewatch.dev}}
spec:
  group: e2e.sidewatch.dev
  scope: Cluster
  names: {{plural: {plural}, kind: {kind}}}
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]
---"
        )
    };
    plane
        .apply(&format!("{}{}", crd("apples", "Apple"), crd("pears", "Pear")))
        .await
        .unwrap();
    plane
        .apply("{apiVersion: e2e.sidewatch.dev/v1, kind: Apple, metadata: {name: cox}}")
        .await
        .unwrap();
    plane
        .apply("{apiVersion: e2e.sidewatch.dev/v1, kind: Pear, metadata: {name: comice}}")
        .await
        .unwrap();

    let error = plane
        .apply("{apiVersion: e2e.sidewatch.dev/v1, kind: Plum, metadata: {name: x}}")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Plum"),
        "the error names an undefined kind: {error}"
    );
}
