//! What is known of a node's latest runs: from PuppetDB, else from the machine itself.
//!
//! PuppetDB of Puppet Enterprise 3 does not say of a report what has to be known, so there the machine's own is read.

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::Preset;

use super::last_run_report;
use crate::pipeline::report::Report;
use crate::pipeline::{Stop, StopKind};
use crate::puppetdb::PuppetDb;
use crate::shell::CommandLine;
use crate::site::{Site, not_run};

/// `$1` is the file, `$2` the lines wanted.
const SCRIPT: &str = r#"if [ -e "$1" ]; then grep -E -- "$2" "$1" || true; fi"#;

/// A node's latest reports, newest first.
///
/// # Errors
/// Whoever knows cannot be asked, or nobody knows.
pub async fn reports(site: &Site, host: &Certname) -> Result<Vec<Report>, Stop> {
    if let Some(puppetdb) = in_puppetdb(site) {
        return Ok(puppetdb.reports(host).await?.into_iter().map(|past| past.report).collect());
    }
    if !site.shell.is_there() {
        let reason =
            "nobody knows how runs end: there is neither a PuppetDB that says so nor a way to the machines";
        return Err(Stop::new(
            StopKind::Refused,
            reason,
            "write [puppetdb] or [ssh] in the settings, then resume",
        ));
    }
    Ok(on_machine(site, host).await?.into_iter().collect())
}

/// The installation's PuppetDB, where it says of a report what has to be known.
#[must_use]
pub fn in_puppetdb(site: &Site) -> Option<PuppetDb<'_>> {
    PuppetDb::of(site).filter(|_| site.settings.preset != Preset::Pe3)
}

/// The report that a machine's agent keeps of its latest run; none before the first.
///
/// # Errors
/// The machine is not reached.
pub async fn on_machine(site: &Site, host: &Certname) -> Result<Option<Report>, Stop> {
    let [file, noop] = site.printed(host, "agent", ["lastrunreport", "noop"]).await?;
    let line = CommandLine::script(SCRIPT, [file.as_str(), last_run_report::LINES]);
    let line = line.map_err(|error| not_run(&error.into()))?;
    let ended = site.shell.look(host, &line).await.map_err(|error| not_run(&error))?;
    let report = last_run_report::read(&ended.out);
    // A report of Puppet 3 does not say that its run only looked.
    Ok(report.map(|report| Report { noop: report.noop || noop == "true", ..report }))
}
