//! Certificates that were believed a moment ago.
//!
//! The TLS library asks the verifier during the handshake and keeps nothing of the answer, so the connection would
//! have to be judged a second time to know what to look up later, which costs a fifth of a handshake. The answer is
//! kept here by the certificate's SHA-256 instead. Agents come back every half hour with the same certificate, so most
//! handshakes are spared the signatures of the path as well.
//!
//! Only good verdicts are kept, and each is looked up again before it is believed: dates and revocation are never
//! remembered. The key's possession is proved by every handshake's own signature, which is not looked at here. The
//! table belongs to one [`Trust`](super::Trust) and ends with it.
#![deny(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Judged;

/// Two generations of so many: about 10 MB when full. A larger site judges some certificates again, nothing more.
const GENERATION: usize = 16_384;

/// Good verdicts by the certificate's SHA-256.
#[derive(Default)]
pub(super) struct Verdicts {
    // Locked for one lookup or insertion per handshake, which takes some thousand times as long.
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 32], Judged>,
    old: HashMap<[u8; 32], Judged>,
}

impl Verdicts {
    pub(super) fn get(&self, certificate: &[u8; 32]) -> Option<Judged> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judged) = generations.young.get(certificate) {
            return Some(judged.clone());
        }
        let judged = generations.old.remove(certificate)?;
        generations.put(*certificate, judged.clone());
        Some(judged)
    }

    pub(super) fn put(&self, certificate: [u8; 32], judged: Judged) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).put(certificate, judged);
    }
}

impl Generations {
    fn put(&mut self, certificate: [u8; 32], judged: Judged) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(certificate, judged);
    }
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verdicts")
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::UnixTime;

    use super::*;

    fn key(n: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_comes_back() {
        let judged = Judged {
            path: [].into(),
            not_after: UnixTime::since_unix_epoch(std::time::Duration::ZERO),
            certname: None,
            anchors_hash: [0; 32],
        };
        let verdicts = Verdicts::default();
        verdicts.put(key(0), judged.clone());
        for n in 1..=4 * GENERATION {
            verdicts.put(key(n), judged.clone());
            assert!(verdicts.get(&key(0)).is_some(), "asked for all along, gone after {n}");
        }
        assert!(verdicts.get(&key(1)).is_none());
        let generations = verdicts.generations.into_inner().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
