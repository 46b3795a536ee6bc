//! The sites that are simulated: how much they have to do, what their masters are, and what happens there.

use std::time::Duration;

use crate::machine::{Caching, Master};
use crate::work::Load;

/// Masters of each site.
pub(crate) const MASTERS: usize = 10;
/// JRubies of each.
pub(crate) const JRUBIES: u16 = 4;

/// A kind of site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    /// Its short name, as in file names.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) name: &'static str,
    utilisation: f64,
    surge: Option<(f64, Duration)>,
    /// How many of the masters take twice as long.
    slow: usize,
    /// Environments; the second has half as many runs as the first, the third a third, and so on.
    pub(crate) environments: usize,
    caching: Caching,
    /// What happens.
    pub(crate) happens: Happens,
}

/// What happens at a site beside agents' runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happens {
    /// Nothing.
    Nothing,
    /// A master is killed, and started again after so long.
    Killed { at: Duration, back: Duration },
    /// The last master is not there before.
    Joins { at: Duration },
    /// Each so often new code is deployed on one master after the other: its pool is locked until every JRuby has come back
    /// and so long after that, and then every environment has to be read again.
    Deploys { each: Duration, lasts: Duration },
}

const USUAL: Site = Site {
    key: "",
    name: "",
    utilisation: 0.95,
    surge: None,
    slow: 0,
    environments: 1,
    caching: Caching::Alike,
    happens: Happens::Nothing,
};

const TWELVE: Site = Site { environments: 12, ..USUAL };

/// All of them.
pub(crate) const SITES: [Site; 12] = [
    Site { key: "equal-80", name: "80 %, equal masters", utilisation: 0.80, ..USUAL },
    Site { key: "equal-95", name: "95 %, equal masters", ..USUAL },
    Site {
        key: "surge",
        name: "120 % for ten minutes, then 70 %",
        utilisation: 0.70,
        surge: Some((1.2, Duration::from_secs(600))),
        ..USUAL
    },
    Site { key: "slow-80", name: "80 %, two masters at half speed", utilisation: 0.80, slow: 2, ..USUAL },
    Site { key: "slow-95", name: "95 %, two masters at half speed", slow: 2, ..USUAL },
    Site {
        key: "killed",
        name: "80 %, one of the masters is killed and comes back after four minutes",
        utilisation: 0.80,
        happens: Happens::Killed { at: Duration::from_secs(200), back: Duration::from_secs(240) },
        ..USUAL
    },
    Site {
        key: "joins",
        name: "90 %, one of the masters joins cold",
        utilisation: 0.90,
        caching: Caching::Unlimited,
        happens: Happens::Joins { at: Duration::from_secs(150) },
        ..TWELVE
    },
    Site {
        key: "deploys",
        name: "80 %, 12 environments, a deploy each five minutes locks and flushes one master after the other",
        utilisation: 0.80,
        caching: Caching::Unlimited,
        happens: Happens::Deploys { each: Duration::from_secs(300), lasts: Duration::from_secs(5) },
        ..TWELVE
    },
    Site {
        key: "used",
        name: "80 %, 12 environments, caches that last five minutes after their last use",
        utilisation: 0.80,
        caching: Caching::FromUsed,
        ..TWELVE
    },
    Site {
        key: "made",
        name: "80 %, 12 environments, caches that last five minutes",
        utilisation: 0.80,
        caching: Caching::FromMade,
        ..TWELVE
    },
    Site {
        key: "deploys-60",
        name: "60 %, 12 environments, a deploy each five minutes locks and flushes one master after the other",
        utilisation: 0.60,
        caching: Caching::Unlimited,
        happens: Happens::Deploys { each: Duration::from_secs(300), lasts: Duration::from_secs(5) },
        ..TWELVE
    },
    Site {
        key: "made-60",
        name: "60 %, 12 environments, caches that last five minutes",
        utilisation: 0.60,
        caching: Caching::FromMade,
        ..TWELVE
    },
];

impl Site {
    /// Its masters.
    pub(crate) fn masters(&self) -> Vec<Master> {
        let slower = |at| if at < self.slow { 2.0 } else { 1.0 };
        let jrubies = usize::from(JRUBIES);
        (0..MASTERS).map(|at| Master { jrubies, slower: slower(at), caching: self.caching }).collect()
    }

    /// What its agents ask for, in so many runs.
    pub(crate) fn load(&self, runs: usize) -> Load {
        let jrubies = self.masters().iter().map(|master| master.jrubies as f64 / master.slower).sum();
        let Self { utilisation, surge, environments, .. } = *self;
        Load { runs, utilisation, surge, jrubies, environments }
    }

    /// What happens until then, to which master.
    pub(crate) fn events(&self, until: Duration) -> Vec<(Duration, usize, Event)> {
        let last = MASTERS - 1;
        match self.happens {
            Happens::Nothing => Vec::new(),
            Happens::Killed { at, back } => vec![(at, last, Event::Dies), (at + back, last, Event::Starts)],
            Happens::Joins { at } => vec![(Duration::ZERO, last, Event::Dies), (at, last, Event::Starts)],
            Happens::Deploys { each, lasts } => {
                let apart = each / (2 * MASTERS as u32);
                let deploys = 1..=(until.as_secs() / each.as_secs()).min(1000) as u32;
                let on = |deploy: u32| {
                    (0..MASTERS).map(move |at| (each * deploy + apart * at as u32, at, Event::Locks(lasts)))
                };
                deploys.flat_map(on).collect()
            }
        }
    }
}

/// What happens to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// It is killed.
    Dies,
    /// It is started.
    Starts,
    /// Its pool is locked for so long after its last JRuby has come back, and then flushed.
    Locks(Duration),
}
