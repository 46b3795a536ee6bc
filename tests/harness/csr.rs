//! Reading certificate requests, as the CA does before it signs one.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_cert::Certificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::identity::{KeyKind, Leaf};
use crate::puppet::{common_name, puppet_extensions};

const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
const ALTERNATIVE_NAMES: &str = "2.5.29.17";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

/// A certificate request that can be signed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The certname asked for.
    pub name: String,
    /// Puppet's extensions asked for: dotted object identifier and text.
    pub extensions: Vec<(String, String)>,
    /// Alternative names asked for.
    pub alt_names: Vec<String>,
    public_key: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let request = CertReq::from_pem(pem).map_err(|e| format!("not a certificate request: {e}"))?;
        let name = common_name(&request.info.subject).ok_or("the request names nobody")?;
        let (public_key, algorithm) = key(&request.info.public_key)?;
        let (mut extensions, mut alt_names) = (Vec::new(), Vec::new());
        for attribute in request.info.attributes.iter().filter(|a| a.oid.to_string() == EXTENSION_REQUEST) {
            for value in attribute.values.iter() {
                let der = value.to_der().map_err(|e| e.to_string())?;
                let asked = Vec::<Extension>::from_der(&der).map_err(|e| format!("extensions: {e}"))?;
                extensions.extend(puppet_extensions(&asked));
                alt_names.extend(names(&asked));
            }
        }
        Ok(Self { name, extensions, alt_names, public_key, algorithm })
    }

    /// What a certificate holds, to be signed again, and its serial number.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn again(certificate: &[u8]) -> Result<(Self, Vec<u8>), String> {
        let certificate =
            Certificate::from_der(certificate).map_err(|e| format!("not a certificate: {e}"))?;
        let of = certificate.tbs_certificate();
        let name = common_name(of.subject()).ok_or("the certificate names nobody")?;
        let (public_key, algorithm) = key(of.subject_public_key_info())?;
        let extensions = of.extensions().map(|all| puppet_extensions(all)).unwrap_or_default();
        let alt_names = of.extensions().map(|all| names(all)).unwrap_or_default();
        Ok((
            Self { name, extensions, alt_names, public_key, algorithm },
            of.serial_number().as_bytes().to_vec(),
        ))
    }

    /// The certificate that is asked for.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        let (extensions, alt_names) = (self.extensions.clone(), self.alt_names.clone());
        Leaf { extensions, alt_names, key: KeyKind::P256, ..Leaf::node(&self.name) }
    }
}

/// The alternative names among some extensions that are host names.
fn names(extensions: &[Extension]) -> Vec<String> {
    let ours = extensions.iter().filter(|one| one.extn_id.to_string() == ALTERNATIVE_NAMES);
    let names = ours.filter_map(|one| SubjectAltName::from_der(one.extn_value.as_bytes()).ok());
    let host = |name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    names.flat_map(|names| names.0).filter_map(host).collect()
}

fn key(of: &SubjectPublicKeyInfoOwned) -> Result<(Vec<u8>, &'static SignatureAlgorithm), String> {
    let algorithm = match of.algorithm.oid.to_string().as_str() {
        RSA => &PKCS_RSA_SHA256,
        EC => &PKCS_ECDSA_P256_SHA256,
        other => return Err(format!("keys of kind {other} are not signed here")),
    };
    Ok((of.subject_public_key.raw_bytes().to_vec(), algorithm))
}

impl PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The text of an extension's value, where it is one.
pub(crate) fn utf8(der: &[u8]) -> String {
    Utf8StringRef::from_der(der).map_or_else(|_| String::from_utf8_lossy(der).into_owned(), |s| s.to_string())
}
