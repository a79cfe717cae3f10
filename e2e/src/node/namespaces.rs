//! Linux namespaces for the node.
//!
//! Runs this program again in new network, process and mount namespaces, with an empty `/run` for all its files. Everything
//! ends with the namespaces, except cgroups: this program creates them outside, under one name, and removes them afterwards.
//! Cgroups of a killed program are removed by the next one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::process::Watchdog;
use crate::process::programs::{on_path, stdout_of};

/// Set inside: the parent cgroup, relative to the root of each hierarchy.
const CGROUP: &str = "SIDEWATCH_NODE_CGROUP";
/// Set inside: id of the process outside that has these namespaces, for `nsenter`.
const TARGET: &str = "SIDEWATCH_NODE_TARGET";
const PREFIX: &str = "sidewatch-node-";
/// The init process inside, which reaps orphans.
const FIRST: &str = r#"mount -t tmpfs tmpfs /run && "$@"; exit $?"#;
const KILL_GROUP: &str = r#"read -r _; kill -s KILL -- "-$1""#;
const NAMESPACES: [&str; 6] = [
    "--net",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
    "--mount-proc",
];
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The reason why a node cannot run here, or `None`. Installs missing packages where root has `apt-get`.
pub fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a node needs Linux".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Some(
            "a node needs root: put `sudo --preserve-env env \"PATH=$PATH\"` before the command".into(),
        );
    }
    let needed = [("runc", "runc"), ("ip", "iproute2"), ("unshare", "util-linux")];
    for (program, package) in needed {
        if is_installed(program) {
            continue;
        }
        if !is_installed("apt-get") {
            return Some(format!(
                "a node needs {program}: install the package {package} of your distribution"
            ));
        }
        if let Err(error) = install(package) {
            return Some(format!(
                "a node needs {program}, and `apt-get install {package}` fails: {error:#}"
            ));
        }
    }
    // In a container, root may lack capabilities.
    let mut unshare = Command::new("unshare");
    unshare
        .args(NAMESPACES)
        .args(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    let error = stdout_of(&mut unshare).err()?;
    Some(format!(
        "a node needs its own Linux namespaces (in a container: `--privileged`): {error:#}"
    ))
}

/// Runs this program inside and exits with its exit code.
pub(super) fn run_inside() -> Result<()> {
    remove_stale();
    let name = format!("{PREFIX}{}", process::id());
    make(&name)?;
    let code = run(&name);
    remove(&name)?;
    process::exit(code?);
}

/// Whether this program runs inside.
pub fn is_inside() -> bool {
    env::var_os(CGROUP).is_some()
}

/// Prefix of a command outside that makes it run inside.
pub fn nsenter() -> Result<String> {
    let target = env::var(TARGET).context("node::enter was not called")?;
    Ok(format!("nsenter --target {target} --net --mount "))
}

/// The parent cgroup of all processes inside.
pub(super) fn cgroup() -> Result<String> {
    let name = env::var(CGROUP).context("node::enter was not called")?;
    Ok(format!("/{name}"))
}

/// Runs this program inside and returns its exit code. A signal that ends this program ends those inside.
fn run(name: &str) -> Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut child = command(name)?.spawn().context("run unshare")?;
        let id = child.id().context("unshare has no id")?;
        // If this program is killed, the processes inside are killed too.
        let watchdog = Watchdog::start(KILL_GROUP, OsStr::new(&id.to_string()))?;
        let status = tokio::select! {
            status = child.wait() => status.context("wait for unshare")?,
            signal = signals.next() => {
                drop(watchdog);
                child.wait().await.context("wait for unshare")?;
                return Ok(128 + signal.as_raw_value());
            }
        };
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    })
}

fn command(name: &str) -> Result<tokio::process::Command> {
    let unshare = format!(r#"{TARGET}=$$ exec unshare "$@""#);
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", &unshare, "sh"])
        .args(NAMESPACES)
        .args(["sh", "-c", FIRST, "sh"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(CGROUP, name)
        // Temporary files end with the mount.
        .env("TMPDIR", "/run")
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// Signals that terminate a program.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = || {
            anyhow::Ok(Self([
                signal(SignalKind::hangup())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            ]))
        };
        listen().context("listen to signals")
    }

    async fn next(&mut self) -> SignalKind {
        let Self([hangup, interrupt, terminate]) = self;
        tokio::select! {
            _ = hangup.recv() => SignalKind::hangup(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
    }
}

pub(super) fn is_installed(program: &str) -> bool {
    // directories of administrative programs
    let more = ["/usr/sbin", "/sbin"].map(Path::new);
    on_path(program).is_some() || more.iter().any(|dir| dir.join(program).is_file())
}

pub(super) fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        stdout_of(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The package lists may be missing or stale.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// Roots of the cgroup hierarchies: several of version 1, or one of version 2.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let mut all: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind) = (words.next()?, words.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| path.into())
        })
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

fn make(name: &str) -> Result<()> {
    for root in hierarchies()? {
        let dir = root.join(name);
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        // A new cpuset of version 1 has no processors and memory, and accepts no process until it has.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if root.join("cgroup.procs").is_file() && root.join(file).is_file() {
                fs::copy(root.join(file), dir.join(file)).with_context(|| format!("set {file}"))?;
            }
        }
    }
    Ok(())
}

fn remove_stale() {
    for root in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_prefix(PREFIX)
                .filter(|id| !Path::new("/proc").join(id).exists());
            if owner.is_some() {
                // Another process may remove it at the same time.
                let _ = remove_tree(&entry.path());
            }
        }
    }
}

/// Removes the cgroups that [`make`] created, and all below. Killed processes may still be in them for a moment.
fn remove(name: &str) -> Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    for root in hierarchies()? {
        let dir = root.join(name);
        while let Err(error) = remove_tree(&dir) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("remove {}", dir.display()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Removes the directories of a cgroup, depth first. Its files cannot be removed; they end with the directory.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}
