//! What has to hold of every master while something goes wrong that is not its fault: it is fit and not ejected, and has no
//! more in hand than it has JRubies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::machine::{Host, MASTERS};
use crate::master::JRUBIES;

/// Between two looks, each of which starts some programs.
const LOOK: Duration = Duration::from_millis(300);

pub(super) struct Steady<'l> {
    lab: &'l Lab,
    ejections: [f64; 2],
}

/// What was seen meanwhile.
#[derive(Default)]
pub(super) struct Seen {
    looks: usize,
    /// The first that was not fit, as the door said it.
    unfit: Option<Value>,
    /// The most seats that were taken of one master, by the door's word.
    taken: u64,
    /// The most requests that one master had, served and waiting for a JRuby, by its own word.
    borrowed: usize,
    /// The most requests that waited in the door.
    pub(super) queued: u64,
}

impl<'l> Steady<'l> {
    pub(super) fn begin(lab: &'l Lab) -> Result<Self> {
        Ok(Self { lab, ejections: ejections(lab)? })
    }

    /// Looks until it is over.
    pub(super) fn watch(&self, over: &AtomicBool) -> Result<Seen> {
        let mut seen = Seen::default();
        while !over.load(Ordering::Relaxed) {
            for master in &self.lab.masters() {
                self.look_at(master.host, &mut seen)?;
                seen.borrowed = seen.borrowed.max(master.borrowed()?);
            }
            let queue = self.lab.door().queue()?;
            let waiting = |lane| queue.get(lane).and_then(Value::as_u64).context("no such lane");
            seen.queued = seen.queued.max(waiting("small")? + waiting("catalogs")?);
            seen.looks += 1;
            sleep(LOOK);
        }
        Ok(seen)
    }

    fn look_at(&self, host: &Host, seen: &mut Seen) -> Result<()> {
        let view = self.lab.door().view_of(host)?;
        let taken = view.pointer("/seats/taken").and_then(Value::as_u64).context("no seats")?;
        seen.taken = seen.taken.max(taken);
        if view.get("fit").and_then(Value::as_str) != Some("fit") {
            seen.unfit.get_or_insert(view);
        }
        Ok(())
    }

    pub(super) fn nobody_was_ejected(&self) -> Result<()> {
        let now = ejections(self.lab)?;
        ensure!(now == self.ejections, "stagedoor_ejections_total was {:?} and is {now:?}", self.ejections);
        Ok(())
    }
}

impl Seen {
    /// Every master was fit all the while, and had no more than its JRubies.
    pub(super) fn is_well(&self) -> Result<()> {
        ensure!(self.looks > 0, "nobody looked");
        ensure!(self.unfit.is_none(), "a master was not fit: {:?}", self.unfit);
        ensure!(self.taken <= u64::from(JRUBIES), "{} seats of one master were taken", self.taken);
        ensure!(self.borrowed <= usize::from(JRUBIES), "a master had {} requests at once", self.borrowed);
        super::saw(&format!(
            "{} looks: both masters fit, at most {} of {JRUBIES} seats taken by the door's word and {} requests by their own",
            self.looks, self.taken, self.borrowed
        ));
        Ok(())
    }
}

fn ejections(lab: &Lab) -> Result<[f64; 2]> {
    let of = |host: &Host| lab.door().metric("stagedoor_ejections_total", host.name);
    Ok([of(&MASTERS[0])?, of(&MASTERS[1])?])
}
