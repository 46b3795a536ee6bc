//! Who is believed and who is not.

use super::*;

#[test]
fn an_agent_that_sends_its_leaf_alone_is_believed() {
    let (_, middle, trust) = pair();
    let judged = agent(&trust, &middle.leaf("web01.example.com", 5)).unwrap();
    assert_eq!(judged.certname().unwrap().as_str(), "web01.example.com");
    assert_eq!(judged.not_after().as_secs(), 1_924_992_000, "the leaf's end, 2031-01-01");
    assert_eq!(trust.still_good(&judged, NOW), Ok(()));
    assert_eq!(trust.authorities().len(), 2);
    assert_eq!(trust.crl_next_update().unwrap().as_secs(), 1_893_456_000, "2030-01-01");
}

#[test]
fn an_agent_that_sends_the_whole_chain_is_believed() {
    let (root, middle, trust) = pair();
    let leaf = middle.leaf("web01", 5);
    assert!(trust.judge(&leaf, &[middle.der.clone(), root.der], NOW, Side::Agent).is_ok());
    let noise = vec![middle.der; INTERMEDIATES_MOST + 1];
    assert_eq!(trust.judge(&leaf, &noise, NOW, Side::Agent), Err(Refused::ChainTooLong));
}

#[test]
fn one_self_signed_ca_is_enough() {
    let ca = Ca::root("Puppet CA: old");
    let trust = trust(&ca.pem, &ca.list(&[7])).unwrap();
    assert!(agent(&trust, &ca.leaf("web01", 5)).is_ok());
    assert_eq!(agent(&trust, &ca.leaf("web02", 7)), Err(Refused::Revoked));
}

#[test]
fn a_revoked_agent_is_refused_and_an_open_connection_learns_of_it() {
    let (root, middle, before) = pair();
    let leaf = middle.leaf("web01", 200);
    let judged = agent(&before, &leaf).unwrap();
    let after =
        trust(&(root.pem.clone() + &middle.pem), &(root.list(&[]) + &middle.list(&[3, 200]))).unwrap();
    assert_eq!(after.anchors_hash(), before.anchors_hash());
    assert_eq!(agent(&after, &leaf), Err(Refused::Revoked));
    assert_eq!(after.still_good(&judged, NOW), Err(Refused::Revoked));
    assert_eq!(after.revoked_count(), 2);
}

#[test]
fn a_certificate_that_ends_while_its_connection_lives_is_noticed() {
    let (_, middle, trust) = pair();
    let judged = agent(&trust, &middle.leaf("web01", 5)).unwrap();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(judged.not_after().as_secs() + 1));
    assert_eq!(trust.still_good(&judged, judged.not_after()), Ok(()));
    assert_eq!(trust.still_good(&judged, later).unwrap_err().label(), "expired");
}

#[test]
fn a_changed_bundle_asks_for_a_new_judgement() {
    let (_, middle, before) = pair();
    let judged = agent(&before, &middle.leaf("web01", 5)).unwrap();
    let other = Ca::root("Puppet CA: other");
    let after = trust(&other.pem, &other.list(&[])).unwrap();
    assert_ne!(after.anchors_hash(), before.anchors_hash());
    assert_eq!(after.still_good(&judged, NOW), Err(Refused::OtherAnchors));
}

#[test]
fn an_intermediate_sent_along_without_a_list_is_not_believed() {
    let root = Ca::root("Puppet Root CA: 1");
    let middle = Ca::below(&root, "another intermediate", 2);
    let trust = trust(&root.pem, &root.list(&[])).unwrap();
    let leaf = middle.leaf("web01", 5);
    assert_eq!(agent(&trust, &leaf), Err(Refused::UnknownIssuer));
    assert_eq!(trust.judge(&leaf, &[middle.der], NOW, Side::Agent), Err(Refused::NoList));
}

#[test]
fn dates_purposes_and_names_have_their_own_words() {
    let (_, middle, trust) = pair();
    let label = |leaf: CertificateDer<'_>, side| trust.judge(&leaf, &[], NOW, side).unwrap_err().label();
    let expired = middle.leaf_with("web01", 5, |params| params.not_after = date_time_ymd(2026, 1, 1));
    assert_eq!(label(expired, Side::Agent), "expired");
    let early = middle.leaf_with("web01", 5, |params| params.not_before = date_time_ymd(2028, 1, 1));
    assert_eq!(label(early, Side::Agent), "not_yet_valid");
    let server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(label(middle.leaf_with("web01", 5, server), Side::Agent), "not_for_clients");
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    assert_eq!(label(middle.leaf_with("web01", 5, client), Side::Master), "not_for_servers");
    assert!(
        agent(&trust, &middle.leaf_with("web01", 5, |params| params.extended_key_usages.clear())).is_ok()
    );
    let stranger = Ca::root("Puppet CA: x").leaf("web01", 5);
    assert_eq!(label(stranger, Side::Agent), "unknown_issuer");
    let rebuilt = Ca::root("Puppet CA: master.example.com").leaf("web01", 5);
    assert_eq!(label(rebuilt, Side::Agent), "bad_signature");
    let nobody = middle.leaf_with("Web01", 5, |_| ());
    assert_eq!(label(nobody, Side::Agent), "no_name");
    let sub = middle.leaf_with("web01", 5, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(label(sub, Side::Agent), "ca_as_node");
    assert_eq!(label(CertificateDer::from(&b"no certificate"[..]), Side::Agent), "malformed");
}

#[test]
fn an_agent_without_a_single_cn_is_refused_at_the_handshake() {
    let (_, middle, trust) = pair();
    let nameless = middle.leaf_with("x", 5, |params| {
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "x");
    });
    assert_eq!(agent(&trust, &nameless), Err(Refused::NoName(NoCertname::Missing)));
    assert!(trust.judge(&nameless, &[], NOW, Side::Master).unwrap().certname().is_none());
}

#[test]
fn a_master_is_known_by_an_alternative_name_or_by_the_cn_of_a_certificate_without_any() {
    let (_, middle, trust) = pair();
    let verifier = MasterVerifier::new(Arc::new(trust));
    let dialled = |leaf: &CertificateDer<'_>, name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], NOW).is_ok()
    };
    let named = |names: &[&str]| {
        let names: Vec<SanType> =
            names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        middle.leaf_with("compile1.example.com", 5, |params| params.subject_alt_names = names)
    };
    let with = named(&["puppet", "compile1.example.com"]);
    assert!(dialled(&with, "compile1.example.com"));
    assert!(dialled(&with, "COMPILE1.example.com"));
    assert!(!dialled(&with, "compile2.example.com"));
    let elsewhere = named(&["puppet"]);
    assert!(!dialled(&elsewhere, "compile1.example.com"), "the CN does not count beside alternative names");
    let wildcard = named(&["*.example.com"]);
    assert!(!dialled(&wildcard, "compile1.example.com"), "a wildcard is nobody's name");
    let without = named(&[]);
    assert!(dialled(&without, "compile1.example.com"));
    assert!(!dialled(&without, "compile2.example.com"));
    let address = middle.leaf_with("compile1.example.com", 5, |params| {
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    });
    assert!(!dialled(&address, "compile1.example.com"), "any alternative name rules the CN out");
}

#[test]
fn a_revoked_master_is_refused() {
    let ca = Ca::root("Puppet CA: m");
    let verifier = MasterVerifier::new(Arc::new(trust(&ca.pem, &ca.list(&[5])).unwrap()));
    let name = ServerName::try_from("compile1").unwrap();
    let error = verifier.verify_server_cert(&ca.leaf("compile1", 5), &[], &name, &[], NOW).unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked));
}

#[test]
fn a_verdict_can_be_read_back_from_the_tls_librarys_error() {
    for refused in [
        Refused::Expired { not_after: NOW },
        Refused::Revoked,
        Refused::UnknownIssuer,
        Refused::WeakKey { bits: 1024 },
        Refused::NoName(NoCertname::Several),
        Refused::UnsupportedAlgorithm,
        Refused::NoList,
        Refused::Malformed,
    ] {
        let label = refused.label();
        assert!(Refused::LABELS.contains(&label));
        let rustls::Error::InvalidCertificate(error) = refused.into_tls() else { panic!("{label}") };
        assert_eq!(Refused::label_in_tls(&error), Some(label));
    }
}

#[test]
fn clients_are_asked_for_certificates_of_every_ca_and_need_none() {
    let (_, _, trust) = pair();
    let verifier = AgentVerifier::new(Arc::new(trust));
    assert!(verifier.offer_client_auth());
    assert!(!verifier.client_auth_mandatory());
    assert_eq!(verifier.root_hint_subjects().len(), 2);
}

#[test]
fn a_verdict_that_is_kept_ends_with_the_certificate() {
    let (_, middle, trust) = pair();
    let verifier = AgentVerifier::new(Arc::new(trust));
    let leaf = middle.leaf("web01", 5);
    let judged = verifier.judged(&leaf, &[], NOW).unwrap();
    assert_eq!(verifier.judged(&leaf, &[], NOW).unwrap(), judged);
    let later = UnixTime::since_unix_epoch(Duration::from_secs(judged.not_after().as_secs() + 1));
    assert_eq!(verifier.judged(&leaf, &[], later).unwrap_err().label(), "expired");
    let mut bent = leaf.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    assert_eq!(verifier.judged(&CertificateDer::from(bent), &[], NOW).unwrap_err().label(), "bad_signature");
}

#[test]
fn no_bent_certificate_is_believed() {
    let ca = Ca::root("Puppet CA: m");
    let trust = trust(&ca.pem, &ca.list(&[])).unwrap();
    let leaf = ca.leaf("web01", 5);
    assert!(agent(&trust, &leaf).is_ok());
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut bent = leaf.to_vec();
            bent[at] ^= 1 << bit;
            let verdict = agent(&trust, &CertificateDer::from(bent));
            assert!(verdict.is_err(), "octet {at} of {}, bit {bit}: {verdict:?}", leaf.len());
        }
    }
}
