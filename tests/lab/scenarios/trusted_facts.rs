//! What has to survive the way: the certificate's extensions, long facts, long reports, the addresses of Puppet 3.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Watch, saw};
use crate::agent::Agent;
use crate::code::CHATTY_LINES;
use crate::conversation::{Conversation, client};
use crate::lab::Lab;
use crate::machine::DOOR;
use crate::patience::{until, when};

pub(super) fn a_trusted_fact_decides_the_catalog(lab: &Lab) -> Result<()> {
    let agent = Agent::enrolled(lab, "database")?;
    agent.succeed(&[], &[])?;
    let role = agent.file("role.txt")?;
    ensure!(
        role == "database remote\n",
        "the catalog said {role:?}, not the role that the certificate carries"
    );
    saw("pp_role of the CSR decided a file's content: database; $trusted['authenticated'] is remote");

    let watch = Watch::begin(lab)?;
    let own = agent.credentials();
    let mut conversation = Conversation::open(&DOOR, &client(&lab.mom().ca_file(), Some(&own))?)?;
    let answer = conversation.get(&DOOR, &format!("/production/catalog/{}", agent.certname), "")?;
    let catalog = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == 200, "the legacy address answered {}: {catalog:.400}", answer.status);
    ensure!(catalog.contains("database remote"), "the legacy catalog has another role: {catalog:.400}");
    let reached = watch.end(lab)?;
    ensure!(
        reached.at_masters().any(|entry| entry.target.starts_with("/production/catalog/")),
        "no master logged the legacy address"
    );
    saw("GET /production/catalog/NAME answered 200 with the same role");
    Ok(())
}

pub(super) fn half_a_megabyte_of_facts_and_three_of_report_pass(lab: &Lab) -> Result<()> {
    let agent = Agent::enrolled(lab, "chatty")?;
    let watch = Watch::begin(lab)?;
    agent.succeed(&[], &[("STAGE_WEIGHT", "500000")])?;
    let reached = watch.end(lab)?;
    let sent = |method: &str, kind: &str| {
        reached
            .at_masters()
            .find(|entry| {
                entry.method == method && entry.target.contains(&format!("/{kind}/{}", agent.certname))
            })
            .map(|entry| entry.length)
            .with_context(|| format!("no master logged a {kind} of {}", agent.certname))
    };
    let (facts, report) = (sent("POST", "catalog")?, sent("PUT", "report")?);
    ensure!(facts >= 500_000, "the facts were only {facts} bytes");
    ensure!(report >= 3_000_000, "the report was only {report} bytes");
    saw(&format!("the masters read a catalog request of {facts} bytes and a report of {report} bytes"));

    until("PuppetDB has all of it", Duration::from_secs(120), || {
        let of = format!("certname = '{}'", agent.certname);
        let weight = lab.puppetdb().query(&format!("facts[value] {{ {of} and name = 'stage_weight' }}"))?;
        let events = lab
            .puppetdb()
            .query(&format!("events[resource_title] {{ {of} and resource_type = 'Notify' }}"))?;
        let events = events.as_array().map_or(0, Vec::len);
        Ok(when(weight.to_string().len() > 500_000 && events == CHATTY_LINES))
    })?;
    saw(&format!("PuppetDB holds the fact and all {CHATTY_LINES} events of the report"));
    Ok(())
}
