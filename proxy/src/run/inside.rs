//! What the admin doors may ask of the running door, and what they may tell it.

use std::sync::Arc;

use stagedoor_config::admin::{Fit, MasterView, MastersView};
use stagedoor_config::read;
use stagedoor_config::roster::Roster;

use crate::admin::{Change, Inside, NotChanged};
use crate::door::Door;
use crate::observe::log::chain;
use crate::pool::health::Verdict;
use crate::pool::state::Live;

/// The door, as the admin doors know it.
pub(crate) struct FromInside(pub Arc<Door>);

impl Inside for FromInside {
    fn ready(&self) -> Result<(), Vec<String>> {
        let why = self.0.unready();
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.0.snapshot.load().roster)
    }

    fn masters(&self) -> MastersView {
        let generation = self.roster().generation;
        MastersView { generation, masters: self.0.pool.look(view) }
    }

    fn change(&self, change: &Change) -> Result<Arc<Roster>, NotChanged> {
        let mut after = self.roster();
        self.0.change(|before| {
            let next = change(&before.roster)?;
            if next != *before.roster {
                let file = &before.settings.roster;
                match read::replace(file, next.render().as_bytes(), 0o644) {
                    // What is in the file and what is in force must not differ, whatever a power failure would do.
                    Err(error) if error.in_place => tracing::error!("{}", chain(&error)),
                    replaced => replaced?,
                }
            }
            after = Arc::new(next);
            Ok::<_, NotChanged>(before.with_roster(Arc::clone(&after)))
        })?;
        Ok(after)
    }
}

fn view(live: &Live, _fit: bool) -> MasterView {
    MasterView {
        certname: live.master.certname.clone(),
        address: live.master.address.clone(),
        standing: live.master.standing,
        fit: match live.health.verdict() {
            Verdict::Unknown => Fit::Unknown,
            Verdict::Fit => Fit::Fit,
            Verdict::Unfit => Fit::Unfit,
        },
        why: live.why.clone(),
        in_flight: live.in_flight,
    }
}
