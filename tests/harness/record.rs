//! What a stand-in has seen: every request as it came, and how it was answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use crate::http1::Head;
use crate::puppet::{Asked, CertificateWords};

/// The most requests that are kept; older ones are forgotten, their count is not.
const KEPT: usize = 50_000;
/// How much of a body is kept.
pub const BODY_KEPT: usize = 64 * 1024;

/// One request.
#[derive(Debug)]
pub struct Seen {
    /// When its head had come.
    pub at: Instant,
    /// The number of its connection, counted from 0.
    pub connection: usize,
    /// The common name of the certificate that the peer showed.
    pub peer: Option<String>,
    /// That certificate.
    pub shown: Option<CertificateDer<'static>>,
    /// Its head, as it came.
    pub head: Head,
    /// The first [`BODY_KEPT`] bytes of its body.
    pub body: Bytes,
    /// The whole length of its body.
    pub body_length: u64,
    /// What no proxy may send, if it did.
    pub offences: Vec<String>,
    status: AtomicU16,
}

impl Seen {
    /// A request whose body was not read.
    #[must_use]
    pub fn head_only(
        at: Instant,
        connection: usize,
        shown: Option<CertificateDer<'static>>,
        head: Head,
    ) -> Self {
        let offences = head.offences();
        let (body, status) = (Bytes::new(), AtomicU16::new(0));
        let peer = shown.as_deref().and_then(CertificateWords::from_der).map(|words| words.name);
        Self { at, connection, peer, shown, head, body, body_length: 0, offences, status }
    }

    /// The path, without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What it asked for.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked::of(self.head.path())
    }

    /// The status it was answered with; 0 while, or where, it was not.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Every header of the identity family, in any spelling.
    #[must_use]
    pub fn identity_headers(&self) -> Vec<(&str, &str)> {
        let ours = |name: &str| name.to_ascii_lowercase().replace('_', "-").starts_with("x-client-");
        let all = self.head.headers.iter().filter(|(name, _)| ours(name));
        all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// Every request that a stand-in has seen.
#[derive(Debug, Default)]
pub struct Record {
    kept: Mutex<VecDeque<Arc<Seen>>>,
    total: AtomicUsize,
}

impl Record {
    pub(crate) fn push(&self, seen: Seen) -> Arc<Seen> {
        let seen = Arc::new(seen);
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(seen.clone());
        seen
    }

    pub(crate) fn count_only(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// All that are kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Seen>> {
        self.kept.lock().unwrap().iter().cloned().collect()
    }

    /// Those that asked for this: `catalog`, `node`, `certificate_request`, …
    #[must_use]
    pub fn of(&self, what: &str) -> Vec<Arc<Seen>> {
        self.all().into_iter().filter(|seen| seen.asked().what == what).collect()
    }

    /// Those for exactly this path.
    #[must_use]
    pub fn for_path(&self, path: &str) -> Vec<Arc<Seen>> {
        self.all().into_iter().filter(|seen| seen.path() == path).collect()
    }

    /// Those of agents: what a door's own questions about health are not.
    #[must_use]
    pub fn of_agents(&self) -> Vec<Arc<Seen>> {
        self.all().into_iter().filter(|seen| seen.asked().mount != "status").collect()
    }

    /// What no proxy may send, if it did, each with its request line.
    #[must_use]
    pub fn offences(&self) -> Vec<String> {
        let all = self.all();
        let offending = all.iter().filter(|seen| !seen.offences.is_empty());
        offending.map(|seen| format!("{}: {}", seen.head.first, seen.offences.join(", "))).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.kept.lock().unwrap().clear();
        self.total.store(0, Ordering::Relaxed);
    }
}
