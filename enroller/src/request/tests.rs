use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType,
};
use stagedoor_config::enroller::Extension as Setting;

use super::*;

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn utf8(value: &str) -> Vec<u8> {
    let mut der = vec![0x0c, u8::try_from(value.len()).unwrap()];
    der.extend(value.bytes());
    der
}

fn params(name: &str, names: &[&str], extensions: &[(&[u64], &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names =
        names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params.custom_extensions =
        extensions.iter().map(|(oid, value)| CustomExtension::from_oid_content(oid, utf8(value))).collect();
    params
}

const ROLE: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 1, 13];
const AUTH_ROLE: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 13];
const CLI_AUTH: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 39];
const RENEW: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 2];

fn asked(name: &str, names: &[&str], extensions: &[(&[u64], &str)]) -> (Asked, String) {
    let key = KeyPair::generate().unwrap();
    let request = params(name, names, extensions).serialize_request(&key).unwrap();
    let on_machine = key_of(&key.public_key_pem()).unwrap();
    (Asked::of_request(&request.pem().unwrap()).unwrap(), on_machine)
}

fn allowed(names: &[&str], extensions: &[(&str, &str)]) -> Allowed {
    let extension = |(oid, value): &(&str, &str)| Setting { oid: (*oid).into(), value: (*value).into() };
    Allowed {
        dns_alt_names: names.iter().map(|name| (*name).into()).collect(),
        extensions: extensions.iter().map(extension).collect(),
    }
}

const PE_COMPILER: (&str, &str) = ("1.3.6.1.4.1.34380.1.3.13", "pe_compiler");

#[test]
fn a_request_that_asks_for_what_the_settings_say_has_no_differences() {
    let (asked, key) = asked(
        "add.example.com",
        &["Puppet", "add.example.com", "puppet.example.com"],
        &[(AUTH_ROLE, "pe_compiler"), (RENEW, "true")],
    );
    let allowed = allowed(&["puppet", "puppet.example.com"], &[PE_COMPILER]);
    assert_eq!(asked.differences(&certname("add.example.com"), &key, &allowed), [""; 0]);
}

#[test]
fn everything_else_that_a_request_asks_for_is_told() {
    let (asked, key) = asked(
        "add.example.com",
        &["master.example.com"],
        &[(ROLE, "webserver"), (CLI_AUTH, "true"), (AUTH_ROLE, "pe_master"), (&[1, 2, 3, 4], "x")],
    );
    let allowed = allowed(&["puppet"], &[PE_COMPILER, ("1.3.6.1.4.1.34380.1.1.16", "east")]);
    let told = asked.differences(&certname("add.example.com"), &key, &allowed).join("\n");
    for expected in [
        "master.example.com is not in the settings",
        "the alternative name puppet is missing",
        "1.3.6.1.4.1.34380.1.1.13 = \"webserver\" is not in the settings",
        "1.3.6.1.4.1.34380.1.3.39 = \"true\" would give it rights",
        "1.3.6.1.4.1.34380.1.3.13 is \"pe_master\", expected \"pe_compiler\"",
        "1.3.6.1.4.1.34380.1.1.16 = \"east\" is missing",
        "the extension 1.2.3.4 is not Puppet's",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
}

#[test]
fn a_request_of_another_machine_is_told_by_its_key() {
    let (asked, _) = asked("add.example.com", &["puppet"], &[]);
    let other = key_of(&KeyPair::generate().unwrap().public_key_pem()).unwrap();
    let told = asked.differences(&certname("add.example.com"), &other, &allowed(&["puppet"], &[]));
    assert!(told.len() == 1 && told[0].contains("is not the one on the machine"), "{told:?}");
    let told = asked.differences(&certname("sub.example.com"), &asked.key, &allowed(&["puppet"], &[]));
    assert_eq!(told, ["it is for add.example.com, not for sub.example.com"]);
}

#[test]
fn an_alternative_name_that_is_an_address_is_told() {
    let key = KeyPair::generate().unwrap();
    let mut params = params("add.example.com", &["puppet"], &[]);
    params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
    let asked = Asked::of_request(&params.serialize_request(&key).unwrap().pem().unwrap()).unwrap();
    let told = asked.differences(&certname("add.example.com"), &asked.key, &allowed(&["puppet"], &[]));
    assert!(told.len() == 1 && told[0].contains("is no host name"), "{told:?}");
}

#[test]
fn the_certificate_that_came_back_is_judged_like_the_request() {
    let key = KeyPair::generate().unwrap();
    let params = params("add.example.com", &["puppet", "add.example.com"], &[(CLI_AUTH, "true")]);
    let certificate = params.self_signed(&key).unwrap();
    let asked = Asked::of_certificate(&certificate.pem()).unwrap();
    assert_eq!(asked.key, hex(&sha256(&key.subject_public_key_info())));
    assert!(asked.serial.is_some());
    let told = asked.differences(&certname("add.example.com"), &asked.key, &allowed(&["puppet"], &[]));
    assert!(told.len() == 1 && told[0].contains("would give it rights"), "{told:?}");
}

#[test]
fn a_certificate_that_may_sign_others_is_told() {
    let key = KeyPair::generate().unwrap();
    let mut params = params("add.example.com", &["puppet"], &[]);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let asked = Asked::of_certificate(&params.self_signed(&key).unwrap().pem()).unwrap();
    let told = asked.differences(&certname("add.example.com"), &asked.key, &allowed(&["puppet"], &[]));
    assert_eq!(told, ["the extension 2.5.29.19 is not Puppet's"]);
}

#[test]
fn a_fingerprint_is_taken_as_people_write_it() {
    let plain = "0f".repeat(32);
    let colons =
        plain.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect::<Vec<_>>().join(":");
    for good in [plain.clone(), format!("SHA256:{}", plain.to_uppercase()), colons] {
        assert_eq!(fingerprint(&good).as_deref(), Some(plain.as_str()), "{good}");
    }
    for bad in ["", "SHA256:", "0f", &"0g".repeat(32)] {
        assert_eq!(fingerprint(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn whatever_is_no_request_is_refused(text in "\\PC{0,60}") {
        prop_assert!(Asked::of_request(&text).is_err());
        prop_assert!(Asked::of_certificate(&text).is_err());
        prop_assert!(key_of(&text).is_err());
    }

    /// Nothing is signed that has a right which the settings do not give.
    #[test]
    fn no_right_is_ever_overlooked(below in 1_u64..60, value in "[a-z_]{1,10}") {
        let oid: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, below];
        let (asked, key) = asked("add.example.com", &["puppet"], &[(oid, &value)]);
        let allowed = allowed(&["puppet"], &[]);
        let told = asked.differences(&certname("add.example.com"), &key, &allowed);
        prop_assert_eq!(told.is_empty(), below == 2);
    }
}
