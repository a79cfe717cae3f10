//! The commands of the quickstart and of the pages on installing and upgrading do what the pages say: each `sh` block is run,
//! and a `text` block after it is what it prints, but for times.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use e2e::ControlPlane;
use e2e::fake_kubelet::{Container, FakeKubelet, PodSpec, Step};
use e2e::process::{Process, Spec};
use e2e::scratch::Scratch;
use e2e::tools::{self, Tool};

use crate::markdown::{Block, Page, repository};

const SOON: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(500);
/// What makes Pods of Deployments.
const CONTROLLERS: [&str; 2] = ["deployment-controller", "replicaset-controller"];

/// A shell in which the commands work on a control plane.
struct Shell {
    plane: ControlPlane,
    files: Scratch,
}

impl Shell {
    async fn start() -> Result<Self> {
        let helm = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Helm])).await??;
        let plane = ControlPlane::start().await?;
        let files = Scratch::new()?;
        let programs = files.path().join("bin");
        std::fs::create_dir(&programs)?;
        std::os::unix::fs::symlink(plane.kubectl_path()?, programs.join("kubectl"))?;
        std::os::unix::fs::symlink(helm.path(Tool::Helm)?, programs.join("helm"))?;
        Ok(Self { plane, files })
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.files.path().display();
        vec![
            ("PATH", format!("{home}/bin:{path}")),
            ("KUBECONFIG", self.plane.kubeconfig_path().display().to_string()),
            ("KUBECACHEDIR", format!("{home}/kubectl")),
            ("HELM_CACHE_HOME", format!("{home}/helm")),
            ("HELM_CONFIG_HOME", format!("{home}/helm")),
            ("HELM_DATA_HOME", format!("{home}/helm")),
            // Others may have the usual ports.
            ("SIDEWATCH_METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("SIDEWATCH_HEALTH_ADDRESS", "127.0.0.1:0".to_owned()),
        ]
    }

    /// Runs commands in a directory and returns what they print.
    async fn run(&self, commands: &str, directory: &Path) -> Result<String> {
        let output = tokio::process::Command::new("bash")
            .args(["-euc", commands])
            .envs(self.variables())
            .current_dir(directory)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SOON, output).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{commands}\n{printed}{said}");
        }
        Ok(printed)
    }

    /// Runs commands, which only look, until they print what the page says.
    async fn expect(&self, commands: &str, expected: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let printed = self.run(commands, &repository()).await?;
            if comparable(&printed) == comparable(expected) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{commands}\nprints\n{printed}\nand not\n{expected}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts a command that stays, as in a second terminal.
    fn background(&self, command: &str) -> Result<Process> {
        // What cargo tells a test of its crate would let build scripts run again.
        let command = format!("unset ${{!CARGO_PKG_@}} ${{!CARGO_MANIFEST_@}}\nexec {command}");
        let bash = ["/bin/bash", "/usr/bin/bash"].into_iter().map(Path::new);
        let bash = bash.into_iter().find(|bash| bash.is_file()).unwrap();
        let mut spec = Spec::new(bash).args(["-c", &command]).dir(repository());
        for (name, value) in self.variables() {
            spec = spec.env(name, value);
        }
        Process::start(&spec, &self.files.path().join("background.log"))
    }
}

/// The words, without those that are times.
fn comparable(text: &str) -> Vec<String> {
    let is_age =
        |word: &str| word.ends_with(['s', 'm']) && word.starts_with(|first: char| first.is_ascii_digit());
    let is_time = |word: &str| {
        word.len() == "10:42:07Z".len()
            && word.ends_with('Z')
            && word.starts_with(|first: char| first.is_ascii_digit())
    };
    text.split_whitespace()
        .filter(|word| !is_age(word) && !is_time(word))
        .map(str::to_owned)
        .collect()
}

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
            None => drop(shell.run(&block.text, &repository()).await.unwrap()),
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
    let mut pod = FakeKubelet::new(plane.client().await?)
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
    run_sections("docs/install.md", |_| "true").await;
}

#[tokio::test]
async fn upgrading_works_as_the_page_says() {
    run_sections("docs/upgrading.md", |title| match title {
        "With kustomize" | "From kustomize to Helm" => "kubectl apply -k config/default",
        _ => "helm install sidewatch charts/sidewatch --namespace sidewatch-system --create-namespace",
    })
    .await;
}
