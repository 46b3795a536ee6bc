//! What the kernel says about a program: how much CPU time it has had, how much memory it holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// CPU time of a program and its children so far.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    /// By thread, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    /// utime + stime of `stat`, threads that ended included, in hundredths of a second.
    ticks: u64,
}

impl Cpu {
    /// Reads it for `pid` and its children (nginx works in a child).
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut cpu = Self { threads: BTreeMap::new(), ticks: 0 };
        for pid in family(pid)? {
            for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
                let entry = entry?;
                let Ok(thread) = entry.file_name().to_string_lossy().parse() else { continue };
                // A thread may end between the listing and this line.
                let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
                let ran =
                    text.split(' ').next().and_then(|ns| ns.parse().ok()).context("schedstat: a number")?;
                cpu.threads.insert(thread, ran);
            }
            let [user, system] =
                [13, 14].map(|at| stat(pid).and_then(|stat| stat.get(at)?.parse::<u64>().ok()));
            cpu.ticks += user.context("stat: utime")? + system.context("stat: stime")?;
        }
        Ok(cpu)
    }

    /// Microseconds since `before`. `stat` alone counts threads that ended meanwhile, but in steps of 10 ms, so it
    /// speaks only where one did.
    pub(crate) fn since(&self, before: &Self) -> f64 {
        if before.threads.is_empty() || before.threads.keys().any(|thread| !self.threads.contains_key(thread))
        {
            return self.ticks.saturating_sub(before.ticks) as f64 * 10_000.0;
        }
        let sum = |cpu: &Self| cpu.threads.values().sum::<u64>();
        sum(self).saturating_sub(sum(before)) as f64 / 1000.0
    }
}

/// Memory that a program and its children hold, in KiB (VmRSS).
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in family(pid)? {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status: VmRSS")?;
        sum += line.trim().trim_end_matches(" kB").trim().parse::<u64>()?;
    }
    Ok(sum)
}

fn family(pid: u32) -> Result<Vec<u32>> {
    let parent = pid.to_string();
    let mut all = vec![pid];
    for entry in fs::read_dir("/proc")? {
        let Ok(other) = entry?.file_name().to_string_lossy().parse() else { continue };
        if stat(other).is_some_and(|stat| stat.get(3) == Some(&parent)) {
            all.push(other);
        }
    }
    Ok(all)
}

/// The fields of `stat`, counted from 0 as in proc(5) less one; the command's name is left empty, since it may hold
/// spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields = [pid.to_string(), String::new()].into_iter();
    Some(fields.chain(rest.split(' ').map(str::to_owned)).collect())
}

/// One line about the machine: what figures are worth elsewhere depends on it.
pub(crate) fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
        line.unwrap_or_default().trim_matches([' ', '\t', ':', '"']).to_owned()
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let text = read("/proc/cpuinfo");
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{cores} cores of {cpu}, {memory}, Linux {kernel}, {system}, load {load}",
        cpu = first("/proc/cpuinfo", "model name"),
        memory = first("/proc/meminfo", "MemTotal"),
        kernel = read("/proc/sys/kernel/osrelease"),
        system = first("/etc/os-release", "PRETTY_NAME="),
        load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
    )
}

/// Where a program lies: beside this one, or among the system's.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let own = std::env::current_exe().ok()?;
    let beside = own.parent()?.join(program);
    if beside.exists() {
        return Some(beside);
    }
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
}
