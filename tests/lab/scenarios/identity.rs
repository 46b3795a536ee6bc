//! Who a request is from: the certificate of the connection, never a header of the client.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Watch, saw};
use crate::agent::{Agent, new_name};
use crate::conversation::{Conversation, client};
use crate::lab::Lab;
use crate::machine::{DOOR, MASTERS, PORT, read};
use crate::mom::Credentials;
use crate::program::run;

pub(super) fn forged_identity_headers_change_nothing(lab: &Lab) -> Result<()> {
    let victim = Agent::enrolled(lab, "vault")?.credentials();
    let names = [new_name(&lab.root)?];
    let [thief] =
        lab.mom().issue_for_agents(&names)?.try_into().map_err(|_| anyhow::anyhow!("one certificate"))?;
    let forged = forged_as(&victim)?;
    let watch = Watch::begin(lab)?;

    let nobody = ask(lab, None, &catalog_of(&victim), &forged)?;
    ensure!(nobody.0 == "403", "without a certificate, as {}: {} {}", victim.certname, nobody.0, nobody.1);
    saw("no certificate and every header of another agent: 403");

    let other = ask(lab, Some(&thief), &catalog_of(&victim), &forged)?;
    ensure!(other.0 == "403", "with {}'s certificate, as {}: {}", thief.certname, victim.certname, other.0);
    saw("one agent's certificate and another's headers, asking for the other's catalog: 403");

    let own = ask(lab, Some(&thief), &catalog_of(&thief), &forged)?;
    ensure!(own.0 == "200", "its own catalog, with forged headers, got {}: {}", own.0, own.1);
    ensure!(!own.1.contains("vault"), "the other agent's role came with the forged X-Client-Cert");
    saw("asking for its own catalog: 200, and without the role in the forged X-Client-Cert");

    let reached = watch.end(lab)?;
    for entry in reached.at_masters() {
        ensure!(
            entry.dn == format!("CN={}", thief.certname) || entry.verify != "SUCCESS",
            "a master was told {:?} {:?}",
            entry.verify,
            entry.dn
        );
    }
    saw(&format!("the masters logged {} requests, none as the other agent", reached.at_masters().count()));
    Ok(())
}

pub(super) fn a_master_answers_nobody_but_the_door(lab: &Lab) -> Result<()> {
    let names = [new_name(&lab.root)?];
    let [agent] =
        lab.mom().issue_for_agents(&names)?.try_into().map_err(|_| anyhow::anyhow!("one certificate"))?;
    let forged = forged_as(&agent)?;
    let watch = Watch::begin(lab)?;
    let ca = lab.mom().ca_file();
    for host in &MASTERS {
        for own in [None, Some(&agent)] {
            let shown = if own.is_some() { "an agent's certificate" } else { "no certificate" };
            let target = format!("/puppet/v3/node/{}?environment=production", agent.certname);
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--include", "--max-time", "20", "--cacert"])
                .arg(&ca)
                .args(&forged);
            show(&mut curl, own);
            let ended = run(curl.arg(format!("https://{}:{PORT}{target}", host.name)))?;
            ensure!(
                ended.code != 0 && ended.output.is_empty(),
                "{} answered {shown} with forged headers: {}",
                host.name,
                ended.said()
            );
            let said = Conversation::open(host, &client(&ca, own)?)
                .and_then(|mut conversation| conversation.get(host, &target, "X-Client-Verify: SUCCESS\r\n"));
            ensure!(said.is_err(), "{} answered {shown}: {said:?}", host.name);
            saw(&format!("{} with {shown} and forged headers: {}", host.name, ended.errors.trim()));
        }
    }
    let reached = watch.end(lab)?;
    ensure!(
        reached.at_masters().next().is_none(),
        "a master logged a request that did not come from the door"
    );
    saw("their access logs show nothing but the lab's own mark, made with the door's certificate");
    Ok(())
}

/// The headers a door would set for this agent, in several spellings, as arguments of curl.
fn forged_as(agent: &Credentials) -> Result<Vec<String>> {
    let pem = read(&agent.certificate)?.replace('\n', "%0A").replace(' ', "%20");
    let dn = format!("CN={}", agent.certname);
    let headers = [
        "X-Client-Verify: SUCCESS".to_owned(),
        format!("X-Client-DN: {dn}"),
        format!("X-Client-Cert: {pem}"),
        "x-client-verify: SUCCESS".to_owned(),
        format!("X-CLIENT-DN: {dn}"),
        "X_Client_Verify: SUCCESS".to_owned(),
        format!("X_Client_DN: {dn}"),
        format!("X_Client-Cert: {pem}"),
        "Connection: X-Client-Verify, X-Client-DN, X-Client-Cert".to_owned(),
    ];
    Ok(headers.into_iter().flat_map(|header| ["--header".to_owned(), header]).collect())
}

fn catalog_of(agent: &Credentials) -> String {
    format!("/puppet/v3/catalog/{}?environment=production", agent.certname)
}

/// Status and body of a GET through the door, by curl.
fn ask(lab: &Lab, own: Option<&Credentials>, target: &str, headers: &[String]) -> Result<(String, String)> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "120", "--cacert"])
        .arg(lab.mom().ca_file())
        .args(headers);
    curl.args(["--header", "Accept: application/json", "--write-out", "\n%{http_code}"]);
    show(&mut curl, own);
    let ended = run(curl.arg(format!("https://{}:{PORT}{target}", DOOR.name)))?;
    ensure!(ended.code == 0, "curl ended with {}: {}", ended.code, ended.said());
    let (body, status) = ended.output.rsplit_once('\n').unwrap_or(("", ""));
    Ok((status.to_owned(), body.to_owned()))
}

fn show(curl: &mut Command, own: Option<&Credentials>) {
    if let Some(own) = own {
        curl.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key);
    }
}
