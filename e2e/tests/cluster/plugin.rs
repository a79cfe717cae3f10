//! The binary as a plugin of a real kubectl.

use std::{os::unix::fs::symlink, path::Path};

use e2e::{ControlPlane, operator::binary, process::Scratch};
use tokio::process::Command;

use crate::{
    cli::{Run, finish, namespace_with_violation},
    policy_specs::plane,
};

/// A directory on the PATH with kubectl and the plugin.
struct Kubectl<'a> {
    programs: Scratch,
    plane: &'a ControlPlane,
}

impl<'a> Kubectl<'a> {
    async fn new(plane: &'a ControlPlane) -> Self {
        let programs = Scratch::new().unwrap();
        let link = |program: &Path, name: &str| symlink(program, programs.path().join(name)).unwrap();
        let binary = binary().await.unwrap();
        link(plane.kubectl_path(), "kubectl");
        link(binary, "kubectl-sidewatch");
        link(binary, "kubectl_complete-sidewatch");
        Self { programs, plane }
    }

    /// Runs a command line of kubectl. No argument contains a space.
    async fn run(&self, line: &str) -> Run {
        let directory = self.programs.path();
        let mut command = Command::new(directory.join("kubectl"));
        command
            .args(line.split(' '))
            .env_clear()
            .env("PATH", directory)
            .env("HOME", directory)
            .env("KUBECONFIG", self.plane.kubeconfig_path());
        finish(&mut command).await
    }
}

#[tokio::test]
async fn kubectl_runs_the_plugin_with_its_flags() {
    let (plane, _) = plane().await;
    let namespace = namespace_with_violation(plane).await;
    let kubectl = Kubectl::new(plane).await;
    let listed = kubectl.run("plugin list").await;
    assert!(listed.stdout.contains("/kubectl-sidewatch"), "{listed:?}");

    let run = kubectl.run(&format!("sidewatch top -n {namespace}")).await;
    assert!(run.stdout.starts_with("1 Pods, "), "{run:?}");
    let context = kubectl.run("config current-context").await.stdout;
    let versions = format!(
        "sidewatch versions -n {namespace} -l app=web -o json --context {}",
        context.trim()
    );
    let run = kubectl.run(&versions).await;
    assert_eq!(run.json()["pods"], 1, "{run:?}");
    assert_eq!(run.code, Some(0), "{run:?}");

    let run = kubectl.run("sidewatch top --by color").await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("possible values: workload, image, policy"),
        "{run:?}"
    );
    let run = kubectl.run("sidewatch top --help").await;
    assert!(
        run.stdout.contains("Usage: kubectl sidewatch top [OPTIONS]"),
        "{run:?}"
    );
}

#[tokio::test]
async fn kubectl_completes_the_command_line_of_the_plugin() {
    let (plane, _) = plane().await;
    let namespace = namespace_with_violation(plane).await;
    let kubectl = Kubectl::new(plane).await;
    let complete = async |words: &str| {
        let run = kubectl.run(&format!("__complete sidewatch {words}")).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stdout
    };
    let text = complete("vers").await;
    assert!(
        text.starts_with("versions\tShow which versions") && text.ends_with("\n:4\n"),
        "{text}"
    );
    assert_eq!(
        complete("top --by im").await,
        "image\tBy the image of the container\n:4\n"
    );
    // The last word is empty.
    assert_eq!(
        complete("lint ").await,
        ":0\n",
        "the shell completes the names of files"
    );
    assert_eq!(
        complete(&format!("top -n {namespace}")).await,
        format!("{namespace}\n:4\n")
    );
    assert_eq!(complete(&format!("explain -n {namespace} ")).await, "web\n:4\n");
}
