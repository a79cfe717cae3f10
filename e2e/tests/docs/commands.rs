//! The commands of the quickstart and of the pages on installing and upgrading do what the pages say: each `sh` block is run,
//! and a `text` block after it is what it prints, but for times.

use anyhow::Result;
use e2e::ControlPlane;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, Step};

use crate::markdown::{Block, Page};
use crate::shell::Shell;
use e2e::project::repository;

/// Installs the first revision of the release.
const HELM_INSTALL: &str =
    "helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace";

/// Installs both charts.
const HELM_INSTALL_BOTH: &str = "\
helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace
kubectl wait --for=condition=Established --all crd
helm install sidewatch-policies charts/sidewatch-policies --namespace sidewatch-system";

/// Installs the release, and a policy in which the severities of version 0.1 are stored.
const HELM_INSTALL_AND_OLD_POLICY: &str = "\
helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace
kubectl wait --for=condition=Established --all crd
kubectl apply -f - <<EOF
apiVersion: sidewatch.dev/v1alpha1
kind: ClusterSidecarPolicy
metadata: {name: platform}
spec: {checks: {frequentRestarts: {severity: Critical}, startupBlocked: {severity: Critical}}}
EOF";

/// Installs the release, and the default policy that the hook of an older chart created.
const HELM_INSTALL_AND_HOOK: &str = "\
helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace
kubectl wait --for=condition=Established --all crd
kubectl apply -f - <<EOF
apiVersion: sidewatch.dev/v1alpha1
kind: ClusterSidecarPolicy
metadata: {name: sidewatch, annotations: {helm.sh/hook: 'post-install,post-upgrade'}}
spec: {}
EOF";

/// Installs the release and upgrades it, so that there is a revision to roll back to.
const HELM_INSTALL_AND_UPGRADE: &str = "\
helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace
helm upgrade sidewatch charts/sidewatch --namespace sidewatch-system --set log.level=debug";

/// The controllers that create the Pods of a Deployment.
const CONTROLLERS: [&str; 2] = ["deployment-controller", "replicaset-controller"];

#[tokio::test]
async fn the_quickstart_ends_in_a_visible_violation() {
    let page = Page::read("docs/quickstart.md");
    let shell = Shell::start().await.unwrap();
    let mut operator = None;
    let mut texts = 0;
    let blocks = page.blocks();
    let pod = blocks.iter().find(|block| block.language == "yaml").unwrap();
    assert_eq!(
        pod.text,
        Page::read("docs/quickstart.yaml").text,
        "the Pod on the page"
    );
    for (at, block) in blocks
        .iter()
        .enumerate()
        .filter(|(_, block)| block.language == "sh")
    {
        match blocks.get(at + 1).filter(|next| next.language == "text") {
            Some(Block { text, .. }) => {
                shell.expect(&block.text, text).await.unwrap();
                texts += 1;
            }
            None if block.text.starts_with("cargo run ") => {
                operator = Some(shell.background(&block.text).unwrap());
            }
            None => drop(shell.run(&block.text, repository()).await.unwrap()),
        }
        if block.text.contains("quickstart.yaml") {
            play(&shell.plane).await.unwrap();
        }
    }
    assert_eq!(texts, 3);
    assert!(operator.unwrap().try_wait().unwrap().is_none(), "still at work");
}

/// What the kubelet does with the Pod of the quickstart.
async fn play(plane: &ControlPlane) -> Result<()> {
    let spec = PodSpec::new("web")
        .container(Container::native("helper").readiness_probe())
        .container(Container::regular("app"));
    let mut pod = SimulatedKubelet::new(plane.client().await?)
        .adopt("shop", spec)
        .await?;
    pod.schedule().await?;
    let steps = [
        Step::Admit,
        Step::SandboxReady,
        Step::Start("helper"),
        Step::Start("app"),
    ];
    pod.steps(&steps).await
}

/// Runs the commands of each section of a page on a control plane of its own, after `before`.
async fn run_sections(page: &str, before: impl Fn(&str) -> &'static str) {
    let page = Page::read(page);
    let mut ran = 0;
    for section in page.text.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let section = Page {
            path: page.path.clone(),
            text: text.to_owned(),
        };
        let blocks = section.blocks();
        let commands: Vec<_> = blocks.iter().filter(|block| block.language == "sh").collect();
        if commands.is_empty() {
            continue;
        }
        let shell = Shell::start().await.unwrap();
        let _controllers = shell.plane.start_controllers(&CONTROLLERS).await.unwrap();
        // The commands see a copy of what they need: some write files beside it.
        let copy = shell.files.path().join("clone");
        std::fs::create_dir(&copy).unwrap();
        let from = repository();
        let clone = format!("cp -r {0}/charts {0}/config {0}/crds .", from.display());
        shell.run(&clone, &copy).await.unwrap();
        shell.plane.install_monitoring_crds().await.unwrap();
        shell.run(before(title), &copy).await.unwrap();
        let run = async {
            for block in &commands {
                let result = shell.run(&block.text, &copy).await;
                assert!(
                    result.is_ok(),
                    "{} {title}: {:#}",
                    page.name(),
                    result.unwrap_err()
                );
                ran += 1;
            }
        };
        tokio::select! {
            () = run => {}
            stopped = shell.plane.keep_pods_ready("sidewatch-system") => panic!("{stopped:?}"),
            stopped = shell.plane.keep_pods_ready("sidecars") => panic!("{stopped:?}"),
        }
    }
    assert!(ran > 3, "{ran} blocks");
}

#[tokio::test]
async fn installing_works_as_the_page_says() {
    run_sections("docs/install.md", |title| match title {
        "Uninstalling" => HELM_INSTALL_BOTH,
        "Protected metrics" => HELM_INSTALL,
        _ => "true",
    })
    .await;
}

#[tokio::test]
async fn upgrading_works_as_the_page_says() {
    run_sections("docs/upgrading.md", |title| match title {
        "With kustomize" | "From kustomize to Helm" => "kubectl apply -k config/default",
        "Rolling back" => HELM_INSTALL_AND_UPGRADE,
        "Severities of existing policies" => HELM_INSTALL_AND_OLD_POLICY,
        "The default policy of the chart" => HELM_INSTALL_AND_HOOK,
        _ => HELM_INSTALL,
    })
    .await;
}
