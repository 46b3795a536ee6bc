//! What is taken as a bundle and as lists, and what is not.

use super::*;

#[test]
fn a_revoked_intermediate_is_no_anchor_and_cannot_be_sent_along() {
    let root = Ca::root("Puppet Root CA: 1");
    let middle = Ca::below(&root, "Puppet CA: master.example.com", 2);
    let below = Ca::below(&middle, "Puppet CA: further down", 3);
    let bundle = root.pem.clone() + &below.pem + &middle.pem;
    let trust = trust(&bundle, &(root.list(&[2]) + &middle.list(&[]) + &below.list(&[]))).unwrap();
    assert_eq!(trust.authorities().len(), 1, "the root alone is left: {trust:?}");
    for leaf in [middle.leaf("web01", 5), below.leaf("web01", 5)] {
        assert_eq!(agent(&trust, &leaf), Err(Refused::AuthorityRevoked));
        let chain = [below.der.clone(), middle.der.clone()];
        assert_eq!(trust.judge(&leaf, &chain, NOW, Side::Agent), Err(Refused::AuthorityRevoked));
    }
}

#[test]
fn two_cas_of_one_name_are_told_apart_by_their_keys() {
    let (old, new) = (Ca::root("Puppet CA: m"), Ca::root("Puppet CA: m"));
    for lists in [old.list(&[5]) + &new.list(&[6]), new.list(&[6]) + &old.list(&[5])] {
        let trust = trust(&(old.pem.clone() + &new.pem), &lists).unwrap();
        assert_eq!(agent(&trust, &old.leaf("web01", 5)), Err(Refused::Revoked));
        assert!(agent(&trust, &new.leaf("web01", 5)).is_ok());
        assert!(agent(&trust, &old.leaf("web01", 6)).is_ok());
        assert_eq!(agent(&trust, &new.leaf("web01", 6)), Err(Refused::Revoked));
    }
}

#[test]
fn of_several_lists_by_one_key_the_newest_counts_in_any_order() {
    let ca = Ca::root("Puppet CA: m");
    let (older, newer) = (ca.list_with(9, &[5], |_| ()), ca.list_with(10, &[6], |_| ()));
    for lists in [older.clone() + &newer, newer + &older] {
        let trust = trust(&ca.pem, &lists).unwrap();
        assert!(agent(&trust, &ca.leaf("web01", 5)).is_ok());
        assert_eq!(agent(&trust, &ca.leaf("web01", 6)), Err(Refused::Revoked));
        assert_eq!(trust.lists().len(), 1);
        assert_eq!(trust.lists()[0].number.as_deref(), Some(&[10][..]));
    }
}

#[test]
fn a_list_past_its_next_update_stays_in_force_and_is_reported() {
    let ca = Ca::root("Puppet CA: m");
    let stale = ca.list_with(1, &[5], |list| {
        list.this_update = date_time_ymd(2020, 1, 1);
        list.next_update = date_time_ymd(2021, 1, 1);
    });
    let trust = trust(&ca.pem, &stale).unwrap();
    assert_eq!(agent(&trust, &ca.leaf("web01", 5)), Err(Refused::Revoked));
    assert!(agent(&trust, &ca.leaf("web01", 6)).is_ok());
    assert!(trust.crl_next_update().unwrap() < NOW);
}

#[test]
fn every_ca_needs_its_list_and_the_words_name_the_ca_and_the_file() {
    let root = Ca::root("Puppet Root CA: 1");
    let middle = Ca::below(&root, "Puppet CA: master.example.com", 2);
    let error = trust(&(root.pem.clone() + &middle.pem), &middle.list(&[])).unwrap_err();
    assert!(matches!(&error, Untrusted::ListMissing { subject } if subject.contains("Puppet Root CA: 1")));
    assert!(error.to_string().contains("ca_crl.pem"), "{error}");
    assert_eq!(error.source_file(), Source::Lists);
}

#[test]
fn an_expired_ca_needs_no_list_and_with_one_refuses_its_agents_by_name() {
    let gone = Ca::rooted("Puppet CA: gone", |params| params.not_after = date_time_ymd(2025, 1, 1));
    let ca = Ca::root("Puppet CA: m");
    let bundle = gone.pem.clone() + &ca.pem;
    let without = trust(&bundle, &ca.list(&[])).unwrap();
    assert_eq!(agent(&without, &gone.leaf("web01", 5)), Err(Refused::UnknownIssuer));
    assert!(agent(&without, &ca.leaf("web01", 5)).is_ok());
    let with = trust(&bundle, &(ca.list(&[]) + &gone.list(&[]))).unwrap();
    assert_eq!(agent(&with, &gone.leaf("web01", 5)), Err(Refused::AuthorityExpired));
    assert!(with.authorities_end().unwrap() < NOW);
    assert_eq!(trust(&gone.pem, &ca.list(&[])).unwrap_err().source_file(), Source::Lists);
}

#[test]
fn a_list_that_steps_back_is_told() {
    let (ca, other) = (Ca::root("Puppet CA: m"), Ca::root("Puppet CA: x"));
    let with = |number| {
        let lists = ca.list_with(number, &[5], |_| ()) + &other.list(&[]);
        trust(&(ca.pem.clone() + &other.pem), &lists).unwrap()
    };
    assert_eq!(with(8).steps_back(&with(9)).unwrap().number.as_deref(), Some(&[8][..]));
    assert!(with(9).steps_back(&with(9)).is_none());
    assert!(with(10).steps_back(&with(9)).is_none());
}

#[test]
fn a_renewed_ca_with_its_old_certificate_beside_it_is_in_force() {
    let mut ca = Ca::rooted("Puppet CA: m", |params| params.not_after = date_time_ymd(2025, 1, 1));
    let old = ca.pem.clone();
    ca.params.not_after = date_time_ymd(2040, 1, 1);
    let new = ca.params.self_signed(&ca.key).unwrap().pem();
    for bundle in [old.clone() + &new, new + &old] {
        let trust = trust(&bundle, &ca.list(&[6])).unwrap();
        assert!(agent(&trust, &ca.leaf("web01", 5)).is_ok());
        assert_eq!(agent(&trust, &ca.leaf("web01", 6)), Err(Refused::Revoked));
    }
}

#[test]
fn lists_of_strangers_and_of_a_rebuilt_ca_are_errors() {
    let (ca, rebuilt, stranger) =
        (Ca::root("Puppet CA: m"), Ca::root("Puppet CA: m"), Ca::root("Puppet CA: x"));
    let of = |lists: String| trust(&ca.pem, &lists).unwrap_err();
    assert!(matches!(of(ca.list(&[]) + &stranger.list(&[])), Untrusted::ListOfNobody { .. }));
    assert!(matches!(of(ca.list(&[]) + &rebuilt.list(&[])), Untrusted::ListSignature { .. }));
    let partial = ca.list_with(1, &[], |list| {
        list.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://ca.example.com/crl".into()] },
            scope: Some(CrlScope::UserCertsOnly),
        });
    });
    assert_eq!(of(partial), Untrusted::ListPartial { position: 1 });
    let no_signer =
        Ca::rooted("Puppet CA: m", |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    // rcgen will not sign a list for it, so the list is the name's, the key's permission is what is asked first.
    let error = trust(&no_signer.pem, &ca.list(&[])).unwrap_err();
    assert!(matches!(error, Untrusted::ListOfNobody { .. }), "{error:?}");
}

#[test]
fn empty_cut_off_and_mixed_up_files_are_told_apart() {
    let ca = Ca::root("Puppet CA: m");
    let list = ca.list(&[]);
    let empty = |file| Untrusted::Empty { file };
    assert_eq!(trust("", &list).unwrap_err(), empty(Source::Bundle));
    assert_eq!(trust(&ca.pem, "").unwrap_err(), empty(Source::Lists));
    assert_eq!(trust("# a comment\n", &list).unwrap_err(), empty(Source::Bundle));
    let kind = |file, found| Untrusted::Kind { file, found };
    assert_eq!(trust(&ca.pem, &ca.pem).unwrap_err(), kind(Source::Lists, "a CERTIFICATE"));
    assert_eq!(trust(&list, &list).unwrap_err(), kind(Source::Bundle, "an X509 CRL"));
    let key = ca.key.serialize_pem();
    assert_eq!(trust(&(ca.pem.clone() + &key), &list).unwrap_err(), kind(Source::Bundle, "a private key"));
    let cut = &list[..list.len() - 30];
    assert!(matches!(trust(&ca.pem, cut).unwrap_err(), Untrusted::Pem { file: Source::Lists, .. }));
    let junk = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert_eq!(trust(&ca.pem, junk).unwrap_err(), Untrusted::ListUnreadable { position: 1 });
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = trust(&(ca.pem.clone() + junk), &list).unwrap_err();
    assert_eq!(error, Untrusted::AuthorityUnreadable { position: 2 });
}

#[test]
fn a_tampered_list_is_an_error() {
    let ca = Ca::root("Puppet CA: m");
    let der =
        rustls_pki_types::CertificateRevocationListDer::from_pem_slice(ca.list(&[5]).as_bytes()).unwrap();
    let bundle = authority::read(ca.pem.as_bytes()).unwrap();
    let signed = signed::Signed::from_der(&der).unwrap();
    let spki = &bundle[0].anchor.subject_public_key_info;
    assert_eq!(signed.verify(spki), Ok(()));
    for at in 0..der.len() {
        let mut bent = der.to_vec();
        bent[at] ^= 1;
        let verdict = signed::Signed::from_der(&bent).map(|signed| signed.verify(spki));
        assert!(!matches!(verdict, Ok(Ok(()))), "octet {at} of {}", der.len());
    }
}

#[test]
fn an_agents_certificate_in_the_bundle_does_not_make_it_a_ca() {
    let ca = Ca::root("Puppet CA: m");
    let leaf = ca.leaf("web01", 5);
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64(&leaf)
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    );
    let error = trust(&(ca.pem.clone() + &pem), &ca.list(&[])).unwrap_err();
    assert!(matches!(error, Untrusted::NotAnAuthority { position: 2, .. }), "{error:?}");
}

fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let word =
            (0..3).fold(0_u32, |word, at| (word << 8) | u32::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4_usize {
            let sextet = (word >> (18 - 6 * at)) & 63;
            text.push(if at <= three.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}
