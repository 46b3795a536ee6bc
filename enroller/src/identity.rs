//! This program's own certificate of the Puppet CA, with its key.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use stagedoor_config::proxy::KeyPair;
use stagedoor_config::read::{self, NotRead};

/// A certificate chain and its key, ready to be shown.
#[derive(Debug, Clone)]
pub struct Identity {
    key: CertifiedKey,
}

/// Why two files are no identity. No message repeats what stands in a key's file.
#[derive(Debug, thiserror::Error)]
pub enum NotAnIdentity {
    /// It cannot be read.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// No certificate in it.
    #[error("{}: expected a certificate in PEM form, the leaf first", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong; none where nothing is in it.
        #[source]
        source: Option<pem::Error>,
    },
    /// Everyone may read the key.
    #[error("{}: expected a private key that not everyone may read, and its mode is {mode:03o}: chmod 600, and have the certificate revoked", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No key in it.
    #[error("{}: expected a private key in PEM form, without a passphrase", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Not of each other, or of a kind that is not known.
    #[error("{} and {}: expected a certificate and its own key", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// Says which file is wrong, and how.
    pub fn read(files: &KeyPair) -> Result<Self, NotAnIdentity> {
        let path = &files.certificate;
        let not_one = |source| NotAnIdentity::Certificate { path: path.clone(), source };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read::bytes(path)?)
            .collect::<Result<_, _>>()
            .map_err(|error| not_one(Some(error)))?;
        if chain.is_empty() {
            return Err(not_one(None));
        }
        if let Some(exposed) = read::exposed(&files.key)?.filter(|exposed| exposed.mode & 0o004 != 0) {
            return Err(NotAnIdentity::Exposed { path: exposed.path, mode: exposed.mode });
        }
        let key = PrivateKeyDer::from_pem_slice(&read::bytes(&files.key)?)
            .map_err(|_| NotAnIdentity::Key { path: files.key.clone() })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|source| NotAnIdentity::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        })?;
        Ok(Self { key })
    }

    /// What shows it.
    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }

    /// The same where this program is the server.
    pub(crate) fn server_resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(self.key.clone()))
    }

    /// Leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}
