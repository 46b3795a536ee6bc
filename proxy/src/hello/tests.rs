use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion,
};

use super::*;

/// What the TLS library itself sends.
fn of_the_library(versions: &[&'static SupportedProtocolVersion], name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unasked))
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    wire
}

/// The handshake ends before a certificate is seen.
#[derive(Debug)]
struct Unasked;

impl ServerCertVerifier for Unasked {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        unreachable!()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A ClientHello by hand, with extensions as `(kind, content)`.
fn by_hand(legacy: u16, extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = legacy.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0, 0x2f]);
    body.extend([1, 0]);
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        all.extend(content);
    }
    if !extensions.is_empty() {
        body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
        body.extend(all);
    }
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    in_record(&message, message.len())
}

fn in_record(message: &[u8], length: usize) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(length).unwrap().to_be_bytes());
    record.extend(message);
    record
}

fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    let length = u16::try_from(name.len()).unwrap();
    (0, [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), name].concat())
}

#[test]
fn the_librarys_hello_is_read_with_version_and_name() {
    use rustls::version::{TLS12, TLS13};
    for (versions, highest) in [(&[&TLS13, &TLS12][..], TLS_1_3), (&[&TLS12], TLS_1_2), (&[&TLS13], TLS_1_3)]
    {
        let wire = of_the_library(versions, "puppet.example.com");
        let hello = Hello { highest, sni: Some("puppet.example.com") };
        assert_eq!(first(&wire), First::Hello(hello));
        for end in 0..wire.len() {
            assert_eq!(first(&wire[..end]), First::NeedMore, "{end} of {}", wire.len());
        }
    }
}

#[test]
fn an_agent_of_puppet_enterprise_3_7_is_too_old() {
    let old = |legacy| First::TooOld(Hello { highest: legacy, sni: None });
    assert_eq!(first(&by_hand(0x0301, &[])), old(0x0301));
    assert_eq!(first(&by_hand(0x0300, &[])), old(0x0300));
    assert_eq!(first(&by_hand(0x0302, &[(35, vec![])])), old(0x0302));
    assert_eq!(first(&by_hand(0x0303, &[])), First::Hello(Hello { highest: TLS_1_2, sni: None }));
    // An old agent may be told apart by name too.
    let named = by_hand(0x0301, &[server_name(b"puppet")]);
    assert_eq!(first(&named), First::TooOld(Hello { highest: 0x0301, sni: Some("puppet") }));
    assert_eq!(first(&[0x80, 0x2e, 1, 3, 1, 0]), old(0x0301));
    assert_eq!(first(&[0x80, 0x2e, 1, 0, 2, 0]), old(2));
    assert_eq!(protocol_version_alert(), [21, 3, 1, 0, 2, 2, 70]);
}

#[test]
fn the_list_of_versions_counts_and_grease_does_not() {
    let listed = |versions: &[u8]| {
        let content = [&[u8::try_from(versions.len()).unwrap()], versions].concat();
        first(&by_hand(0x0303, &[(43, content)])).highest()
    };
    assert_eq!(listed(&[0x7a, 0x7a, 3, 4, 3, 3]), Some(TLS_1_3));
    assert_eq!(listed(&[3, 2, 3, 1]), Some(0x0302));
    assert_eq!(first(&by_hand(0x0505, &[])).highest(), Some(TLS_1_2));
}

impl First<'_> {
    fn highest(&self) -> Option<u16> {
        match self {
            Self::Hello(hello) | Self::TooOld(hello) => Some(hello.highest),
            _ => None,
        }
    }
}

#[test]
fn a_name_that_dns_would_not_take_is_no_name() {
    for name in [&b""[..], b"a b", b"a\0b", "n\u{e4}me".as_bytes(), &[b'a'; 254]] {
        let hello = by_hand(0x0303, &[server_name(name)]);
        assert_eq!(first(&hello), First::Hello(Hello { highest: TLS_1_2, sni: None }), "{name:?}");
    }
}

#[test]
fn a_hello_that_spans_records_is_left_to_the_library() {
    let whole = by_hand(0x0303, &[]);
    let message = &whole[HEADER..];
    assert_eq!(first(&in_record(&message[..20], 20)), First::Fragmented);
    assert_eq!(first(&in_record(&message[..2], 2)), First::Fragmented);
    assert_eq!(
        first(&in_record(&message[..9], 20)[..9]),
        First::Fragmented,
        "known before the record is here"
    );
}

#[test]
fn broken_records_are_left_to_the_librarys_alerts() {
    assert_eq!(first(&[22, 3, 1, 0, 0]), First::Broken);
    assert_eq!(first(&[22, 3, 1, 0x40, 1]), First::Broken, "longer than a record may be");
    assert_eq!(first(&[22, 3, 1, 0, 9, 2]), First::Broken, "a ServerHello");
    let mut cut = by_hand(0x0303, &[server_name(b"puppet")]);
    let session_id = HEADER + 4 + 2 + 32;
    cut[session_id] = 255;
    assert_eq!(first(&cut), First::Broken);
}

#[test]
fn what_is_no_tls_is_named() {
    let is = |read: &[u8]| match first(read) {
        First::NotTls(what) => what.label(),
        other => panic!("{other:?}"),
    };
    assert_eq!(is(b"GET / HTTP/1.1\r\n"), "plain_http");
    assert_eq!(is(b"PUT /puppet-ca/v1/certificate_request/a HTTP/1.1\r\n"), "plain_http");
    assert_eq!(is(b"PROXY TCP4 10.0.0.1"), "proxy_protocol");
    assert_eq!(is(b"\r\n\r\n\0\r\nQUIT\n\x21"), "proxy_protocol");
    assert_eq!(is(b"SSH-2.0-OpenSSH"), "not_tls");
    assert_eq!(is(&[22, 1]), "not_tls");
    for wait in [&b""[..], b"P", b"GET", b"\r\n", b"PROXY"] {
        assert_eq!(first(wait), First::NeedMore, "{wait:?}");
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let bent =
        (any::<u16>(), proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4));
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        // Small numbers make lengths that fit.
        proptest::collection::vec(prop_oneof![0..6_u8, Just(22)], 0..80).prop_map(|mut bytes| {
            bytes.splice(0..0, [22, 3, 1, 0]);
            bytes
        }),
        bent.prop_map(|(legacy, changes)| {
            let mut bytes = by_hand(legacy, &[server_name(b"puppet"), (43, vec![4, 3, 4, 3, 3])]);
            for (at, octet) in changes {
                let at = at.index(bytes.len());
                bytes[at] = octet;
            }
            bytes
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_is_never_reversed(bytes in any_bytes()) {
        let mut decided = None;
        for end in 0..=bytes.len() {
            let now = first(&bytes[..end]);
            match decided {
                None if now != First::NeedMore => decided = Some(now),
                None => {}
                Some(before) => prop_assert_eq!(now, before, "at {}", end),
            }
        }
    }

    #[test]
    fn there_is_a_decision_by_the_bound(start in any_bytes(), fill in any::<u8>()) {
        let mut bytes = start;
        bytes.resize(RECORD_MOST, fill);
        prop_assert_ne!(first(&bytes), First::NeedMore);
    }
}
