//! The door CA's own promises, at a real Puppet Server: a door that was taken over is shut out by a list, without a
//! restart of anything.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::saw;
use crate::door_ca::DoorCa;
use crate::lab::Lab;
use crate::master::Master;
use crate::mom::Credentials;
use crate::patience::until;
use crate::program::run;

/// A door that has a certificate and is none of the lab's.
const OTHER: &str = "other-door.example.com";

pub(super) fn a_revoked_door_is_shut_out_without_a_restart(lab: &Lab) -> Result<()> {
    let door_ca = DoorCa::at(&lab.root);
    let (own, other) = (door_ca.door(), door_ca.issue(OTHER)?);
    let [master, _] = lab.masters();
    ensure!(lets_in(&master, &other)?, "a certificate that the command has just made was refused");
    let restarts = master.restarts()?;

    door_ca.revoke(OTHER)?;
    door_ca.hand_out()?;
    master.seal_by_puppet()?;
    let limit = Duration::from_secs(60);
    let (_, took) = until("the master refuses it", limit, || Ok((!lets_in(&master, &other)?).then_some(())))?;
    saw(&format!("refused {} ms after the master's own agent had brought the list", took.as_millis()));
    ensure!(lets_in(&master, &own)?, "the door that was not revoked is refused as well");
    ensure!(master.restarts()? == restarts, "Puppet Server was restarted for it");
    saw("the door that was not revoked is let in; Puppet Server was not restarted");
    Ok(())
}

fn lets_in(master: &Master, door: &Credentials) -> Result<bool> {
    Ok(run(&mut master.ask("/status/v1/simple", Some(door)))?.output == "running")
}
