//! The roles `view`, `edit` and `admin` include permissions on policies: kube-controller-manager aggregates them.

use std::time::{Duration, Instant};

use e2e::{ControlPlane, TokenKubeconfig};

use crate::helm::{CHART, Helm, NAMESPACE, RELEASE, VERSIONS};

const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// A user with a role in one namespace.
struct User<'a> {
    plane: &'a ControlPlane,
    role: &'static str,
    kubeconfig: TokenKubeconfig,
}

impl<'a> User<'a> {
    /// Creates a ServiceAccount that is bound to the role, in a namespace of that name.
    async fn new(plane: &'a ControlPlane, role: &'static str) -> Self {
        plane.kubectl(["create", "namespace", role]).await.unwrap();
        let kubeconfig = plane.kubeconfig_for(role, role).await.unwrap();
        let binding = [
            "create".to_owned(),
            "rolebinding".to_owned(),
            role.to_owned(),
            format!("--namespace={role}"),
            format!("--clusterrole={role}"),
            format!("--serviceaccount={role}:{role}"),
        ];
        plane.kubectl(binding).await.unwrap();
        Self {
            plane,
            role,
            kubeconfig,
        }
    }

    /// Whether the API server permits it. Any error except Forbidden fails the test.
    async fn is_allowed(&self, args: &[&str], input: &str) -> bool {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.path().display());
        let args = [args, &[kubeconfig.as_str()]].concat();
        match self.plane.kubectl_with_input(&args, input).await {
            Ok(_) => true,
            Err(error) if error.to_string().contains("Forbidden") => false,
            Err(error) => panic!("{}: {error}", self.role),
        }
    }

    async fn can_read_policies(&self, namespace: &str) -> bool {
        self.is_allowed(&["get", "sidecarpolicies", "--namespace", namespace], "")
            .await
    }

    async fn can_read_exemptions(&self, namespace: &str) -> bool {
        self.is_allowed(&["get", "sidecarexemptions", "--namespace", namespace], "")
            .await
    }

    async fn can_write_exemptions(&self) -> bool {
        let exemption = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarExemption, metadata: {name: mine}, \
                         spec: {selector: {}, reason: test, until: '2030-01-02T03:04:05Z'}}";
        let create = ["create", "--namespace", self.role, "--filename=-"];
        let delete = ["delete", "sidecarexemption", "mine", "--namespace", self.role];
        self.is_allowed(&create, exemption).await && self.is_allowed(&delete, "").await
    }

    async fn can_read_cluster_policies(&self) -> bool {
        self.is_allowed(&["get", "clustersidecarpolicies"], "").await
    }

    /// Binds the role in the whole cluster.
    async fn bind_in_cluster(&self) {
        let binding = [
            "create".to_owned(),
            "clusterrolebinding".to_owned(),
            self.role.to_owned(),
            format!("--clusterrole={}", self.role),
            format!("--serviceaccount={0}:{0}", self.role),
        ];
        self.plane.kubectl(binding).await.unwrap();
    }

    async fn can_write_policies(&self) -> bool {
        let policy =
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mine}, spec: {}}";
        let create = ["create", "--namespace", self.role, "--filename=-"];
        let change = [
            "patch",
            "sidecarpolicy",
            "mine",
            "--namespace",
            self.role,
            "--type=merge",
            "--patch={\"spec\": {\"mode\": \"Observe\"}}",
        ];
        let delete = ["delete", "sidecarpolicy", "mine", "--namespace", self.role];
        self.is_allowed(&create, policy).await
            && self.is_allowed(&change, "").await
            && self.is_allowed(&delete, "").await
    }

    async fn can_write_status(&self, of: &str) -> bool {
        let patch = [
            "patch",
            "sidecarpolicy",
            of,
            "--namespace",
            self.role,
            "--subresource=status",
            "--type=merge",
            "--patch={\"status\": {\"violationsOmitted\": 1}}",
        ];
        self.is_allowed(&patch, "").await
    }
}

#[tokio::test]
async fn view_reads_policies_and_edit_and_admin_write_them() {
    let plane = ControlPlane::start().await.unwrap();
    let _controllers = plane
        .start_controllers(&["clusterrole-aggregation-controller"])
        .await
        .unwrap();
    let (view, edit, admin) = (
        User::new(&plane, "view").await,
        User::new(&plane, "edit").await,
        User::new(&plane, "admin").await,
    );
    let helm = Helm::on(plane.cluster(), VERSIONS[1]).await.unwrap();
    let install = [
        "install",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ];
    assert!(
        !view.is_allowed(&["get", "pods", "--namespace", "edit"], "").await,
        "no permissions in other namespaces"
    );
    helm.run(&install).await.unwrap();

    let deadline = Instant::now() + SOON;
    for user in [&view, &edit, &admin] {
        while !user.can_read_policies(user.role).await {
            assert!(Instant::now() < deadline, "{} cannot read policies", user.role);
            tokio::time::sleep(POLL).await;
        }
        assert!(
            !user.can_read_policies("default").await,
            "{}: another namespace",
            user.role
        );
        assert!(
            user.can_read_exemptions(user.role).await && !user.can_read_exemptions("default").await,
            "{}: exemptions of the own namespace",
            user.role
        );
        let namespace = ["--namespace", user.role];
        let policy =
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: team}, spec: {}}";
        let apply = [&["create", "--filename=-"], &namespace[..]].concat();
        plane.kubectl_with_input(apply, policy).await.unwrap();
        assert!(
            !user.can_write_status("team").await,
            "{}: only the operator writes the status",
            user.role
        );
    }
    assert!(!view.can_write_policies().await, "view reads only");
    assert!(!view.can_write_exemptions().await, "view reads only");
    assert!(
        !view.can_read_cluster_policies().await,
        "a role in a namespace contains no cluster-scoped objects"
    );
    view.bind_in_cluster().await;
    while !view.can_read_cluster_policies().await {
        assert!(
            Instant::now() < deadline,
            "view of the cluster cannot read ClusterSidecarPolicies"
        );
        tokio::time::sleep(POLL).await;
    }
    for user in [&edit, &admin] {
        assert!(user.can_write_policies().await, "{}", user.role);
        assert!(user.can_write_exemptions().await, "{}", user.role);
    }
}
