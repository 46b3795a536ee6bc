//! The programs that are compared, each a child process with one thread for its work.

use std::fs::File;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use harness::agent::DIALS;
use harness::door::Papers;
use harness::listening::{free_address, own_address};
use rustls::ClientConfig;

use super::Scale;
use super::agent::connect;
use super::master::Master;
use super::process;
use super::site::Site;
use crate::JRUBIES;

/// How long a program may take until each master takes requests from it.
const START: Duration = Duration::from_secs(20);
/// How often a master is asked for its health, by the site's clock: the door's own default.
const INTERVAL: Duration = Duration::from_secs(5);

/// Which program, and how it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// stagedoor.
    Door,
    /// HAProxy passing each connection to the master with the fewest.
    Tcp,
    /// HAProxy giving each request to the master with the fewest.
    Http,
    /// The same with as many requests at once as JRubies, and small ones first.
    Tuned,
}

impl Program {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Door => "the door",
            Self::Tcp => "TCP leastconn",
            Self::Http => "HTTP leastconn",
            Self::Tuned => "HTTP leastconn, tuned",
        }
    }

    /// Where it lies, if it does.
    pub(crate) fn path(self) -> Option<PathBuf> {
        process::find(if self == Self::Door { "stagedoor" } else { "haproxy" })
    }
}

/// A running program.
pub(crate) struct Balancer {
    /// Where agents connect.
    pub address: SocketAddr,
    child: Child,
    papers: Papers,
}

impl Balancer {
    /// Starts it and waits until it takes requests to each of the masters.
    pub(crate) async fn start(
        program: Program,
        site: &Site,
        masters: &[Master],
        agent: &Arc<ClientConfig>,
        scale: Scale,
    ) -> Result<Self> {
        let title = program.title();
        let path = program.path().with_context(|| format!("{title}: not installed or not built"))?;
        let anywhere = masters.first().context("a master")?.sealed();
        let mut papers = Papers::new(&site.ca, &site.door_ca, anywhere);
        let mut command = Command::new(path);
        let address = if program == Program::Door {
            for master in masters {
                papers.admit_at(&master.name, master.sealed());
            }
            settle(&mut papers, scale);
            command.args(["run", "--config"]).arg(papers.settle());
            papers.listen
        } else {
            let address = free_address(own_address());
            papers.write("haproxy.cfg", &haproxy(program, &papers, masters, address, scale)?);
            command.args(["-db", "-f"]).arg(papers.file("haproxy.cfg"));
            address
        };
        let (out, errors) = (papers.file("out"), papers.file("err"));
        command.stdin(Stdio::null()).stdout(File::create(out)?).stderr(File::create(&errors)?);
        let child = command.spawn().with_context(|| format!("{title} does not start"))?;
        let mut this = Self { address, child, papers };
        if let Err(error) = this.until_it_serves(program, agent, scale).await {
            let said = std::fs::read_to_string(errors).unwrap_or_default();
            return Err(error.context(format!("{title} said:\n{said}")));
        }
        Ok(this)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How often it took a master for dead, which only one that is killed should be.
    pub(crate) fn taken_for_dead(&self) -> Result<usize> {
        let said = std::fs::read_to_string(self.papers.file("err"))?;
        let dead = |line: &&str| line.contains(" is DOWN") || line.contains("master is unfit");
        Ok(said.lines().filter(dead).count())
    }

    async fn until_it_serves(
        &mut self,
        program: Program,
        agent: &Arc<ClientConfig>,
        scale: Scale,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            match self.look(program, agent).await {
                Ok(()) => break,
                Err(error) if began.elapsed() > START => return Err(error),
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        // Each master is asked for its health at least once more.
        tokio::time::sleep(scale.wall(INTERVAL) * 2).await;
        Ok(())
    }

    /// A comparison is worth something only if each program does its whole job.
    async fn look(&self, program: Program, agent: &Arc<ClientConfig>) -> Result<()> {
        if program == Program::Door {
            let masters = self.papers.admin("GET", "/v1/masters", "").await?.json();
            let mut all = masters["masters"].as_array().into_iter().flatten();
            ensure!(all.all(|one| one["fit"] == "fit" && one["seal"] == "sealed"), "not ready: {masters}");
        }
        let mut connection = connect(self.address, agent).await.context("no connection")?;
        let certname = Site::certname(0);
        let request = format!(
            "GET /puppet/v3/node/{certname}?environment=production HTTP/1.1\r\nX-Puppet-Version: 8.10.0\r\n\
             Host: {DIALS}:8140\r\n\r\n"
        );
        connection.write(request.as_bytes()).await?;
        let head = connection.head().await?.context("no answer")?;
        let seen = connection.whole_body(head.response_framing("GET")).await?;
        let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        ensure!(head.status() == 200 && seen.starts_with("get /puppet/v3/node/"), "{}: {seen}", head.first);
        if program != Program::Tcp {
            for stated in ["x-client-verify: success", "x-client-cert: -----begin%20"] {
                ensure!(seen.contains(stated), "the master was not told {stated:?}: {seen}");
            }
            ensure!(seen.contains(&format!("x-client-dn: cn={certname}")), "no name was told: {seen}");
        }
        Ok(())
    }
}

/// The door's settings and roster.
fn settle(papers: &mut Papers, scale: Scale) {
    papers.extra.0 = "workers = 1".to_owned();
    let interval = format!("\"{}ms\"", scale.wall(INTERVAL).as_millis());
    for (key, value) in [("interval", &*interval), ("timeout", &*interval), ("rise", "2"), ("fall", "3")] {
        papers.health(key, value);
    }
    for (key, value) in [("connections", "4000"), ("handshakes", "256")] {
        papers.bound(key, value);
    }
    for master in papers.roster.iter_mut().flat_map(|roster| &mut roster.masters) {
        master.jrubies = NonZero::new(JRUBIES);
    }
}

fn haproxy(
    program: Program,
    papers: &Papers,
    masters: &[Master],
    listen: SocketAddr,
    scale: Scale,
) -> Result<String> {
    let file = |name: &str| papers.file(name).display().to_string();
    for stem in ["door", "door-client"] {
        let read = |end: &str| std::fs::read_to_string(papers.file(&format!("{stem}.{end}")));
        papers.write(&format!("{stem}.both"), &(read("pem")? + &read("key")?));
    }
    let (template, limit, priority) = match program {
        Program::Tcp => (include_str!("../../peers/haproxy-storm-tcp.cfg"), String::new(), ""),
        Program::Tuned => (
            include_str!("../../peers/haproxy-storm.cfg"),
            format!("maxconn {JRUBIES} "),
            "http-request set-priority-class int(-100) unless catalog",
        ),
        _ => (include_str!("../../peers/haproxy-storm.cfg"), String::new(), ""),
    };
    let server = |master: &Master| {
        let name = &master.name;
        match program {
            Program::Tcp => format!("    server {name} {} check check-sni {name}\n", master.open()),
            _ => format!(
                "    server {name} {} {limit}sni str({name}) check-sni {name} verifyhost {name}\n",
                master.sealed()
            ),
        }
    };
    let filled = [
        ("@LISTEN@", listen.to_string()),
        ("@SHOWN@", file("door.both")),
        ("@CA@", file("ca_crt.pem")),
        ("@CRL@", file("ca_crl.pem")),
        ("@CLIENT@", file("door-client.both")),
        ("@INTERVAL@", format!("{}ms", scale.wall(INTERVAL).as_millis())),
        ("@PRIORITY@", priority.to_owned()),
        ("@SERVERS@", masters.iter().map(server).collect()),
    ];
    Ok(filled.iter().fold(template.to_owned(), |text, (hole, value)| text.replace(hole, value)))
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Nothing is asked of it any more, and neither program has children.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
