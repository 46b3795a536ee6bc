//! The proof that a new master compiles, before anybody depends on it.
//!
//! ```text
//! certificate and names ─► warm at every door ─► fit and sealed ─► strangers refused ─► code as the MoM's
//!   ─► the canary's catalog, through every door, as the MoM compiles it ─► a few more, to warm the JRubies
//! ```
//!
//! A status that says `running` proves nothing: a master whose name is on no list of PuppetDB's says so and answers every
//! catalog with an error. So a node of its own, the canary, comes to the doors as agents do; while a master is warm, a
//! door sends it the canary and nobody else.
//!
//! | file | holds |
//! |---|---|
//! | `canary` | the node: its certificate, its facts, its catalogs |
//! | `code` | whether the master has the Master of Masters' code |

mod canary;
mod code;

use std::time::Duration;

use stagedoor_config::admin::{Fit, MasterView, Seal};
use stagedoor_config::master::{Isolation, Kind, Standing};
use tokio::time::sleep;

use super::admit::{entry, view};
use super::seal::{Strangers, strangers};
use super::{Act, BETWEEN, Enrolling, Look, and_missing};
use crate::ask::NoAnswer;
use crate::doors::AskedDoor;
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToAct, ToLook};
use crate::request::Asked;
use crate::words::chain;
use canary::Canary;
pub(super) use canary::{forget, has_left};

/// For a door to find a master fit and sealed: three health checks, and a seal test that may be repeated.
const READY: Duration = Duration::from_secs(180);
/// For a door to test again a master that it found open: it does so at each health check.
const TESTED_ANEW: Duration = Duration::from_secs(20);

pub(super) fn look(task: &ToLook) -> Look {
    // What was shown was shown to whoever acted: it is on record, and seen nowhere else.
    Ok(match task.known().acted {
        Some(_) => Looked::There(Facts::none()),
        None => Looked::Missing(Facts::none()),
    })
}

pub(super) async fn act(at: &Enrolling<'_>, task: &ToAct) -> Act {
    let mut facts = certificate(at).await?;
    let (doors, missing) = at.doors().await?;
    facts = and_missing(facts, &missing);
    let is_sealed = at.site.settings.master.kind.is_sealed();
    warm(at, &doors, at.adopts() || task.known().admitting).await?;
    let mut untested = Vec::new();
    for door in &doors {
        if !ready(at, door).await? {
            untested.push(door.name().as_str());
        }
    }
    if !untested.is_empty() {
        let words = format!("nobody outside its firewall tests it for {}", untested.join(", "));
        facts = facts.and("warning_seal", words);
    }
    facts = facts.and("strangers", shut_out(at).await?);
    let canary = Canary::of(at).await?;
    facts = facts.and("code", code::compared(at, &canary, &doors).await?);
    let proven = if is_sealed { canary.through(at, &doors).await } else { canary.direct(at).await };
    // Whatever came of it, the canary is no node that anybody waits for.
    let left = canary::leaves(at).await;
    let proven = proven?;
    left?;
    Ok(proven.iter().fold(facts, |facts, (name, value)| facts.and(name, value)))
}

/// The certificate that the master shows: believed, of this name, with the names of the settings.
async fn certificate(at: &Enrolling<'_>) -> Act {
    if at.site.settings.preset.is_java_7() {
        // What it shows cannot be seen from here; `curl` on the machine judges it by the same CA, for each catalog.
        return Ok(Facts::none());
    }
    let pem = match at.site.https.shown(at.master(), at.plan.address()).await {
        // A firewall lets in the doors alone, and they judge it for themselves.
        Err(NoAnswer::NotConnected { .. } | NoAnswer::Late { .. }) if firewalled(at) => {
            return Ok(Facts::none().and("certificate", "not seen from here: behind its firewall"));
        }
        shown => shown?,
    };
    let unreadable = |error: &crate::request::NotReadable| {
        let reason = format!("what {} shows: {error}", at.master());
        Stop::new(StopKind::Failed, reason, "see what listens there, then resume")
    };
    let shown = Asked::of_certificate(&pem).map_err(|error| unreadable(&error))?;
    let lacking: Vec<&str> = at
        .site
        .settings
        .certificate
        .dns_alt_names
        .iter()
        .filter(|name| !shown.names.contains(*name))
        .map(String::as_str)
        .collect();
    if !lacking.is_empty() {
        let reason =
            format!("the certificate that {} shows lacks the names {}", at.master(), lacking.join(", "));
        let way_out =
            "have its web server use the certificate that was signed (ssl-cert, or its agent's), then resume";
        return Err(Stop::new(StopKind::Refused, reason, way_out));
    }
    Ok(Facts::none().and("serial", shown.serial.unwrap_or_default()))
}

/// Puts the master on every roster, for its canary alone; one that is adopted, or that this enrollment admitted before it
/// was cut off, may stand there already.
async fn warm(at: &Enrolling<'_>, doors: &[AskedDoor<'_>], may_stand: bool) -> Result<(), Stop> {
    for door in doors {
        let roster = door.roster().await?;
        match entry(&roster.masters, at.master()).map(|entry| entry.standing) {
            Some(Standing::Admitted) if may_stand => {}
            Some(Standing::Admitted) => {
                let reason =
                    format!("{} is admitted at {} already, without a proof", at.master(), door.name());
                let way_out = "use `adopt` for a master that serves; else `stagedoor roster drain` and `retire` it there, \
                               then resume";
                return Err(Stop::new(StopKind::Refused, reason, way_out));
            }
            _ => {
                door.warm(&at.admission(Some(roster.generation))).await?;
            }
        }
    }
    Ok(())
}

/// Whether only the doors get through to it.
fn firewalled(at: &Enrolling<'_>) -> bool {
    at.site.settings.master.kind == Kind::Sealed { isolation: Isolation::Firewall }
}

/// Waits until a door finds the master fit and, where it is to be, sealed; gives whether it could tell the latter.
async fn ready(at: &Enrolling<'_>, door: &AskedDoor<'_>) -> Result<bool, Stop> {
    let began = tokio::time::Instant::now();
    loop {
        let masters = door.masters().await?;
        let Some(seen) = view(&masters.masters, at.master()) else {
            let reason = format!("{} is no longer on the roster of {}", at.master(), door.name());
            return Err(Stop::new(StopKind::Failed, reason, "somebody retired it; resume"));
        };
        let fit = seen.fit == Fit::Fit;
        match seen.seal {
            // The door may have found that before it was put right.
            Some(Seal::Unsealed) if began.elapsed() > TESTED_ANEW => {
                let why = seen.seal_why.clone().unwrap_or_default();
                let reason =
                    format!("{} is open to strangers, as {} sees it: {why}", at.master(), door.name());
                return Err(Stop::new(
                    StopKind::Refused,
                    reason,
                    "have it sealed by a run of its own, then resume",
                ));
            }
            Some(Seal::Sealed) | None if fit => return Ok(true),
            Some(Seal::Untested) if fit && firewalled(at) => return Ok(false),
            _ => {}
        }
        if began.elapsed() > READY {
            return Err(unready(at, door, seen));
        }
        sleep(BETWEEN).await;
    }
}

fn unready(at: &Enrolling<'_>, door: &AskedDoor<'_>, seen: &MasterView) -> Stop {
    let why = seen
        .why
        .clone()
        .or_else(|| seen.seal_why.clone())
        .unwrap_or_else(|| "it is not known yet".to_owned());
    let reason = format!("{} does not find {} fit and sealed: {why}", door.name(), at.master());
    Stop::new(StopKind::Failed, reason, "see its puppetserver.log and the door's log, then resume")
}

/// A forged request comes to nothing, now that the master runs as it will.
async fn shut_out(at: &Enrolling<'_>) -> Result<String, Stop> {
    if at.site.settings.preset.is_java_7() {
        return Ok("not tried: Java 7".to_owned());
    }
    if firewalled(at) {
        // Whoever is inside with it may ask what he wants; that nobody else is inside is what the doors test.
        return Ok("not tried from here: the firewall is between it and them".to_owned());
    }
    let sealed_by_ca = at.site.settings.master.kind == Kind::SEALED;
    match strangers(at).await {
        Strangers::Refused(alerts) => Ok(format!("refused: {alerts}")),
        // An open master answers everybody in his own name.
        Strangers::Answered(line) if !sealed_by_ca && line.contains(" 403") => Ok(format!("told no: {line}")),
        Strangers::Answered(line) => {
            let reason = format!("{} answers in another's name: {line}", at.master());
            let way_out = "a sealed master lets in doors alone, an open one believes no identity headers \
                           (`allow-header-cert-info` off); put that right by its classes and a run, then resume";
            Err(Stop::new(StopKind::Refused, reason, way_out))
        }
        Strangers::Unknown(why) => {
            let reason = format!("nobody can tell what a stranger meets at {}: {why}", at.master());
            Err(Stop::new(StopKind::Failed, reason, "see that it runs, then resume"))
        }
    }
}

/// The stop for a thing of the canary's own that did not work here.
fn here(what: &str, error: &(dyn std::error::Error + 'static)) -> Stop {
    Stop::new(StopKind::Failed, format!("{what}: {}", chain(error)), "put that right here, then resume")
}
