//! A request in a master's hands, and waiting to be.
//!
//! Whatever changes the pool in a way that may free a seat goes through [`Pool::change`], which tells those who were waiting
//! for it after the lock is free again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::queue::{Ticket, Waiter};
use super::state::seating::{Asked, Called, Held};
use super::{Inside, Member, Pool};
use crate::attempt::Hand;

/// A request in a master's hands, or a connection that was passed to it; given back when dropped.
pub(crate) struct InHand {
    /// None once it was given back otherwise.
    pool: Option<Arc<Pool>>,
    /// Whose hands.
    pub member: Arc<Member>,
    /// The seat, where it needs one.
    held: Option<Held>,
    answered: bool,
    orphaned: bool,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// Nobody is there whose seat could be waited for.
    Nobody,
    /// As many wait as may.
    Full,
    /// Its agent would have left before the answer.
    InVain,
    /// A newer request of the same agent's took its place.
    Replaced,
}

/// Whom to tell what.
pub(super) type Told = Result<InHand, NoSeat>;
pub(super) type Waits = oneshot::Sender<Told>;

/// One who waits; leaves the queue when dropped.
struct Waiting<'p> {
    pool: &'p Arc<Pool>,
    ticket: Ticket,
    told: oneshot::Receiver<Told>,
}

impl Pool {
    /// A seat of a sealed master for this request, waited for if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        waiter: &Waiter,
        patience: Duration,
    ) -> Result<InHand, NoSeat> {
        let (mut waiting, until) = match self.change(|pool, inside| inside.ask(pool, waiter, patience)) {
            Ok(Entered::Seated(hand)) => return Ok(hand),
            Ok(Entered::Waits(ticket, told, until)) => (Waiting { pool: self, ticket, told }, until),
            Err(why) => return Err(why),
        };
        match timeout_at(until.into(), &mut waiting.told).await {
            // The sender goes with an answer, or with the pool.
            Ok(told) => told.unwrap_or(Err(NoSeat::Nobody)),
            Err(_) => Err(NoSeat::InVain),
        }
    }

    /// Changes what is inside, and then tells those whose wait that ended.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&Arc<Self>, &mut Inside) -> T) -> T {
        let mut inside = self.lock();
        let done = change(self, &mut inside);
        let mut told = inside.call(self);
        drop(inside);
        // Whoever left at this very moment gives back what he was given, to whom it then belongs. A loop and no recursion:
        // a whole site may leave at once.
        while !told.is_empty() {
            let unheard = told.into_iter().filter_map(|(waits, told)| waits.send(told).err());
            let back: Vec<InHand> = unheard.filter_map(Result::ok).collect();
            if back.is_empty() {
                break;
            }
            let mut inside = self.lock();
            for mut hand in back {
                hand.back(&mut inside);
            }
            told = inside.call(self);
        }
        done
    }
}

/// What became of a request that wants a seat.
enum Entered {
    Seated(InHand),
    Waits(Ticket, oneshot::Receiver<Told>, Instant),
}

impl Inside {
    fn ask(&mut self, pool: &Arc<Pool>, waiter: &Waiter, patience: Duration) -> Result<Entered, NoSeat> {
        let chance = fastrand::u64(..);
        match self.state.ask(waiter, patience, Instant::now(), chance) {
            Asked::Given(id, held) => {
                self.hand(pool, id, Some(held)).map(Entered::Seated).ok_or(NoSeat::Nobody)
            }
            Asked::Waits { ticket, until, instead_of } => {
                let (tell, told) = oneshot::channel();
                self.waiting.insert(ticket, tell);
                if let Some(waits) = instead_of.and_then(|older| self.waiting.remove(&older)) {
                    // Nothing is given here, so nothing can come back.
                    waits.send(Err(NoSeat::Replaced)).ok();
                }
                Ok(Entered::Waits(ticket, told, until))
            }
            Asked::Full => Err(NoSeat::Full),
            Asked::Nobody => Err(NoSeat::Nobody),
        }
    }

    /// Those whose wait is over, and how.
    fn call(&mut self, pool: &Arc<Pool>) -> Vec<(Waits, Told)> {
        let mut told = Vec::new();
        if self.waiting.is_empty() {
            return told;
        }
        let now = Instant::now();
        while let Some((ticket, called)) = self.state.call(now, fastrand::u64(..)) {
            let became = match called {
                Called::To(id, held) => self.hand(pool, id, Some(held)).ok_or(NoSeat::Nobody),
                Called::Nobody => Err(NoSeat::Nobody),
            };
            match (self.waiting.remove(&ticket), became) {
                (Some(waits), became) => told.push((waits, became)),
                // Nobody is there to be told, which cannot be: a ticket leaves both lists at once.
                (None, Ok(mut hand)) => hand.back(self),
                (None, Err(_)) => {}
            }
        }
        told
    }

    /// What was taken in the state, as a hand; given back again where nothing belongs to that master.
    pub(super) fn hand(&mut self, pool: &Arc<Pool>, id: u32, held: Option<Held>) -> Option<InHand> {
        let member = self.members.iter().find_map(|(m, _)| (m.id == id).then(|| Arc::clone(m)));
        let Some(member) = member else {
            self.give_back(id, held.as_ref(), false);
            return None;
        };
        member.metrics.in_flight.inc();
        Some(InHand { pool: Some(Arc::clone(pool)), member, held, answered: false, orphaned: false })
    }

    fn give_back(&mut self, id: u32, held: Option<&Held>, answered: bool) {
        match held {
            Some(held) => self.state.unseat(id, held, answered, Instant::now()),
            None => self.state.give_back(id),
        }
    }
}

impl InHand {
    /// The master's answer has begun: the time until now was its work.
    pub(crate) const fn answered(&mut self) {
        self.answered = true;
    }

    /// Gives it back where the lock is held already.
    fn back(&mut self, inside: &mut Inside) {
        let pool = self.pool.take();
        if pool.is_some() {
            self.member.metrics.in_flight.dec();
            if self.orphaned {
                self.member.metrics.orphaned.dec();
            }
            if let (Some(pool), Some(held)) = (&pool, &self.held) {
                pool.observe.metrics().seated(held.class, held.since.elapsed());
            }
            inside.give_back(self.member.id, self.held.as_ref(), self.answered);
        }
    }
}

impl Hand for InHand {
    fn is_orphaned(&mut self) {
        self.member.metrics.orphaned.inc();
        self.orphaned = true;
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.clone() {
            pool.change(|_, inside| self.back(inside));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inside = self.pool.lock();
        inside.state.leave(self.ticket);
        // What it was given at this very moment lies in `told`, which is dropped after this.
        inside.waiting.remove(&self.ticket);
    }
}
