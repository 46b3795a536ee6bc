//! Revoked on the MoM, refused at the door, which watches the CA's own file: nobody copies, reloads or restarts.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::saw;
use crate::agent::new_name;
use crate::conversation::{Conversation, client};
use crate::lab::Lab;
use crate::machine::DOOR;
use crate::patience::until;

pub(super) fn a_revoked_agent_is_refused_at_once(lab: &Lab) -> Result<()> {
    let mom = lab.mom();
    let names = [new_name(&lab.root)?, new_name(&lab.root)?];
    let agents = mom.issue_for_agents(&names)?;
    let [revoked, bystander] = agents.as_slice() else { anyhow::bail!("two certificates were asked for") };
    let (its, other) = (client(&mom.ca_file(), Some(revoked))?, client(&mom.ca_file(), Some(bystander))?);
    let question = |name: &str| format!("/puppet/v3/node/{name}?environment=production");

    let mut held = Conversation::open(&DOOR, &its)?;
    let before = held.get(&DOOR, &question(&revoked.certname), "")?;
    ensure!(before.status == 200, "before it was revoked the agent got {}", before.status);
    let changed_before = mom.crl_changed()?;
    mom.revoke(&revoked.certname)?;
    let changed = mom.crl_changed()?;
    ensure!(changed > changed_before, "revoking did not change the CA's list");

    // Asked without a pause, so that the connection is never idle long enough to be closed for that.
    let ((answer, on_held), _) =
        until("the connection held open is refused", Duration::from_secs(10), || {
            let end = match held.get(&DOOR, &question(&revoked.certname), "") {
                Ok(answer) if answer.status == 200 => None,
                Ok(answer) => Some(format!("answered {}", answer.status)),
                Err(error) => Some(format!("closed ({error:#})")),
            };
            Ok(end.map(|end| (end, since(changed))))
        })?;
    saw(&format!("the connection held open was {answer} {} ms after the list changed", on_held.as_millis()));

    let ((answer, on_new), _) = until("new connections are refused", Duration::from_secs(10), || {
        let asked = Conversation::open(&DOOR, &its)
            .and_then(|mut conversation| conversation.get(&DOOR, &question(&revoked.certname), ""));
        let end = match asked {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("answered {}", answer.status)),
            Err(error) => Some(format!("refused ({error:#})")),
        };
        Ok(end.map(|end| (end, since(changed))))
    })?;
    saw(&format!("a new connection was {answer} {} ms after the list changed", on_new.as_millis()));
    ensure!(on_held < PROMISED, "the connection held open was served for {} ms", on_held.as_millis());
    ensure!(on_new < PROMISED, "new connections were served for {} ms", on_new.as_millis());

    let still = Conversation::open(&DOOR, &other)?.get(&DOOR, &question(&bystander.certname), "")?;
    ensure!(still.status == 200, "another agent got {} afterwards", still.status);
    saw("another agent is served as before");
    Ok(())
}

pub(super) fn every_certificate_of_the_ca_can_be_judged_beforehand(lab: &Lab) -> Result<()> {
    let said = lab.door().check_signed(&lab.mom().signed())?;
    let verdict =
        said.lines().find(|line| line.starts_with("signed:")).context("no verdict on the folder")?;
    ensure!(verdict.contains(" 0 would be refused"), "the door would refuse agents:\n{said}");
    saw(verdict);
    Ok(())
}

/// From the change of the CA's file.
const PROMISED: Duration = Duration::from_secs(2);

fn since(changed: SystemTime) -> Duration {
    changed.elapsed().unwrap_or_default()
}
