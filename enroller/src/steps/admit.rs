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
use crate::words::chain;

/// What stands for the generation of a door that was not asked.
const NOT_ASKED: &str = "-";

pub(super) async fn look(at: &Enrolling<'_>) -> Look {
    let (doors, missing) = at.doors().await?;
    let mut everywhere = true;
    let mut generations: Vec<(&Certname, u64)> = Vec::new();
    for door in &doors {
        let roster = door.roster().await?;
        let standing = entry(&roster.masters, at.master()).map(|entry| entry.standing);
        everywhere &= standing == Some(Standing::Admitted);
        if standing == Some(Standing::Draining) {
            let reason = format!("{} is being drained at {}", at.master(), door.name());
            let way_out = "if that is over: `stagedoor roster undrain` there, then resume";
            return Err(Stop::new(StopKind::Refused, reason, way_out));
        }
        generations.push((door.name(), roster.generation));
    }
    let facts = Facts::none().and("generations", in_order(at, &generations));
    let facts = and_missing(facts, &missing);
    Ok(if everywhere { Looked::There(facts) } else { Looked::Missing(facts) })
}

pub(super) async fn act(at: &Enrolling<'_>, task: &ToAct) -> Act {
    let (doors, missing) = at.doors().await?;
    let noted = task.known().noted.as_ref().and_then(|noted| noted.get("generations")).unwrap_or_default();
    // Every door first, so that none admits a master that another turns away.
    let mut ready = Vec::new();
    for door in &doors {
        let roster = door.roster().await?;
        let standing = entry(&roster.masters, at.master()).map(|entry| entry.standing);
        let seen = generation(at, noted, door.name());
        match (standing, seen) {
            (Some(Standing::Warm | Standing::Admitted), Some(seen)) => ready.push((door, seen)),
            _ => return Err(unproven(at, door.name())),
        }
    }
    let mut generations = Vec::new();
    for (door, seen) in ready {
        let roster = door.admit(&at.admission(Some(seen))).await?;
        generations.push((door.name(), roster.generation));
    }
    Ok(and_missing(Facts::none().and("generations", in_order(at, &generations)), &missing))
}

/// A door where nothing shows that the master compiles: it was missing when that was shown, or somebody took it off since.
fn unproven(at: &Enrolling<'_>, door: &Certname) -> Stop {
    let reason = format!(
        "{} does not stand on the roster of {door} as it did when it was shown to compile: the door was missing then, or \
         somebody took it off",
        at.master()
    );
    Stop::new(StopKind::Refused, reason, "resume, which has it shown again, through that door as well")
}

/// Generations of rosters as one fact: a number for each door, in the order of the settings.
fn in_order(at: &Enrolling<'_>, generations: &[(&Certname, u64)]) -> String {
    let of = |door: &Certname| generations.iter().find(|(name, _)| *name == door);
    let numbers = AskedDoor::all(at.site)
        .map(|door| of(door.name()).map_or_else(|| NOT_ASKED.to_owned(), |(_, number)| number.to_string()));
    numbers.collect::<Vec<_>>().join(" ")
}

fn generation(at: &Enrolling<'_>, noted: &str, door: &Certname) -> Option<u64> {
    let place = AskedDoor::all(at.site).position(|asked| asked.name() == door)?;
    noted.split(' ').nth(place)?.parse().ok()
}

/// Whether every door that has it has it drained, with nothing of its in hand. A name that no door has is refused: it may
/// be mistyped, and what comes after takes its certificate away.
pub(super) async fn drained(at: &Enrolling<'_>) -> Look {
    let (doors, missing) = at.doors().await?;
    let (mut in_flight, mut somewhere) = (0, false);
    for door in &doors {
        let masters = door.masters().await?;
        match view(&masters.masters, at.master()) {
            Some(view) if view.standing == Standing::Admitted => return Ok(Looked::Missing(Facts::none())),
            Some(view) => (in_flight, somewhere) = (in_flight + view.in_flight, true),
            None => {}
        }
    }
    if !somewhere {
        let reason =
            format!("{} is on no door's roster: nothing shows that it is a compile master", at.master());
        let way_out = "correct the name; where it is right, `stagedoor roster warm` at a door puts it on the list again, \
                       then begin anew or resume";
        return Err(Stop::new(StopKind::Refused, reason, way_out));
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
async fn drain_at(door: &AskedDoor<'_>, master: &Certname) -> Result<(), Stop> {
    let roster = door.roster().await?;
    let standing = entry(&roster.masters, master).map(|entry| entry.standing);
    if standing == Some(Standing::Admitted) {
        door.drain(master, Some(roster.generation)).await?;
    }
    Ok(())
}

/// Drains a master that fails agents at every door of the settings, whoever changed the rosters meanwhile; gives what kept
/// any door from it, in words.
pub(super) async fn drain_now(at: &Enrolling<'_>) -> Vec<String> {
    let drain =
        async |door: AskedDoor<'_>| door.drain(at.master(), None).await.err().map(|error| chain(&error));
    let mut errors = Vec::new();
    for door in AskedDoor::all(at.site) {
        errors.extend(drain(door).await);
    }
    errors
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
