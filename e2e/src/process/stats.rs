//! CPU time, memory, threads and open files of a process, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// Returns the CPU seconds of all threads, user and system, in steps of 10 ms.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("no CPU time in {path}"))?;
    Ok(ticks / f64::from(ticks_per_second))
}

/// utime + stime: fields 14 and 15. Field 2, the name in parentheses, can contain spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns the resident set now (`VmRSS`), in MB.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    memory(pid, "VmRSS:")
}

/// Returns the largest resident set so far (`VmHWM`), in MB.
pub(crate) fn peak_resident_mb(pid: u32) -> Result<f64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Result<f64> {
    Ok(status(pid, field)? * 1024.0 / 1e6)
}

/// Returns the number of threads.
pub(crate) fn threads(pid: u32) -> Result<f64> {
    status(pid, "Threads:")
}

/// Returns the number of open file descriptors.
pub(crate) fn open_files(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/fd");
    let files = fs::read_dir(&path).with_context(|| format!("read {path}"))?;
    Ok(f64::from(u32::try_from(files.count())?))
}

fn status(pid: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    number(&status, field).with_context(|| format!("no {field} in {path}"))
}

fn number(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_can_contain_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(300.0));
    }

    #[test]
    fn this_process_uses_cpu_memory_threads_and_files() {
        let pid = std::process::id();
        assert!(threads(pid).unwrap() >= 1.0);
        let _open = fs::File::open("/proc/self/status").unwrap();
        assert!(open_files(pid).unwrap() >= 4.0, "and input, output and error");
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(peak_resident_mb(pid).unwrap() >= resident_mb(pid).unwrap() * 0.9);
        assert!(resident_mb(pid).unwrap() > 1.0);
    }
}
