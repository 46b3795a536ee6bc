//! A master that its firewall alone keeps apart: it answers whoever reaches it, and somebody outside has to try.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::saw;
use crate::agent::new_name;
use crate::conversation::{Conversation, client};
use crate::fleet::{Fleet, none_failed};
use crate::lab::Lab;
use crate::machine::DOOR;
use crate::master::Master;
use crate::outside::{Outside, Stands};
use crate::patience::{until, when};
use crate::recording::Recording;

/// Between two tests, and for one.
const NEXT_TEST: Duration = Duration::from_secs(100);
const RUNS: usize = 6;
const FIREWALL: [&str; 2] = ["--isolation", "firewall"];

pub(super) fn a_firewall_is_tested_from_outside_of_it(lab: &Lab) -> Result<()> {
    let [other, master] = lab.masters();
    let (door, outside) = (lab.door(), lab.outside());
    let fleet = Fleet::at(lab, Recording::of_a_webserver(lab)?, &[Ipv4Addr::LOCALHOST; 3])?;
    door.take_off(master.host)?;
    master.lose_seal_by_puppet()?;
    // From here on there is no other.
    door.admit(master.host, &FIREWALL)?;
    until_seal(lab, &master, "untested", Duration::from_secs(40))?;
    door.take_off(other.host)?;
    compiles(lab, &fleet, &master)?;
    let why = door.says_of(master.host, "seal_why")?.unwrap_or_default();
    saw(&format!(
        "a master behind a firewall, and no host outside answers: untested, shown so and used ({why})"
    ));

    let cannot = Outside::can_be_cut_off()?;
    if let Some(why) = &cannot {
        saw(&format!("NOT SHOWN here: a host from which it cannot be reached; no network namespace: {why}"));
    } else {
        outside.stand(Stands::Outside)?;
        anew(lab, &master)?;
        until_seal(lab, &master, "sealed", Duration::from_secs(40))?;
        compiles(lab, &fleet, &master)?;
        saw("an sshd outside, whose one key runs nothing but curl, cannot reach it: sealed, and compiles");
    }

    outside.stand(Stands::Inside)?;
    let waited = until_seal(lab, &master, "unsealed", NEXT_TEST)?;
    let why = door.says_of(master.host, "seal_why")?.unwrap_or_default();
    ensure!(
        door.metric("stagedoor_master_unsealed", master.host.name)? > 0.5,
        "the metric says it is sealed"
    );
    nobody_compiles(lab, &master)?;
    saw(&format!(
        "the same sshd where it reaches it: out {waited} s later, although it was the last one ({why})"
    ));

    if cannot.is_none() {
        outside.stand(Stands::Outside)?;
        let waited = until_seal(lab, &master, "sealed", NEXT_TEST)?;
        compiles(lab, &fleet, &master)?;
        saw(&format!("and outside again: back {waited} s later"));
    }
    outside.end()?;
    door.admit(other.host, &[])?;
    door.until_used(other.host)?;
    door.take_off(master.host)?;
    master.seal_by_puppet()?;
    door.admit(master.host, &[])?;
    door.until_used(master.host).map(drop)
}

/// Off the roster and on it again, so that it is tested now.
fn anew(lab: &Lab, master: &Master) -> Result<()> {
    lab.door().take_off(master.host)?;
    lab.door().admit(master.host, &FIREWALL)
}

/// Waits until the door says this of its seal; gives the seconds that took.
fn until_seal(lab: &Lab, master: &Master, word: &str, limit: Duration) -> Result<u64> {
    let (_, waited) = until(&format!("{} is {word}", master.host.name), limit, || {
        let door = lab.door();
        // Untested it is also until the first test has come to its end.
        let known = door.says_of(master.host, "fit")?.as_deref() == Some("fit")
            && !door.says_of(master.host, "seal_why")?.is_some_and(|why| why.contains("not tested yet"));
        Ok(when(known && door.says_of(master.host, "seal")?.as_deref() == Some(word)))
    })?;
    Ok(waited.as_secs())
}

fn compiles(lab: &Lab, fleet: &Fleet, master: &Master) -> Result<()> {
    let mark = master.access_log().mark()?;
    none_failed(&fleet.run(RUNS, &AtomicUsize::new(0)))?;
    let entries = master.access_log().settle(mark, |word| master.leave_mark(word))?;
    let catalogs = entries.iter().filter(|entry| entry.target.starts_with("/puppet/v3/catalog/")).count();
    ensure!(catalogs == RUNS, "{} of {RUNS} catalogs at {}", catalogs, master.host.name);
    lab.door().must_be_alive()
}

fn nobody_compiles(lab: &Lab, master: &Master) -> Result<()> {
    let mark = master.access_log().mark()?;
    let own = lab.mom().issue_for_agents(&[new_name(&lab.root)?])?;
    let target = format!(
        "/puppet/v3/node/{}?environment=production",
        own.first().map_or("", |own| own.certname.as_str())
    );
    let answer =
        Conversation::open(&DOOR, &client(&lab.mom().ca_file(), own.first())?)?.get(&DOOR, &target, "")?;
    ensure!(answer.status == 503, "an agent got {}", answer.status);
    let entries = master.access_log().settle(mark, |word| master.leave_mark(word))?;
    ensure!(entries.is_empty(), "it was sent a request: {entries:?}");
    Ok(())
}
