//! The programs that are measured, each a child process on a core of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use harness::ca::{DoorCa, PuppetCa};
use harness::door::Papers;
use harness::listening::{free_address, own_address};

use crate::{load, process};

/// How long a program may take to pass its first connection.
const START: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// stagedoor.
    Door,
    /// Another build of it.
    Other,
    /// HAProxy.
    Haproxy,
    /// HAProxy with `option splice-auto`.
    HaproxySplice,
    /// nginx.
    Nginx,
}

impl Program {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Other => "other",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splicing",
            Self::Nginx => "nginx",
        }
    }

    /// Where it lies, if it does.
    pub(crate) fn path(self, other: Option<&Path>) -> Option<PathBuf> {
        match self {
            Self::Door => process::find("stagedoor"),
            Self::Other => other.map(Path::to_path_buf),
            Self::Haproxy | Self::HaproxySplice => process::find("haproxy"),
            // The module is a package of its own.
            Self::Nginx => process::find("nginx")
                .filter(|_| Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists()),
        }
    }
}

/// A running program.
pub(crate) struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    child: Child,
    _papers: Papers,
}

impl Proxy {
    /// Starts it in front of the backend and waits until a connection comes through.
    pub(crate) async fn start(program: Program, other: Option<&Path>, backend: SocketAddr) -> Result<Self> {
        let title = program.title();
        let path = program.path(other).with_context(|| format!("{title} is not installed or not built"))?;
        let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
        let mut papers = Papers::new(&ca, &door_ca, backend);
        papers.extra.0 = "workers = 1".to_owned();
        papers.bound("connections", "4000");
        papers.bound("passed", "4000");
        let file = |papers: &Papers, name: &str| papers.file(name);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(path);
        let address = match program {
            Program::Door | Program::Other => {
                let address = papers.passing(&format!("backends = [\"{backend}\"]"));
                command.args(["run", "--config"]).arg(papers.settle());
                address
            }
            Program::Haproxy | Program::HaproxySplice | Program::Nginx => {
                let address = free_address(own_address());
                let template = match program {
                    Program::Nginx => include_str!("../peers/nginx-stream.conf"),
                    _ => include_str!("../peers/haproxy-tcp.cfg"),
                };
                let splice = if program == Program::HaproxySplice { "option splice-auto" } else { "" };
                let filled = template
                    .replace("@LISTEN@", &address.to_string())
                    .replace("@MASTER@", &backend.to_string())
                    .replace("@SPLICE@", splice)
                    .replace("@FOLDER@", &papers.folder().display().to_string());
                papers.write("peer.conf", &filled);
                match program {
                    Program::Nginx => command.arg("-p").arg(papers.folder()).arg("-c"),
                    _ => command.args(["-db", "-f"]),
                };
                command.arg(file(&papers, "peer.conf"));
                address
            }
        };
        let (out, errors) = (file(&papers, "out"), file(&papers, "err"));
        command.stdin(Stdio::null()).stdout(File::create(out)?).stderr(File::create(&errors)?);
        let child = command.spawn().context("taskset (util-linux)")?;
        let mut this = Self { address, child, _papers: papers };
        let began = Instant::now();
        loop {
            if let Some(status) = this.child.try_wait()? {
                bail!("{title} ended: {status}: {}", std::fs::read_to_string(&errors)?);
            }
            match load::one(address, 100).await {
                Ok(()) => return Ok(this),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends when its parent is told to, not when it is killed.
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > Duration::from_secs(3) {
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
