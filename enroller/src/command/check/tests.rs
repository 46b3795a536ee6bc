use std::fs::{self, Permissions};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair as Key, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::*;

const SHIPPED: &str = include_str!("../../../../config/enroller.toml");

/// Every file that the shipped settings name, in a folder of its own.
struct Site {
    folder: TempDir,
    text: String,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let text = SHIPPED
            .replace("/etc/stagedoor", &format!("{at}/etc"))
            .replace("/run/stagedoor", &format!("{at}/run"))
            .replace("# program = \"/usr/bin/ssh\"", "program = \"/bin/sh\"")
            .replace("# folder = \"/var/lib/stagedoor/journal\"", &format!("folder = \"{at}/journal\""));
        let site = Self { folder, text };
        for made in ["etc/ca", "etc/enroller", "run", "journal"] {
            fs::create_dir_all(site.folder.path().join(made)).unwrap();
        }
        let ca_key = Key::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Puppet CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        site.write("etc/ca/ca_crt.pem", &ca.self_signed(&ca_key).unwrap().pem(), 0o644);
        let issuer = Issuer::new(ca, ca_key);
        let crl = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        site.write("etc/ca/ca_crl.pem", &crl.signed_by(&issuer).unwrap().pem().unwrap(), 0o644);
        let (key, mut leaf) = (Key::generate().unwrap(), CertificateParams::default());
        leaf.distinguished_name.push(DnType::CommonName, "enroller.example.com");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        site.write("etc/enroller/enroller.pem", &leaf.signed_by(&key, &issuer).unwrap().pem(), 0o644);
        site.write("etc/enroller/enroller.key", &key.serialize_pem(), 0o600);
        site.write("etc/enroller/known_hosts", "# keys\ndb.example.com ssh-ed25519 AAAA\n", 0o644);
        site.write("run/admin.sock", "", 0o600);
        site
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn found(&self) -> Found {
        let settings = Settings::parse(Path::new("enroller.toml"), &self.text).unwrap();
        let mut found = Found::default();
        found.files(&settings, UnixTime::now());
        found
    }

    /// The only error.
    fn error(&self) -> String {
        let found = self.found();
        assert_eq!(found.errors.len(), 1, "{found:#?}");
        format!("{}: {}", found.errors[0].key, found.errors[0].error)
    }
}

#[test]
fn a_site_that_is_complete_is_good_and_says_the_order_of_its_runs() {
    let found = Site::new().found();
    assert!(found.errors.is_empty() && found.warnings.is_empty(), "{found:#?}");
    let runs = "runs: the new master, then puppetdb.example.com; started by ssh";
    assert!(found.facts.iter().any(|fact| fact == runs), "{found:#?}");
    assert!(found.facts.iter().any(|fact| fact == "shown as: enroller.example.com"), "{found:#?}");
}

#[test]
fn every_file_that_is_missing_is_told_with_its_key() {
    let site = Site::new();
    fs::remove_dir_all(site.folder.path().join("etc")).unwrap();
    fs::remove_dir_all(site.folder.path().join("journal")).unwrap();
    let keys: Vec<String> = site.found().errors.into_iter().map(|finding| finding.key).collect();
    let expected = [
        "puppet_ca.bundle",
        "puppet_ca.crl",
        "identity.key",
        "identity.certificate",
        "ssh.known_hosts",
        "journal.folder",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_secret_that_everyone_may_read_is_an_error_and_its_text_is_nowhere() {
    let site = Site::new();
    fs::set_permissions(site.folder.path().join("etc/enroller/enroller.key"), Permissions::from_mode(0o644))
        .unwrap();
    assert!(site.error().starts_with("identity.key: ") && site.error().contains("everyone may read it"));
    let mut site = Site::new();
    let token = site.folder.path().join("etc/enroller/token");
    site.text = site
        .text
        .replace("\"open-source\"\n", "\"pe-2019\"\n")
        .replace("[identity]", &format!("[token]\nfile = \"{}\"\n[identity]", token.display()));
    site.write("etc/enroller/token", "s3cr3t-t0k3n", 0o644);
    let told = site.error();
    assert!(told.starts_with("token.file: ") && !told.contains("s3cr3t"), "{told}");
    site.write("etc/enroller/token", "s3cr3t t0k3n", 0o600);
    let told = site.error();
    assert!(told.contains("one token on one line") && !told.contains("s3cr3t"), "{told}");
    site.write("etc/enroller/token", "s3cr3t-t0k3n", 0o640);
    assert_eq!(site.found().warnings[0].key, "token.file");
}

#[test]
fn a_certificate_that_others_would_not_believe_is_told() {
    let (site, other) = (Site::new(), Site::new());
    let take = |name: &str| {
        let text = fs::read_to_string(other.folder.path().join(name)).unwrap();
        site.write(name, &text, 0o600);
    };
    take("etc/enroller/enroller.key");
    assert!(site.error().contains("expected a certificate and its own key"), "{}", site.error());
    take("etc/enroller/enroller.pem");
    assert!(site.error().contains("expected a certificate that others believe"), "{}", site.error());
    site.write("etc/enroller/enroller.pem", "none", 0o600);
    assert!(site.error().contains("expected a certificate in PEM form"), "{}", site.error());
}

#[test]
fn a_folder_or_a_program_that_cannot_be_used_is_told() {
    let mut site = Site::new();
    fs::set_permissions(site.folder.path().join("journal"), Permissions::from_mode(0o777)).unwrap();
    assert!(site.error().contains("everyone may write there"), "{}", site.error());
    fs::set_permissions(site.folder.path().join("journal"), Permissions::from_mode(0o750)).unwrap();
    site.write("etc/enroller/known_hosts", "# none yet\n", 0o644);
    assert!(site.error().contains("no host is believed"), "{}", site.error());
    site.write("etc/enroller/known_hosts", "db.example.com ssh-ed25519 AAAA\n", 0o644);
    site.text = site.text.replace("\"/bin/sh\"", "\"/etc/passwd\"");
    assert!(site.error().starts_with("ssh.program: "), "{}", site.error());
    fs::remove_file(site.folder.path().join("run/admin.sock")).unwrap();
    assert_eq!(site.found().warnings[0].key, "door[0].socket");
}

#[test]
fn programs_and_facts_that_steps_will_use_are_looked_at_before() {
    let mut site = Site::new();
    site.text = site.text.replace("#   facts = \"", "facts = \"");
    let path = site.folder.path().join("etc/enroller/canary.json");
    assert!(
        site.error().contains("canary.facts: ") && site.error().contains("expected a file"),
        "{}",
        site.error()
    );
    fs::write(&path, "[]").unwrap();
    assert!(site.error().contains("one JSON object of facts"), "{}", site.error());
    fs::write(&path, "{\"datacenter\": \"east\"}").unwrap();
    assert!(site.found().errors.is_empty());
    site.text = site.text.replace(
        "#   command = [\"/usr/local/bin/seal-master\"",
        "command = [\"/usr/local/bin/seal-master\"",
    );
    assert_eq!(
        site.error(),
        "seal.command: /usr/local/bin/seal-master: expected a program that can be started"
    );
}
