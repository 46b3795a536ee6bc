//! A certificate and its key from two PEM files, every mistake told with the file's name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use stagedoor_config::proxy::KeyPair;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate chain and the key that matches it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Where it came from.
    pub files: KeyPair,
    /// The end of the leaf.
    pub not_after: UnixTime,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why two files are no key pair.
#[derive(Debug, thiserror::Error)]
pub enum BadPair {
    /// Not there, not readable.
    #[error("{} cannot be read; expected a PEM file that the door's user may read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("{} holds no PEM section; expected {expected}", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// A file cut off or broken.
    #[error("{} is no complete PEM text; write it again", .file.display())]
    Broken {
        /// The file.
        file: PathBuf,
    },
    /// Certificate and key swapped, or a key beside the certificate.
    #[error("{} holds {found}; expected {expected}", .file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// What was found.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The door starts without a person who could type a passphrase.
    #[error(
        "the key in {} is encrypted; expected a key without a passphrase, protected by its file mode \
         (openssl pkey -in OLD -out NEW)", .file.display()
    )]
    Encrypted {
        /// The file.
        file: PathBuf,
    },
    /// More than one key.
    #[error("{} holds more than one key; expected one", .file.display())]
    SeveralKeys {
        /// The file.
        file: PathBuf,
    },
    /// A kind of key that TLS here cannot sign with.
    #[error("the key in {} cannot be used; expected RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
    /// A certificate that does not parse.
    #[error("certificate {position} in {} cannot be read", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        position: usize,
    },
    /// The chain is not in order.
    #[error(
        "certificate {position} in {} did not issue the one before it; expected the leaf first, \
         then each issuer in turn", .file.display()
    )]
    Order {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        position: usize,
    },
    /// The two do not belong together.
    #[error(
        "the key in {} does not match the first certificate in {}; \
         were they written one after the other, or is the chain's leaf not first?",
        .files.key.display(), .files.certificate.display()
    )]
    Mismatch {
        /// The files.
        files: KeyPair,
    },
}

const A_CERTIFICATE: &str = "a CERTIFICATE, the leaf first, then its intermediates";
const A_KEY: &str = "one private key (PKCS#8, PKCS#1 or SEC1)";

impl Pair {
    /// Reads both files.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn load(files: &KeyPair) -> Result<Self, BadPair> {
        let read = |file: &Path| {
            std::fs::read(file).map_err(|source| BadPair::Unreadable { file: file.to_owned(), source })
        };
        let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
        Self::from_pem(files, &certificate, &key)
    }

    /// From the two files' contents.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn from_pem(files: &KeyPair, certificate: &[u8], key: &[u8]) -> Result<Self, BadPair> {
        let (chain, not_after) = read_chain(&files.certificate, certificate)?;
        let key = read_key(&files.key, key)?;
        let key = super::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| BadPair::Key { file: files.key.clone(), source })?;
        let pair = CertifiedKey::new(chain, key);
        // aws-lc-rs always knows a key's public half, so "unknown" does not happen and is no match.
        if pair.keys_match().is_err() {
            return Err(BadPair::Mismatch { files: files.clone() });
        }
        Ok(Self { files: files.clone(), not_after, key: Arc::new(pair) })
    }

    /// RSA, ECDSA or Ed25519.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.key.key.algorithm()
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}

fn read_chain(file: &Path, pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, UnixTime), BadPair> {
    let mut chain = Vec::new();
    let mut issuer = None;
    let mut ends = None;
    for (kind, der) in sections(file, pem)? {
        if kind != SectionKind::Certificate {
            let found = kind_of(kind);
            return Err(BadPair::Kind { file: file.to_owned(), found, expected: A_CERTIFICATE });
        }
        let position = chain.len() + 1;
        let parsed = Certificate::from_der(&der)
            .map_err(|_| BadPair::Certificate { file: file.to_owned(), position })?;
        let tbs = parsed.tbs_certificate();
        if issuer.replace(tbs.issuer().clone()).is_some_and(|expected| expected != *tbs.subject()) {
            return Err(BadPair::Order { file: file.to_owned(), position });
        }
        if position == 1 {
            ends = Some(UnixTime::since_unix_epoch(tbs.validity().not_after.to_unix_duration()));
        }
        chain.push(CertificateDer::from(der));
    }
    match ends {
        Some(ends) => Ok((chain, ends)),
        None => Err(BadPair::Empty { file: file.to_owned(), expected: A_CERTIFICATE }),
    }
}

fn read_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, BadPair> {
    // Both spellings: the PKCS#8 section's name, and the header of the older form.
    if pem.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(BadPair::Encrypted { file: file.to_owned() });
    }
    let mut key = None;
    for (kind, der) in sections(file, pem)? {
        let found = PrivateKeyDer::from_pem(kind, der).ok_or_else(|| BadPair::Kind {
            file: file.to_owned(),
            found: kind_of(kind),
            expected: A_KEY,
        })?;
        if key.replace(found).is_some() {
            return Err(BadPair::SeveralKeys { file: file.to_owned() });
        }
    }
    key.ok_or_else(|| BadPair::Empty { file: file.to_owned(), expected: A_KEY })
}

fn sections(file: &Path, pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, BadPair> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| BadPair::Broken { file: file.to_owned() })
}

const fn kind_of(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "a certificate",
        SectionKind::Crl => "a list of revoked certificates",
        SectionKind::Csr => "a certificate request",
        SectionKind::PublicKey => "a public key",
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => "a private key",
        _ => "another kind of PEM section",
    }
}
