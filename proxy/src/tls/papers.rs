//! What the door shows to masters that the door CA seals, and whether they would let it in.
//!
//! The door itself is let in or not by the masters; here is said beforehand what they would say, since each of them
//! would say it as a TLS alert without words. Two kinds of mistake are told apart. One shuts the door out, which it
//! survives: the Master of Masters and open masters are served all the same. The other opens what was to be shut:
//! a door that could sign doors, or a "door CA" that every agent has a certificate of. With those no door starts.
#![deny(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use stagedoor_config::proxy::DoorPapers;
use stagedoor_config::trust::{Refused, Side, Source, Trust, Untrusted};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use super::Pair;

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// The door's certificate of the door CA, and that CA.
#[derive(Debug, Clone)]
pub struct Papers {
    /// Where the CA's files came from, and the pair's.
    pub files: DoorPapers,
    /// What is shown.
    pub pair: Pair,
    /// The CA, or two of them while one follows the other, with their lists.
    pub ca: Arc<Trust>,
}

/// The door CA's own files are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; copy ca.pem and crl.pem together from the folder of `stagedoor door-ca`", .file.display())]
pub struct BadDoorCa {
    /// Which of the two.
    pub file: PathBuf,
    what: String,
}

/// Why masters would not let the door in, or whom they would let in besides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Every agent would be a door.
    #[error(
        "{}: expected the private door CA, and it holds a CA of Puppet's ({subject}): a master sealed by it lets \
         every agent in; make a CA with `stagedoor door-ca init` and seal the masters by it", .file.display()
    )]
    PuppetCa {
        /// `ca.pem`.
        file: PathBuf,
        /// That CA's subject.
        subject: String,
    },
    /// Shown to a master by mistake, it is a node's name there.
    #[error(
        "{}: expected a certificate of the private door CA, and it is one of Puppet's CA ({issuer}): make one with \
         `stagedoor door-ca issue`", .file.display()
    )]
    OfPuppetCa {
        /// The certificate.
        file: PathBuf,
        /// Who issued it.
        issuer: String,
    },
    /// Whoever takes the door over could make doors.
    #[error(
        "{}: expected a door's certificate, and it may sign others as a CA: keep the CA's key off this machine and \
         make a certificate with `stagedoor door-ca issue`", .file.display()
    )]
    Authority {
        /// The certificate.
        file: PathBuf,
    },
    /// Its extended key usage is missing or another.
    #[error(
        "{}: expected a certificate for clients, and its extended key usage does not say clientAuth: make one with \
         `stagedoor door-ca issue`", .file.display()
    )]
    NotForClients {
        /// The certificate.
        file: PathBuf,
    },
    /// Past its end.
    #[error("{}: expected a certificate that has not expired: make one with `stagedoor door-ca issue`", .file.display())]
    Expired {
        /// The certificate.
        file: PathBuf,
    },
    /// On the list.
    #[error(
        "{}: expected a certificate that is not revoked, and {} lists it: make one with `stagedoor door-ca issue`",
        .file.display(), .crl.display()
    )]
    Revoked {
        /// The certificate.
        file: PathBuf,
        /// The list.
        crl: PathBuf,
    },
    /// Of another CA.
    #[error(
        "{}: expected a certificate of the CA in {}, and it is of another ({issuer}): have that CA issue one, or copy \
         ca.pem and crl.pem of the CA that did", .file.display(), .ca.display()
    )]
    UnknownIssuer {
        /// The certificate.
        file: PathBuf,
        /// `ca.pem`.
        ca: PathBuf,
        /// Who issued it.
        issuer: String,
    },
    /// Its CA has ended.
    #[error("{}: expected a CA in force, and it has ended or not begun: replace it with `stagedoor door-ca renew`", .ca.display())]
    AuthorityExpired {
        /// `ca.pem`.
        ca: PathBuf,
    },
    /// Anything else.
    #[error("{}: expected a certificate that a sealed master takes: make one with `stagedoor door-ca issue`", .file.display())]
    Refused {
        /// The certificate.
        file: PathBuf,
        /// Why not.
        #[source]
        why: Refused,
    },
}

impl Unfit {
    /// Whether it opens what was to be shut. Anything else shuts the door out and no more.
    #[must_use]
    pub const fn opens(&self) -> bool {
        matches!(self, Self::PuppetCa { .. } | Self::OfPuppetCa { .. } | Self::Authority { .. })
    }
}

impl Papers {
    /// The CA from its two files' contents.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn door_ca(files: &DoorPapers, ca: &[u8], crl: &[u8], now: UnixTime) -> Result<Trust, BadDoorCa> {
        Trust::from_pem(ca, crl, now).map_err(|error| {
            let file = match error.source_file() {
                Source::Bundle => &files.ca,
                Source::Lists => &files.crl,
            };
            BadDoorCa { file: file.clone(), what: words(&error) }
        })
    }

    /// Whether a sealed master would let the door in, and only doors. `puppet` is Puppet's CA, where it is known.
    ///
    /// # Errors
    /// The worst of what is wrong.
    pub fn fit(&self, puppet: Option<&Trust>, now: UnixTime) -> Result<(), Unfit> {
        let file = || self.pair.files.certificate.clone();
        let other = |why| Unfit::Refused { file: file(), why };
        let authorities = puppet.map(Trust::authorities).unwrap_or_default();
        let own = self.ca.authorities();
        if let Some(shared) = own.iter().find(|ours| authorities.iter().any(|theirs| theirs.key == ours.key))
        {
            let (file, subject) = (self.files.ca.clone(), shared.subject.clone());
            return Err(Unfit::PuppetCa { file, subject });
        }
        let Some((leaf, intermediates)) = self.pair.chain().split_first() else {
            return Err(other(Refused::Malformed));
        };
        let parsed = Certificate::from_der(leaf).map_err(|_| other(Refused::Malformed))?;
        let rights = Rights::of(&parsed).ok_or_else(|| other(Refused::Malformed))?;
        if rights.signs {
            return Err(Unfit::Authority { file: file() });
        }
        let issuer = parsed.tbs_certificate().issuer().to_string();
        if authorities.iter().any(|authority| authority.subject == issuer) {
            return Err(Unfit::OfPuppetCa { file: file(), issuer });
        }
        match self.ca.judge(leaf, intermediates, now, Side::Agent) {
            Ok(_) if !rights.client => Err(Unfit::NotForClients { file: file() }),
            Ok(_) => Ok(()),
            Err(Refused::NotForClients) => Err(Unfit::NotForClients { file: file() }),
            Err(Refused::Expired { .. }) => Err(Unfit::Expired { file: file() }),
            Err(Refused::Revoked) => Err(Unfit::Revoked { file: file(), crl: self.files.crl.clone() }),
            Err(Refused::UnknownIssuer | Refused::BadSignature) => {
                Err(Unfit::UnknownIssuer { file: file(), ca: self.files.ca.clone(), issuer })
            }
            Err(Refused::AuthorityExpired) => Err(Unfit::AuthorityExpired { ca: self.files.ca.clone() }),
            Err(why) => Err(other(why)),
        }
    }

    /// The subject of the CA that issued the door's certificate.
    #[must_use]
    pub fn issuer(&self) -> Option<String> {
        let parsed = Certificate::from_der(self.pair.chain().first()?).ok()?;
        Some(parsed.tbs_certificate().issuer().to_string())
    }
}

/// What a certificate's extensions allow.
struct Rights {
    signs: bool,
    client: bool,
}

impl Rights {
    fn of(certificate: &Certificate) -> Option<Self> {
        let tbs = certificate.tbs_certificate();
        let constraints = tbs.get_extension::<BasicConstraints>().ok()?;
        let usage = tbs.get_extension::<KeyUsage>().ok()?;
        let purposes = tbs.get_extension::<ExtendedKeyUsage>().ok()?;
        Some(Self {
            signs: constraints.is_some_and(|(_, constraints)| constraints.ca)
                || usage.is_some_and(|(_, usage)| usage.key_cert_sign() || usage.crl_sign()),
            client: purposes.is_some_and(|(_, purposes)| purposes.0.contains(&CLIENT_AUTH)),
        })
    }
}

/// What is wrong with the files, without the advice that is meant for Puppet's.
fn words(error: &Untrusted) -> String {
    match error {
        Untrusted::Empty { .. } => "it holds nothing".to_owned(),
        Untrusted::Pem { what, .. } => format!("it is no complete PEM text ({what})"),
        Untrusted::Kind { found, .. } => format!("it holds {found}, which does not belong there"),
        Untrusted::AuthorityUnreadable { position } => format!("certificate {position} cannot be read"),
        Untrusted::NotAnAuthority { position, subject } => {
            format!("certificate {position} ({subject}) is not a CA's")
        }
        Untrusted::ListMissing { subject } => format!("it has no list for the CA {subject}"),
        Untrusted::ListUnreadable { position }
        | Untrusted::ListVersion { position }
        | Untrusted::ListPartial { position } => {
            format!("list {position} is no whole list of version 2, or cannot be read")
        }
        Untrusted::ListOfNobody { issuer } | Untrusted::ListSignature { issuer } => {
            format!("the list of {issuer} is of no CA in ca.pem")
        }
        Untrusted::ListAlgorithm { issuer } => {
            format!("the list of {issuer} is signed with an algorithm that is no longer taken")
        }
        Untrusted::NobodyLeft => "every CA in it is revoked or has expired".to_owned(),
    }
}
