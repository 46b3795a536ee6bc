//! Which certificate may be shown to the CA for renewals.
//!
//! The CA's server takes the door for whom its certificate names. A certificate that carries rights would lend them to
//! every request that reaches the CA over that connection; the door sends nothing but renewals there, and a door that
//! is taken over must not find more in its files either.
#![deny(clippy::disallowed_methods)]

use std::path::PathBuf;

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::BasicConstraints;

use crate::tls::Pair;

/// Puppet's authorization extensions: `auth.conf` gives rights to whoever carries one.
const RIGHTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.34380.1.3");
/// Of them `pp_auth_auto_renew`: that the certificate itself may be renewed, and no right to anything else.
const AUTO_RENEW: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.34380.1.3.2");

/// Why a certificate is not shown to the CA.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It carries rights.
    #[error(
        "{} carries {right}; expected a certificate of the Puppet CA without rights there: whoever takes the door over \
         would have them; make one with `puppetserver ca generate --certname NAME` and list NAME in infra_inventory.txt",
        .file.display()
    )]
    Rights {
        /// The certificate's file.
        file: PathBuf,
        /// The extension, by name and number.
        right: String,
    },
    /// It may sign others.
    #[error("{} is a CA's certificate; expected the door's own, signed by the Puppet CA", .file.display())]
    Authority {
        /// The certificate's file.
        file: PathBuf,
    },
    /// It cannot be read.
    #[error("the extensions of the certificate in {} cannot be read; expected one that the Puppet CA signed", .file.display())]
    Unreadable {
        /// The certificate's file.
        file: PathBuf,
    },
}

/// Whether a pair may be shown to the CA; whether the CA signed it is judged elsewhere.
///
/// # Errors
/// Says what is wrong with its certificate.
pub fn fit(pair: &Pair) -> Result<(), Unfit> {
    let file = || pair.files.certificate.clone();
    let unreadable = || Unfit::Unreadable { file: file() };
    let leaf = pair.chain().first().ok_or_else(unreadable)?;
    let leaf = Certificate::from_der(leaf).map_err(|_| unreadable())?;
    let leaf = leaf.tbs_certificate();
    let right = leaf.extensions().into_iter().flatten().find_map(|extension| right(extension.extn_id));
    if let Some(right) = right {
        return Err(Unfit::Rights { file: file(), right });
    }
    match leaf.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) if constraints.ca => Err(Unfit::Authority { file: file() }),
        Ok(_) => Ok(()),
        Err(_) => Err(unreadable()),
    }
}

/// An extension that gives rights, by name and number.
fn right(extension: ObjectIdentifier) -> Option<String> {
    if extension.parent() != Some(RIGHTS) || extension == AUTO_RENEW {
        return None;
    }
    let name = match extension.arcs().last() {
        Some(1) => "pp_authorization",
        Some(13) => "pp_auth_role",
        Some(39) => "pp_cli_auth",
        _ => "an authorization extension",
    };
    Some(format!("{name} ({extension})"))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair};
    use stagedoor_config::proxy::KeyPair as Files;

    use super::*;

    fn pair(change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let files = Files { certificate: "/door.pem".into(), key: "/door.key".into() };
        Pair::from_pem(&files, certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn with_extension(last: u64) -> Pair {
        let oid = [1, 3, 6, 1, 4, 1, 34380, 1, 3, last];
        pair(|params| {
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, b"\x0c\x04true".to_vec()));
        })
    }

    #[test]
    fn a_certificate_with_rights_at_the_ca_is_refused_by_name() {
        for (last, name) in [
            (39, "pp_cli_auth (1.3.6.1.4.1.34380.1.3.39)"),
            (13, "pp_auth_role (1.3.6.1.4.1.34380.1.3.13)"),
            (1, "pp_authorization"),
            (99, "an authorization extension (1.3.6.1.4.1.34380.1.3.99)"),
        ] {
            let words = fit(&with_extension(last)).unwrap_err().to_string();
            assert!(words.contains(name) && words.contains("/door.pem"), "{words}");
        }
    }

    #[test]
    fn a_cas_certificate_is_refused() {
        let ca = pair(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(matches!(fit(&ca), Err(Unfit::Authority { .. })));
    }

    #[test]
    fn trusted_facts_and_its_own_renewal_are_no_rights() {
        fit(&pair(|_| {})).unwrap();
        fit(&with_extension(2)).unwrap();
        let role = [1, 3, 6, 1, 4, 1, 34380, 1, 1, 13];
        fit(&pair(|params| {
            params.custom_extensions.push(CustomExtension::from_oid_content(&role, b"\x0c\x03web".to_vec()));
        }))
        .unwrap();
    }
}
