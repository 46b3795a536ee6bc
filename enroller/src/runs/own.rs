//! A run that is waited for: begun again while another is in progress, and told from that one by its own name.

use std::time::Duration;

use stagedoor_config::certname::Certname;
use tokio::time::sleep;

use super::latest;
use crate::pipeline::{Facts, Stop};
use crate::shell::Ended;
use crate::site::Site;

/// Between two tries while another run is in progress: runs take minutes, and each try costs the machine seconds.
const BETWEEN: Duration = Duration::from_secs(10);
/// As `puppet agent` says it. Words of a run's own resources may hold the half of it.
const IN_PROGRESS: &str = "Run of Puppet configuration client already in progress";

/// What a try came to.
pub(super) enum Try {
    /// A run, which is over and has ended well.
    Over,
    /// None: another is in progress.
    Busy,
}

/// Tries until a run is over; the step's deadline ends that. The facts have its name, as the machine's agent keeps it,
/// where that has one that it did not have before: an agent that could not write its report has the name of another run.
pub(super) async fn run<T>(
    site: &Site,
    host: &Certname,
    runner: &str,
    start: impl Fn() -> T + Send,
) -> Result<Facts, Stop>
where
    T: Future<Output = Result<Try, Stop>> + Send,
{
    loop {
        let before = transaction(site, host).await?;
        match start().await? {
            Try::Busy => sleep(BETWEEN).await,
            Try::Over => {
                let facts = Facts::none().and("runner", runner);
                let after = transaction(site, host).await?.filter(|after| before.as_ref() != Some(after));
                return Ok(after.into_iter().fold(facts, |facts, after| facts.and("transaction", after)));
            }
        }
    }
}

/// Whether an agent has not run because another run is in progress.
pub(super) fn is_busy(ended: &Ended) -> bool {
    !matches!(ended.code, 0 | 2) && ended.said().contains(IN_PROGRESS)
}

async fn transaction(site: &Site, host: &Certname) -> Result<Option<String>, Stop> {
    if !site.shell.is_there() {
        return Ok(None);
    }
    Ok(latest::on_machine(site, host).await?.and_then(|report| report.transaction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_busy_when_it_has_not_run_and_not_when_it_speaks_of_something_else() {
        let words = "Notice: Run of Puppet configuration client already in progress; skipping (agent_catalog_run.lock exists)";
        let ended = |code, out: &str| Ended { code, out: out.to_owned(), err: String::new() };
        assert!(is_busy(&ended(1, words)));
        assert!(!is_busy(&ended(2, words)), "it has run");
        assert!(!is_busy(&ended(1, "Error: /Stage[main]/Exec[fetch]: fetch already in progress")));
    }
}
