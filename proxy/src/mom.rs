//! Places at the Master of Masters.
//!
//! It signs certificates beside its own work, and anybody may ask it without a certificate. So requests there are
//! bounded by kind, and a place is given back when the Master of Masters has done its part, not when whoever asked
//! has hung up: hanging up would otherwise be the way to have any number of requests at work there.

use std::sync::Arc;
use std::time::Duration;

use stagedoor_config::class::Class;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::observe::meter::Held as Counted;
use crate::observe::metrics::Metrics;

/// How long a request waits for a place before it is told to come back: longer than the answers take, shorter than
/// any agent's patience.
const FOR_A_PLACE: Duration = Duration::from_secs(10);

/// How long the head of an answer may take: what the least patient agents wait. A Master of Masters that hangs must
/// not keep its places for as long as a catalog may take.
pub(crate) const FOR_AN_ANSWER: Duration = Duration::from_secs(120);

/// A request's place there, given back when dropped.
pub(crate) struct AtMom {
    _place: OwnedSemaphorePermit,
    _counted: Counted<Metrics>,
}

/// How many places there are for each kind of request.
#[derive(Debug)]
pub(crate) struct Places {
    ca: Arc<Semaphore>,
    packages: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(ca: usize, packages: usize) -> Self {
        Self { ca: Arc::new(Semaphore::new(ca)), packages: Arc::new(Semaphore::new(packages)) }
    }

    /// A place for a request of this class; none, counted, when there is none in time.
    pub(crate) async fn take(&self, class: Class, metrics: &Arc<Metrics>) -> Option<AtMom> {
        let (places, counted): (_, fn(&Metrics) -> &_) = match class {
            Class::Packages => (&self.packages, |metrics| &metrics.mom_packages.in_flight),
            _ => (&self.ca, |metrics| &metrics.mom_ca.in_flight),
        };
        match tokio::time::timeout(FOR_A_PLACE, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(place)) => Some(AtMom { _place: place, _counted: Counted::one(metrics, counted) }),
            Ok(Err(_)) | Err(_) => {
                if let Some(of_its_kind) = metrics.mom(class) {
                    of_its_kind.refused.inc();
                }
                None
            }
        }
    }
}
