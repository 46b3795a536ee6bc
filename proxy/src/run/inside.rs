//! What the admin doors may ask of the running door, and what they may tell it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, UnixTime};
use stagedoor_config::admin::flush::Flushed;
use stagedoor_config::admin::seats::{Queue, Seats};
use stagedoor_config::admin::{self as wire, Fit, MasterView, MastersView};
use stagedoor_config::certname::Certname;
use stagedoor_config::environment::Environment;
use stagedoor_config::master::{Master, Standing};
use stagedoor_config::proxy::share::Share;
use stagedoor_config::read;
use stagedoor_config::roster::Roster;
use stagedoor_config::trust::Refused;

use crate::admin::{Change, Inside, Later, Level, NoStatus, NotChanged, Status};
use crate::door::Door;
use crate::observe::levels::{Levels, MasterLevels};
use crate::observe::log::chain;
use crate::pool::catalogs::Catalogs;
use crate::pool::health::Verdict;
use crate::pool::seal::Seal;
use crate::pool::seat::Known;
use crate::pool::state::Live;
use crate::pool::{flush, relay};
use crate::run::load;

/// The door, as the admin doors know it.
pub(crate) struct FromInside {
    door: Arc<Door>,
    /// One writer of the roster's file at a time.
    writing: Mutex<()>,
}

impl FromInside {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self { door, writing: Mutex::new(()) }
    }
}

impl Inside for FromInside {
    fn ready(&self) -> Result<(), Vec<String>> {
        let why = self.door.unready();
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.door.snapshot.load().roster)
    }

    fn masters(&self) -> MastersView {
        let generation = self.roster().generation;
        let share = self.door.snapshot.load().settings.share;
        MastersView { generation, masters: self.door.pool.look(|live, now| view(live, share, now)) }
    }

    fn queue(&self) -> Queue {
        let waiting = self.door.pool.waiting();
        Queue {
            small: waiting.small,
            catalogs: waiting.catalogs,
            oldest_seconds: waiting.oldest.map(|since| since.elapsed().as_secs_f64()),
            expected_seconds: waiting.expected.as_secs_f64(),
            held_seconds: waiting.held.map(|left| left.as_secs_f64()),
        }
    }

    fn levels(&self) -> Levels {
        let share = self.door.snapshot.load().settings.share;
        let waiting = self.door.pool.waiting();
        let of = |live: &Live, now| {
            let seats = live.master.kind.is_sealed().then(|| seats(live, share, now));
            let admitted = live.master.standing == Standing::Admitted;
            let levels = MasterLevels { admitted, out: live.ejection.is_out(now), seats };
            (live.master.certname.clone(), levels)
        };
        Levels {
            ready: self.door.unready().is_empty(),
            masters: self.door.pool.look(of).into_iter().collect(),
            small: waiting.small,
            catalogs: waiting.catalogs,
            oldest: waiting.oldest.map(|since| since.elapsed()).unwrap_or_default(),
            expected: waiting.expected,
            held: waiting.held.unwrap_or_default(),
        }
    }

    fn hold(&self, seconds: u16) -> Duration {
        self.door.pool.hold(Duration::from_secs(u64::from(seconds)))
    }

    fn status(&self, master: &Master, level: Level) -> Later<Result<Status, NoStatus>> {
        let (door, master) = (Arc::clone(&self.door), master.clone());
        Box::pin(async move { relay::relay(&door, &master, level).await })
    }

    fn flush(&self, environments: Vec<Environment>) -> Later<Flushed> {
        Box::pin(flush::flush(Arc::clone(&self.door), environments))
    }

    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Certname, Refused> {
        let judged = self.door.snapshot.load().agents.judged(chain, UnixTime::now())?;
        // An agent's certificate is not believed without a name.
        judged.certname().cloned().ok_or(Refused::Malformed)
    }

    fn operators(&self) -> Option<Arc<ServerConfig>> {
        self.door.snapshot.load().operators.clone()
    }

    fn change(&self, change: &Change) -> Result<Arc<Roster>, NotChanged> {
        // Of its own, and not the door's: a disk that hangs must not hold up a revocation.
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.roster();
        let next = Arc::new(change(&before)?);
        if next == before {
            return Ok(next);
        }
        let snapshot = self.door.snapshot.load_full();
        if let Some(certname) = load::sealed_without_certificate(&next, &snapshot.settings) {
            return Err(NotChanged::NoDoorCertificate { certname: certname.clone() });
        }
        load::sealed_apart(&next, &snapshot.settings)?;
        let file = &snapshot.settings.roster;
        match read::replace(file, next.render().as_bytes(), 0o644) {
            // What is in the file and what is in force must not differ, whatever a power failure would do.
            Err(error) if error.in_place => tracing::error!("{}", chain(&error)),
            replaced => replaced?,
        }
        self.door.change(|now| Ok::<_, NotChanged>(now.with_roster(Arc::clone(&next))))?;
        Ok(next)
    }
}

fn seats(live: &Live, share: Share, now: Instant) -> Seats {
    let (jrubies, known) = live.seats.jrubies();
    let known = match known {
        Known::ByRoster => wire::seats::Known::Roster,
        Known::ByGauges => wire::seats::Known::Gauges,
        Known::Assumed => wire::seats::Known::Assumed,
    };
    Seats {
        jrubies,
        known,
        ours: live.seats.ours(share),
        taken: live.seats.taken(),
        others: live.seats.others(now),
        locked: live.seats.locked(now),
    }
}

const FAILS: &str = "it failed catalogs which others compile, and gets no request for a while";

fn view(live: &Live, share: Share, now: Instant) -> MasterView {
    let out = live.ejection.is_out(now);
    MasterView {
        certname: live.master.certname.clone(),
        address: live.master.address.clone(),
        kind: live.master.kind,
        standing: live.master.standing,
        fit: match live.health.verdict() {
            _ if out => Fit::Unfit,
            Verdict::Unknown => Fit::Unknown,
            Verdict::Fit => Fit::Fit,
            Verdict::Unfit => Fit::Unfit,
        },
        why: if out { Some(FAILS.to_owned()) } else { live.why.clone() },
        seal: live.seal.as_ref().map(|seal| match seal {
            Seal::Sealed { .. } => wire::Seal::Sealed,
            Seal::Unsealed { .. } => wire::Seal::Unsealed,
            Seal::Untested { .. } | Seal::Untestable { .. } => wire::Seal::Untested,
        }),
        seal_why: live.seal.as_ref().and_then(Seal::words),
        in_flight: live.in_flight,
        seats: live.master.kind.is_sealed().then(|| seats(live, share, now)),
        catalogs: live.catalogs.as_ref().map(|catalogs| catalogs.lately(now)),
        canary: live.catalogs.as_ref().map(Catalogs::canary),
    }
}
