//! At every door: admitted, drained, and off the roster again.
//!
//! A door's roster is changed only from the generation that was looked at, so that nobody's change is undone unseen. What
//! is missing at one door is missing: a step is done when every door says so.

use stagedoor_config::admin::{MasterView, RosterEntry};
use stagedoor_config::certname::Certname;
use stagedoor_config::master::Standing;
use tokio::time::sleep;

use super::{Act, BETWEEN, Enrolling, Look, and_missing};
use crate::doors::AskedDoor;
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToAct};

pub(super) async fn look(at: &Enrolling<'_>) -> Look {
    let (doors, missing) = at.doors().await?;
    let (mut facts, mut everywhere) = (Facts::none(), true);
    let mut generations = Vec::new();
    for door in &doors {
        let roster = door.roster().await?;
        let standing = entry(&roster.masters, at.master()).map(|entry| entry.standing);
        everywhere &= standing == Some(Standing::Admitted);
        if standing == Some(Standing::Draining) {
            let reason = format!("{} is being drained at {}", at.master(), door.name());
            let way_out = "if that is over: `stagedoor roster undrain` there, then resume";
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        generations.push(format!("{} {}", door.name(), roster.generation));
    }
    facts = and_missing(facts.and("generations", generations.join(", ")), &missing);
    Ok(if everywhere { Looked::There(facts) } else { Looked::Missing(facts) })
}

pub(super) async fn act(at: &Enrolling<'_>, task: &ToAct) -> Act {
    let (doors, missing) = at.doors().await?;
    let noted = task.known().noted.as_ref().and_then(|noted| noted.get("generations")).unwrap_or_default();
    let seen = |door: &Certname| {
        let of = |pair: &str| pair.trim().strip_prefix(door.as_str())?.trim().parse().ok();
        noted.split(',').find_map(of)
    };
    let mut generations = Vec::new();
    for door in &doors {
        let generation: Option<u64> = seen(door.name());
        let roster = door.admit(&at.admission(generation)).await?;
        generations.push(format!("{} {}", door.name(), roster.generation));
    }
    Ok(and_missing(Facts::none().and("generations", generations.join(", ")), &missing))
}

/// Whether every door has it drained, or not at all, with nothing of its in hand.
pub(super) async fn drained(at: &Enrolling<'_>) -> Look {
    let (doors, missing) = at.doors().await?;
    let mut in_flight = 0;
    for door in &doors {
        let masters = door.masters().await?;
        match masters.masters.iter().find(|view| view.certname == *at.master()) {
            Some(view) if view.standing == Standing::Admitted => return Ok(Looked::Missing(Facts::none())),
            Some(view) => in_flight += view.in_flight,
            None => {}
        }
    }
    let facts = and_missing(Facts::none().and("in_flight", in_flight.to_string()), &missing);
    Ok(if in_flight == 0 { Looked::There(facts) } else { Looked::Missing(facts) })
}

pub(super) async fn drain(at: &Enrolling<'_>) -> Act {
    let (doors, missing) = at.doors().await?;
    for door in &doors {
        drain_at(door, at.master()).await?;
    }
    // The step's deadline ends this: a response may take as long as an agent is patient.
    while in_flight(&doors, at.master()).await? > 0 {
        sleep(BETWEEN).await;
    }
    Ok(and_missing(Facts::none(), &missing))
}

/// Drains a master where it is admitted.
pub(super) async fn drain_at(door: &AskedDoor<'_>, master: &Certname) -> Result<(), Stop> {
    let roster = door.roster().await?;
    let standing = entry(&roster.masters, master).map(|entry| entry.standing);
    if standing == Some(Standing::Admitted) {
        door.drain(master, Some(roster.generation)).await?;
    }
    Ok(())
}

async fn in_flight(doors: &[AskedDoor<'_>], master: &Certname) -> Result<u32, Stop> {
    let mut count = 0;
    for door in doors {
        let masters = door.masters().await?;
        count += view(&masters.masters, master).map_or(0, |view| view.in_flight);
    }
    Ok(count)
}

/// Whether no door has it on its roster.
pub(super) async fn off(at: &Enrolling<'_>) -> Look {
    let (doors, missing) = at.doors().await?;
    for door in &doors {
        if entry(&door.roster().await?.masters, at.master()).is_some() {
            return Ok(Looked::Missing(Facts::none()));
        }
    }
    Ok(Looked::There(and_missing(Facts::none(), &missing)))
}

pub(super) async fn take_off(at: &Enrolling<'_>) -> Act {
    let (doors, missing) = at.doors().await?;
    for door in &doors {
        let roster = door.roster().await?;
        if entry(&roster.masters, at.master()).is_some() {
            door.retire(at.master(), Some(roster.generation)).await?;
        }
    }
    Ok(and_missing(Facts::none(), &missing))
}

pub(super) fn entry<'e>(entries: &'e [RosterEntry], master: &Certname) -> Option<&'e RosterEntry> {
    entries.iter().find(|entry| entry.certname == *master)
}

pub(super) fn view<'v>(views: &'v [MasterView], master: &Certname) -> Option<&'v MasterView> {
    views.iter().find(|view| view.certname == *master)
}
