//! A memory limit for a process, by a control group (version 1 or 2) as a container has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::Watchdog;

/// Tries several times: the group is busy for a moment after the end of its last process.
const REMOVE: &str = r#"read -r _; for i in 1 2 3 4 5 6 7 8 9 10; do rmdir -- "$1" && exit; sleep 0.2; done"#;

/// A control group with a memory limit. A watchdog removes it when the handle is dropped or this process dies. Declare it after the
/// processes of the group: fields are dropped in order.
#[derive(Debug)]
#[must_use]
pub struct MemoryCgroup {
    dir: PathBuf,
    version: Version,
    _remover: Watchdog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl MemoryCgroup {
    /// Creates a group with this limit in bytes. The error is the reason why this process cannot.
    pub fn create(limit: u64) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        let (root, version) = hierarchy(&mounts).context("no memory controller is mounted")?;
        if version == Version::Two {
            let controllers = root.join("cgroup.subtree_control");
            let active = fs::read_to_string(&controllers)
                .with_context(|| format!("read {}", controllers.display()))?;
            if !active.split_whitespace().any(|name| name == "memory") {
                write(&controllers, "+memory")?;
            }
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("sidewatch-{}-{number}", process::id()));
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        let remover = Watchdog::start(REMOVE, dir.as_os_str())?;
        let group = Self {
            dir,
            version,
            _remover: remover,
        };
        let (limit_file, swap_file, swap) = match version {
            Version::One => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", limit),
            Version::Two => ("memory.max", "memory.swap.max", 0),
        };
        write(&group.dir.join(limit_file), &limit.to_string())?;
        let swap_file = group.dir.join(swap_file);
        // Absent without support for swap.
        if swap_file.exists() {
            write(&swap_file, &swap.to_string())?;
        }
        Ok(group)
    }

    /// The file to which a process writes its id to enter the group.
    pub(crate) fn processes(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// Number of processes of the group that the kernel has killed because of the limit.
    pub fn oom_kills(&self) -> Result<u64> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let line = line.with_context(|| format!("no oom_kill in {}", path.display()))?;
        Ok(line.trim().parse()?)
    }
}

/// The mount of the memory controller. Version 1 is preferred: if both are mounted, it has the controller.
fn hierarchy(mounts: &str) -> Option<(PathBuf, Version)> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let mut second = None;
    for (path, kind, options) in mounts {
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            return Some((path.into(), Version::One));
        }
        if kind == "cgroup2" {
            second = Some((path.into(), Version::Two));
        }
    }
    second
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("write {value} to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_in_both_versions() {
        let first = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                     cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let second = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let table = [
            (first.to_owned(), Some(("/sys/fs/cgroup/memory", Version::One))),
            (
                format!("{second}{first}"),
                Some(("/sys/fs/cgroup/memory", Version::One)),
            ),
            (second.to_owned(), Some(("/sys/fs/cgroup/unified", Version::Two))),
            ("proc /proc proc rw 0 0\n".to_owned(), None),
        ];
        for (mounts, expected) in table {
            let expected = expected.map(|(path, version)| (PathBuf::from(path), version));
            assert_eq!(hierarchy(&mounts), expected, "{mounts}");
        }
    }
}
