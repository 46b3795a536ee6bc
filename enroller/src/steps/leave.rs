//! A master that was retired leaves: its agent is stopped, it is no node any more, its certificate is taken back.

use stagedoor_config::certname::Certname;
use tokio::time::sleep;

use super::{Act, BETWEEN, Enrolling, Look, and_missing};
use crate::ca::{Ca, Wanted};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use crate::puppetdb::PuppetDb;
use crate::request::Asked;
use crate::shell::CommandLine;
use crate::site::not_run;

/// `$1` is the puppet program: says whether the agent is disabled, and whether a run is in progress.
const LOOK: &str = r#"
disabled=$("$1" config print --section agent agent_disabled_lockfile) || exit 1
running=$("$1" config print --section agent agent_catalog_run_lockfile) || exit 1
if [ -e "$disabled" ]; then echo disabled; fi
if [ -s "$running" ] && kill -0 "$(cat "$running")" 2>/dev/null; then echo running; fi
"#;

pub(super) async fn agent_stopped(at: &Enrolling<'_>) -> Look {
    if at.permits.gone {
        return Ok(Looked::There(Facts::none().and("machine", "gone, as it was said")));
    }
    if !at.site.shell.is_there() {
        let reason =
            format!("nobody can see whether the agent on {} is stopped: there is no [ssh]", at.master());
        let way_out =
            "stop it there (`puppet agent --disable`), then resume with `--machine-gone`: it is believed";
        return Err(Stop::new(StopKind::Paused, reason, way_out));
    }
    let line =
        CommandLine::script(LOOK, [at.site.puppet_program()]).map_err(|error| not_run(&error.into()))?;
    let ended = at.site.shell.look(at.master(), &line).await?;
    if ended.code != 0 {
        let reason = format!(
            "{}: `puppet config print` ended with {}: {}",
            at.master(),
            ended.code,
            ended.last_words()
        );
        return Err(Stop::new(StopKind::Failed, reason, "see what it says there, then resume"));
    }
    let says = |word: &str| ended.out.lines().any(|line| line.trim() == word);
    let is_stopped = says("disabled") && !says("running");
    Ok(if is_stopped { Looked::There(Facts::none()) } else { Looked::Missing(Facts::none()) })
}

pub(super) async fn stop_agent(at: &Enrolling<'_>) -> Act {
    let line =
        at.site.puppet_line(&["agent", "--disable", "retired by stagedoor-enroller", "--color", "false"])?;
    let ended = at.site.shell.look(at.master(), &line).await?;
    if ended.code != 0 {
        let reason = format!(
            "{}: `puppet agent --disable` ended with {}: {}",
            at.master(),
            ended.code,
            ended.last_words()
        );
        return Err(Stop::new(StopKind::Failed, reason, "see what it says there, then resume"));
    }
    // A run that is in progress ends by itself; the step's deadline ends the waiting.
    while matches!(agent_stopped(at).await?, Looked::Missing(_)) {
        sleep(BETWEEN).await;
    }
    Ok(Facts::none())
}

/// The master and its canary, which was a node as well.
fn nodes(at: &Enrolling<'_>) -> Result<[Certname; 2], Stop> {
    Ok([at.master().clone(), at.canary()?])
}

pub(super) async fn deactivated(at: &Enrolling<'_>, task: &ToLook) -> Look {
    let Some(puppetdb) = PuppetDb::of(at.site) else {
        return Ok(Looked::There(Facts::none().and("puppetdb", "none")));
    };
    loop {
        let mut active = false;
        for node in nodes(at)? {
            active |= puppetdb.is_active(&node).await?;
        }
        if !active {
            return Ok(Looked::There(Facts::none()));
        }
        if !task.is_again() {
            return Ok(Looked::Missing(Facts::none()));
        }
        // PuppetDB does it from its queue.
        sleep(BETWEEN).await;
    }
}

pub(super) async fn deactivate(at: &Enrolling<'_>) -> Act {
    if let Some(puppetdb) = PuppetDb::of(at.site) {
        for node in nodes(at)? {
            puppetdb.deactivate(&node).await?;
        }
    }
    Ok(Facts::none())
}

pub(super) async fn revoked(at: &Enrolling<'_>, task: &ToLook) -> Look {
    let (ca, mut facts) = (Ca::of(at.site), Facts::none());
    let Some(pem) = ca.certificate(at.master()).await? else {
        return Ok(Looked::There(facts.and("certificate", "the CA has none")));
    };
    if let Some(serial) = Asked::of_certificate(&pem).ok().and_then(|certificate| certificate.serial) {
        facts = facts.and("serial", serial);
    }
    loop {
        let (doors, missing) = at.doors().await?;
        let mut behind = Vec::new();
        for door in &doors {
            let judged = door.judges(&pem).await?;
            if judged.believed {
                behind.push(door.name().as_str());
            }
        }
        if behind.is_empty() {
            return Ok(Looked::There(and_missing(facts, &missing)));
        }
        if !task.is_again() {
            return Ok(Looked::Missing(facts));
        }
        // Each door has the list from whoever copies it there; the step's deadline ends the waiting.
        sleep(BETWEEN).await;
    }
}

pub(super) async fn revoke(at: &Enrolling<'_>) -> Act {
    let ca = Ca::of(at.site);
    let way = ca.have(at.master(), Wanted::Revoked).await?;
    let canary = at.canary()?;
    if ca.certificate(&canary).await?.is_some() {
        ca.have(&canary, Wanted::Revoked).await?;
    }
    Ok(Facts::none().and("revoked_by", way.name()))
}
