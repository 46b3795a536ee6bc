//! Programs that stay: started in the background under an account of their own, recorded by process id in the lab's
//! folder, and ended by that id only after /proc says that it is still the program the lab started.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Account, make_folder, read, write};
use crate::patience::{until, when};

/// One recorded process. Every one of them names a file in the lab's folder on its command line, which is how it is
/// told from a stranger that has come by its process id since.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    root: PathBuf,
}

impl Process {
    pub(crate) fn named(root: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), root: root.to_owned() }
    }

    /// Every process that was recorded and not ended.
    pub(crate) fn all(root: &Path) -> Result<Vec<Self>> {
        let folder = root.join("processes");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut processes = Vec::new();
        for record in crate::machine::files_in(&folder)? {
            if let (Some(name), Some("pid")) = (
                record.file_stem().and_then(|name| name.to_str()),
                record.extension().and_then(|e| e.to_str()),
            ) {
                processes.push(Self::named(root, name));
            }
        }
        processes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(processes)
    }

    pub(crate) fn start(&self, command: &mut Command, account: Option<Account>) -> Result<()> {
        make_folder(&self.root.join("processes"))?;
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output())
            .with_context(|| format!("{}: cannot open it", self.output().display()))?;
        if let Some(account) = account {
            command.uid(account.user).gid(account.group);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Out of the terminal's group: an interrupted run leaves the lab to `down`, which ends it in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        write(&self.record(), &format!("{}\n", child.id()))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// What it wrote beside its own logs: the first place to look when it did not start.
    pub(crate) fn output(&self) -> PathBuf {
        self.root.join("processes").join(format!("{}.output", self.name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to end; `gone` then sees to it that it has.
    pub(crate) fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it without a word, as a power cut would.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.gone()
    }

    /// Waits until it has ended, with SIGKILL when it does not, and forgets it.
    pub(crate) fn gone(&self) -> Result<()> {
        let ended = || Ok(when(!self.is_running()));
        if until(&format!("{} has ended", self.name), Duration::from_secs(20), ended).is_err() {
            self.signal(Signal::KILL)?;
            until(&format!("{} has been killed", self.name), Duration::from_secs(10), ended)?;
        }
        if !self.record().exists() {
            return Ok(());
        }
        fs::remove_file(self.record())
            .with_context(|| format!("{}: cannot remove it", self.record().display()))
    }

    /// The processor time that it has used, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let stat = read(Path::new(&format!("/proc/{}/stat", pid.as_raw_nonzero())))?;
        // After the name, which may hold anything, in parentheses.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok());
        let ticks = ticks(11).zip(ticks(12)).with_context(|| format!("cannot read {stat:?}"))?;
        Ok(Duration::from_millis((ticks.0 + ticks.1) * 10))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match self.pid() {
            Some(pid) => kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name)),
            None => Ok(()),
        }
    }

    /// The recorded process id while it is still ours.
    fn pid(&self) -> Option<Pid> {
        let pid: i32 = read(&self.record()).ok()?.trim().parse().ok()?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = if command_line.is_empty() {
            // Between one program and the next of an exec; or it has ended, and only its state is left to read.
            !has_ended(pid)
        } else {
            String::from_utf8_lossy(&command_line).contains(&*self.root.to_string_lossy())
        };
        if ours { Pid::from_raw(pid) } else { None }
    }

    /// Where its process id is written.
    pub(crate) fn record(&self) -> PathBuf {
        self.root.join("processes").join(format!("{}.pid", self.name))
    }
}

fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.contains("State:") || status.contains("State:\tZ")
}
