//! The lists of revoked certificates, verified once.
#![deny(clippy::disallowed_methods)]

use std::cmp::Ordering;
use std::collections::HashSet;

use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::{PemObject, SectionKind};
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString, UintRef};
use x509_cert::der::{Decode, Tag};

use super::authority::{InBundle, unix};
use super::signed::{NotSigned, Signed};
use super::untrusted::{Source, Untrusted, kind_of};
use crate::revocation::{KeyHash, RevocationSet, Serial};

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

/// A list in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFacts {
    /// The CA that issued it, for people.
    pub issuer: String,
    /// SHA-256 of that CA's key.
    pub key: KeyHash,
    /// Its number, big-endian without leading zeros, where it has one.
    pub number: Option<Vec<u8>>,
    /// When it was issued.
    pub this_update: UnixTime,
    /// When the next one was promised.
    pub next_update: UnixTime,
    /// Certificates on it.
    pub revoked: usize,
}

impl ListFacts {
    /// By number, then by date; by date alone where one has no number.
    pub(super) fn older_than(&self, other: &Self) -> bool {
        let number = match (&self.number, &other.number) {
            (Some(mine), Some(theirs)) => mine.len().cmp(&theirs.len()).then_with(|| mine.cmp(theirs)),
            _ => Ordering::Equal,
        };
        number.then(self.this_update.cmp(&other.this_update)) == Ordering::Less
    }
}

/// Every list of the text. Each must be signed by a CA of the bundle; of several by one key the newest counts.
pub(super) fn read(pem: &[u8], bundle: &[InBundle]) -> Result<(RevocationSet, Vec<ListFacts>), Untrusted> {
    let mut set = RevocationSet::default();
    let mut lists: Vec<ListFacts> = Vec::new();
    let mut position = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| Untrusted::pem(Source::Lists, &error))?;
        if kind != SectionKind::Crl {
            return Err(Untrusted::Kind { file: Source::Lists, found: kind_of(kind) });
        }
        position += 1;
        let (facts, revoked) = read_one(&der, position, bundle)?;
        match lists.iter_mut().find(|known| known.key == facts.key) {
            Some(known) if facts.older_than(known) => continue,
            Some(known) => *known = facts.clone(),
            None => lists.push(facts.clone()),
        }
        set.put(facts.key, revoked);
    }
    if lists.is_empty() {
        return Err(Untrusted::Empty { file: Source::Lists });
    }
    Ok((set, lists))
}

fn read_one(
    der: &[u8],
    position: usize,
    bundle: &[InBundle],
) -> Result<(ListFacts, HashSet<Serial>), Untrusted> {
    let unreadable = |_| Untrusted::ListUnreadable { position };
    let signed = Signed::from_der(der).map_err(unreadable)?;
    if is_version_1(signed.body) {
        return Err(Untrusted::ListVersion { position });
    }
    let list = BorrowedCertRevocationList::from_der(der).map_err(|error| match error {
        webpki::Error::UnsupportedCrlVersion => Untrusted::ListVersion { position },
        webpki::Error::UnsupportedDeltaCrl => Untrusted::ListPartial { position },
        _ => Untrusted::ListUnreadable { position },
    })?;
    let mut revoked = HashSet::new();
    for entry in &list {
        let entry = entry.map_err(|_| Untrusted::ListUnreadable { position })?;
        let serial = Serial::from_der_integer(entry.serial_number);
        revoked.insert(serial.ok_or(Untrusted::ListUnreadable { position })?);
    }
    let list = CertRevocationList::from(list);
    if list.issuing_distribution_point().is_some() {
        return Err(Untrusted::ListPartial { position });
    }

    let whole: CertificateList = CertificateList::from_der(der).map_err(unreadable)?;
    let tbs = whole.tbs_cert_list;
    let issuer = tbs.issuer.to_string();
    let key = signer(&signed, list.issuer(), bundle).map_err(|why| match why {
        Some(NotSigned::Algorithm) => Untrusted::ListAlgorithm { issuer: issuer.clone() },
        Some(NotSigned::Signature) => Untrusted::ListSignature { issuer: issuer.clone() },
        None => Untrusted::ListOfNobody { issuer: issuer.clone() },
    })?;
    let number = tbs
        .crl_extensions
        .iter()
        .flatten()
        .find(|extension| extension.extn_id == CRL_NUMBER)
        .and_then(|extension| number(&extension.extn_value));
    let facts = ListFacts {
        issuer,
        key,
        number,
        this_update: unix(tbs.this_update),
        next_update: unix(tbs.next_update.ok_or(Untrusted::ListUnreadable { position })?),
        revoked: revoked.len(),
    };
    Ok((facts, revoked))
}

/// The CA whose name the list carries and whose key signed it; none where no CA of that name may sign lists.
fn signer(signed: &Signed<'_>, issuer: &[u8], bundle: &[InBundle]) -> Result<KeyHash, Option<NotSigned>> {
    let mut why = None;
    for authority in bundle.iter().filter(|ca| ca.signs_lists && ca.anchor.subject.as_ref() == issuer) {
        match signed.verify(&authority.anchor.subject_public_key_info) {
            Ok(()) => return Ok(authority.facts.key),
            Err(verdict) => why = Some(verdict),
        }
    }
    Err(why)
}

/// A list of version 1 begins with its algorithm, one of version 2 with its version.
fn is_version_1(body: &[u8]) -> bool {
    x509_cert::der::asn1::AnyRef::from_der(body)
        .is_ok_and(|tbs| Tag::from_der(tbs.value().get(..1).unwrap_or_default()) == Ok(Tag::Sequence))
}

fn number(value: &OctetString) -> Option<Vec<u8>> {
    let number = UintRef::from_der(value.as_bytes()).ok()?;
    Some(number.as_bytes().iter().copied().skip_while(|octet| *octet == 0).collect())
}
