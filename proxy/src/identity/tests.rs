//! The subject as readers read it: a parser of RFC 2253 written from the RFC alone, and Puppet's split at slashes.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair};
use x509_cert::der::asn1::{Any, ObjectIdentifier, SetOfVec};
use x509_cert::der::{Length, Tag};
use x509_cert::name::RdnSequence;

use super::*;

/// An RFC 2253 name as `(type, value)` in the order of the text, the values' escapes undone.
fn parse(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut rest = text.as_bytes();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let equals = rest.iter().position(|b| *b == b'=').expect("a type and `=`");
        let kind = std::str::from_utf8(&rest[..equals]).unwrap().to_owned();
        rest = &rest[equals + 1..];
        let mut value = Vec::new();
        loop {
            match rest {
                [] => break,
                [b',' | b'+', after @ ..] => {
                    assert!(!after.is_empty(), "a separator ends the text");
                    rest = after;
                    break;
                }
                [b'\\', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let pair = std::str::from_utf8(&[*high, *low]).unwrap().to_owned();
                    value.push(u8::from_str_radix(&pair, 16).unwrap());
                    rest = after;
                }
                [b'\\', special, after @ ..] => {
                    assert!(br#",+"\<>;=# "#.contains(special), "escape of {special}");
                    value.push(*special);
                    rest = after;
                }
                [plain, after @ ..] => {
                    assert!(!br#"="<>;"#.contains(plain), "{plain} stands bare in {text}");
                    value.push(*plain);
                    rest = after;
                }
            }
        }
        out.push((kind, value));
    }
    out
}

/// What Puppet Server does where its parser fails: split at slashes, take the first element that begins with `CN=`.
fn slash_fallback(text: &str) -> Option<&str> {
    text.split('/')
        .find_map(|element| element.split_once('=').filter(|(kind, _)| *kind == "CN"))
        .map(|(_, cn)| cn)
}

fn verified(identity: Identity) -> Verified {
    match identity {
        Identity::Verified(verified) => verified,
        Identity::Nobody => panic!("nobody"),
    }
}

fn name(rdns: Vec<Vec<AttributeTypeAndValue>>) -> Name {
    let mut sequence = RdnSequence::default();
    for rdn in rdns {
        sequence.push(SetOfVec::try_from(rdn).unwrap().into());
    }
    Name::from_der(&sequence.to_der().unwrap()).unwrap()
}

fn attribute(oid: &str, tag: Tag, value: &[u8]) -> AttributeTypeAndValue {
    AttributeTypeAndValue { oid: ObjectIdentifier::new(oid).unwrap(), value: Any::new(tag, value).unwrap() }
}

fn cn(value: &str) -> AttributeTypeAndValue {
    attribute("2.5.4.3", Tag::Utf8String, value.as_bytes())
}

#[test]
fn the_last_rdn_comes_first_and_unknown_types_are_hexadecimal() {
    let subject = name(vec![
        vec![attribute("2.5.4.6", Tag::PrintableString, b"DE")],
        vec![attribute("2.5.4.10", Tag::Utf8String, "B\u{e4}r, S\u{f6}hne + Co".as_bytes())],
        vec![
            attribute("2.5.4.11", Tag::Utf8String, b"a"),
            attribute("0.9.2342.19200300.100.1.25", Tag::Ia5String, b"example"),
        ],
        vec![attribute("1.2.840.113549.1.9.1", Tag::Ia5String, b"a@b")],
        vec![cn("web01.example.com")],
    ]);
    assert_eq!(
        rfc2253(&subject).unwrap(),
        "CN=web01.example.com,OID.1.2.840.113549.1.9.1=#1603614062,OU=a+DC=example,\
         O=B\\C3\\A4r\\2C S\\C3\\B6hne \\2B Co,C=DE"
    );
}

#[test]
fn every_special_is_escaped_and_nothing_can_be_trimmed_off() {
    let of = |value: &str| rfc2253(&name(vec![vec![cn(value)]])).unwrap();
    assert_eq!(of(r#"a,+"\<>;=b"#), r"CN=a\2C\2B\22\5C\3C\3E\3B\3Db");
    assert_eq!(of("#a#"), r"CN=\#a#");
    assert_eq!(of(" a b "), r"CN=\20a b\20");
    assert_eq!(of(" "), r"CN=\20");
    assert_eq!(of("a/CN=b\n\0"), r"CN=a\2FCN\3Db\0A\00");
    assert_eq!(of("a,CN=other"), r"CN=a\2CCN\3Dother");
}

#[test]
fn hostile_subjects_name_nobody_or_the_one_they_are() {
    let certname = |subject: &Name| subject::certname(subject).map(|name| name.to_string());
    let o = |value: &str| attribute("2.5.4.10", Tag::Utf8String, value.as_bytes());
    for hostile in ["x,CN=other", "x/CN=other", "x\nCN=other", "x\0/CN=other", "/CN=other/", "x+CN=other"] {
        let subject = name(vec![vec![o(hostile)], vec![cn("agent")]]);
        let text = rfc2253(&subject).unwrap();
        assert_eq!(certname(&subject).as_deref(), Ok("agent"));
        let cns: Vec<_> = parse(&text).into_iter().filter(|(kind, _)| kind == "CN").collect();
        assert_eq!(cns, [("CN".to_owned(), b"agent".to_vec())], "{text}");
        assert!(slash_fallback(&text).is_none_or(|cn| Certname::parse(cn).is_err()), "{text}");
    }
    for nobody in
        ["/CN=other", "a/CN=other", "a\n", "a\0", "", "\\other", "a,CN=other", "a,cn=other", "# other"]
    {
        assert!(certname(&name(vec![vec![cn(nobody)]])).is_err(), "{nobody:?}");
    }
    assert!(certname(&name(vec![vec![cn("agent")], vec![cn("other")]])).is_err());
    // Puppet Server would read the first of the RDN, whatever its type.
    assert!(certname(&name(vec![vec![cn("agent"), o("other")]])).is_err());
    // A value that Bouncy Castle cannot decode sends Puppet Server to the split at slashes.
    let broken = attribute("1.2.3", Tag::BmpString, &[0, 0x61, 0]);
    assert!(certname(&name(vec![vec![broken], vec![cn("agent")]])).is_err());
}

#[test]
fn a_connection_states_name_certificate_and_end() {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "web01.example.com");
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let identity = Identity::from_certificate(certificate.der()).unwrap();
    assert_eq!(identity.certname().unwrap().as_str(), "web01.example.com");
    assert_eq!(identity.not_after().unwrap().as_secs(), 1_924_992_000);
    let Stated::Verified { dn, cert } = identity.stated() else { panic!("{identity:?}") };
    assert_eq!(dn, "CN=web01.example.com");

    let encoded = cert.to_str().unwrap();
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{encoded}");
    assert!(encoded.starts_with("-----BEGIN%20CERTIFICATE-----%0A"));
    assert!(encoded.ends_with("%0A-----END%20CERTIFICATE-----%0A"));
    let pem = encoded.replace("%20", " ").replace("%0A", "\n").replace("%2B", "+").replace("%2F", "/");
    let pem = pem.replace("%3D", "=");
    assert!(!pem.contains('%'));
    assert_eq!(pem, certificate.pem().replace("\r\n", "\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));

    let stated = "x-client-verify: SUCCESS\r\n".len()
        + format!("x-client-dn: {}\r\nx-client-cert: {encoded}\r\n", dn.to_str().unwrap()).len();
    assert_eq!(identity.header_bytes(), stated);
}

#[test]
fn without_a_certificate_nobody_is_stated() {
    assert!(Identity::Nobody.certname().is_none());
    assert!(matches!(Identity::Nobody.stated(), Stated::Nobody));
    assert_eq!(Identity::Nobody.header_bytes(), "x-client-verify: NONE\r\n".len());
    assert_eq!(Identity::from_certificate(b"no certificate").unwrap_err().label(), "malformed");
}

#[test]
fn repeating_an_identity_copies_no_header() {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "web01");
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let one = verified(Identity::from_certificate(certificate.der()).unwrap());
    let two = one.clone();
    assert_eq!(one.cert.as_bytes().as_ptr(), two.cert.as_bytes().as_ptr());
}

const TYPES: [&str; 9] = [
    "2.5.4.3",
    "2.5.4.6",
    "2.5.4.10",
    "2.5.4.11",
    "2.5.4.9",
    "2.5.4.5",
    "1.2.840.113549.1.9.1",
    "0.9.2342.19200300.100.1.25",
    "0.9.2342.19200300.100.1.1",
];
const TAGS: [Tag; 7] = [
    Tag::Utf8String,
    Tag::PrintableString,
    Tag::Ia5String,
    Tag::TeletexString,
    Tag::BmpString,
    Tag::OctetString,
    Tag::NumericString,
];

fn any_attribute() -> impl Strategy<Value = AttributeTypeAndValue> {
    let hostile = prop_oneof![
        "[a-z0-9.,+=/#\\\\;<>\" \n\0-]{0,12}".prop_map(String::into_bytes),
        "(/|,|\\+|\n)?CN=(agent|other)".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    (proptest::sample::select(&TYPES[..]), proptest::sample::select(&TAGS[..]), hostile)
        .prop_map(|(oid, tag, value)| attribute(oid, tag, &value))
}

fn any_subject() -> impl Strategy<Value = Name> {
    let rdn = proptest::collection::vec(any_attribute(), 1..3).prop_filter("a SET holds each once", |rdn| {
        SetOfVec::try_from(rdn.clone()).is_ok_and(|set| Length::try_from(set.len()).is_ok())
    });
    let rdns = proptest::collection::vec(rdn, 0..4);
    // Most subjects have their one certname, somewhere: the rest of the subject must not be able to replace it.
    (rdns, prop_oneof!["[a-z0-9._-]{1,12}", "[ -.0-@\\[-~]{1,12}"], any::<proptest::sample::Index>(), 0..4_u8)
        .prop_map(|(mut rdns, certname, at, kind)| {
            if kind != 0 {
                rdns.iter_mut().for_each(|rdn| rdn.retain(|attribute| attribute.oid != subject::COMMON_NAME));
                rdns.retain(|rdn| !rdn.is_empty());
                rdns.insert(at.index(rdns.len() + 1), vec![cn(&certname)]);
            }
            name(rdns)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_named_subject_reads_as_the_same_name_to_everyone(subject in any_subject()) {
        let Ok(certname) = subject::certname(&subject) else { return Ok(()) };
        let text = rfc2253(&subject).unwrap();
        let parsed = parse(&text);
        prop_assert_eq!(parsed.len(), subject.iter().count());
        let cns: Vec<_> = parsed.iter().filter(|(kind, _)| kind == "CN").map(|(_, value)| value).collect();
        prop_assert_eq!(cns, [&certname.as_str().as_bytes().to_vec()]);
        if let Some(cn) = slash_fallback(&text) {
            prop_assert!(cn == certname.as_str() || Certname::parse(cn).is_err(), "{text}");
        }
        prop_assert!(HeaderValue::try_from(text.as_str()).is_ok());
        prop_assert_eq!(text.trim(), text.as_str());
        prop_assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'/'));
    }
}
