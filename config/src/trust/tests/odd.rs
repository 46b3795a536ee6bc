//! Certificates made by openssl: what rcgen will not make.

use super::*;

/// The fixtures hold public certificates and lists only; the keys that made them are gone.
fn data(name: &str) -> &'static [u8] {
    match name {
        "ca" => include_bytes!("../../../tests/data/odd/ca.pem"),
        "ca_version1" => include_bytes!("../../../tests/data/odd/ca_version1.pem"),
        "crl" => include_bytes!("../../../tests/data/odd/crl.pem"),
        "crl_sha1" => include_bytes!("../../../tests/data/odd/crl_sha1.pem"),
        "crl_version1" => include_bytes!("../../../tests/data/odd/crl_version1.pem"),
        "good" => include_bytes!("../../../tests/data/odd/good.pem"),
        "serial0" => include_bytes!("../../../tests/data/odd/serial0.pem"),
        "sha1" => include_bytes!("../../../tests/data/odd/sha1.pem"),
        "rsa1024" => include_bytes!("../../../tests/data/odd/rsa1024.pem"),
        "version1" => include_bytes!("../../../tests/data/odd/version1.pem"),
        "critical" => include_bytes!("../../../tests/data/odd/critical.pem"),
        "secp256k1" => include_bytes!("../../../tests/data/odd/secp256k1.pem"),
        other => panic!("no fixture {other}"),
    }
}

#[test]
fn odd_certificates_are_refused_with_their_own_words() {
    let trust = Trust::from_pem(data("ca"), data("crl"), NOW).unwrap();
    for (name, verdict) in [
        ("good", Ok(())),
        ("serial0", Ok(())),
        ("sha1", Err(Refused::UnsupportedAlgorithm)),
        ("rsa1024", Err(Refused::WeakKey { bits: 1024 })),
        ("version1", Err(Refused::UnsupportedVersion)),
        ("critical", Err(Refused::UnsupportedExtension)),
        ("secp256k1", Err(Refused::UnsupportedKey)),
    ] {
        let leaf = CertificateDer::from_pem_slice(data(name)).unwrap();
        assert_eq!(agent(&trust, &leaf).map(|_| ()), verdict, "{name}");
    }
}

#[test]
fn odd_lists_and_cas_are_told_apart() {
    let read = |ca: &str, list: &str| Trust::from_pem(data(ca), data(list), NOW).map(|_| ());
    assert_eq!(read("ca", "crl_version1"), Err(Untrusted::ListVersion { position: 1 }));
    assert!(matches!(read("ca", "crl_sha1"), Err(Untrusted::ListAlgorithm { .. })));
    let both = [data("ca"), data("ca_version1")].concat();
    let error = Trust::from_pem(&both, data("crl"), NOW).unwrap_err();
    assert!(matches!(error, Untrusted::ListMissing { .. }), "a version 1 root is a CA: {error:?}");
}
