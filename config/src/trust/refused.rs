//! Why a certificate is not believed: one word to count by, and words that say what to do.
#![deny(clippy::disallowed_methods)]

use rustls::{CertificateError, OtherError};
use rustls_pki_types::UnixTime;
use webpki::Error;

use super::Side;
use super::authority::date;
use crate::subject::NoCertname;

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Past its notAfter.
    #[error("the certificate expired on {}; have the node request a new one", date(*.not_after))]
    Expired {
        /// When it ended.
        not_after: UnixTime,
    },
    /// Before its notBefore.
    #[error("the certificate is not valid before {}; check the clocks of this machine and of the CA", date(*.not_before))]
    NotYetValid {
        /// When it begins.
        not_before: UnixTime,
    },
    /// On its issuer's list.
    #[error("the certificate is revoked; have the node request a new one if it is to come back")]
    Revoked,
    /// A CA above it is on the list of the CA above that one.
    #[error("the CA that issued the certificate is revoked; the node needs a certificate of the CA in force")]
    AuthorityRevoked,
    /// The CA above it is past its notAfter, or not begun.
    #[error(
        "the CA that issued the certificate has expired or is not valid yet; renew the CA, then copy ca_crt.pem"
    )]
    AuthorityExpired,
    /// Signed by a CA that the bundle does not hold.
    #[error(
        "the certificate is of no CA in the bundle; it is another Puppet CA's, or ca_crt.pem here is out of date"
    )]
    UnknownIssuer,
    /// The CA of that name did not sign it.
    #[error("the CA of that name did not sign the certificate with its present key; was the CA rebuilt?")]
    BadSignature,
    /// SHA-1 and the like.
    #[error(
        "the certificate is signed with an algorithm that is no longer taken, such as SHA-1; have it issued again"
    )]
    UnsupportedAlgorithm,
    /// RSA below 2048 bits.
    #[error(
        "the certificate's RSA key has {bits} bits, expected at least 2048; make a new key and certificate"
    )]
    WeakKey {
        /// Bits of the modulus.
        bits: usize,
    },
    /// DSA, odd curves.
    #[error(
        "the certificate's key is of no kind that TLS here can verify; expected RSA, P-256, P-384, P-521 or Ed25519"
    )]
    UnsupportedKey,
    /// A critical extension that is not understood must not be passed over.
    #[error("the certificate carries a critical extension that is not understood; have it issued without")]
    UnsupportedExtension,
    /// X.509 version 1 or 2.
    #[error("the certificate is not of X.509 version 3; have it issued again")]
    UnsupportedVersion,
    /// extendedKeyUsage lacks clientAuth.
    #[error(
        "the certificate's extended key usage does not allow clients; have it issued again with clientAuth"
    )]
    NotForClients,
    /// extendedKeyUsage lacks serverAuth.
    #[error(
        "the certificate's extended key usage does not allow servers; have it issued again with serverAuth"
    )]
    NotForServers,
    /// A CA's own certificate shown by a peer.
    #[error("the certificate is a CA's own and names no node")]
    AuthorityAsNode,
    /// The path breaks a constraint that a CA carries: path length, names.
    #[error("the certificate breaks a constraint of the CA above it (names or path length)")]
    Constrained,
    /// Issued by a CA whose list is not here, so revocation cannot be known.
    #[error(
        "the certificate is of a CA whose list of revoked certificates is not here; \
         put that CA into ca_crt.pem and its list into ca_crl.pem"
    )]
    NoList,
    /// More certificates than a path can have.
    #[error("more certificates were sent than a path can have")]
    ChainTooLong,
    /// A path too entangled to search.
    #[error("the certificates sent make a path too entangled to follow")]
    Entangled,
    /// Not exactly one usable CN.
    #[error("the certificate names nobody: {0}")]
    NoName(NoCertname),
    /// Not the name that was dialled.
    #[error("the certificate does not carry the name {expected}; expected it as an alternative name (DNS)")]
    NameMismatch {
        /// The name dialled.
        expected: String,
    },
    /// Not a certificate, or one that breaks the encoding rules.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Not a verdict: the anchors have changed since it was judged.
    #[error("the CA bundle has changed since the certificate was judged")]
    OtherAnchors,
}

impl Refused {
    /// Every label, for whoever counts by it.
    pub const LABELS: [&str; 23] = [
        "expired",
        "not_yet_valid",
        "revoked",
        "ca_revoked",
        "ca_expired",
        "unknown_issuer",
        "bad_signature",
        "unsupported_algorithm",
        "weak_key",
        "unsupported_key",
        "unsupported_extension",
        "unsupported_version",
        "not_for_clients",
        "not_for_servers",
        "ca_as_node",
        "constrained",
        "no_list",
        "chain_too_long",
        "entangled",
        "no_name",
        "name_mismatch",
        "malformed",
        "other_anchors",
    ];

    /// One stable word.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::AuthorityRevoked => "ca_revoked",
            Self::AuthorityExpired => "ca_expired",
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadSignature => "bad_signature",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::WeakKey { .. } => "weak_key",
            Self::UnsupportedKey => "unsupported_key",
            Self::UnsupportedExtension => "unsupported_extension",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NotForClients => "not_for_clients",
            Self::NotForServers => "not_for_servers",
            Self::AuthorityAsNode => "ca_as_node",
            Self::Constrained => "constrained",
            Self::NoList => "no_list",
            Self::ChainTooLong => "chain_too_long",
            Self::Entangled => "entangled",
            Self::NoName(_) => "no_name",
            Self::NameMismatch { .. } => "name_mismatch",
            Self::Malformed => "malformed",
            Self::OtherAnchors => "other_anchors",
        }
    }

    /// What webpki says, in these words.
    pub(super) fn of(error: Error, side: Side) -> Self {
        match error {
            Error::CertExpired { not_after, .. } => Self::Expired { not_after },
            Error::CertNotValidYet { not_before, .. } => Self::NotYetValid { not_before },
            Error::CertRevoked => Self::Revoked,
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::InvalidSignatureForPublicKey => Self::BadSignature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::UnsupportedAlgorithm,
            Error::UnsupportedCriticalExtension => Self::UnsupportedExtension,
            Error::UnsupportedCertVersion => Self::UnsupportedVersion,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => match side {
                Side::Agent => Self::NotForClients,
                Side::Master => Self::NotForServers,
            },
            Error::CaUsedAsEndEntity => Self::AuthorityAsNode,
            Error::NameConstraintViolation
            | Error::PathLenConstraintViolated
            | Error::EndEntityUsedAsCa
            | Error::CertDistrusted => Self::Constrained,
            Error::MaximumPathDepthExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => Self::Entangled,
            _ => Self::Malformed,
        }
    }

    /// As the TLS library's error: the peer gets the alert that fits, and the verdict stays readable in it
    /// ([`Refused::label_in_tls`]).
    pub(super) fn into_tls(self) -> rustls::Error {
        let error = match self {
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::Revoked => CertificateError::Revoked,
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::BadSignature => CertificateError::BadSignature,
            Self::UnsupportedExtension => CertificateError::UnhandledCriticalExtension,
            Self::Malformed => CertificateError::BadEncoding,
            other => CertificateError::Other(OtherError(std::sync::Arc::new(other))),
        };
        rustls::Error::InvalidCertificate(error)
    }

    /// The label of a verdict in the TLS library's error; none where it is no verdict on a certificate.
    #[must_use]
    pub fn label_in_tls(error: &CertificateError) -> Option<&'static str> {
        Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_yet_valid",
            CertificateError::Revoked => "revoked",
            CertificateError::UnknownIssuer => "unknown_issuer",
            CertificateError::BadSignature => "bad_signature",
            CertificateError::UnhandledCriticalExtension => "unsupported_extension",
            CertificateError::BadEncoding => "malformed",
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                "unsupported_algorithm"
            }
            CertificateError::Other(other) => other.0.downcast_ref::<Self>()?.label(),
            _ => return None,
        })
    }
}
