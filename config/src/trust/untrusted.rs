//! Why the CA's files are not taken, in words that say what to do.
#![deny(clippy::disallowed_methods)]

use std::fmt;

use rustls_pki_types::pem::{Error as PemError, SectionKind};

/// Which of the CA's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `puppet_ca.bundle`, Puppet's `ca_crt.pem`.
    Bundle,
    /// `puppet_ca.crl`, Puppet's `ca_crl.pem`.
    Lists,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "the CA bundle (Puppet's ca_crt.pem)",
            Self::Lists => "the list of revoked certificates (Puppet's ca_crl.pem)",
        })
    }
}

impl Source {
    const fn expected(self) -> &'static str {
        match self {
            Self::Bundle => "one CERTIFICATE for each CA",
            Self::Lists => "one X509 CRL for each CA",
        }
    }
}

/// Why a bundle and its lists are not taken. Whoever reloads keeps the old ones in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Nothing in it.
    #[error("{file} holds nothing; expected {}, as in the file on the Master of Masters", .file.expected())]
    Empty {
        /// Which file.
        file: Source,
    },
    /// Broken PEM, such as a file cut off while it was copied.
    #[error("{file} is no complete PEM text ({what}); copy it again from the Master of Masters")]
    Pem {
        /// Which file.
        file: Source,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another kind of PEM section.
    #[error("{file} holds {found}; expected {} and nothing else", .file.expected())]
    Kind {
        /// Which file.
        file: Source,
        /// What was found.
        found: &'static str,
    },
    /// A certificate that does not parse.
    #[error("certificate {position} of the CA bundle (Puppet's ca_crt.pem) cannot be read")]
    AuthorityUnreadable {
        /// Counted from 1.
        position: usize,
    },
    /// A leaf in the bundle would make its owner a CA.
    #[error(
        "certificate {position} of the CA bundle ({subject}) is not a CA's; take it out, \
         or everyone it signs would be believed"
    )]
    NotAnAuthority {
        /// Counted from 1.
        position: usize,
        /// Its subject.
        subject: String,
    },
    /// A CA without a list.
    #[error(
        "the CA {subject} has no list of revoked certificates; Puppet keeps one for each CA in ca_crl.pem \
         (not infra_crl.pem) on the Master of Masters"
    )]
    ListMissing {
        /// The CA's subject.
        subject: String,
    },
    /// A list that does not parse.
    #[error(
        "list {position} in Puppet's ca_crl.pem cannot be read; copy the file again from the Master of Masters"
    )]
    ListUnreadable {
        /// Counted from 1.
        position: usize,
    },
    /// A version 1 list has no number and no key identifier.
    #[error(
        "list {position} in Puppet's ca_crl.pem is of version 1; expected version 2, as Puppet's CA makes it"
    )]
    ListVersion {
        /// Counted from 1.
        position: usize,
    },
    /// A delta list or one for some certificates only.
    #[error(
        "list {position} in Puppet's ca_crl.pem covers only some certificates; expected a CA's whole list"
    )]
    ListPartial {
        /// Counted from 1.
        position: usize,
    },
    /// The list's issuer is not in the bundle, or may not sign lists.
    #[error(
        "the list of {issuer} is of no CA in the bundle that may sign lists; \
         copy ca_crt.pem and ca_crl.pem from the same Master of Masters"
    )]
    ListOfNobody {
        /// The name it carries.
        issuer: String,
    },
    /// The name is known, the key is not: a CA that was rebuilt under its old name.
    #[error(
        "the list of {issuer} is signed by another key than the CA's of that name; was the CA rebuilt? \
         copy ca_crt.pem and ca_crl.pem from the same Master of Masters"
    )]
    ListSignature {
        /// The name it carries.
        issuer: String,
    },
    /// SHA-1 and the like.
    #[error(
        "the list of {issuer} is signed with an algorithm that is no longer taken, such as SHA-1; \
         have the CA sign it again with SHA-256 (revoking any certificate on a current Puppet Server does)"
    )]
    ListAlgorithm {
        /// The name it carries.
        issuer: String,
    },
    /// Every CA is revoked or expired without a list.
    #[error("every CA in the bundle is revoked or expired; expected at least one in force")]
    NobodyLeft,
}

impl Untrusted {
    /// Which of the two files to name beside the words.
    #[must_use]
    pub const fn source_file(&self) -> Source {
        match self {
            Self::Empty { file } | Self::Pem { file, .. } | Self::Kind { file, .. } => *file,
            Self::AuthorityUnreadable { .. } | Self::NotAnAuthority { .. } | Self::NobodyLeft => {
                Source::Bundle
            }
            Self::ListMissing { .. }
            | Self::ListUnreadable { .. }
            | Self::ListVersion { .. }
            | Self::ListPartial { .. }
            | Self::ListOfNobody { .. }
            | Self::ListSignature { .. }
            | Self::ListAlgorithm { .. } => Source::Lists,
        }
    }

    pub(super) fn pem(file: Source, error: &PemError) -> Self {
        let what = match error {
            PemError::MissingSectionEnd { .. } => "a section does not end",
            PemError::IllegalSectionStart { .. } => "a BEGIN line is broken",
            PemError::Base64Decode(_) => "its base64 is broken",
            _ => "it cannot be read",
        };
        Self::Pem { file, what }
    }
}

/// A PEM section's kind, for people.
pub(super) const fn kind_of(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "a CERTIFICATE",
        SectionKind::Crl => "an X509 CRL",
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => "a private key",
        SectionKind::Csr => "a certificate request",
        SectionKind::PublicKey => "a public key",
        _ => "something else",
    }
}
