//! A run by Puppet Enterprise's orchestrator, over the agent's own connection to a broker.
//!
//! A job says in its description what it is for, with the report that was the node's latest before. So whoever was killed
//! between a job's start and its number on record is followed by one who finds it, and starts no second one. A job of
//! which no run came is no job: another is started.
//!
//! While another run is in progress there, the orchestrator starts none: it says so in the node's words, and a job is
//! started anew until that run is over. That run is not taken for the one that was asked for.

use std::time::Duration;

use stagedoor_config::certname::Certname;
use tokio::time::{Instant, sleep};

use super::{NONE, Purpose, latest};
use crate::pe::job::{Node, Outcome};
use crate::pe::orchestrator::Orchestrator;
use crate::pipeline::report::Report;
use crate::pipeline::{Facts, Stop, StopKind};
use crate::site::Site;

/// Between two looks at a job: runs take minutes.
const BETWEEN: Duration = Duration::from_secs(2);
/// Between two jobs while another run is in progress.
const AGAIN: Duration = Duration::from_secs(10);
/// For an agent that was installed minutes ago to connect to a broker.
const CONNECTED: Duration = Duration::from_secs(30);
/// For the orchestrator to come back: a run of its own machine may restart it.
const AWAY: Duration = Duration::from_secs(5 * 60);

/// Has a job run the host alone, and waits until that is over.
pub(super) async fn run(
    site: &Site,
    address: &str,
    host: &Certname,
    purpose: &Purpose,
) -> Result<Facts, Stop> {
    let orchestrator = Orchestrator::at(site, address);
    let description = purpose.description();
    let mut job = match earlier(site, &orchestrator, host, purpose).await? {
        Some(job) => job,
        None => {
            connected(site, &orchestrator, host, purpose).await?;
            orchestrator.deploy(host, &description).await?
        }
    };
    let mut heard = Instant::now();
    loop {
        let (seen, nodes) = match orchestrator.job(&job).await {
            Ok(seen) => seen,
            Err(stop) if stop.kind == StopKind::Failed && heard.elapsed() < AWAY => {
                sleep(BETWEEN).await;
                continue;
            }
            Err(stop) => return Err(stop),
        };
        heard = Instant::now();
        if nodes.len() > 1 || seen.node_count.is_some_and(|count| count > 1) {
            orchestrator.stop(&job).await?;
            let reason = format!("job {job} was to run {host} alone and is for more nodes: it was stopped");
            let way_out = "write runner = \"ssh\" under [runs], then resume";
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        match seen.outcome(node(&nodes, host)) {
            Outcome::Waiting => sleep(BETWEEN).await,
            Outcome::Over => return Ok(Facts::none().and("runner", "orchestrator").and("job", job)),
            Outcome::Busy => {
                // The step's deadline ends this.
                sleep(AGAIN).await;
                job = orchestrator.deploy(host, &description).await?;
            }
            Outcome::Failed(words) => {
                let reason = format!("{host}: the run of job {job} failed: {words}");
                let way_out =
                    format!("put right what failed there (`puppet job show {job}` shows it), then resume");
                return Err(Stop::new(StopKind::Failed, reason, way_out));
            }
            Outcome::NoRun(words) => {
                let reason = format!("{host} was not run by job {job}: {words}");
                let way_out =
                    format!("see `puppet job show {job}` on {}, then resume", site.settings.mom.certname);
                return Err(Stop::new(StopKind::Failed, reason, way_out));
            }
        }
    }
}

/// A job of this very purpose that was started before, where a run comes of it or came.
async fn earlier(
    site: &Site,
    orchestrator: &Orchestrator<'_>,
    host: &Certname,
    purpose: &Purpose,
) -> Result<Option<String>, Stop> {
    let description = purpose.description();
    let jobs = orchestrator.jobs().await?;
    let mut own = jobs
        .into_iter()
        .filter(|job| job.is_for(host.as_str()) && job.description() == Some(description.as_str()));
    let mut over = Vec::new();
    if let Some(running) = own.by_ref().find(|job| {
        if job.is_over() {
            over.push(job.name.clone());
        }
        !job.is_over()
    }) {
        return Ok(Some(running.name));
    }
    // Without the report before it, the words are those of earlier enrollments, too. Where there was none before, the
    // job of an earlier enrollment has left none either.
    let reported = match purpose.after.as_deref() {
        None => return Ok(None),
        Some(NONE) if !over.is_empty() => Some(latest::reports(site, host).await?),
        Some(_) => None,
    };
    over.retain(|name| {
        let of_job = |report: &Report| report.job.as_ref() == Some(name);
        reported.as_ref().is_none_or(|reports| reports.iter().any(of_job))
    });
    for name in over {
        let (job, nodes) = orchestrator.job(&name).await?;
        if matches!(job.outcome(node(&nodes, host)), Outcome::Over | Outcome::Failed(_)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether the host can be run: the new master's agent has a moment to connect.
async fn connected(
    site: &Site,
    orchestrator: &Orchestrator<'_>,
    host: &Certname,
    purpose: &Purpose,
) -> Result<(), Stop> {
    let began = Instant::now();
    while !orchestrator.is_connected(host).await? {
        if purpose.master != *host || began.elapsed() > CONNECTED {
            let reason = format!("{host} is not connected to the orchestrator ({})", orchestrator.address());
            let way_out = format!(
                "see that pxp-agent runs on {host} and gets to a broker on port 8142 (/var/log/puppetlabs/pxp-agent), or \
                 that of {}; then resume",
                site.settings.mom.certname
            );
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        sleep(BETWEEN).await;
    }
    Ok(())
}

fn node<'n>(nodes: &'n [Node], host: &Certname) -> Option<&'n Node> {
    nodes.iter().find(|node| node.name == host.as_str())
}
