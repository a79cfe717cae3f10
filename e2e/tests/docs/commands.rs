//! The commands of the quickstart and of the pages on installing and upgrading do what the pages say: each `sh` block is run,
//! and a `text` block after it is what it prints, but for times.

use anyhow::Result;
use e2e::ControlPlane;
use e2e::process::copy_directory;
use e2e::project::repository;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, Step};

use crate::markdown::{Block, Page};
use crate::shell::Shell;

/// Installs the first revision of the release.
const INSTALL: &str = "\
helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace
kubectl wait --for=condition=Established --all crd
";

/// Installs the chart of the default policy too.
const POLICIES: &str =
    "helm install sidewatch-policies charts/sidewatch-policies --namespace sidewatch-system";

/// Upgrades the release, so that there is a revision to roll back to.
const UPGRADE: &str =
    "helm upgrade sidewatch charts/sidewatch --namespace sidewatch-system --set log.level=debug";

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
    let kubelet = SimulatedKubelet::new(plane.client().await?);
    let mut pod = kubelet.adopt("shop", spec).await?;
    pod.schedule().await?;
    let (helper, app) = (Step::Start("helper"), Step::Start("app"));
    pod.steps(&[Step::Admit, Step::SandboxReady, helper, app]).await
}

/// Runs the commands of each section of a page on a control plane of its own, after those in `before`.
async fn run_sections(page: &str, before: impl Fn(&str) -> String) {
    let page = Page::read(page);
    let mut ran = 0;
    for section in page.text.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let section = Page {
            path: page.path.clone(),
            text: text.to_owned(),
        };
        let commands = section.blocks_of("sh");
        if commands.is_empty() {
            continue;
        }
        let shell = Shell::start().await.unwrap();
        let _controllers = shell.plane.start_controllers(&CONTROLLERS).await.unwrap();
        // The commands see a copy of what they need: some write files beside it.
        let copy = shell.files.path().join("clone");
        for directory in ["charts", "config", "crds"] {
            copy_directory(&repository().join(directory), &copy.join(directory)).unwrap();
        }
        shell.plane.install_monitoring_crds().await.unwrap();
        shell.run(&before(title), &copy).await.unwrap();
        let run = async {
            for block in &commands {
                let result = shell.run(&block.text, &copy).await;
                result.unwrap_or_else(|error| panic!("{} {title}: {error:#}", page.name()));
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
        "Uninstalling" => format!("{INSTALL}{POLICIES}"),
        "Protected metrics" => INSTALL.to_owned(),
        _ => "true".to_owned(),
    })
    .await;
}

#[tokio::test]
async fn upgrading_works_as_the_page_says() {
    run_sections("docs/upgrading.md", |title| match title {
        "With kustomize" | "From kustomize to Helm" => "kubectl apply -k config/default".to_owned(),
        "Rolling back" => format!("{INSTALL}{UPGRADE}"),
        _ => INSTALL.to_owned(),
    })
    .await;
}
