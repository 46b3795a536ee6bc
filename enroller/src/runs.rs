//! Runs of agents on other machines: how one is started, and what is known of those that were.
//!
//! Whoever starts a run waits until it is over and says how it ended. That is believed only as far as it goes: whether
//! the run took up what it had to is read from its report ([`latest`]), by [`crate::pipeline::report`].
//!
//! | file | starts a run by |
//! |---|---|
//! | `ssh` | `puppet agent` on the machine itself |
//! | `orchestrator` | a job of Puppet Enterprise's |
//! | `mcollective` | `mco` on the Master of Masters |
//! | `command` | a program here |
//! | `observe` | nobody: hosts run by themselves |
//! | `own` | (tries until a run is over, and has its name) |
//! | `latest` | (reads what is known of a node's latest runs) |
//! | `last_run_report` | (the text of the report that an agent keeps, pure) |

mod command;
pub mod last_run_report;
pub mod latest;
mod mcollective;
mod orchestrator;
mod own;
mod ssh;

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Runner;

use crate::pipeline::report::Wanted;
use crate::pipeline::{Facts, Stop};
use crate::site::Site;

pub use command::{Wrong, program};

/// What stands for a node's latest report where it has none.
pub const NONE: &str = "none";

/// What a run is for, for whoever sees it somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// The master that is enrolled or retired.
    pub master: Certname,
    /// The procedure and the step, in words.
    pub words: String,
    /// The report that was the host's latest before, or [`NONE`], where it was noted: with it, the words are this run's
    /// alone.
    pub after: Option<String>,
}

impl Purpose {
    /// One line that tells the run from every other, as far as that is known.
    #[must_use]
    pub fn description(&self) -> String {
        let after = self.after.as_ref().map(|report| format!(", after report {report}")).unwrap_or_default();
        format!("stagedoor-enroller: {}{after}", self.words)
    }
}

/// Starts a run on a host and waits until it is over. The facts tell it from others, where anybody knows: `job`,
/// `transaction`.
///
/// # Errors
/// It could not be started, or did not end well.
pub async fn run(site: &Site, host: &Certname, purpose: &Purpose) -> Result<Facts, Stop> {
    match &site.settings.runs.runner {
        Runner::Ssh => ssh::run(site, host).await,
        Runner::Command(command) => command::run(site, command, host).await,
        Runner::Observe => Ok(Facts::none().and("runner", "observe")),
        Runner::Orchestrator { address } => orchestrator::run(site, address, host, purpose).await,
        Runner::Mcollective => mcollective::run(site, host).await,
    }
}

/// The first run of a new machine, which nobody knows yet but by ssh; where that is not there, by the runner.
///
/// # Errors
/// As for [`run`].
pub async fn first(site: &Site, host: &Certname) -> Result<Facts, Stop> {
    match &site.settings.runs.runner {
        Runner::Command(command) => command::run(site, command, host).await,
        _ if site.shell.is_there() => ssh::run(site, host).await,
        // Its own daemon does it, within half an hour.
        _ => Ok(Facts::none().and("runner", "observe")),
    }
}

/// Which report counts for a run, by what was recorded of its start.
#[must_use]
pub fn wanted(acted: Option<&Facts>) -> Wanted<'_> {
    let recorded = |name: &str| acted.and_then(|facts| facts.get(name));
    match (recorded("job"), recorded("transaction")) {
        (Some(job), _) => Wanted::Job(job),
        (None, Some(transaction)) => Wanted::Transaction(transaction),
        (None, None) => Wanted::Second,
    }
}
