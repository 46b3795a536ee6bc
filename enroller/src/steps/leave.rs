//! A master that was retired leaves: its agent is stopped, it is no node any more, its certificate is taken back.

use stagedoor_config::admin::judge::Judged;
use stagedoor_config::certname::Certname;
use tokio::time::{Instant, sleep};

use super::check::forget;
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

/// Whether no door lets in whoever shows a certificate of the master's or its canary's.
pub(super) async fn revoked(at: &Enrolling<'_>, task: &ToLook) -> Look {
    let ca = Ca::of(at.site);
    let (mut facts, mut certificates) = (Facts::none(), Vec::new());
    for node in nodes(at)? {
        let is_master = node == *at.master();
        match ca.certificate(&node).await? {
            Some(pem) => {
                let serial = Asked::of_certificate(&pem).ok().and_then(|certificate| certificate.serial);
                if let Some(serial) = serial.filter(|_| is_master) {
                    facts = facts.and("serial", serial);
                }
                certificates.push(pem);
            }
            // Somebody cleaned it: then it is on the CA's list, and nobody can ask a door about it.
            None if is_master => {
                facts = facts
                    .and("warning", "the CA has no certificate of it; see that each door has its newest list")
            }
            None => {}
        }
    }
    let (began, deadline) = (Instant::now(), at.site.settings.deadlines.revoke);
    loop {
        let (doors, missing) = at.doors().await?;
        let mut behind: Vec<&str> = Vec::new();
        for door in &doors {
            for pem in &certificates {
                if !is_dead(&door.judges(pem).await?, task.is_again()) {
                    behind.push(door.name().as_str());
                }
            }
        }
        behind.dedup();
        if behind.is_empty() {
            return Ok(Looked::There(and_missing(facts, &missing)));
        }
        if !task.is_again() {
            return Ok(Looked::Missing(facts));
        }
        // Each door has the list from whoever copies it there. A little before the deadline, so that the doors are named.
        if began.elapsed() > deadline.mul_f32(0.9) {
            let doors = behind.join(", ");
            let reason = format!(
                "not every door has the CA's newest list: a certificate of it is still believed by {doors}"
            );
            let way_out = "see what brings the CA's revocation list to these doors, then resume";
            return Err(Stop::new(StopKind::Deadline, reason, way_out));
        }
        sleep(BETWEEN).await;
    }
}

/// Before the CA was asked, a certificate counts as dead only where that is final; after it, any refusal does.
fn is_dead(judged: &Judged, asked: bool) -> bool {
    let is_final = matches!(judged.reason.as_deref(), Some("revoked" | "ca_revoked" | "expired"));
    !judged.believed && (asked || is_final)
}

/// The canary's first: what is revoked of the master's own is seen by whoever looks whether all is done.
pub(super) async fn revoke(at: &Enrolling<'_>) -> Act {
    let (ca, canary) = (Ca::of(at.site), at.canary()?);
    if ca.certificate(&canary).await?.is_some() {
        ca.have(&canary, Wanted::Revoked).await?;
    }
    forget(at, &canary)?;
    if ca.certificate(at.master()).await?.is_none() {
        return Ok(Facts::none());
    }
    let way = ca.have(at.master(), Wanted::Revoked).await?;
    Ok(Facts::none().and("revoked_by", way.name()))
}
