//! One enrollment after the other.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use super::queue::Job;
use crate::carry::{NotCarried, carry, plan, turn};
use crate::drive::{End, Told, What};
use crate::journal::{Folder, Journal, JournalError};
use crate::pipeline::{Entry, Standing};
use crate::words::chain;

/// While another process has the turn at PuppetDB: an enrollment by hand takes minutes.
const BETWEEN: Duration = Duration::from_secs(5);

/// Takes up what a restart cut off, then whoever comes, for ever.
pub(super) async fn work(desk: Arc<Desk>) {
    take_up(&desk);
    loop {
        let next = desk.queue().next();
        match next {
            Some(job) => {
                one(&desk, &job).await;
                desk.queue().over();
            }
            None => desk.came.notified().await,
        }
    }
}

/// Puts into the queue what was under way when this program, or another that is gone, was cut off.
fn take_up(desk: &Desk) {
    let Ok(found) = Folder::at(&desk.settings.journal).latest() else { return };
    for found in found.into_iter().filter(|found| !found.busy) {
        let interrupted =
            found.read.as_ref().is_ok_and(|read| matches!(read.progress.standing(), Standing::Begun(_)));
        if interrupted {
            say(&format!("{}: taken up again: it was cut off", found.master));
            // The queue is empty: there is room.
            desk.queue().take(Job::resume(found.master)).ok();
        }
    }
}

async fn one(desk: &Desk, job: &Job) {
    let mut waited = false;
    // Nothing is begun before there is a turn: a journal that only waits would say that it is at work.
    while let Err(JournalError::Taken { .. }) = turn(&desk.settings) {
        if !waited {
            say(&format!("{}: waits for an enrollment that another process carries on", job.master));
        }
        waited = true;
        tokio::time::sleep(BETWEEN).await;
    }
    let end = match begin(desk, job) {
        Ok(journal) => {
            let mut tell = |told: &Told| {
                say(&format!("{} {told}", job.master));
                if let What::Recorded(Entry::Done { step, .. }) = &told.what {
                    desk.metrics.step_done(step);
                }
            };
            carry(&desk.settings, journal, job.permits(), &mut tell).await
        }
        Err(error) => Err(error),
    };
    desk.metrics.ended(match end {
        Ok(End::Finished) => "finished",
        Ok(End::Stopped(_, stop)) => stop.kind.name(),
        Ok(End::Abandoned(_)) => "abandoned",
        Err(error) => {
            say(&format!("{}: {}", job.master, chain(&error)));
            "error"
        }
    });
}

fn begin(desk: &Desk, job: &Job) -> Result<Journal, NotCarried> {
    let folder = Folder::at(&desk.settings.journal);
    Ok(match job.what.procedure() {
        None => folder.resume(&job.master)?.journal,
        Some(procedure) => {
            folder.begin(plan(&desk.settings, procedure, &job.master, job.address.as_deref())?)?
        }
    })
}

/// For whoever reads this program's output; nobody has to.
pub(super) fn say(words: &str) {
    writeln!(std::io::stderr().lock(), "{words}").ok();
}
