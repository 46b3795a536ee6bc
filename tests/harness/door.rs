//! The `stagedoor` program as a child process, the way an operator runs it.
//!
//! Its settings, roster and certificates are files in a folder of its own. What it says on its standard error is kept
//! and shown when a test fails. It is ended by its process id when the test is done with it, and by nothing else.

mod admin;
mod binary;
mod papers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

pub use admin::{Asked, Metrics};
pub use binary::binary;
pub use papers::Papers;

use crate::wait::{eventually, in_time};

/// A running door.
pub struct Door {
    child: Child,
    pid: u32,
    stderr: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    papers: Arc<Papers>,
}

impl Door {
    /// Starts `stagedoor run` and waits until it can take work.
    ///
    /// # Panics
    /// When it does not get ready; with what it said.
    pub async fn start(papers: impl Into<Arc<Papers>>) -> Self {
        let mut door = Self::spawn(papers, None);
        door.until_ready().await;
        door
    }

    /// Starts `stagedoor run` and waits until its admin door answers, ready or not.
    ///
    /// # Panics
    /// When it does not; with what it said.
    pub async fn start_unready(papers: impl Into<Arc<Papers>>) -> Self {
        let mut door = Self::spawn(papers, None);
        door.until_live().await;
        door
    }

    /// Starts `stagedoor run` and waits for nothing; with a limit on open files where given.
    #[must_use]
    pub fn spawn(papers: impl Into<Arc<Papers>>, open_files: Option<u32>) -> Self {
        let papers = papers.into();
        let settings = papers.settle();
        let mut command = match open_files {
            None => Command::new(binary()),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(binary());
                shell
            }
        };
        command.arg("run").arg("--config").arg(settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the door starts");
        let pid = child.id().expect("a child that was just started has an id");
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("it was piped")).lines();
        let kept = stderr.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { child, pid, stderr, reading, papers }
    }

    /// Where agents connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.papers.listen
    }

    /// Its files; another door can be started with them when this one has ended.
    #[must_use]
    pub fn papers(&self) -> &Arc<Papers> {
        &self.papers
    }

    /// What it has said on its standard error.
    #[must_use]
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until `/live` answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_live(&mut self) {
        eventually("the door's admin door answers", async || {
            self.still_runs()?;
            self.papers.admin("GET", "/live", "").await.map(|_| ()).map_err(|e| e.to_string())
        })
        .await;
    }

    /// Waits until `/ready` says 200.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_ready(&mut self) {
        eventually("the door is ready", async || {
            self.still_runs()?;
            match self.papers.admin("GET", "/ready", "").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(why) => Err(why.to_string()),
            }
        })
        .await;
    }

    fn still_runs(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => panic!("the door ended: {ended:?}"),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the door is our child");
    }

    /// Waits for it to end by itself, and gives back how, and what it said.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let status = in_time("the door ends", self.child.wait()).await.expect("it is our child");
        in_time("its last words", &mut self.reading).await.ok();
        (status, self.said())
    }

    /// Tells it to stop, as an init system does, and waits for that.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// The most memory it has held at once, in bytes (`VmHWM`).
    #[must_use]
    pub fn most_memory(&self) -> u64 {
        let path = PathBuf::from(format!("/proc/{}/status", self.pid));
        let text = std::fs::read_to_string(&path).expect("the door runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kib * 1024
    }

    /// How many files and sockets it has open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the door said:\n{}---", self.said());
        }
        // Nothing is asked of it any more; `stop` is for tests about stopping.
        self.child.start_kill().ok();
    }
}
