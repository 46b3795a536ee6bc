//! Files that are not what they should be, by mistake or by chance.

use std::sync::OnceLock;

use proptest::prelude::*;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use x509_cert::der::pem::{LineEnding, encode_string};

use super::*;

#[test]
fn each_file_that_is_not_what_it_should_be_is_told_by_name_with_what_to_do() {
    let desk = Desk::new();
    desk.issue("d1");
    let other = Desk::new();
    other.issue("d1");
    let key = |desk: &Desk| format!("ca/ca-{}.key", desk.content().signing().unwrap().id);
    let record = format!("ca/issued/{}", desk.names("ca/issued")[0]);
    let agent_like = desk.text(&record);
    let (bundle, lists) = (desk.text("ca/ca.pem"), desk.text("ca/crl.pem"));
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let ca_key = key(&desk);
    let three = bundle.repeat(3);
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("ca/ca.pem", String::new(), &["ca.pem", "holds nothing"]),
        ("ca/ca.pem", cut(&bundle), &["ca.pem", "cut off"]),
        ("ca/ca.pem", lists.clone(), &["ca.pem", "something else"]),
        ("ca/ca.pem", agent_like, &["ca.pem", "another's"]),
        ("ca/ca.pem", three, &["ca.pem", "at most 2"]),
        ("ca/ca.pem", other.text("ca/ca.pem"), &["crl.pem", "has none"]),
        ("ca/crl.pem", String::new(), &["crl.pem", "has none"]),
        ("ca/crl.pem", cut(&lists), &["crl.pem", "cut off"]),
        ("ca/crl.pem", bundle, &["crl.pem", "something else"]),
        (
            &record,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            &["issued/d1-", "door"],
        ),
        (&record, String::new(), &["issued/d1-", "holds nothing"]),
        (
            &ca_key,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(),
            &[".key", "bring back"],
        ),
        (&ca_key, other.text(&key(&other)), &[".key", "bring back"]),
    ];
    for (name, text, expected) in cases {
        let good = desk.text(name);
        fs::remove_file(desk.path(name)).unwrap();
        fs::write(desk.path(name), &text).unwrap();
        let told = desk.folder.issue(&door("d1").unwrap(), &desk.path("out"), NOW).unwrap_err();
        let told = chain(&told);
        assert!(expected.iter().all(|word| told.contains(word)), "{name}: {told}");
        fs::write(desk.path(name), good).unwrap();
    }
    desk.issue("d1");
}

proptest! {
    /// Whoever copies files makes mistakes that nobody foresaw: told, and never a panic.
    #[test]
    fn a_file_that_was_damaged_anywhere_is_told_or_read(
        place in any::<prop::sample::Index>(), octet in any::<u8>(), length in any::<prop::sample::Index>(),
    ) {
        static FILES: OnceLock<[String; 3]> = OnceLock::new();
        let files = FILES.get_or_init(|| {
            let desk = Desk::new();
            desk.issue("d1");
            desk.folder.revoke(&door("d1").unwrap(), NOW).unwrap();
            [desk.text("ca/ca.pem"), desk.text("ca/crl.pem"), desk.text("out/d1.pem")]
        });
        let good = records::authorities(&files[0]).unwrap();
        let trust = Trust::from_pem(files[0].as_bytes(), files[1].as_bytes(), NOW).unwrap();
        for file in files {
            // In the text, and in what its base64 stands for.
            let (mut text, mut der) = (file.clone().into_bytes(), Vec::from_iter(pem_body(file)));
            let at = place.index(text.len());
            text[at] = octet;
            text.truncate(length.index(text.len()) + 1);
            let at = place.index(der.len());
            der[at] = octet;
            let label = file.lines().next().unwrap().replace("BEGIN", "END");
            let damaged = format!("{}\n{}\n{label}\n", file.lines().next().unwrap(), base64(&der));
            for text in [String::from_utf8_lossy(&text).into_owned(), damaged] {
                let _any = (records::authorities(&text), records::lists(&text, &good));
                let _any = records::issued(&text, &good, &trust, NOW);
            }
        }
    }
}

fn pem_body(text: &str) -> Vec<u8> {
    <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes()).unwrap().1
}

fn base64(octets: &[u8]) -> String {
    let pem = encode_string("X", LineEnding::LF, octets).unwrap();
    pem.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
}
