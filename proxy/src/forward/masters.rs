//! A request that a compile master answers: the one that was picked, and another where that is safe. A canary's goes to
//! its own master and to no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, header};
use stagedoor_config::class::Class;
use stagedoor_config::master::Standing;

use super::{Asking, moved};
use crate::answer::{Backend, Refusal};
use crate::attempt::{Landed, Missed, Outbound, attempt};
use crate::observe::metrics::Ejected;
use crate::observe::record::{Asked, Phases};
use crate::pool::canary::Barred;
use crate::pool::catalogs::{Became, Whose};
use crate::pool::ejection::Out;
use crate::pool::hand::NoSeat;
use crate::pool::health::Verdict;
use crate::pool::pick::{Want, hash};
use crate::pool::queue::Waiter;
use crate::pool::state::{Cataloged, Nobody};
use crate::pool::{InHand, Member};
use crate::retry::{Failure, Next};

/// A wait shorter than this is none: a seat was free.
const NOTICED: Duration = Duration::from_millis(1);

/// A seat whose catalog failed rests no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What is asked of a master.
#[derive(Clone, Copy)]
struct Wanted {
    class: Class,
    /// Bytes of its head.
    size: usize,
    /// By the master's canary, for whom there is no other master.
    canary: bool,
}

/// How asking one master ended.
enum Ended {
    /// With the answer that the agent gets.
    Answered(Landed),
    /// With what the agent gets where nobody does better, and whether somebody else may be asked.
    Otherwise(Result<Landed, Refusal>, Next),
}

impl Asking<'_> {
    /// Has a request answered by a compile master, and by another where that is safe.
    pub(super) async fn ask_masters(
        &mut self,
        mut waiter: Waiter,
        patience: Duration,
        size: usize,
        out: &mut Outbound,
    ) -> Result<Landed, Refusal> {
        let class = waiter.class;
        let pool = &self.connection.door.pool;
        if let Some(goes_to) = self.connection.certname().and_then(|agent| pool.take_canary(agent)) {
            let hand = goes_to.map_err(barred)?;
            return self.ask_for_canary(Wanted { class, size, canary: true }, hand, out).await;
        }
        let wanted = Wanted { class, size, canary: false };
        let mut made = 0;
        // What the agent gets when nobody does better.
        let mut second_best = None;
        loop {
            let hand = match self.hand(&waiter, patience).await? {
                Ok(hand) => hand,
                Err(refusal) => return second_best.unwrap_or(Err(refusal)),
            };
            let member = Arc::clone(&hand.member);
            let (ended, next) = match self.ask(wanted, hand, &mut made, out).await? {
                Ended::Answered(landed) => {
                    self.compiled(class, &landed, member.id);
                    return Ok(landed);
                }
                Ended::Otherwise(ended, next) => (ended, next),
            };
            // An answer, or a master that is only busy, says more to an agent than one that is gone.
            if ended.is_ok() || !matches!(second_best, Some(Ok(_) | Err(Refusal::Full(_)))) {
                second_best = Some(ended);
            }
            if next == Next::GiveUp {
                return second_best.unwrap_or_else(|| Err(self.nobody()));
            }
            waiter.tried.push(member.id);
        }
    }

    /// A master's hands for this request, and one of its seats where it needs one; or why there is none.
    async fn hand(
        &mut self,
        waiter: &Waiter,
        patience: Duration,
    ) -> Result<Result<InHand, Refusal>, Refusal> {
        let pool = Arc::clone(&self.connection.door.pool);
        let Waiter { class, want, tried, .. } = waiter;
        if !class.needs_seat() {
            let hand = pool.take(*want, tried).or_else(|| self.leaving(*want, tried));
            return Ok(hand.ok_or_else(|| self.nobody()));
        }
        let began = Instant::now();
        let seat = pool.seat(waiter, patience).await;
        let waited = began.elapsed();
        if waited >= NOTICED {
            self.line
                .note(|record| record.phases.queue = Some(record.phases.queue.unwrap_or_default() + waited));
            // Trust may have changed meanwhile.
            self.snapshot = self.connection.door.snapshot.load_full();
            self.connection.identity(&self.snapshot)?;
        }
        Ok(match seat {
            Ok(hand) => Ok(hand),
            Err(NoSeat::Nobody) => self.leaving(*want, tried).ok_or_else(|| self.nobody()),
            Err(NoSeat::Full) => Err(Refusal::QueueFull),
            Err(NoSeat::InVain) => Err(Refusal::InVain),
            Err(NoSeat::Replaced) => Err(Refusal::Replaced),
        })
    }

    /// Has a canary's request answered by its master, whatever comes of it. Where its catalog was compiled is not
    /// remembered: all that it asks for goes there anyway.
    async fn ask_for_canary(
        &mut self,
        wanted: Wanted,
        hand: InHand,
        out: &mut Outbound,
    ) -> Result<Landed, Refusal> {
        match self.ask(wanted, hand, &mut 0, out).await? {
            Ended::Answered(landed) => Ok(landed),
            Ended::Otherwise(ended, _) => ended,
        }
    }

    /// Asks one master, and once more over a new connection where the old one had died of age. `made` counts attempts.
    async fn ask(
        &mut self,
        Wanted { class, size, canary }: Wanted,
        hand: InHand,
        made: &mut u32,
        out: &mut Outbound,
    ) -> Result<Ended, Refusal> {
        let member = Arc::clone(&hand.member);
        if size > member.header_limit {
            return Err(Refusal::HeadForMaster);
        }
        self.line.note(|record| record.asked = Asked::Master(Arc::clone(&member.metrics)));
        let replay = class.replay();
        let (mut hand, mut fresh) = (Some(hand), false);
        loop {
            *made += 1;
            let terms = self.terms(self.snapshot.tls_towards(member.kind), replay, fresh);
            let mut phases = self.line.phases();
            let patience = self.snapshot.settings.bounds.response_time;
            let links = &self.connection.links;
            let (landed, back) =
                attempt(links, &member.peer, terms, patience, out, hand.take(), &mut phases).await;
            hand = back;
            // Only work that was done says how long it takes: a master that says no at once is not fast.
            if landed.as_ref().is_ok_and(|landed| is_done(landed.response.status()))
                && let Some(hand) = &mut hand
            {
                hand.answered();
            }
            self.line.attempted(*made, phases);
            if let Err(missed) = &landed {
                self.unconnected(&member, missed);
            }
            if class == Class::Catalog {
                self.cataloged(&member, canary, &landed, phases);
                if !canary
                    && landed.as_ref().is_ok_and(is_failed)
                    && let Some(hand) = hand.take()
                {
                    self.rest(hand, phases);
                }
            }
            let (ended, next) = match landed {
                Ok(landed) if is_refused(&landed) => {
                    (Ok(landed), self.next(replay, Failure::Refused, self.left(*made, !canary, out)))
                }
                // Another master may have it on its own disk; its absence costs no work and counts as no attempt.
                Ok(landed) if is_missing_backup(class, out, &landed) => {
                    *made = 0;
                    (Ok(landed), Next::Another)
                }
                Ok(landed) => return Ok(Ended::Answered(landed)),
                Err(missed) => {
                    (Err(missed.refusal), self.next(replay, missed.failure, self.left(*made, !canary, out)))
                }
            };
            if next != Next::SameOverNew {
                return Ok(Ended::Otherwise(ended, next));
            }
            fresh = true;
        }
    }

    /// Counts a request that could not be connected against its master's health.
    fn unconnected(&self, member: &Member, missed: &Missed) {
        // All connections that may be open being in use is the door's own doing.
        if missed.failure != Failure::Unconnected || matches!(missed.refusal, Refusal::Full(_)) {
            return;
        }
        let why = "requests cannot be connected";
        let fall = self.snapshot.settings.health.fall;
        if self.connection.door.pool.unconnected(member, why, fall) == Some(Verdict::Unfit) {
            tracing::warn!(master = %member.peer.certname, why, "master is unfit: it takes no requests while another is fit");
            member.metrics.fit.set(0);
            self.connection.door.observe.ejected(&member.metrics, Ejected::Connects, why);
        }
    }

    /// Counts what this attempt says of the master's compiling.
    fn cataloged(&self, member: &Member, canary: bool, landed: &Result<Landed, Missed>, phases: Phases) {
        let became = match landed {
            Ok(landed) => {
                let took = phases.first_byte.unwrap_or_default();
                Became::of_answer(landed.response.status(), is_refused(landed), took)
            }
            // The agent's doing.
            Err(Missed { refusal: Refusal::BodyBroken, .. }) => None,
            Err(missed) => Became::of_failure(missed.failure),
        };
        let whose = if canary { Whose::Canarys } else { Whose::Agents(self.line.environment()) };
        let Some(became) = became else { return };
        if became == Became::Failed
            && let Whose::Agents(environment) = whose
        {
            self.connection.door.observe.catalog_failed(&member.metrics, environment);
        }
        let begun = Instant::now() - phases.first_byte.unwrap_or_default();
        let agent = self.connection.certname().map_or(0, |agent| hash(agent.as_str()));
        let out = self.connection.door.pool.cataloged(member, Cataloged { whose, agent, became, begun });
        if let Some(Out { environments, lasts }) = out {
            let (which, seconds) = (environments.join(" "), lasts.as_secs());
            let why = format!("it fails catalogs which others compile ({which}); out for {seconds} s");
            self.connection.door.observe.ejected(&member.metrics, Ejected::Catalogs, &why);
            tracing::warn!(
                master = %member.peer.certname, environments = environments.join(" "), seconds = lasts.as_secs(),
                "it fails catalogs which others compile, and gets no request for a while: see its puppetserver.log; is it \
                 on PuppetDB's certificate-allowlist?"
            );
        }
    }

    /// A master that failed a catalog within no time must not look idle for it: its seat is taken for as long as a catalog
    /// takes. There are no more such waits than seats.
    fn rest(&self, hand: InHand, phases: Phases) {
        let mean = self.connection.door.pool.mean_of_catalogs().min(LONGEST_REST);
        let left = mean.saturating_sub(phases.first_byte.unwrap_or_default());
        if !left.is_zero() {
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                drop(hand);
            });
        }
    }

    /// The last sealed master, while it drains: this agent's run began with it, and an agent does not survive the loss of
    /// a request.
    fn leaving(&self, want: Want, tried: &[u32]) -> Option<InHand> {
        let door = &self.connection.door;
        moved(door).then(|| door.pool.take_leaving(want, tried)).flatten()
    }

    /// The answer when there is nobody to ask.
    fn nobody(&self) -> Refusal {
        if self.snapshot.roster.masters.iter().all(|master| master.standing == Standing::Warm) {
            return Refusal::RosterEmpty;
        }
        let pool = &self.connection.door.pool;
        if moved(&self.connection.door) {
            return Refusal::ConnectAnew;
        }
        match pool.nobody() {
            Nobody::TakesWork => Refusal::NoMasterFit,
            Nobody::IsTested => Refusal::NoMasterTested,
            Nobody::IsSealed => Refusal::NoMasterSealed,
        }
    }

    /// Remembers who compiled, so that the run's static files are asked of the master that has the code.
    fn compiled(&self, class: Class, landed: &Landed, master: u32) {
        if class == Class::Catalog
            && landed.response.status() == StatusCode::OK
            && let Some(agent) = self.connection.certname()
        {
            self.connection.door.pool.compiled(agent, master);
        }
    }
}

/// 503 with `Retry-After`: the queue limit was met before any work was done. Without it, Puppet Server has let the
/// request wait for its borrow timeout of 20 minutes.
fn is_refused(landed: &Landed) -> bool {
    landed.response.status() == StatusCode::SERVICE_UNAVAILABLE
        && landed.response.headers().contains_key(header::RETRY_AFTER)
}

fn is_done(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// The master could not make it.
fn is_failed(landed: &Landed) -> bool {
    landed.response.status().is_server_error() && !is_refused(landed)
}

fn is_missing_backup(class: Class, out: &Outbound, landed: &Landed) -> bool {
    class == Class::FileBucket
        && landed.response.status() == StatusCode::NOT_FOUND
        && (out.head.method == Method::GET || out.head.method == Method::HEAD)
        && landed.link.peer().backend() == Backend::Master
}

/// What a canary is told that may not be sent to its master.
const fn barred(why: Barred) -> Refusal {
    match why {
        Barred::IsOpen => Refusal::CanaryOfOpen,
        Barred::IsUntested => Refusal::NoMasterTested,
        Barred::IsUnsealed => Refusal::NoMasterSealed,
    }
}
