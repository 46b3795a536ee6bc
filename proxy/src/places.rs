//! Places for requests of those who have shown no certificate: at the Master of Masters, and at compile masters; and
//! for renewals, each of which makes a certificate.
//!
//! The Master of Masters signs certificates beside its own work, and anybody may ask it. A compile master is asked
//! without a certificate by those who bring a console token, which it judges itself, or say that they do. So both are
//! bounded, and a place is given back when the server has done its part, not when whoever asked has hung up: hanging
//! up would otherwise be the way to have any number of requests at work there.
//!
//! Of the places one address has a share. An answer read as slowly as the least rate allows takes hours, and whoever
//! reads so waits for nobody but himself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stagedoor_config::class::Class;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attempt::Hand;
use crate::observe::meter::Held as Counted;
use crate::observe::metrics::Metrics;
use crate::sources::source;

/// How long a request waits for a place before it is told to come back: longer than the answers take, shorter than
/// any agent's patience.
const FOR_A_PLACE: Duration = Duration::from_secs(10);

/// How long the head of an answer may take: what the least patient agents wait. A Master of Masters that hangs must
/// not keep its places for as long as a catalog may take.
pub(crate) const FOR_AN_ANSWER: Duration = Duration::from_secs(120);

/// Requests without a certificate at compile masters: a console's few tools need a handful, and every master has
/// connections left for agents when all of these stall.
const STRANGERS: usize = 64;

/// Renewals at once: the CA writes each to its disk, and a site's agents renew a few times a year.
pub(crate) const RENEWALS: usize = 8;

/// A request's place, given back when dropped.
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    _share: Share,
    _counted: Option<Counted<Metrics>>,
}

impl Hand for Place {}

/// The places for each kind of request.
#[derive(Debug)]
pub(crate) struct Places {
    ca: Kind,
    packages: Kind,
    renewals: Kind,
    strangers: Kind,
}

/// The places for one kind of request.
#[derive(Debug)]
struct Kind {
    all: Arc<Semaphore>,
    /// How many one source may have.
    each: usize,
    /// By source; an entry lives as long as a request that looks at it.
    shares: Arc<Mutex<Shares>>,
}

type Shares = HashMap<IpAddr, Arc<Semaphore>>;

/// A place among its source's, given back when dropped.
struct Share {
    shares: Arc<Mutex<Shares>>,
    source: IpAddr,
    of: Option<Arc<Semaphore>>,
    place: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(ca: usize, packages: usize) -> Self {
        // Answers of the CA take milliseconds, so that a site behind one address does with a quarter; packages take as
        // long as its line, so that it has half.
        Self {
            ca: Kind::new(ca, ca / 4),
            packages: Kind::new(packages, packages / 2),
            // Who renews has shown a certificate, and many may share an address.
            renewals: Kind::new(RENEWALS, RENEWALS / 2),
            strangers: Kind::new(STRANGERS, STRANGERS / 4),
        }
    }

    /// A place at the Master of Masters for a request of this class from this address; none, counted, when there is
    /// none in time.
    pub(crate) async fn at_mom(&self, class: Class, from: IpAddr, metrics: &Arc<Metrics>) -> Option<Place> {
        let (kind, counted): (_, fn(&Metrics) -> &_) = match class {
            Class::Packages => (&self.packages, |metrics| &metrics.mom_packages.in_flight),
            Class::Renewal => (&self.renewals, |metrics| &metrics.mom_renewal.in_flight),
            _ => (&self.ca, |metrics| &metrics.mom_ca.in_flight),
        };
        match tokio::time::timeout(FOR_A_PLACE, kind.take(from)).await {
            Ok(Some((place, share))) => {
                let counted = Some(Counted::one(metrics, counted));
                Some(Place { _place: place, _share: share, _counted: counted })
            }
            Ok(None) | Err(_) => {
                if let Some(of_its_kind) = metrics.mom(class) {
                    of_its_kind.refused.inc();
                }
                None
            }
        }
    }

    /// A place at compile masters for a request without a certificate; none when there is none in time.
    pub(crate) async fn at_masters(&self, from: IpAddr) -> Option<Place> {
        let (place, share) = tokio::time::timeout(FOR_A_PLACE, self.strangers.take(from)).await.ok()??;
        Some(Place { _place: place, _share: share, _counted: None })
    }
}

impl Kind {
    fn new(places: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(places)), each: each.max(1), shares: Arc::default() }
    }

    /// First among its source's, then among all.
    async fn take(&self, from: IpAddr) -> Option<(OwnedSemaphorePermit, Share)> {
        let source = source(from);
        let of = {
            let mut shares = locked(&self.shares);
            Arc::clone(shares.entry(source).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        // Made before it waits, so that a request which gives up leaves nothing behind.
        let mut share =
            Share { shares: Arc::clone(&self.shares), source, of: Some(Arc::clone(&of)), place: None };
        share.place = Some(of.acquire_owned().await.ok()?);
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((place, share))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        drop(self.place.take());
        let mut shares = locked(&self.shares);
        drop(self.of.take());
        // Under the lock nobody comes by it anew: what the map alone holds is nobody's.
        if shares.get(&self.source).is_some_and(|of| Arc::strong_count(of) == 1) {
            shares.remove(&self.source);
        }
    }
}

fn locked(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_addresses_together_have_the_places_there_are() {
        let kind = Kind::new(2, 1);
        let from = |last| kind.take([192, 0, 2, last].into());
        let held = (from(1).await, from(2).await);
        assert!(held.0.is_some() && held.1.is_some());
        assert!(tokio::time::timeout(FOR_A_PLACE, from(3)).await.is_err());
        drop(held);
        assert!(from(3).await.is_some());
        assert!(locked(&kind.shares).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_has_its_share_of_the_places_and_leaves_nothing_behind() {
        let kind = Kind::new(4, 2);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let held = (kind.take(one).await, kind.take(one).await);
        assert!(held.0.is_some() && held.1.is_some());
        assert!(tokio::time::timeout(FOR_A_PLACE, kind.take(one)).await.is_err(), "it waits behind itself");
        assert!(kind.take(other).await.is_some());
        drop(held.0);
        assert!(kind.take(one).await.is_some());
        drop(held.1);
        assert!(locked(&kind.shares).is_empty());
    }
}
