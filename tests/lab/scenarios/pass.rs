//! Connections that are passed on to a master that ends agents' TLS itself.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Watch, saw};
use crate::agent::Agent;
use crate::door::{Entrance, PASS_PORT};
use crate::lab::Lab;
use crate::machine::{DOOR, Host, MASTERS, PORT};
use crate::mom::Credentials;
use crate::program::{Ended, run_with};

pub(super) fn old_and_new_agents_share_a_port_each_to_its_kind(lab: &Lab) -> Result<()> {
    // Through the door that ends every connection: an open master has no CA.
    let [first, second] = [Agent::enrolled(lab, "webserver")?, Agent::enrolled(lab, "webserver")?];
    let [sealed, open] = lab.masters();
    let door = lab.door();
    door.take_off(open.host)?;
    open.speak_old_tls()?;
    open.unseal_by_puppet()?;
    door.restart_as(Entrance::AlsoPasses, &lab.mom())?;
    door.admit(open.host, &["--open"])?;
    door.until_used(open.host)?;
    door.until_used(sealed.host)?;
    saw(&format!("{} opened by a run of its agent, header identity off, speaks TLS 1.0", open.host.name));

    through_pass(lab, &first)?;
    on_one_port(lab, &first.credentials(), &second)?;

    door.take_off(open.host)?;
    let words = old_client(lab, &first.credentials())?;
    ensure!(!words.output.contains("HTTP/1.1") && words.code != 0, "answered by whom? {}", words.said());
    saw("the open master off the roster: a TLS 1.0 client gets no connection, and no answer");
    open.speak_as_shipped()?;
    open.seal_by_puppet()?;
    door.restart_as(Entrance::Ends, &lab.mom())?;
    door.admit(open.host, &[])?;
    door.until_used(open.host)?;
    Ok(())
}

/// Real agents on the port that passes everything.
fn through_pass(lab: &Lab, agent: &Agent) -> Result<()> {
    let (watch, lines) = (Watch::begin(lab)?, lab.door().access_lines()?.len());
    let port = PASS_PORT.to_string();
    let ended = agent.succeed(&["--serverport", &port], &[])?;
    ensure!(agent.file("role.txt")?.contains("webserver"), "no catalog of its own:\n{}", ended.said());
    ensure!(agent.file("banner.txt")? == crate::code::BANNER, "not the file that the master serves");
    let reached = watch.end(lab)?;
    let [at_sealed, at_open] = &reached.masters;
    ensure!(at_sealed.is_empty(), "a passed run reached {}: {at_sealed:?}", MASTERS[0].name);
    ensure!(reached.mom.is_empty(), "a passed run reached the MoM: {:?}", reached.mom);
    let stated = at_open.iter().filter(|entry| entry.verify != "-" || entry.dn != "-").count();
    let compiled = at_open.iter().any(|entry| entry.target.starts_with("/puppet/v3/catalog/"));
    ensure!(compiled && stated == 0, "{stated} requests with an identity in a header: {at_open:?}");
    let passed = passed_since(lab, lines, "listener", &MASTERS[1])?;
    saw(&format!(
        "a real agent's run on the port that passes (exit {}): {} requests at {}, none with an identity header, in {} \
         passed connections",
        ended.code,
        at_open.len(),
        MASTERS[1].name,
        passed.len()
    ));
    Ok(())
}

/// A client of TLS 1.0 and a real agent of today, on the port where TLS ends.
fn on_one_port(lab: &Lab, old: &Credentials, modern: &Agent) -> Result<()> {
    let (watch, lines) = (Watch::begin(lab)?, lab.door().access_lines()?.len());
    let words = old_client(lab, old)?;
    let said = words.said();
    ensure!(said.contains("HTTP/1.1 200") && said.contains(&old.certname), "the TLS 1.0 client got:\n{said}");
    ensure!(said.contains("TLSv1,") || said.contains("Protocol  : TLSv1\n"), "not TLS 1.0:\n{said}");
    let run = modern.succeed(&[], &[])?;
    let reached = watch.end(lab)?;
    let [at_sealed, at_open] = &reached.masters;
    let old_ones = at_open.iter().filter(|entry| entry.target.contains(&old.certname)).count();
    ensure!(old_ones == 1 && at_open.len() == 1, "at the open master: {at_open:?}");
    ensure!(at_open.iter().all(|entry| entry.verify == "-"), "an identity in a header: {at_open:?}");
    let dn = format!("CN={}", modern.certname);
    ensure!(
        !at_sealed.is_empty() && at_sealed.iter().all(|entry| entry.verify == "SUCCESS" && entry.dn == dn),
        "at the sealed master: {at_sealed:?}"
    );
    ensure!(at_sealed.iter().any(|entry| entry.target.starts_with("/puppet/v3/catalog/")), "no catalog");
    let passed = passed_since(lab, lines, "old_tls", &MASTERS[1])?;
    ensure!(
        passed.iter().all(|line| line.get("tls").and_then(Value::as_str) == Some("1.0")),
        "odd lines of passed connections: {passed:?}"
    );
    saw(&format!(
        "one port: openssl s_client -tls1 with an agent's certificate, passed (old_tls, {} connection), 200 from {}; a real \
         agent's run (exit {}), ended, {} requests at {} with its identity stated",
        passed.len(),
        MASTERS[1].name,
        run.code,
        at_sealed.len(),
        MASTERS[0].name
    ));
    Ok(())
}

/// One request for the agent's own node over TLS 1.0.
fn old_client(lab: &Lab, own: &Credentials) -> Result<Ended> {
    let mut openssl = Command::new("timeout");
    openssl.args(["60", "openssl", "s_client", "-tls1", "-cipher", "ALL:@SECLEVEL=0", "-ign_eof"]);
    openssl.args(["-connect", &format!("{}:{PORT}", DOOR.name), "-servername", DOOR.name]);
    openssl.arg("-CAfile").arg(lab.mom().ca_file()).arg("-verify_return_error");
    openssl.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    let request = format!(
        "GET /puppet/v3/node/{}?environment=production HTTP/1.1\r\nHost: {}:{PORT}\r\nAccept: application/json\r\n\
         Connection: close\r\n\r\n",
        own.certname, DOOR.name
    );
    run_with(&mut openssl, request.as_bytes())
}

/// The door's lines of connections passed to this master for this reason, of which there must be one, and no other.
fn passed_since(lab: &Lab, lines: usize, why: &str, master: &Host) -> Result<Vec<Value>> {
    let is = |line: &Value, key: &str, word: &str| line.get(key).and_then(Value::as_str) == Some(word);
    let all = lab.door().access_lines()?;
    let new = all.get(lines..).context("the door's access log has become shorter")?;
    let passed: Vec<Value> = new.iter().filter(|line| is(line, "way", "pass")).cloned().collect();
    if passed.is_empty() || !passed.iter().all(|line| is(line, "why", why) && is(line, "master", master.name))
    {
        bail!("expected connections passed to {} because of {why}: {passed:?}", master.name);
    }
    Ok(passed)
}
