//! The main job, from a machine that has never spoken to Puppet to its second run.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Reached, Watch, saw};
use crate::agent::Agent;
use crate::lab::Lab;
use crate::machine::{DOOR, MOM, PORT};
use crate::patience::{until, when};
use crate::program::succeed;

pub(super) fn a_new_agent_bootstraps_and_compiles_through_the_door(lab: &Lab) -> Result<()> {
    let watch = Watch::begin(lab)?;
    let agent = Agent::brand_new(lab, "webserver")?;
    let name = &agent.certname;

    let first = agent.run(&["--waitforcert", "0"], &[])?;
    ensure!(first.code == 1, "the first run ended with {} instead of 1:\n{}", first.code, first.said());
    ensure!(
        agent.has("ssl/certs/ca.pem") && agent.has("ssl/crl.pem"),
        "no CA or CRL came:\n{}",
        first.said()
    );
    let waiting = lab.mom().list(name)?;
    ensure!(waiting.said().contains(name.as_str()), "the MoM has no request of {name}:\n{}", waiting.said());
    saw(&format!("{name} has CA and CRL, and its request waits on the MoM"));

    lab.mom().sign(name)?;
    let second = agent.succeed(&[], &[])?;
    ensure!(second.code == 2, "the first catalog changed nothing:\n{}", second.said());
    ensure!(
        agent.file("banner.txt")? == crate::code::BANNER,
        "the file from the file server is not what it was"
    );
    let changed = report(lab, name, "changed", "")?;
    saw("signed on the MoM; its first catalog changed things (exit 2), and PuppetDB has the report: changed");

    let third = agent.succeed(&[], &[])?;
    ensure!(third.code == 0, "the second catalog changed something:\n{}", third.said());
    report(lab, name, "unchanged", &changed)?;
    saw("the next run changed nothing (exit 0); PuppetDB says: unchanged");

    let script = packages(lab)?;
    ensure!(
        script.contains(&format!("Served by {}", MOM.name)),
        "install.bash came from elsewhere: {script:?}"
    );
    whose_work_was_it(&watch.end(lab)?, name)
}

/// CA and packages at the MoM and nothing else there; everything else at the masters, in the agent's name.
fn whose_work_was_it(reached: &Reached, name: &str) -> Result<()> {
    let mom: Vec<String> =
        reached.mom.iter().map(|entry| format!("{} {}", entry.method, entry.target)).collect();
    for expected in [
        "GET /puppet-ca/v1/certificate/ca".to_owned(),
        "GET /puppet-ca/v1/certificate_revocation_list/ca".to_owned(),
        format!("PUT /puppet-ca/v1/certificate_request/{name}"),
        format!("GET /puppet-ca/v1/certificate/{name}"),
        "GET /packages/current/install.bash".to_owned(),
    ] {
        ensure!(mom.contains(&expected), "the MoM never logged {expected:?}, but:\n{}", mom.join("\n"));
    }
    let elsewhere: Vec<&String> =
        mom.iter().filter(|line| !line.contains(" /puppet-ca/") && !line.contains(" /packages/")).collect();
    ensure!(elsewhere.is_empty(), "the MoM was asked for a compile master's work: {elsewhere:?}");

    for entry in reached.at_masters() {
        ensure!(
            entry.target.starts_with("/puppet/v3/"),
            "a master was asked for {} {}",
            entry.method,
            entry.target
        );
        ensure!(
            entry.verify == "SUCCESS" && entry.dn == format!("CN={name}"),
            "a master was told {:?} {:?} with {} {}",
            entry.verify,
            entry.dn,
            entry.method,
            entry.target
        );
    }
    for (method, path) in [("POST", "catalog"), ("PUT", "report")] {
        let count = reached
            .at_masters()
            .filter(|entry| {
                entry.method == method && entry.target.starts_with(&format!("/puppet/v3/{path}/{name}?"))
            })
            .count();
        ensure!(count == 2, "the masters logged {count} {method} {path} of {name}, not 2");
    }
    saw(&format!(
        "the MoM logged {} requests, all CA and packages; the masters {} and {}, none of those, all as CN={name}",
        mom.len(),
        reached.masters[0].len(),
        reached.masters[1].len()
    ));
    Ok(())
}

/// The hash of a report with this status other than `not`.
fn report(lab: &Lab, name: &str, status: &str, not: &str) -> Result<String> {
    let (hash, _) =
        until(&format!("PuppetDB has a report of {name}: {status}"), Duration::from_secs(60), || {
            let node = lab.puppetdb().knows(name)?.unwrap_or_default();
            let text =
                |key: &str| node.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            let hash = text("latest_report_hash");
            Ok(when(text("latest_report_status") == status && hash != not).map(|()| hash))
        })?;
    Ok(hash)
}

fn packages(lab: &Lab) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--cacert"]).arg(lab.mom().ca_file());
    succeed(curl.arg(format!("https://{}:{PORT}/packages/current/install.bash", DOOR.name)))
        .context("install.bash does not come through the door")
}
