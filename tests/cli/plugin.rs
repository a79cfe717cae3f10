//! The binary as a plugin of kubectl, and completion scripts.

use std::os::unix::fs::symlink;

use serde_json::json;
use testkit::api_server::{ApiServer, NAMESPACES, list};
use tokio::process::Command;

use crate::{
    setup::Setup,
    support::{Directory, Run, command_of, finish, sidewatch},
};

/// Runs the binary under another name.
async fn run_as(name: &str, args: &[&str]) -> Run {
    let directory = Directory::new();
    let link = directory.path(name);
    symlink(env!("CARGO_BIN_EXE_sidewatch"), &link).unwrap();
    finish(&mut command_of(&link, args)).await
}

#[tokio::test]
async fn the_plugin_shows_its_name() {
    let run = run_as("kubectl-sidewatch", &["top", "--help"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout.contains("Usage: kubectl sidewatch top [OPTIONS]"),
        "{run:?}"
    );
    let run = run_as("kubectl-sidewatch", &["simulate"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("Usage: kubectl sidewatch simulate"),
        "{run:?}"
    );
    let run = run_as("kubectl-sidewatch", &["version"]).await;
    assert_eq!(run.stdout, format!("sidewatch {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn namespaces_and_contexts_are_completed_from_the_cluster() {
    let server = ApiServer::default();
    let named = |name: &str| json!({"metadata": {"name": name}});
    let namespaces = ["shop", "shipping", "pay"].map(named);
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &namespaces));
    server.serve_quietly(
        "/api/v1/namespaces/shop/pods",
        list("Pod", "1", &[named("web-1"), named("cart-0")]),
    );
    let setup = Setup::new(server).await;
    let file = &setup.kubeconfig;
    let complete = async |words: &[&str]| {
        let run = run_as("kubectl_complete-sidewatch", words).await;
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        run.stdout
    };
    let words = ["top", "--kubeconfig", file, "-n", "sh"];
    assert_eq!(complete(&words).await, "shop\nshipping\n:4\n");
    let words = ["explain", "--kubeconfig", file, "-n", "shop", "w"];
    assert_eq!(complete(&words).await, "web-1\n:4\n");
    let words = ["top", "--kubeconfig", file, "--context="];
    assert_eq!(complete(&words).await, "--context=test\n:4\n");
    let words = ["top", "--kubeconfig", "/missing", "-n", ""];
    assert_eq!(complete(&words).await, ":4\n", "no cluster is no error");
}

#[tokio::test]
async fn each_shell_has_a_script() {
    let table = [
        ("bash", "complete -F _sidewatch"),
        ("zsh", "#compdef sidewatch"),
        ("fish", "complete -c sidewatch"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[sidewatch]"),
    ];
    for (shell, expected) in table {
        let run = sidewatch(&["completion", shell]).await;
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(run.stdout.contains(expected), "{shell}: {}", run.stdout);
        assert!(run.stdout.contains("versions"), "{shell}");
    }
    let run = sidewatch(&["completion", "tcsh"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("bash, elvish, fish, powershell, zsh"),
        "{run:?}"
    );
}

#[tokio::test]
async fn the_script_for_bash_is_valid() {
    let script = sidewatch(&["completion", "bash"]).await.stdout;
    let directory = Directory::new();
    let file = directory.file("sidewatch.bash", script + "\nCOMP_WORDS=(sidewatch vers)\nCOMP_CWORD=1\n_sidewatch sidewatch vers sidewatch\necho \"${COMPREPLY[@]}\"\n");
    let output = Command::new("bash").arg(file).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "versions version\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
