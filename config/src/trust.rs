//! Who is believed: the Puppet CA's certificates and its lists of revoked certificates as one judge of both sides.
//!
//! Bytes in, verdicts out: files are read, watched and swapped elsewhere. Everything that can be wrong with the CA's
//! files is found when they are loaded, once, so that a bad copy never comes into force: every CA has its list, every
//! list's signature is verified under the CA that issued it, a CA that its parent revoked is no anchor.
//!
//! A certificate is judged at the handshake ([`Trust::judge`]: path, dates, purpose, revocation of every certificate
//! on the path, name) and looked up again, cheaply, as often as one likes ([`Trust::still_good`]).
//!
//! What it refuses to do: believe an issuer without a list, ask the network, or soften a check by a setting. A list
//! past its nextUpdate stays in force, since dropping it would let revoked agents back in and refusing everyone would
//! stop the site; whoever loads it reports the date ([`Trust::crl_next_update`]).
#![deny(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::certname::Certname;
use crate::revocation::{KeyHash, RevocationSet, Serial, Status, sha256};
use crate::subject;

mod authority;
mod leaf;
mod list;
mod refused;
mod signed;
#[cfg(test)]
mod tests;
mod untrusted;
mod verdicts;
mod verifier;

pub use authority::Authority;
pub use leaf::KEY_BITS_LEAST;
pub use list::ListFacts;
pub use refused::Refused;
pub use untrusted::{Source, Untrusted};
pub use verifier::{AgentVerifier, MasterVerifier, OperatorVerifier};

/// A path has at most six CAs between leaf and anchor, so more certificates than that and the anchor are noise that
/// only costs time.
const INTERMEDIATES_MOST: usize = 8;

/// Which side of a connection shows the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A client: agents, operators, other programs.
    Agent,
    /// A server: compile masters and the Master of Masters.
    Master,
}

/// The Puppet CA's bundle and lists, checked.
#[derive(Clone)]
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    // One for each anchor, in the same order.
    authorities: Vec<Authority>,
    // Subjects (content octets) of CAs in the bundle that are revoked, to say so instead of "unknown issuer".
    revoked_authorities: Vec<Vec<u8>>,
    revoked: RevocationSet,
    lists: Vec<ListFacts>,
    anchors_hash: [u8; 32],
}

/// A certificate that was believed, and what it takes to look it up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    // Leaf first: each certificate on the path below the anchor, by its issuer's key.
    path: Arc<[(KeyHash, Serial)]>,
    not_after: UnixTime,
    certname: Option<Certname>,
    anchors_hash: [u8; 32],
}

impl Judged {
    /// The end of the path: the earliest notAfter on it, the anchor's included.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The one name in the subject. An agent always has one; a master whose alternative names carry its name need not.
    #[must_use]
    pub fn certname(&self) -> Option<&Certname> {
        self.certname.as_ref()
    }
}

impl Trust {
    /// Reads the text of `ca_crt.pem` and `ca_crl.pem`.
    ///
    /// `now` decides one thing: a CA that has expired and has no list is left out instead of asked for its list.
    ///
    /// # Errors
    /// Says what is missing or wrong and in which of the two texts ([`Untrusted::source_file`]).
    pub fn from_pem(bundle: &[u8], crls: &[u8], now: UnixTime) -> Result<Self, Untrusted> {
        let bundle = authority::read(bundle)?;
        let (revoked, lists) = list::read(crls, &bundle)?;
        let taken_back = authority::taken_back(&bundle, &revoked);

        let mut trust = Self {
            anchors: Vec::new(),
            authorities: Vec::new(),
            revoked_authorities: Vec::new(),
            revoked,
            lists,
            anchors_hash: [0; 32],
        };
        let mut identity = Vec::new();
        for (certificate, taken_back) in bundle.into_iter().zip(taken_back) {
            if taken_back {
                trust.revoked_authorities.push(certificate.anchor.subject.to_vec());
                continue;
            }
            if !trust.revoked.covers(&certificate.facts.key) {
                if certificate.facts.not_after < now {
                    continue;
                }
                return Err(Untrusted::ListMissing { subject: certificate.facts.subject });
            }
            identity.push(sha256(&certificate.der));
            trust.anchors.push(certificate.anchor);
            trust.authorities.push(certificate.facts);
        }
        if trust.anchors.is_empty() {
            return Err(Untrusted::NobodyLeft);
        }
        identity.sort_unstable();
        trust.anchors_hash = sha256(&identity.concat());
        Ok(trust)
    }

    /// Whether a certificate is believed.
    ///
    /// Costs about one signature verification for each certificate on the path.
    ///
    /// # Errors
    /// Says why not; [`Refused::label`] is the word to count by.
    pub fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        side: Side,
    ) -> Result<Judged, Refused> {
        if intermediates.len() > INTERMEDIATES_MOST {
            return Err(Refused::ChainTooLong);
        }
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| Refused::of(error, side))?;
        let usage = match side {
            Side::Agent => KeyUsage::client_auth(),
            Side::Master => KeyUsage::server_auth(),
        };
        // Asked for each path that verifies: where one is revoked, webpki goes on looking for another.
        let walked = RefCell::new(Err(Refused::UnknownIssuer));
        let accept = |path: &VerifiedPath<'_>| {
            let looked_at = self.walk(path, now);
            let verdict = looked_at.as_ref().map(|_| ()).map_err(|_| webpki::Error::CertRevoked);
            // Of several paths' verdicts, revoked says most.
            let mut kept = walked.borrow_mut();
            if looked_at.is_ok() || !matches!(*kept, Err(Refused::Revoked)) {
                *kept = looked_at;
            }
            verdict
        };
        let built = end_entity.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.anchors,
            intermediates,
            now,
            usage,
            None,
            Some(&accept),
        );
        let (path, path_ends) = match built {
            Ok(_) => walked.into_inner()?,
            // Only `accept` answers so.
            Err(webpki::Error::CertRevoked) => {
                return Err(walked.into_inner().err().unwrap_or(Refused::Revoked));
            }
            Err(webpki::Error::UnknownIssuer) if self.is_revoked_authority(end_entity.issuer()) => {
                return Err(Refused::AuthorityRevoked);
            }
            Err(error) => return Err(Refused::of(error, side)),
        };

        let parsed = Certificate::from_der(leaf).map_err(|_| Refused::Malformed)?;
        let parsed = parsed.tbs_certificate();
        leaf::check_key(parsed.subject_public_key_info())?;
        let certname = subject::certname(parsed.subject());
        if let (Side::Agent, Err(why)) = (side, &certname) {
            return Err(Refused::NoName(*why));
        }
        Ok(Judged {
            path,
            not_after: path_ends.min(authority::unix(parsed.validity().not_after)),
            certname: certname.ok(),
            anchors_hash: self.anchors_hash,
        })
    }

    /// Whether a certificate that was believed still is: for each request of a connection that lives long.
    ///
    /// Costs a hash lookup for each certificate on the path. Holds while the anchors are those it was judged by;
    /// where they are not, [`Refused::OtherAnchors`] asks for a new [`Trust::judge`].
    ///
    /// # Errors
    /// Says why it no longer is.
    pub fn still_good(&self, judged: &Judged, now: UnixTime) -> Result<(), Refused> {
        if now > judged.not_after {
            return Err(Refused::Expired { not_after: judged.not_after });
        }
        if judged.anchors_hash != self.anchors_hash {
            return Err(Refused::OtherAnchors);
        }
        judged.path.iter().enumerate().try_for_each(|(at, (issuer, serial))| self.look_up(at, issuer, serial))
    }

    /// SHA-256 over the CA certificates in force: where it changes, connections must be judged anew.
    #[must_use]
    pub fn anchors_hash(&self) -> &[u8; 32] {
        &self.anchors_hash
    }

    /// The CA certificates in force, with their dates.
    #[must_use]
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The lists in force, one for each CA key.
    #[must_use]
    pub fn lists(&self) -> &[ListFacts] {
        &self.lists
    }

    /// The earliest nextUpdate of the lists in force: past it, agents refuse to work while the door goes on.
    #[must_use]
    pub fn crl_next_update(&self) -> Option<UnixTime> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    /// The earliest notAfter of the CA certificates in force.
    #[must_use]
    pub fn authorities_end(&self) -> Option<UnixTime> {
        self.authorities.iter().map(|authority| authority.not_after).min()
    }

    /// The first list here that is older than `before`'s by the same key: taking it would let back in whom the newer one
    /// keeps out. A restored CA may mean it so, hence nothing is refused; whoever reloads says it aloud.
    #[must_use]
    pub fn steps_back(&self, before: &Self) -> Option<&ListFacts> {
        self.lists
            .iter()
            .find(|list| before.lists.iter().any(|old| old.key == list.key && list.older_than(old)))
    }

    /// Revoked certificates over all lists.
    #[must_use]
    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    /// Each certificate on a path by its issuer's key, leaf first, and the end of the CAs above it.
    fn walk(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<Walked, Refused> {
        let at = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let anchor = at.and_then(|at| self.authorities.get(at)).ok_or(Refused::UnknownIssuer)?;
        if now > anchor.not_after || now < anchor.not_before {
            return Err(Refused::AuthorityExpired);
        }
        let mut ends = anchor.not_after;
        let mut links = Vec::with_capacity(1);
        let mut serial = path.end_entity().serial();
        for intermediate in path.intermediate_certificates() {
            let issuer = KeyHash::of_spki(&intermediate.subject_public_key_info());
            links.push((issuer, Serial::from_der_integer(serial).ok_or(Refused::Malformed)?));
            serial = intermediate.serial();
            let parsed = Certificate::from_der(&intermediate.der()).map_err(|_| Refused::Malformed)?;
            ends = ends.min(authority::unix(parsed.tbs_certificate().validity().not_after));
        }
        links.push((anchor.key, Serial::from_der_integer(serial).ok_or(Refused::Malformed)?));
        for (at, (issuer, serial)) in links.iter().enumerate() {
            self.look_up(at, issuer, serial)?;
        }
        Ok((links.into(), ends))
    }

    fn look_up(&self, at: usize, issuer: &KeyHash, serial: &Serial) -> Result<(), Refused> {
        match self.revoked.status(issuer, serial) {
            Status::Good => Ok(()),
            Status::Revoked if at == 0 => Err(Refused::Revoked),
            Status::Revoked => Err(Refused::AuthorityRevoked),
            Status::NoList => Err(Refused::NoList),
        }
    }

    fn is_revoked_authority(&self, name: &[u8]) -> bool {
        self.revoked_authorities.iter().any(|subject| subject == name)
    }
}

/// A path's links, leaf first, and the earliest notAfter of the CAs on it.
type Walked = (Arc<[(KeyHash, Serial)]>, UnixTime);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.authorities)
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}
