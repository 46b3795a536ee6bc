//! Runs of agents on other machines: how one is started, and what is known of those that were.
//!
//! Whoever starts a run waits until it is over and says how it ended. That is believed only as far as it goes: whether
//! the run took up what it had to is read from its report ([`latest`]), by [`crate::pipeline::report`].
//!
//! | file | starts a run by |
//! |---|---|
//! | `ssh` | `puppet agent` on the machine itself |
//! | `command` | a program here |
//! | `observe` | nobody: hosts run by themselves |
//! | `latest` | (reads what is known of a node's latest runs) |
//! | `last_run_report` | (the text of the report that an agent keeps, pure) |

mod command;
pub mod last_run_report;
pub mod latest;
mod ssh;

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Runner;

use crate::pipeline::report::Wanted;
use crate::pipeline::{Facts, Stop};
use crate::site::Site;

pub use command::{Wrong, program};

/// Starts a run on a host and waits until it is over. The facts tell it from others, where anybody knows: `job`,
/// `transaction`.
///
/// # Errors
/// It could not be started, or did not end well.
pub async fn run(site: &Site, host: &Certname) -> Result<Facts, Stop> {
    match &site.settings.runs.runner {
        Runner::Ssh => ssh::run(site, host).await,
        Runner::Command(command) => command::run(site, command, host).await,
        Runner::Observe => Ok(Facts::none().and("runner", "observe")),
        Runner::Orchestrator { .. } | Runner::Mcollective => ssh::run(site, host).await,
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
