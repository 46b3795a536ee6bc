//! The programs that are measured, each a child process on a core of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use harness::identity::KeyKind;

use crate::agent::Agent;
use crate::process;
use crate::site::{AGENT, MASTER, Site};
use crate::unit::get;

/// How long a program may take to answer its first request.
const START: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// stagedoor.
    Door,
    /// benches/forwarder.
    Bare,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

impl Program {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Bare => "bare",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    const fn binary(self) -> &'static str {
        match self {
            Self::Door => "stagedoor",
            Self::Bare => "forwarder",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where it lies, if it does.
    pub(crate) fn path(self) -> Option<PathBuf> {
        process::find(self.binary())
    }

    /// Its version, in its own words.
    pub(crate) fn version(self) -> String {
        let (Some(path), flag) = (self.path(), if self == Self::Door { "--version" } else { "-v" }) else {
            return String::new();
        };
        if self == Self::Bare {
            return "hyper 1, tokio-rustls 0.26".to_owned();
        }
        let said = Command::new(path).arg(flag).output();
        // nginx says it on its standard error.
        let said = said.map(|said| [said.stdout, said.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
    }
}

/// A running program.
pub(crate) struct Proxy {
    /// Which.
    pub program: Program,
    /// Where agents connect.
    pub address: SocketAddr,
    child: Child,
}

impl Proxy {
    /// Starts it and waits until a request comes through with the identity stated as it should be.
    pub(crate) async fn start(program: Program, site: &Site) -> Result<Self> {
        let title = program.title();
        let path = program.path().with_context(|| format!("{title} is not installed or not built"))?;
        let address = if program == Program::Door { site.papers.listen } else { Site::address() };
        let file = |name: &str| site.papers.file(name);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(path);
        match program {
            Program::Door => {
                site.papers.write("proxy.toml", &site.papers.settings());
                let mut roster = site.papers.roster.clone().context("a roster")?;
                // More than agents: nobody is to wait in the door's queue, which the others do not have.
                roster.masters.iter_mut().for_each(|master| master.jrubies = NonZero::new(64));
                site.papers.write("roster.toml", &roster.render());
                command.args(["run", "--config"]).arg(file("proxy.toml"));
            }
            Program::Bare => {
                command.args(["--listen", &address.to_string(), "--to", &site.master.to_string()]);
                command.args(["--name", MASTER]);
                for (flag, name) in [
                    ("--certificate", "door.pem"),
                    ("--key", "door.key"),
                    ("--ca", "ca_crt.pem"),
                    ("--crl", "ca_crl.pem"),
                    ("--client-certificate", "door-client.pem"),
                    ("--client-key", "door-client.key"),
                ] {
                    command.arg(flag).arg(file(name));
                }
            }
            Program::Haproxy => {
                let settings = site.fill("haproxy.cfg", include_str!("../peers/haproxy.cfg"), address)?;
                command.args(["-db", "-f"]).arg(settings);
            }
            Program::Nginx => {
                let settings = site.fill("nginx.conf", include_str!("../peers/nginx.conf"), address)?;
                command.arg("-p").arg(site.papers.folder()).arg("-c").arg(settings);
                command.arg("-e").arg(file("nginx-error.log"));
            }
        }
        // HAProxy's access log is its standard output: a file, as the others write one.
        let (out, errors) = (format!("{title}.out"), format!("{title}.err"));
        command.stdin(Stdio::null()).stdout(File::create(file(&out))?).stderr(File::create(file(&errors))?);
        let child = command.spawn().context("taskset (util-linux)")?;
        let mut this = Self { program, address, child };
        if let Err(error) = this.until_it_passes(site).await {
            let said = std::fs::read_to_string(file(&errors)).unwrap_or_default();
            return Err(error.context(format!("{title} said:\n{said}")));
        }
        Ok(this)
    }

    async fn until_it_passes(&mut self, site: &Site) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            match self.look(site).await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A comparison is worth something only if each program does the same job.
    async fn look(&self, site: &Site) -> Result<()> {
        let mut agent = Agent::connect(self.address, site.agent(KeyKind::Rsa4096)?).await?;
        let seen = agent.ask_whole(&get(&format!("/puppet/v3/node/{AGENT}"))).await?.to_ascii_lowercase();
        ensure!(seen.starts_with("get /puppet/v3/node/"), "not passed on: {seen}");
        if self.program != Program::Bare {
            for stated in [
                "x-client-verify: success",
                &format!("x-client-dn: cn={AGENT}"),
                "x-client-cert: -----begin%20",
            ] {
                ensure!(seen.contains(stated), "the master was not told {stated:?}: {seen}");
            }
        }
        agent.close().await
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
        if !Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success()) {
            self.child.kill().ok();
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > Duration::from_secs(3) {
                self.child.kill().ok();
                self.child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
