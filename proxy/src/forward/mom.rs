//! A request that the Master of Masters answers: CA bootstrap, packages, and renewals under the door's own name.

use http::HeaderValue;
use stagedoor_config::class::Class;

use super::{Answer, Asking};
use crate::answer::Refusal;
use crate::attempt::{Outbound, attempt};
use crate::observe::record::Asked;
use crate::places;
use crate::renewal::Origin;
use crate::retry::Next;

impl Asking<'_> {
    /// Has a request answered by the Master of Masters, within the places its kind has there.
    pub(super) async fn ask_mom(&mut self, class: Class, out: &mut Outbound) -> Result<Answer, Refusal> {
        let door = &self.connection.door;
        let mut place = door.places.at_mom(class, self.connection.peer.ip(), door.observe.metrics()).await;
        if place.is_none() {
            return Err(Refusal::MomBusy);
        }
        self.line.note(|record| record.asked = Asked::Mom);
        let replay = class.replay();
        let peer = &door.mom;
        let (mut made, mut fresh) = (0, false);
        loop {
            made += 1;
            let terms = self.terms(&self.snapshot.bare_tls, replay, fresh);
            let mut phases = self.line.phases();
            let patience = self.snapshot.settings.bounds.response_time.min(places::FOR_AN_ANSWER);
            let links = &self.connection.links;
            let (landed, back) = attempt(links, peer, terms, patience, out, place.take(), &mut phases).await;
            place = back;
            self.line.attempted(made, phases);
            let missed = match landed {
                Ok(landed) => return Ok(Answer::Passed(landed, place)),
                Err(missed) => missed,
            };
            // There is only the one.
            if self.next(replay, missed.failure, self.left(made, false, out)) != Next::SameOverNew {
                return Err(missed.refusal);
            }
            fresh = true;
        }
    }

    /// Has the agent's certificate renewed.
    pub(super) async fn renew(&mut self, id: HeaderValue) -> Result<Answer, Refusal> {
        let connection = self.connection;
        let door = &connection.door;
        let place = door.places.at_mom(Class::Renewal, connection.peer.ip(), door.observe.metrics()).await;
        let place = place.ok_or(Refusal::RenewalBusy)?;
        // It may have waited, and trust may have changed meanwhile.
        self.snapshot = door.snapshot.load_full();
        let agent = connection.identity(&self.snapshot)?.verified().ok_or(Refusal::NeedsIdentity)?;
        let shown = self.snapshot.renewal.as_ref().ok_or(Refusal::Renewal)?;
        self.line.note(|record| record.asked = Asked::Mom);
        let mut phases = self.line.phases();
        let patience = self.snapshot.settings.bounds.connect_time;
        let (from, shown) = (Origin { peer: &connection.peer_header, id }, (shown, self.snapshot.generation));
        let links = &connection.links;
        let landed = door.renewals.ask(links, shown, patience, (agent, from), place, &mut phases).await;
        self.line.attempted(1, phases);
        landed.map(|(landed, place)| Answer::Passed(landed, place))
    }
}
