//! What is known of one agent connection for as long as it lives: who it is, established once by the handshake.
//!
//! A certificate may be revoked or end while its connection stays open. Each request is therefore let through only
//! under the trust in force at that moment; while nothing changed that costs one comparison and a look at the clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;
use rustls_pki_types::{CertificateDer, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::trust::{Judged, Refused};

use crate::answer::Refusal;
use crate::door::{Door, Snapshot};
use crate::identity::Identity;
use crate::link::Links;
use crate::observe::record::TlsVersion;

/// One agent connection after its handshake.
pub(crate) struct Connection {
    /// The door it came through.
    pub door: Arc<Door>,
    /// This thread's connections to masters.
    pub links: Arc<Links>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The same, as `X-Forwarded-For`.
    pub peer_header: HeaderValue,
    /// What was agreed.
    pub tls: TlsVersion,
    /// The answer to every request, where its source or its agent has more connections than it may.
    pub over: Option<Refusal>,
    /// The last request came in chunks, all of them were read, and neither side asked to close. hyper goes on after
    /// such a request, unless a length stood beside the chunks: the only sign that it leaves.
    pub goes_on_after_chunks: AtomicBool,
    /// Whether a run has begun on it: what it asks for from here on is never sent away.
    pub run_began: AtomicBool,
    identity: Identity,
    proof: Option<Proof>,
}

/// What it takes to find again that an agent's certificate is good.
pub(crate) struct Proof {
    judged: Judged,
    /// As shown, leaf first.
    chain: Box<[CertificateDer<'static>]>,
    /// The snapshot's generation under which it was last found good.
    good_under: AtomicU64,
}

impl Proof {
    pub(crate) fn new(judged: Judged, chain: Box<[CertificateDer<'static>]>, generation: u64) -> Self {
        Self { judged, chain, good_under: AtomicU64::new(generation) }
    }

    /// Whether the certificate is still good under the trust in force.
    fn still_good(&self, snapshot: &Snapshot, now: UnixTime) -> Result<(), Refused> {
        let not_after = self.judged.not_after();
        if now > not_after {
            return Err(Refused::Expired { not_after });
        }
        if self.good_under.load(Ordering::Relaxed) == snapshot.generation {
            return Ok(());
        }
        match snapshot.trust.still_good(&self.judged, now) {
            // The CA bundle changed, not only a list: the path under it may end earlier, so it is asked for each time.
            // What was judged once is found again there without a signature's verification.
            Err(Refused::OtherAnchors) => return snapshot.agents.judged(&self.chain, now).map(drop),
            verdict => verdict?,
        }
        self.good_under.store(snapshot.generation, Ordering::Relaxed);
        Ok(())
    }
}

impl Connection {
    pub(crate) fn new(
        door: Arc<Door>,
        links: Arc<Links>,
        (peer, peer_header): (SocketAddr, HeaderValue),
        tls: TlsVersion,
        (identity, proof): (Identity, Option<Proof>),
        over: Option<Refusal>,
    ) -> Self {
        let (goes_on_after_chunks, run_began) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { door, links, peer, peer_header, tls, over, goes_on_after_chunks, run_began, identity, proof }
    }

    /// Whose certificate the handshake verified, good still or not.
    pub(crate) const fn certname(&self) -> Option<&Certname> {
        self.identity.certname()
    }

    /// Who asks, under the trust in force now.
    pub(crate) fn identity(&self, snapshot: &Snapshot) -> Result<&Identity, Refusal> {
        let Some(proof) = &self.proof else { return Ok(&self.identity) };
        match proof.still_good(snapshot, UnixTime::now()) {
            Ok(()) => Ok(&self.identity),
            Err(Refused::Expired { .. }) => Err(Refusal::Expired),
            Err(_) => Err(Refusal::Revoked),
        }
    }
}
