//! `stagedoor check` tells everything that a start would stumble over, before it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use harness::ca::{DoorCa, PuppetCa};
use harness::door::{Papers, binary};
use harness::identity::{Identity, Leaf};
use serde_json::Value;
use stagedoor_config::master::{Check, Isolation, Kind};

struct Desk {
    ca: PuppetCa,
    door_ca: DoorCa,
    papers: Papers,
}

struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
        // Nobody is asked by a check, so nobody needs to be there.
        let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
        papers.write("roster.toml", &papers.roster.as_ref().unwrap().render());
        Self { ca, door_ca, papers }
    }

    /// Checks these settings, in a shell that may open few files.
    fn check_text(&self, settings: &str, more: &[&str]) -> Told {
        self.papers.write("proxy.toml", settings);
        let mut command = Command::new("sh");
        command.arg("-c").arg("ulimit -n 1500; exec \"$0\" \"$@\"").arg(binary());
        command.arg("check").arg("--config").arg(self.papers.file("proxy.toml")).args(more);
        told(&command.output().unwrap())
    }

    fn check(&self, more: &[&str]) -> Told {
        self.check_text(&self.papers.settings(), more)
    }

    /// The check fails on the files and tells this of this key.
    #[track_caller]
    fn refuses(&self, key: &str, words: &[&str]) {
        let told = self.check(&[]);
        assert_eq!(told.code, 1, "{}", told.err);
        let line = told.err.lines().find(|line| line.contains(&format!("error: `{key}`")));
        let line = line.unwrap_or_else(|| panic!("{key}: {}", told.err));
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

fn told(output: &Output) -> Told {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Told { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[test]
fn good_settings_and_files_check_good() {
    let told = Desk::new().check(&[]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("good") && told.out.contains("2 authorities"), "{}", told.out);
    assert!(!told.err.contains("error"), "{}", told.err);
}

#[test]
fn who_may_change_this_door_from_elsewhere_is_told() {
    let mut desk = Desk::new();
    let address = desk.papers.admin_tls(&["enroller.example.com"]);
    let told = desk.check(&[]);
    assert_eq!(told.code, 0, "{}", told.err);
    let fact = format!("admin.tls: changes are taken at {address} from enroller.example.com");
    assert!(told.out.contains(&fact), "{}", told.out);
    let nobody = desk.papers.settings().replace("allow = [\"enroller.example.com\"]", "allow = []");
    let told = desk.check_text(&nobody, &[]);
    assert!(told.code == 64 && told.err.contains("`admin.tls.allow`"), "{}", told.err);
}

#[test]
fn every_mistake_in_the_settings_is_told_at_once_with_its_line() {
    let desk = Desk::new();
    let settings =
        desk.papers.settings().replace("[mom]", "[mom]\ncertnam = 1").replace("rise = 1", "rise = 0");
    let told = desk.check_text(&settings, &[]);
    assert_eq!(told.code, 64, "{}", told.err);
    assert!(
        told.err.contains("`mom.certnam`: expected a known key; the nearest is `certname`"),
        "{}",
        told.err
    );
    assert!(told.err.contains("rise = 0\n") && told.err.contains("^"), "{}", told.err);

    let told = desk.check_text(&settings, &["--json"]);
    assert_eq!((told.code, told.err.as_str()), (64, ""));
    let json: Value = serde_json::from_str(&told.out).unwrap();
    let keys: Vec<&str> =
        json["mistakes"].as_array().unwrap().iter().map(|mistake| mistake["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["mom.certnam", "health.rise"]);
    assert!(json["mistakes"][0]["line"].is_u64() && json["good"] == false, "{json}");
}

#[test]
fn a_key_that_does_not_match_is_told_and_the_other_files_are_judged_all_the_same() {
    let desk = Desk::new();
    let other = desk.ca.issue(&Leaf::server("door2.example.com"));
    let (_, key) = other.write(desk.papers.folder(), "other");
    fs::copy(key, desk.papers.file("door.key")).unwrap();
    desk.papers.write("ca_crl.pem", "-----BEGIN X509 CRL-----\nAAAA\n");
    desk.papers.write("roster.toml", "version = 1\n");
    desk.refuses("certificate[0]", &["does not match", "door.key"]);
    desk.refuses("puppet_ca.crl", &["ca_crl.pem"]);
    assert!(desk.check(&[]).err.contains("roster.toml: generation: expected"), "the roster's mistakes too");
}

#[test]
fn files_that_are_missing_or_empty_are_told_by_name() {
    let desk = Desk::new();
    desk.papers.write("ca_crt.pem", "");
    fs::remove_file(desk.papers.file("door-client.key")).unwrap();
    desk.refuses("puppet_ca.bundle", &["ca_crt.pem", "holds nothing"]);
    desk.refuses("masters.key", &["door-client.key", "there is none"]);
}

#[test]
fn a_certificate_that_agents_would_refuse_is_told() {
    let mut desk = Desk::new();
    let stranger = PuppetCa::self_signed().issue(&Leaf::server("door1.example.com"));
    stranger.write(desk.papers.folder(), "door");
    desk.refuses("certificate[0]", &["door.pem", "a certificate of the Puppet CA"]);
    let ended = desk.ca.issue(&Leaf::server("door1.example.com").expired());
    desk.papers = Papers::showing(&ended, &desk.ca, &desk.door_ca, "127.0.0.1:9".parse().unwrap());
    desk.refuses("certificate[0]", &["door.pem", "expired"]);
}

#[test]
fn a_roster_of_a_newer_program_or_cut_short_is_refused() {
    let mut desk = Desk::new();
    desk.papers.admit_at("compile1.example.com", "127.0.0.1:9".parse().unwrap());
    let roster = desk.papers.roster.as_ref().unwrap().render();
    for (text, words) in [
        (roster.replace("version = 1", "version = 9"), "a newer stagedoor wrote this file"),
        (roster.replace("count = 1", "count = 2"), "cut short"),
        (roster[..roster.len() - 1].to_owned(), "cut short"),
        (String::new(), "the file is empty"),
    ] {
        desk.papers.write("roster.toml", &text);
        let told = desk.check(&[]);
        assert!(told.code == 1 && told.err.contains(words), "{words}: {}", told.err);
    }
}

#[test]
fn what_works_and_should_not_stay_so_is_a_warning() {
    let mut desk = Desk::new();
    fs::set_permissions(desk.papers.file("door.key"), Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(desk.papers.file("roster.toml")).unwrap();
    desk.papers.bound("connections", "700");
    let told = desk.check(&["--json"]);
    assert_eq!(told.code, 0, "{}", told.out);
    let json: Value = serde_json::from_str(&told.out).unwrap();
    let warnings = json["warnings"].to_string();
    for words in ["chmod 600", "no roster yet", "LimitNOFILE"] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
}

#[test]
fn certificates_that_the_door_would_refuse_are_listed_apart_from_those_that_puppet_refuses_today() {
    let desk = Desk::new();
    let folder = desk.papers.file("signed");
    fs::create_dir(&folder).unwrap();
    let put = |identity: Identity| {
        let (certificate, key) = identity.write(&folder, &identity.name);
        assert!(certificate.ends_with(format!("{}.pem", identity.name)), "{}", certificate.display());
        fs::remove_file(key).unwrap();
    };
    let judged = |code| {
        let told = desk.check(&["--json", "--signed", folder.to_str().unwrap()]);
        assert_eq!(told.code, code, "{} {}", told.out, told.err);
        serde_json::from_str::<Value>(&told.out).unwrap()["signed"].clone()
    };
    let files = |list: &Value| {
        let all = list.as_array().unwrap();
        assert!(all.iter().all(|one| !one["why"].as_str().unwrap().is_empty()), "{list}");
        all.iter().map(|one| one["file"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    put(desk.ca.agent("web1.example.com"));
    put(desk.ca.issue(&Leaf::node("old.example.com").expired()));
    let revoked = desk.ca.agent("gone.example.com");
    desk.ca.revoke(&revoked);
    desk.papers.write_ca(&desk.ca);
    put(revoked);
    let signed = judged(0);
    assert_eq!(signed["judged"], 3);
    assert_eq!(files(&signed["refused"]), [""; 0]);
    assert_eq!(files(&signed["lapsed"]), ["gone.example.com.pem", "old.example.com.pem"]);

    put(PuppetCa::self_signed().agent("strange.example.com"));
    assert_eq!(files(&judged(1)["refused"]), ["strange.example.com.pem"]);
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    for (words, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["check", "--help"], 0),
        (&[], 64),
        (&["chekc"], 64),
        (&["check", "--config"], 64),
        (&["run", "--config", "/nowhere/proxy.toml"], 64),
        (&["roster", "drain"], 64),
        (&["roster", "--socket", "/nowhere/admin.sock", "show"], 1),
    ] {
        let told = told(&Command::new(binary()).args(words).output().unwrap());
        assert_eq!(told.code, code, "{words:?}: {}", told.err);
        assert!(code == 0 || !told.err.is_empty(), "{words:?}");
    }
}

#[test]
fn an_address_that_passes_to_nobody_and_a_master_that_nobody_is_passed_to_are_told() {
    let mut desk = Desk::new();
    desk.papers.listen_keys = "pass_old_tls = true".to_owned();
    let passing = desk.papers.passing("");
    desk.papers.passing("backends = [\"compile1.example.com:8142\"]");
    let told = desk.check(&[]);
    assert_eq!(told.code, 0, "a roster may change at any time: {}", told.err);
    assert!(told.err.contains(&format!("warning: `listen[1]`: {passing} passes")), "{}", told.err);
    assert!(told.err.contains("warning: `listen[0]`: pass_old_tls"), "{}", told.err);
    assert!(told.out.contains("to 1 backends"), "{}", told.out);

    let mut desk = Desk::new();
    let open = Kind::Open { check: Check::Tcp };
    desk.papers.admit_as(open, "pe37.example.com", "127.0.0.1:9".parse().unwrap());
    desk.papers.write("roster.toml", &desk.papers.roster.as_ref().unwrap().render());
    let told = desk.check(&[]);
    assert!(told.err.contains("pe37.example.com is open and no address passes"), "{}", told.err);
}

#[test]
fn a_firewall_that_nobody_can_test_and_a_program_that_cannot_be_run_are_told() {
    let mut desk = Desk::new();
    let firewall = Kind::Sealed { isolation: Isolation::Firewall };
    desk.papers.admit_as(firewall, "m1.example.com", "127.0.0.1:9".parse().unwrap());
    desk.papers.write("roster.toml", &desk.papers.roster.as_ref().unwrap().render());
    let told = desk.check(&[]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(
        told.err.contains("m1.example.com is isolated by a firewall and no host outside"),
        "{}",
        told.err
    );

    desk.papers.extra.1 = "[outside]\ncommand = [\"/bin/sh\"]\n".to_owned();
    let told = desk.check(&[]);
    assert!(told.code == 0 && !told.err.contains("outside"), "{}", told.err);
    desk.papers.extra.1 = "[outside]\ncommand = [\"/etc/passwd\"]\n".to_owned();
    desk.refuses("outside.command", &["/etc/passwd", "may run"]);
}

#[test]
fn a_sealed_master_behind_an_address_that_passes_is_refused_by_whichever_name() {
    for (at, backend) in [("127.0.0.1:9", "127.0.0.1:9"), ("127.0.0.1:8140", "M1.example.com:8140")] {
        let mut desk = Desk::new();
        let firewall = Kind::Sealed { isolation: Isolation::Firewall };
        desk.papers.admit_as(firewall, "m1.example.com", at.parse().unwrap());
        desk.papers.write("roster.toml", &desk.papers.roster.as_ref().unwrap().render());
        desk.papers.passing("backends = [\"m1.example.com:8142\"]");
        let told = desk.check(&[]);
        assert_eq!(told.code, 0, "another port of the same host: {}", told.err);
        desk.papers.passing(&format!("backends = [\"other:1\", \"{backend}\"]"));
        desk.refuses(
            "listen[2].backends",
            &["m1.example.com is sealed", &backend.to_lowercase(), "any node"],
        );
    }
}

#[test]
fn a_certificate_that_cannot_stand_for_an_agents_is_told_since_masters_are_tested_with_it() {
    let desk = Desk::new();
    let no_client = Leaf { no_client: true, ..Leaf::server("door1.example.com") };
    desk.ca.issue(&no_client).write(desk.papers.folder(), "door");
    desk.refuses("certificate", &["for clients as well", "untested they get no request"]);
}
