//! What a leaf's key must be for the handshake to come to an end.
//!
//! Path building does not look at the leaf's own key; a key that no signature algorithm takes would fail later, as a
//! bad signature, which sends the operator looking in the wrong place.
#![deny(clippy::disallowed_methods)]

use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::Refused;

/// RSA keys below this are refused by every signature algorithm of the TLS library.
pub const KEY_BITS_LEAST: usize = 2048;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Whether the handshake can verify signatures of this key.
pub(super) fn check_key(spki: &SubjectPublicKeyInfoOwned) -> Result<(), Refused> {
    let algorithm = spki.algorithm.to_der().map_err(|_| Refused::Malformed)?;
    let content = AnyRef::from_der(&algorithm).map_err(|_| Refused::Malformed)?.value();
    if !ALL_VERIFICATION_ALGS.iter().any(|known| known.public_key_alg_id().as_ref() == content) {
        return Err(Refused::UnsupportedKey);
    }
    if spki.algorithm.oid == RSA {
        let bits = rsa_bits(spki).ok_or(Refused::Malformed)?;
        if bits < KEY_BITS_LEAST {
            return Err(Refused::WeakKey { bits });
        }
    }
    Ok(())
}

/// Bits of the modulus: `SEQUENCE { modulus INTEGER, publicExponent INTEGER }`.
fn rsa_bits(spki: &SubjectPublicKeyInfoOwned) -> Option<usize> {
    let key = AnyRef::from_der(spki.subject_public_key.as_bytes()?).ok()?;
    let mut parts = SliceReader::new(key.value()).ok()?;
    let modulus = UintRef::decode(&mut parts).ok()?;
    UintRef::decode(&mut parts).ok()?;
    if !parts.is_finished() {
        return None;
    }
    let octets = modulus.as_bytes();
    let unused = octets.first()?.leading_zeros();
    Some(octets.len() * 8 - usize::try_from(unused).ok()?)
}
