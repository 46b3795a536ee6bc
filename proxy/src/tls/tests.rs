//! Handshakes in memory, both ends in one thread.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair as Key, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection, SupportedProtocolVersion};
use stagedoor_config::proxy::KeyPair;

use super::*;

struct Ca {
    params: CertificateParams,
    key: Key,
    pem: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = Key::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn issuer(&self) -> Issuer<'_, &Key> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn leaf(&self, certname: &str, serial: u8, key: &Key) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, certname);
        params.subject_alt_names = vec![SanType::DnsName(certname.try_into().unwrap())];
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.signed_by(key, &self.issuer()).unwrap().pem()
    }

    /// With names of files that are never opened.
    fn pair(&self, certname: &str, serial: u8) -> Pair {
        self.pair_of(certname, serial, &Key::generate().unwrap())
    }

    fn pair_of(&self, certname: &str, serial: u8, key: &Key) -> Pair {
        let certificate = self.leaf(certname, serial, key);
        Pair::from_pem(&files(certname), certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn trust(&self, revoked: &[u8]) -> Arc<Trust> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(vec![1]),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(vec![*serial]),
                    revocation_time: date_time_ymd(2026, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer()).unwrap().pem().unwrap();
        Arc::new(Trust::from_pem(self.pem.as_bytes(), list.as_bytes(), now()).unwrap())
    }
}

fn files(name: &str) -> KeyPair {
    KeyPair { certificate: PathBuf::from(format!("{name}.pem")), key: PathBuf::from(format!("{name}.key")) }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn certname(text: &str) -> Certname {
    Certname::parse(text).unwrap()
}

/// A whole handshake; the server's end of it, or the side that failed and its error.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    dialled: &str,
) -> Result<(ClientConnection, ServerConnection), (&'static str, io::Error)> {
    let name = server_name(&certname(dialled)).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let failed = |side, error| (side, io::Error::new(io::ErrorKind::InvalidData, error));
    // A handshake and what may follow it takes fewer flights than this.
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut read = &wire[..];
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
            server.process_new_packets().map_err(|error| failed("server", error))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut read = &wire[..];
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
            client.process_new_packets().map_err(|error| failed("client", error))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// An agent as Puppet's: no alternative in key exchange or versions unless said, a certificate or none.
fn an_agent(
    trust: Arc<Trust>,
    pair: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let towards = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(MasterVerifier::new(trust)));
    match pair {
        Some(pair) => {
            towards.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.key))))
        }
        None => towards.with_no_client_auth(),
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

#[test]
fn an_agent_is_known_on_both_versions_and_never_resumes() {
    let ca = Ca::new("Puppet CA: m");
    let agents = Agents::new(&[ca.pair("puppet", 2)], ca.trust(&[])).unwrap();
    for (versions, version) in
        [(&[&TLS13][..], ProtocolVersion::TLSv1_3), (&[&TLS12], ProtocolVersion::TLSv1_2)]
    {
        // One configuration for both connections, with the library's own willingness to resume.
        let agent = Arc::new(an_agent(ca.trust(&[]), Some(&ca.pair("web01", 3)), versions));
        for _ in 0..2 {
            let (_, server) = shake(&agent, &agents.config, "puppet").unwrap();
            assert_eq!(server.protocol_version(), Some(version));
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            let judged = agents.judged(server.peer_certificates().unwrap(), now()).unwrap();
            assert_eq!(judged.certname().unwrap().as_str(), "web01");
        }
    }
}

#[test]
fn a_new_agent_without_a_certificate_comes_in_as_nobody() {
    let ca = Ca::new("Puppet CA: m");
    let agents = Agents::new(&[ca.pair("puppet", 2)], ca.trust(&[])).unwrap();
    let agent = Arc::new(an_agent(ca.trust(&[]), None, BOTH));
    let (_, server) = shake(&agent, &agents.config, "puppet").unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn whoever_changes_something_from_another_machine_shows_a_certificate_and_never_resumes() {
    let ca = Ca::new("Puppet CA: m");
    let operators = Agents::new(&[ca.pair("puppet", 2)], ca.trust(&[9])).unwrap().operators().unwrap();
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let enroller = Arc::new(an_agent(ca.trust(&[]), Some(&ca.pair("enroller", 3)), versions));
        for _ in 0..2 {
            let (_, server) = shake(&enroller, &operators, "puppet").unwrap();
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(server.peer_certificates().unwrap().len(), 1);
        }
        let nobody = Arc::new(an_agent(ca.trust(&[]), None, versions));
        assert_eq!(shake(&nobody, &operators, "puppet").unwrap_err().0, "server");
        let revoked = Arc::new(an_agent(ca.trust(&[]), Some(&ca.pair("enroller", 9)), versions));
        let (side, error) = shake(&revoked, &operators, "puppet").unwrap_err();
        assert_eq!((side, reason(&error)), ("server", "revoked"));
    }
}

#[test]
fn a_revoked_agent_fails_the_handshake_and_is_counted_by_its_word() {
    let ca = Ca::new("Puppet CA: m");
    let agents = Agents::new(&[ca.pair("puppet", 2)], ca.trust(&[3])).unwrap();
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let agent = Arc::new(an_agent(ca.trust(&[]), Some(&ca.pair("web01", 3)), versions));
        let (side, error) = shake(&agent, &agents.config, "puppet").unwrap_err();
        assert_eq!((side, reason(&error)), ("server", "revoked"));
    }
    let stranger = Ca::new("Puppet CA: x");
    let agent = Arc::new(an_agent(ca.trust(&[]), Some(&stranger.pair("web01", 4)), BOTH));
    let (side, error) = shake(&agent, &agents.config, "puppet").unwrap_err();
    assert_eq!((side, reason(&error)), ("server", "unknown_issuer"));
    let agent = Arc::new(an_agent(ca.trust(&[]), Some(&ca.pair("Web01", 4)), BOTH));
    let (_, error) = shake(&agent, &agents.config, "puppet").unwrap_err();
    assert_eq!(reason(&error), "no_name");
    assert!(words(&error).contains("names nobody"), "{}", words(&error));
}

#[test]
fn p256_is_shown_to_everyone_who_can_and_rsa_to_the_rest() {
    let ca = Ca::new("Puppet CA: m");
    let rsa = ca.pair_of("puppet", 2, &Key::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    let p256 = ca.pair("puppet", 3);
    let agents = Agents::new(&[rsa.clone(), p256.clone()], ca.trust(&[])).unwrap();
    let shown = |agent: ClientConfig| {
        let (client, _) = shake(&Arc::new(agent), &agents.config, "puppet").unwrap();
        client.peer_certificates().unwrap()[0].clone()
    };
    for versions in [&[&TLS13][..], &[&TLS12]] {
        assert_eq!(shown(an_agent(ca.trust(&[]), None, versions)), p256.chain()[0]);
        let rsa_only = Arc::new(RsaOnly(MasterVerifier::new(ca.trust(&[]))));
        let agent = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(rsa_only)
            .with_no_client_auth();
        assert_eq!(shown(agent), rsa.chain()[0]);
    }
    let twice = Agents::new(&[p256.clone(), ca.pair("other", 4)], ca.trust(&[])).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "puppet.pem and other.pem both hold ECDSA keys; expected at most one ECDSA and one RSA pair under [[certificate]]"
    );
}

/// A client that verifies RSA signatures alone.
#[derive(Debug)]
struct RsaOnly(MasterVerifier);

impl rustls::client::danger::ServerCertVerifier for RsaOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::RSA_PSS_SHA256, rustls::SignatureScheme::RSA_PKCS1_SHA256]
    }
}

#[test]
fn a_client_without_alpn_is_served_and_one_that_wants_another_protocol_is_told() {
    let ca = Ca::new("Puppet CA: m");
    let agents = Agents::new(&[ca.pair("puppet", 2)], ca.trust(&[])).unwrap();
    let with = |protocols: &[&[u8]]| {
        let mut agent = an_agent(ca.trust(&[]), None, BOTH);
        agent.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        shake(&Arc::new(agent), &agents.config, "puppet")
    };
    assert!(with(&[]).is_ok());
    assert_eq!(with(&[b"h2", b"http/1.1"]).unwrap().1.alpn_protocol(), Some(ALPN));
    let (side, error) = with(&[b"h2"]).unwrap_err();
    assert_eq!((side, reason(&error)), ("server", "no_application_protocol"));
}

#[test]
fn the_door_shows_its_certificate_to_masters_and_never_to_the_master_of_masters() {
    let (puppet, door) = (Ca::new("Puppet CA: m"), Ca::new("stagedoor door CA"));
    // A sealed master: the Puppet CA's certificate, clients of the door CA alone.
    let master = Agents::new(&[puppet.pair("compile1", 2)], door.trust(&[])).unwrap();
    let to_masters = masters(&door.pair("door1", 2), puppet.trust(&[])).unwrap();
    let (_, server) = shake(&to_masters, &master.config, "compile1").unwrap();
    assert_eq!(server.peer_certificates().unwrap().len(), 1);
    let (_, server) =
        shake(&showing_nothing(puppet.trust(&[])).unwrap(), &master.config, "compile1").unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn a_master_under_another_name_or_revoked_gets_no_connection() {
    let ca = Ca::new("Puppet CA: m");
    let master = Agents::new(&[ca.pair("compile1", 2)], ca.trust(&[])).unwrap();
    let failed = |trust, name| {
        let (side, error) = shake(&showing_nothing(trust).unwrap(), &master.config, name).unwrap_err();
        (side, reason(&error))
    };
    assert_eq!(failed(ca.trust(&[]), "compile2"), ("client", "name_mismatch"));
    assert_eq!(failed(ca.trust(&[2]), "compile1"), ("client", "revoked"));
}

#[test]
fn failures_without_a_verdict_have_bounded_words_too() {
    let of = |kind| reason(&io::Error::from(kind));
    assert_eq!(of(io::ErrorKind::UnexpectedEof), "client_gone");
    assert_eq!(of(io::ErrorKind::TimedOut), "timeout");
    let alert = io::Error::other(rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA));
    assert_eq!(reason(&alert), "alert_unknown_ca");
    let words = REASONS.iter().chain(&Refused::LABELS);
    let mut sorted: Vec<_> = words.clone().collect();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), words.count(), "each word once");
}

#[test]
fn every_mistake_in_a_pair_names_its_file() {
    let ca = Ca::new("Puppet CA: m");
    let key = Key::generate().unwrap();
    let (certificate, key_pem) = (ca.leaf("puppet", 2, &key), key.serialize_pem());
    let read = |certificate: &str, key: &str| {
        Pair::from_pem(&files("door"), certificate.as_bytes(), key.as_bytes())
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(read(&certificate, &key_pem), Ok(()));
    assert_eq!(read(&(certificate.clone() + &ca.pem), &key_pem), Ok(()));
    let other = Key::generate().unwrap().serialize_pem();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let older =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cut = &certificate[..certificate.len() - 40];
    let stranger = Ca::new("Puppet CA: x").pem;
    for (certificate, key, says) in [
        (
            certificate.as_str(),
            other.as_str(),
            "the key in door.key does not match the first certificate in door.pem",
        ),
        ("", &key_pem, "door.pem holds no PEM section"),
        (&certificate, "", "door.key holds no PEM section"),
        (&key_pem, &certificate, "door.pem holds a private key"),
        (&certificate, &certificate, "door.key holds a certificate"),
        (&certificate, encrypted, "the key in door.key is encrypted"),
        (&certificate, older, "the key in door.key is encrypted"),
        (cut, &key_pem, "door.pem is no complete PEM text"),
        (
            &(certificate.clone() + &stranger),
            &key_pem,
            "certificate 2 in door.pem did not issue the one before it",
        ),
        (
            &(ca.pem.clone() + &certificate),
            &key_pem,
            "certificate 2 in door.pem did not issue the one before it",
        ),
        (&certificate, &(key_pem.clone() + &other), "door.key holds more than one key"),
    ] {
        let error = read(certificate, key).unwrap_err();
        assert!(error.starts_with(says), "{error} should begin with {says}");
    }
    let gone = Pair::load(&files("/nonexistent/door")).unwrap_err();
    assert!(gone.to_string().starts_with("/nonexistent/door.pem cannot be read"), "{gone}");
}

#[test]
fn a_key_file_that_others_left_unreadable_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pair = KeyPair { certificate: at("door.pem"), key: at("door.key") };
    std::fs::write(&pair.certificate, "x").unwrap();
    // A folder cannot be read as a file by anyone, root included.
    std::fs::create_dir(&pair.key).unwrap();
    let error = Pair::load(&pair).unwrap_err();
    assert!(matches!(&error, BadPair::Unreadable { file, .. } if *file == pair.key), "{error}");
}
