//! The door at its main job, on embedded parts: a CA, a Master of Masters and two compile masters on real TLS
//! sockets, the door in front of them, and a few hundred agents that run from nothing to their report.
//!
//! ```text
//! cargo run --release --bin demo -- [--once] [--agents N]
//! ```
//!
//! One master is on the roster from the start. The second is a machine without an agent, and is enrolled while traffic
//! runs: by `stagedoor-enroller`'s own steps, each shown as it is recorded. Some agents lie about who they are. In the end everything that the stand-ins have seen is looked through: a catalog for the wrong node, a
//! CA request at a compile master, an identity told to the Master of Masters make it fail. It needs no root, no
//! other service and no file outside a temporary folder; what runs on machines runs in a shell here, against stand-ins. `main` is the story; `traffic` are the agents, `verdict`
//! looks through what was seen, `screen` is what is printed.

mod screen;
mod traffic;
mod verdict;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use harness::door::Papers;
use harness::fleet::Site;
use harness::installation::Installation;
use harness::master::{Plan, Work};
use stagedoor::run::{Running, start};
use stagedoor_config::certname::Certname;
use stagedoor_config::{enroller, proxy};
use stagedoor_enroller::carry::{carry, plan};
use stagedoor_enroller::drive::{End, Told};
use stagedoor_enroller::journal::Folder;
use stagedoor_enroller::pipeline::Procedure;
use stagedoor_enroller::steps::Permits;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::screen::Screen;
use crate::traffic::Traffic;

/// Runs the door in front of a small Puppet installation made of stand-ins, and shows what it does.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// End when all agents have run, instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// How many agents run.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=5000))]
    agents: u32,
}

/// The master that is enrolled.
const SECOND: &str = "compile2.example.com";
/// Bytes of a catalog, about.
const CATALOG: usize = 60_000;

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went where it should, under the name it should.
fn play(arguments: &Arguments) -> anyhow::Result<bool> {
    let screen = Screen::new();
    let fleet_runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut site, mut there) = fleet_runtime.block_on(async { stage() });
    place(&mut site.papers, &screen)?;
    there.paper.door("door1.example.com", &site.papers);
    let door = open(&site.papers)?;
    let site = Arc::new(site);
    screen.opening(&site, there.machines.master(SECOND));

    let good = fleet_runtime.block_on(act(arguments, &screen, &site, &there))?;
    close(door, fleet_runtime);
    Ok(good)
}

/// The installation: a master that serves, and a machine that is to become another.
fn stage() -> (Site, Installation) {
    let plan = |name: &str| Plan {
        jrubies: 6,
        compile: Work { median: Duration::from_millis(60), spread: 0.5 },
        other: Work { median: Duration::from_millis(2), spread: 0.3 },
        catalog_bytes: CATALOG,
        ..Plan::named(name)
    };
    let site = Site::with([plan("compile1.example.com")]);
    site.mom.compiles_bytes(CATALOG);
    // Agents are signed as they come; a request for further names waits until the enroller has looked at it.
    site.mom.autosign_plain_alone();
    let mut there = Installation::of(&site, [plan(SECOND)]);
    there.paper.change("lasts = \"1s\"", "lasts = \"3s\"");
    (site, there)
}

/// Puppet's port and the admin door's, or the next that are free.
fn place(papers: &mut Papers, screen: &Screen) -> anyhow::Result<()> {
    papers.listen = free_from(8140, screen)?;
    papers.admin_http = free_from(9140, screen)?;
    Ok(())
}

fn free_from(first: u16, screen: &Screen) -> anyhow::Result<SocketAddr> {
    for port in first..first.saturating_add(100) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // A port that somebody holds on every address is taken here too; asking for it tells.
        if TcpListener::bind(address).is_ok() {
            if port != first {
                screen.say(&format!("port {first} is taken; using {port}"));
            }
            return Ok(address);
        }
    }
    bail!("no free port from {first} on: expected one among the next hundred of 127.0.0.1");
}

fn open(papers: &Papers) -> anyhow::Result<Running> {
    let file = papers.settle();
    let settings = proxy::Settings::parse(&file, &papers.settings()).map_err(|mistakes| {
        let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", words.join("\n"))
    })?;
    start(settings).context("the door does not start")
}

/// Traffic, the second master enrolled in the middle of it, the verdict.
async fn act(
    arguments: &Arguments,
    screen: &Screen,
    site: &Arc<Site>,
    there: &Installation,
) -> anyhow::Result<bool> {
    let second = there.machines.master(SECOND);
    let traffic = Traffic::start(site, arguments.agents);
    let enrolled_at = arguments.agents / 3;
    let (mut enrollment, mut released) = (None, false);
    while !traffic.is_done() {
        if enrollment.is_none() && traffic.finished() >= enrolled_at {
            screen.say(&format!("after {} runs: stagedoor-enroller enroll {SECOND}", traffic.finished()));
            enrollment = Some(enroll(there)?);
        }
        if let Some((told, _)) = &mut enrollment {
            while let Ok(told) = told.try_recv() {
                screen.say(&format!("  {told}"));
                if !released && told.contains(" watch: ") {
                    released = true;
                    traffic.release_the_rest();
                }
            }
        }
        if enrollment.as_ref().is_some_and(|(_, done)| done.is_finished()) && !released {
            // It stopped: the verdict says so, and nobody waits for ever.
            released = true;
            traffic.release_the_rest();
        }
        screen.progress(&traffic, &site.masters, second);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcome = traffic.end().await;
    let mut verdict = verdict::of(site, second, &outcome);
    if let Some((mut told, done)) = enrollment {
        let end = done.await.context("the enrollment")?;
        while let Ok(told) = told.try_recv() {
            screen.say(&format!("  {told}"));
        }
        match end {
            Ok(End::Finished) => {}
            other => verdict.wrong.push(format!("{SECOND} was not enrolled: {other:?}")),
        }
    }
    screen.table(site, second, &outcome, &verdict);

    if !arguments.once {
        screen.stays(&site.papers);
        // A few agents keep running, so that there is something to see.
        let more = traffic::trickle(site.clone());
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
        more.abort();
    }
    Ok(verdict.is_good())
}

/// What an enrollment tells, and its end.
type Enrollment = (mpsc::UnboundedReceiver<String>, tokio::task::JoinHandle<anyhow::Result<End>>);

/// Has the second master enrolled by the enroller's own steps, as its command does.
fn enroll(there: &Installation) -> anyhow::Result<Enrollment> {
    let file = there.paper.settle();
    let settings = enroller::Settings::parse(&file, &there.paper.text()).map_err(|mistakes| {
        let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", words.join("\n"))
    })?;
    let address = there.machines.address(SECOND).to_string();
    let plan = plan(&settings, Procedure::Enroll, &Certname::parse_host(SECOND)?, Some(&address))?;
    let journal = Folder::at(&settings.journal).begin(plan)?;
    // A line for each entry of its journal, of which there are some dozens.
    let (say, told) = mpsc::unbounded_channel();
    let done = tokio::spawn(async move {
        let mut tell = |told: &Told| drop(say.send(told.to_string()));
        Ok(carry(&settings, journal, Permits::default(), &mut tell).await?)
    });
    Ok((told, done))
}

/// The door first: it must not find its masters gone.
fn close(door: Running, fleet: Runtime) {
    door.stop();
    fleet.shutdown_background();
}
