//! What a door CA's own files say, and what follows from it: bytes in, facts out.
//!
//! The certificates themselves are the record of what was issued, and the lists of what was taken back; there is no
//! third file that could say something else. The first certificate of `ca.pem` is the CA that signs; a second one is
//! the CA that is being replaced.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::revocation::Serial;
use stagedoor_config::subject;
use stagedoor_config::trust::{Refused, Side, Trust};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString, UintRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::make::{self, Revoked};

/// A CA that signs and one that is being replaced.
const AUTHORITIES_MOST: usize = 2;

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

/// A CA of `ca.pem`.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    /// The ID in its name.
    pub(super) id: String,
    /// Its common name.
    pub(super) name: String,
    /// Its public key: a SubjectPublicKeyInfo in DER.
    pub(super) public: Vec<u8>,
    pub(super) not_after: UnixTime,
    pub(super) pem: String,
    subject: Name,
}

/// A list of `crl.pem`.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// The ID of its CA.
    pub(super) authority: String,
    /// Big-endian, without leading zeros.
    pub(super) number: Vec<u8>,
    pub(super) next_update: UnixTime,
    pub(super) revoked: Vec<Revoked>,
    pub(super) pem: String,
}

/// A certificate that was issued to a door.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) door: Certname,
    /// As openssl prints it.
    pub(super) serial: Serial,
    /// Big-endian.
    pub(super) serial_octets: Vec<u8>,
    /// The ID of its CA; none where that is no longer in `ca.pem`.
    pub(super) authority: Option<String>,
    pub(super) not_after: UnixTime,
    pub(super) standing: Standing,
}

/// What a master would say of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It opens a sealed master.
    Valid,
    /// It is on the list.
    Revoked,
    /// It has ended.
    Expired,
    /// Its CA is no longer in `ca.pem`.
    Dropped,
    /// Anything else.
    Refused(Refused),
}

impl Standing {
    /// The word for it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Dropped => "CA dropped",
            Self::Refused(_) => "refused",
        }
    }
}

/// Why a file of the folder is not understood; whoever reads the file names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Odd {
    #[error("expected complete PEM text, and it is cut off or broken")]
    Pem,
    #[error("expected {expected}, and it holds something else")]
    Kind { expected: &'static str },
    #[error("expected {expected}, and it holds nothing")]
    Empty { expected: &'static str },
    #[error(
        "expected at most {AUTHORITIES_MOST} CA certificates: the CA that signs and the one that it replaces"
    )]
    TooManyAuthorities,
    #[error("expected a CA that `stagedoor door-ca init` made, and it is another's")]
    NotOurs,
    #[error("expected one list for each CA in ca.pem, and `{name}` has none")]
    NoList { name: String },
    #[error("expected a list with a number and a date of its next update, and that of `{name}` has none")]
    NoNumber { name: String },
    #[error("expected a certificate whose subject is one door's name")]
    NotADoor,
}

/// The CAs of `ca.pem`, the one that signs first. Whether they are what they say is for [`Trust`] to judge.
pub(super) fn authorities(pem: &str) -> Result<Vec<Authority>, Odd> {
    let expected = "one CERTIFICATE, or two while the CA is being replaced";
    let mut all = Vec::new();
    for der in sections(pem, SectionKind::Certificate, expected)? {
        if all.len() == AUTHORITIES_MOST {
            return Err(Odd::TooManyAuthorities);
        }
        let parsed = Certificate::from_der(&der).map_err(|_| Odd::NotOurs)?;
        let tbs = parsed.tbs_certificate();
        let name = common_name(tbs.subject()).ok_or(Odd::NotOurs)?;
        let id = make::id_in(&name).ok_or(Odd::NotOurs)?.to_owned();
        all.push(Authority {
            id,
            public: tbs.subject_public_key_info().to_der().map_err(|_| Odd::NotOurs)?,
            not_after: unix(tbs.validity().not_after),
            pem: as_pem("CERTIFICATE", &der),
            subject: tbs.subject().clone(),
            name,
        });
    }
    if all.is_empty() { Err(Odd::Empty { expected }) } else { Ok(all) }
}

/// The lists of `crl.pem`, one for each CA in the same order, and how many were passed over because their CA is not in
/// `ca.pem`: an interrupted `renew` leaves one.
pub(super) fn lists(pem: &str, authorities: &[Authority]) -> Result<(Vec<List>, usize), Odd> {
    let expected = "one X509 CRL for each CA in ca.pem";
    let (mut found, mut passed_over): (Vec<List>, usize) = (Vec::new(), 0);
    for der in sections(pem, SectionKind::Crl, expected)? {
        let parsed: CertificateList = CertificateList::from_der(&der).map_err(|_| Odd::Kind { expected })?;
        match authorities.iter().find(|one| one.subject == parsed.tbs_cert_list.issuer) {
            Some(authority) => found.push(list(authority, &parsed, &der)?),
            None => passed_over += 1,
        }
    }
    let lists = authorities.iter().map(|authority| {
        let one = found.iter().find(|list| list.authority == authority.id).cloned();
        one.ok_or_else(|| Odd::NoList { name: authority.name.clone() })
    });
    Ok((lists.collect::<Result<_, _>>()?, passed_over))
}

fn list(authority: &Authority, parsed: &CertificateList, der: &[u8]) -> Result<List, Odd> {
    let missing = || Odd::NoNumber { name: authority.name.clone() };
    let tbs = &parsed.tbs_cert_list;
    let mut extensions = tbs.crl_extensions.iter().flatten();
    let number = extensions.find(|extension| extension.extn_id == CRL_NUMBER);
    let number = number.and_then(|extension| number_in(&extension.extn_value)).ok_or_else(missing)?;
    let revoked = tbs.revoked_certificates.iter().flatten().map(|entry| Revoked {
        serial: entry.serial_number.as_bytes().to_vec(),
        at: unix(entry.revocation_date),
    });
    Ok(List {
        authority: authority.id.clone(),
        number,
        next_update: unix(tbs.next_update.ok_or_else(missing)?),
        revoked: revoked.collect(),
        pem: as_pem("X509 CRL", der),
    })
}

/// A certificate of the folder of issued ones.
pub(super) fn issued(
    pem: &str,
    authorities: &[Authority],
    trust: &Trust,
    now: UnixTime,
) -> Result<Issued, Odd> {
    let expected = "one CERTIFICATE";
    let der = match <[Vec<u8>; 1]>::try_from(sections(pem, SectionKind::Certificate, expected)?) {
        Ok([der]) => der,
        Err(several) if several.is_empty() => return Err(Odd::Empty { expected }),
        Err(_) => return Err(Odd::Kind { expected }),
    };
    let parsed = Certificate::from_der(&der).map_err(|_| Odd::NotADoor)?;
    let tbs = parsed.tbs_certificate();
    let door = subject::certname(tbs.subject()).map_err(|_| Odd::NotADoor)?;
    let serial_octets = tbs.serial_number().as_bytes().to_vec();
    let authority = authorities.iter().find(|one| one.subject == *tbs.issuer()).map(|one| one.id.clone());
    let standing = match trust.judge(&CertificateDer::from(der.as_slice()), &[], now, Side::Agent) {
        _ if authority.is_none() => Standing::Dropped,
        Ok(_) => Standing::Valid,
        Err(Refused::Revoked) => Standing::Revoked,
        Err(Refused::Expired { .. }) => Standing::Expired,
        Err(other) => Standing::Refused(other),
    };
    Ok(Issued {
        door,
        serial: Serial::from_der_integer(&serial_octets).ok_or(Odd::NotADoor)?,
        serial_octets,
        authority,
        not_after: unix(tbs.validity().not_after),
        standing,
    })
}

/// The doors that would be shut out if every CA but this one were dropped: they have a certificate that is valid, and
/// none of this CA.
pub(super) fn behind(issued: &[Issued], authority: &str) -> Vec<Certname> {
    let mut doors: BTreeMap<&Certname, bool> = BTreeMap::new();
    for one in issued.iter().filter(|one| one.standing == Standing::Valid) {
        *doors.entry(&one.door).or_default() |= one.authority.as_deref() == Some(authority);
    }
    doors.into_iter().filter(|(_, follows)| !follows).map(|(door, _)| door.clone()).collect()
}

/// The number after this one.
pub(super) fn next(number: &[u8]) -> Vec<u8> {
    let mut octets: Vec<u8> = number.to_vec();
    for octet in octets.iter_mut().rev() {
        let (sum, carry) = octet.overflowing_add(1);
        *octet = sum;
        if !carry {
            return octets;
        }
    }
    octets.insert(0, 1);
    octets
}

/// Every section of the text; each must be of this kind.
fn sections(pem: &str, kind: SectionKind, expected: &'static str) -> Result<Vec<Vec<u8>>, Odd> {
    let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    all.map(|section| match section {
        Ok((found, der)) if found == kind => Ok(der),
        Ok(_) => Err(Odd::Kind { expected }),
        Err(_) => Err(Odd::Pem),
    })
    .collect()
}

fn as_pem(label: &str, der: &[u8]) -> String {
    use x509_cert::der::pem::{LineEnding, encode_string};
    // Only a label that PEM does not know fails, and ours are written out.
    encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

/// The one attribute of the subject, where it is a common name.
fn common_name(subject: &Name) -> Option<String> {
    let mut attributes = subject.iter();
    let (Some(one), None) = (attributes.next(), attributes.next()) else { return None };
    (one.oid == subject::COMMON_NAME).then(|| subject::text(&one.value).map(|text| text.into_owned()))?
}

fn number_in(value: &OctetString) -> Option<Vec<u8>> {
    let number = UintRef::from_der(value.as_bytes()).ok()?;
    Some(number.as_bytes().iter().copied().skip_while(|octet| *octet == 0).collect())
}

fn unix(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}
