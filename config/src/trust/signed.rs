//! What a CA signed, taken apart, and its signature verified under a given key.
//!
//! webpki verifies signatures only inside its path building, once for each handshake; lists and CA certificates are
//! verified once, when they are loaded, by the same algorithms.
#![deny(clippy::disallowed_methods)]

use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::{self, Decode, Reader, SliceReader, Tag, Tagged};

/// A certificate or list as its issuer signed it.
pub(super) struct Signed<'a> {
    /// The signed bytes: a whole TLV.
    pub(super) body: &'a [u8],
    /// The AlgorithmIdentifier's content.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotSigned {
    /// No algorithm is known that makes such signatures with such keys: SHA-1, MD5, small RSA keys.
    Algorithm,
    /// The signature is not by this key.
    Signature,
}

impl<'a> Signed<'a> {
    /// Takes `SEQUENCE { body, AlgorithmIdentifier, BIT STRING }` apart.
    pub(super) fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
        let outer = sequence(AnyRef::from_der(bytes)?)?;
        let mut parts = SliceReader::new(outer)?;
        let body = parts.tlv_bytes()?;
        let algorithm = sequence(AnyRef::decode(&mut parts)?)?;
        let signature = octets(BitStringRef::decode(&mut parts)?)?;
        parts.finish()?;
        Ok(Self { body, algorithm, signature })
    }

    /// Verifies the signature under a key: the content of its SubjectPublicKeyInfo.
    pub(super) fn verify(&self, spki: &[u8]) -> Result<(), NotSigned> {
        let (key_algorithm, key) = key(spki).map_err(|_| NotSigned::Signature)?;
        let mut verdict = Err(NotSigned::Algorithm);
        for known in ALL_VERIFICATION_ALGS {
            if known.signature_alg_id().as_ref() != self.algorithm {
                continue;
            }
            if known.public_key_alg_id().as_ref() != key_algorithm {
                // The signature is of another kind than this key makes; another CA's key may.
                verdict = Err(NotSigned::Signature);
                continue;
            }
            return known.verify_signature(key, self.body, self.signature).map_err(|_| NotSigned::Signature);
        }
        verdict
    }
}

/// Algorithm (the AlgorithmIdentifier's content) and key in the content of a SubjectPublicKeyInfo.
fn key(spki: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut parts = SliceReader::new(spki)?;
    let algorithm = sequence(AnyRef::decode(&mut parts)?)?;
    let key = octets(BitStringRef::decode(&mut parts)?)?;
    parts.finish()?;
    Ok((algorithm, key))
}

fn sequence(value: AnyRef<'_>) -> der::Result<&[u8]> {
    value.tag().assert_eq(Tag::Sequence)?;
    Ok(value.value())
}

fn octets(bits: BitStringRef<'_>) -> der::Result<&[u8]> {
    bits.as_bytes().ok_or_else(|| Tag::BitString.value_error().into())
}
