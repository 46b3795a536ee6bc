//! The CA certificates in the bundle.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::time::Time;
use x509_cert::{Certificate, TbsCertificate, Version};

use super::signed::Signed;
use super::untrusted::{Source, Untrusted, kind_of};
use crate::revocation::{KeyHash, RevocationSet, Serial};

/// A CA certificate in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its subject, for people.
    pub subject: String,
    /// SHA-256 of its key.
    pub key: KeyHash,
    /// Not believed before.
    pub not_before: UnixTime,
    /// Not believed after.
    pub not_after: UnixTime,
}

/// A CA certificate in the bundle, with what checking lists and parents takes.
pub(super) struct InBundle {
    pub(super) facts: Authority,
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) der: Vec<u8>,
    /// May sign lists: its keyUsage says so, or it has none.
    pub(super) signs_lists: bool,
    // Content octets, as `anchor.subject`.
    issuer: Vec<u8>,
    serial: Serial,
}

/// Every certificate of the bundle; each must be a CA's.
pub(super) fn read(pem: &[u8]) -> Result<Vec<InBundle>, Untrusted> {
    let mut bundle = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| Untrusted::pem(Source::Bundle, &error))?;
        if kind != SectionKind::Certificate {
            return Err(Untrusted::Kind { file: Source::Bundle, found: kind_of(kind) });
        }
        let position = bundle.len() + 1;
        bundle.push(read_one(der, position)?);
    }
    if bundle.is_empty() {
        return Err(Untrusted::Empty { file: Source::Bundle });
    }
    Ok(bundle)
}

fn read_one(der: Vec<u8>, position: usize) -> Result<InBundle, Untrusted> {
    let unreadable = || Untrusted::AuthorityUnreadable { position };
    let parsed = Certificate::from_der(&der).map_err(|_| unreadable())?;
    let tbs = parsed.tbs_certificate();
    let anchor = webpki::anchor_from_trusted_cert(&CertificateDer::from(der.as_slice()))
        .map_err(|_| unreadable())?
        .to_owned();
    let issuer = tbs.issuer().to_der().map_err(|_| unreadable())?;
    let subject = tbs.subject().to_string();
    let usage: Option<KeyUsage> = extension(tbs).map_err(|()| unreadable())?;
    if !is_ca(tbs, usage.as_ref()).map_err(|()| unreadable())? {
        return Err(Untrusted::NotAnAuthority { position, subject });
    }
    Ok(InBundle {
        facts: Authority {
            subject,
            key: KeyHash::of_spki(&webpki::spki_for_anchor(&anchor)),
            not_before: unix(tbs.validity().not_before),
            not_after: unix(tbs.validity().not_after),
        },
        signs_lists: usage.is_none_or(|usage| usage.crl_sign()),
        issuer: content(&issuer).ok_or_else(unreadable)?.to_vec(),
        serial: Serial::from_der_integer(tbs.serial_number().as_bytes()).ok_or_else(unreadable)?,
        anchor,
        der,
    })
}

/// Whether a certificate may sign others. An agent's certificate put into the bundle by mistake would otherwise make
/// its owner a CA. Version 1 knows no extensions: only a self-issued one, a root of old, is taken.
fn is_ca(tbs: &TbsCertificate, usage: Option<&KeyUsage>) -> Result<bool, ()> {
    if tbs.version() == Version::V1 {
        return Ok(tbs.subject() == tbs.issuer());
    }
    let constraints: Option<BasicConstraints> = extension(tbs)?;
    Ok(constraints.is_some_and(|constraints| constraints.ca)
        && usage.is_none_or(|usage| usage.key_cert_sign()))
}

fn extension<'a, T>(tbs: &'a TbsCertificate) -> Result<Option<T>, ()>
where
    T: Decode<'a> + x509_cert::der::oid::AssociatedOid,
    <T as Decode<'a>>::Error: From<x509_cert::der::Error>,
{
    Ok(tbs.get_extension::<T>().map_err(|_| ())?.map(|(_critical, value)| value))
}

/// For each CA certificate, whether its parent in the bundle revoked it, or revoked the parent.
pub(super) fn taken_back(bundle: &[InBundle], revoked: &RevocationSet) -> Vec<bool> {
    let mut verdicts = vec![false; bundle.len()];
    // Each round carries the verdict one generation down.
    for _ in 0..bundle.len() {
        let next: Vec<bool> = bundle
            .iter()
            .map(|child| {
                bundle.iter().zip(&verdicts).any(|(parent, parent_revoked)| {
                    let own = parent.facts.key == child.facts.key;
                    (revoked.contains(&parent.facts.key, &child.serial) || (*parent_revoked && !own))
                        && issued(parent, child)
                })
            })
            .collect();
        if next == verdicts {
            break;
        }
        verdicts = next;
    }
    verdicts
}

fn issued(parent: &InBundle, child: &InBundle) -> bool {
    parent.anchor.subject.as_ref() == child.issuer
        && Signed::from_der(&child.der)
            .is_ok_and(|signed| signed.verify(&parent.anchor.subject_public_key_info).is_ok())
}

/// The content of one TLV.
fn content(tlv: &[u8]) -> Option<&[u8]> {
    x509_cert::der::asn1::AnyRef::from_der(tlv).ok().map(|any| any.value())
}

/// A certificate's time.
pub(super) fn unix(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}

/// A time for people: `2031-05-04T12:00:00Z`.
pub(super) fn date(time: UnixTime) -> String {
    DateTime::from_unix_duration(Duration::from_secs(time.as_secs()))
        .map_or_else(|_| format!("{} s after 1970", time.as_secs()), |date| date.to_string())
}
