//! Coming to each sealed master as a stranger, for ever: the door trusts no setting of a master's to be as it was.
//!
//! A master sealed by the door CA is knocked at from here ([`knock`]), since it must refuse this machine too where that
//! shows no certificate of a door. One behind a firewall lets this machine in, so a host outside is asked to try
//! ([`outside`]). What the verdict means is decided by [`super::seal`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stagedoor_config::master::{Isolation, Kind};
use tokio::sync::watch;
use tokio::time::Instant;

use super::probe::spread;
use super::resolve::Addresses;
use super::seal::{Outcome, Turn};
use super::{Member, Pool};
use crate::door::Door;
use crate::observe::Observe;
use crate::observe::metrics::Ejected;

mod curl;
mod knock;
mod outside;
mod verdict;

/// A verdict lasts for so many intervals in which tests come to none.
const LASTS: u32 = 3;
/// The most addresses of one master: each is one more way in and is tested each time. Masters have one or two.
const ADDRESSES: usize = 16;

/// Tests the seal of one master of a pool again and again, until the task is ended because the master left.
pub(crate) async fn keep_testing(door: Arc<Door>, pool: Arc<Pool>, member: Arc<Member>) {
    let master = &member.peer.certname;
    let mut known = member.peer.addresses();
    let mut unclear = false;
    loop {
        let Some(begun) = pool.seal_test_begins(member.id) else { return };
        let health = door.snapshot.load().settings.health;
        let addresses = addresses(&mut known, health.timeout).await;
        let outcome = test(&door, &member, &addresses, health.timeout).await;
        count(&member, &outcome);
        match &outcome {
            Outcome::Unclear(why) if !unclear => {
                tracing::warn!(%master, why, "whether it is sealed could not be told; tested again soon");
                unclear = true;
            }
            Outcome::Unclear(_) => {}
            _ => unclear = false,
        }
        // A refusal or the lack of any means will be the same in a moment; what else there is may end soon.
        let settled = matches!(outcome, Outcome::Refused | Outcome::Unable(_));
        let lasts = health.seal_interval.saturating_mul(LASTS);
        if let Some(turn) = pool.seal_tested(&member, begun, outcome.clone(), lasts) {
            tell(&door.observe, &member, turn, &outcome);
        }
        let pause = if settled { health.seal_interval } else { health.interval.min(health.seal_interval) };
        until_due(&pool, &member, &mut known, &addresses, spread(pause)).await;
    }
}

/// Where the master is. Empty where nobody knows within `patience`.
async fn addresses(known: &mut watch::Receiver<Addresses>, patience: Duration) -> Addresses {
    // An error is its sender's end: what it said last stands.
    drop(tokio::time::timeout(patience, known.wait_for(|addresses| !addresses.is_empty())).await);
    Arc::clone(&known.borrow_and_update())
}

/// Waits for the next test's time, for somebody who wants it now, or for an address that was not tested.
async fn until_due(
    pool: &Arc<Pool>,
    member: &Member,
    known: &mut watch::Receiver<Addresses>,
    tested: &[SocketAddr],
    pause: Duration,
) {
    let due = Instant::now() + pause;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return,
            () = member.test.notified() => return,
            // A sender that ended closes this branch: an address that is no name does not change.
            Ok(()) = known.changed() => {
                let now = Arc::clone(&known.borrow_and_update());
                if now.iter().any(|address| !tested.contains(address)) {
                    pool.seal_lost(member, "its name has another address now");
                    return;
                }
            }
        }
    }
}

async fn test(door: &Door, member: &Member, addresses: &[SocketAddr], patience: Duration) -> Outcome {
    if addresses.is_empty() {
        return Outcome::Unclear("no address known for it".to_owned());
    }
    if addresses.len() > ADDRESSES {
        return Outcome::Unclear(format!("its name has more than {ADDRESSES} addresses"));
    }
    match member.kind {
        Kind::Sealed { isolation: Isolation::DoorCa } => knock::at(door, member, addresses, patience).await,
        Kind::Sealed { isolation: Isolation::Firewall } => outside::of(door, member, addresses).await,
        // Not asked: an open master is never tested.
        Kind::Open { .. } => Outcome::Unclear("it is open".to_owned()),
    }
}

fn count(member: &Member, outcome: &Outcome) {
    let metrics = &member.metrics;
    match outcome {
        Outcome::Answered(_) => &metrics.seal_answered,
        Outcome::Refused => &metrics.seal_refused,
        Outcome::Unclear(_) | Outcome::Unable(_) => &metrics.seal_unclear,
    }
    .inc();
    if matches!(outcome, Outcome::Answered(_) | Outcome::Refused) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.seal_verdict.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }
}

fn tell(observe: &Observe, member: &Member, turn: Turn, outcome: &Outcome) {
    let master = &member.peer.certname;
    let why = match outcome {
        Outcome::Answered(why) | Outcome::Unclear(why) | Outcome::Unable(why) => why.as_str(),
        Outcome::Refused => "",
    };
    let firewall = matches!(member.kind, Kind::Sealed { isolation: Isolation::Firewall });
    match turn {
        Turn::Unsealed => observe.ejected(&member.metrics, Ejected::Unsealed, &format!("unsealed: {why}")),
        Turn::Sealed => observe.is_back(&member.metrics, "sealed: it refuses strangers"),
        Turn::Untested | Turn::Untestable => {}
    }
    match turn {
        Turn::Unsealed if firewall => tracing::error!(
            %master, why,
            "a host outside the firewall reaches it: whoever can do so may be any node there. It gets no request until \
             its port is closed to everybody but the doors again"
        ),
        Turn::Unsealed => tracing::error!(
            %master, why,
            "it answers a connection that shows no certificate of a door: whoever connects may be any node there. It \
             gets no request until it is sealed again: client-auth: need, and ssl-ca-cert and ssl-crl-path of the door \
             CA in its webserver.conf; or take allow-header-cert-info out of its auth.conf"
        ),
        Turn::Sealed => tracing::info!(%master, "sealed: it refuses strangers"),
        Turn::Untested => tracing::warn!(
            %master, why,
            "its last verdict is too old and tests come to none: it gets no request until one does"
        ),
        Turn::Untestable => tracing::warn!(
            %master, why,
            "nobody can test whether its firewall keeps strangers out: it is used all the same"
        ),
    }
}
