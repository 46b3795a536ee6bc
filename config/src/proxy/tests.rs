use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::share::Share;
use super::*;
use crate::mistake::{Mistake, report};

const SHIPPED: &str = include_str!("../../proxy.toml");

fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    Settings::parse(Path::new("proxy.toml"), text)
}

/// The shipped settings with one piece of text in place of another.
fn with(old: &str, new: &str) -> Result<Settings, Vec<Mistake>> {
    assert!(SHIPPED.contains(old), "{old}");
    parse(&SHIPPED.replacen(old, new, 1))
}

/// The only mistake in the shipped settings when one piece of text stands in place of another.
fn mistake(old: &str, new: &str) -> String {
    let mistakes = with(old, new).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes[0].to_string()
}

#[test]
fn the_shipped_settings_are_read() {
    let settings = parse(SHIPPED).unwrap();
    let listen = Listen {
        address: "0.0.0.0:8140".parse().unwrap(),
        mode: Mode::EndTls(EndTls::default()),
        accept_proxy_from: Vec::new(),
        send_proxy: None,
    };
    assert_eq!(settings.listen, [listen]);
    assert!(!settings.listen[0].passes_to_open_masters(), "nothing passes unless it is asked for");
    assert_eq!((settings.renewal, settings.outside), (None, Vec::new()));
    assert_eq!(settings.mom.address, "master.example.com:8140");
    assert_eq!(settings.roster, Path::new("/var/lib/stagedoor/roster.toml"));
    assert_eq!(settings.admin.http, Some("127.0.0.1:9140".parse().unwrap()));
    assert_eq!(settings.admin.unix.as_deref(), Some(Path::new("/run/stagedoor/admin.sock")));
    assert_eq!(settings.admin.tls, None, "nobody asks from elsewhere unless it is asked for");
    assert_eq!(settings.bounds, Bounds::default());
    assert_eq!(settings.health, HealthCheck::default());
    assert_eq!(settings.workers, None);
}

/// A commented line that holds a setting: `# key = value`.
fn commented_out(line: &str) -> Option<&str> {
    let setting = line.strip_prefix("# ")?;
    let (key, _) = setting.split_once(" = ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(setting)
}

#[test]
fn every_key_that_is_commented_out_shows_its_default() {
    let lines = || SHIPPED.lines().map(|line| commented_out(line).unwrap_or(line));
    let all: String = lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(parse(&all).unwrap(), parse(SHIPPED).unwrap());
    let count = SHIPPED.lines().filter_map(commented_out).count();
    assert_eq!(
        count,
        Bounds::TABLE.len() + HealthCheck::TABLE.len() + 15,
        "a key is not in the shipped settings"
    );
}

#[test]
fn the_shipped_settings_say_what_the_table_of_bounds_says() {
    for (header, text) in
        [("[health]\n", commented(HealthCheck::TABLE)), ("[bounds]\n", commented(Bounds::TABLE))]
    {
        let text = format!("{header}{text}");
        assert!(SHIPPED.contains(&text), "config/proxy.toml is to hold:\n{text}");
    }
}

#[test]
fn every_mistake_is_told_in_one_reading() {
    let text = r#"
workers = 0
wokers = 3
[[listen]]
adress = "0.0.0.0:8140"
[[listen]]
address = "puppet:8140"
mode = "peek"
[puppet_ca]
bundle = "ca_crt.pem"
crl = "/ca/infra_crl.pem"
[mom]
certname = "Master.example.com"
address = "master.example.com"
[masters]
certificate = 3
[admin]
http = "0.0.0.0:9140"
[health]
rise = 0
[bounds]
body = "1 GB"
connections = 16
head = true
head_time = 15
"#;
    let mistakes = parse(text).unwrap_err();
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let expected = [
        "proxy.toml:2: workers = 0: expected a number of threads from 1 to 1024, or \"one per core\"",
        "proxy.toml:3: wokers = 3: expected a known key; the nearest is `workers`",
        "proxy.toml:4: listen[0].address: expected an IP address and a port, such as \"0.0.0.0:8140\" or \"[::]:8140\"; the key is missing",
        "proxy.toml:5: listen[0].adress = \"0.0.0.0:8140\": expected a known key; the nearest is `address`",
        "proxy.toml:7: listen[1].address = \"puppet:8140\": expected an IP address and a port, such as \"0.0.0.0:8140\" or \"[::]:8140\"",
        "proxy.toml:8: listen[1].mode = \"peek\": expected \"end-tls\" or \"pass\"",
        "proxy.toml:10: puppet_ca.bundle = \"ca_crt.pem\": expected an absolute path to a file",
        "proxy.toml:11: puppet_ca.crl = \"/ca/infra_crl.pem\": expected ca_crl.pem: infra_crl.pem lists no ordinary agent, so that revoked agents would be let in",
        "proxy.toml:13: mom.certname = \"Master.example.com\": expected the certname of the Master of Masters, a lower-case host name",
        "proxy.toml:14: mom.address = \"master.example.com\": expected a host and a port, such as \"master.example.com:8140\" or \"[2001:db8::1]:8140\"",
        "proxy.toml:15: masters.key: expected an absolute path to a file; the key is missing",
        "proxy.toml:15: masters.ca: expected an absolute path to a file; the key is missing",
        "proxy.toml:15: masters.crl: expected an absolute path to a file; the key is missing",
        "proxy.toml:16: masters.certificate = 3: expected an absolute path to a file",
        "proxy.toml:18: admin.http = \"0.0.0.0:9140\": expected a loopback address and a port, such as \"127.0.0.1:9140\", or \"off\": this door asks for no name and tells those of your nodes; from elsewhere, use an SSH tunnel",
        "proxy.toml:20: health.rise = 0: expected a whole number from 1 to 100",
        "proxy.toml:22: bounds.body = \"1 GB\": expected bounds.body (\"1 GB\") to be at most bounds.bodies (\"256 MiB\"): one kept body must fit into the memory for all of them",
        "proxy.toml:23: bounds.connections = 16: expected a whole number from 64 to 1000000",
        "proxy.toml:24: bounds.head = true: expected a size such as \"8 MiB\", \"64 kB\" or a number of bytes from \"4 KiB\" to \"400 KiB\"",
        "proxy.toml:25: bounds.head_time = 15: expected a time such as \"500ms\", \"15s\", \"2m\" or \"1h\" from \"1s\" to \"10m\"",
        "proxy.toml: certificate: expected at least one [[certificate]] with `certificate` and `key`; the key is missing",
    ];
    assert_eq!(told, expected, "{}", told.join("\n"));
    assert_eq!(report(&mistakes, text, false).matches("error: ").count(), expected.len());
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let told = mistake("[mom]", "[mom");
    assert!(told.starts_with("proxy.toml:") && told.contains(": expected TOML: "), "{told}");
    let told = mistake("[mom]", "[mom]\ncertname = \"a\"");
    assert!(told.contains("duplicate key"), "{told}");
    assert!(parse("\u{feff}\0").is_err());
}

#[test]
fn an_empty_file_lacks_every_key_that_has_no_default() {
    let keys: Vec<String> = parse("").unwrap_err().into_iter().map(|mistake| mistake.key).collect();
    let expected = ["listen", "certificate", "puppet_ca.bundle", "puppet_ca.crl", "mom.certname"];
    assert_eq!(keys, expected);
}

#[test]
fn a_table_written_as_something_else_is_told_once() {
    let told = mistake("[health]", "[unused.x]\n[health]");
    assert!(told.contains(": unused: expected a known key: workers, listen,"), "{told}");
    let told = parse("listen = 1\ncertificate = [2]\nbounds = 3\n").unwrap_err();
    let told: Vec<_> =
        told.iter().filter(|mistake| mistake.line.is_some()).map(ToString::to_string).collect();
    let expected = [
        "proxy.toml:1: listen = 1: expected tables, each written [[listen]]",
        "proxy.toml:2: certificate[0] = 2: expected a table, written [[certificate]]",
        "proxy.toml:3: bounds = 3: expected a table, written [bounds]",
    ];
    assert_eq!(told, expected);
}

#[test]
fn contradictions_stand_where_something_was_written() {
    let told = mistake("# bodies = \"256 MiB\"", "bodies = \"4 MiB\"\nbody = \"8 MiB\"");
    assert!(
        told.contains("bounds.body = \"8 MiB\": expected bounds.body (\"8 MiB\") to be at most"),
        "{told}"
    );
    let told = mistake("# handshakes = 256", "handshakes = 20000");
    assert!(
        told.contains("bounds.handshakes = 20000") && told.contains("bounds.connections (16384)"),
        "{told}"
    );
    let told = mistake("# timeout = \"5s\"", "timeout = \"6s\"");
    assert!(told.contains("health.timeout") && told.contains("pile up"), "{told}");
    let told = mistake("/etc/stagedoor/door-ca/door.pem", "/etc/stagedoor/tls/door.pem");
    assert!(told.contains("masters.certificate") && told.contains("private door CA"), "{told}");
    let told = mistake("[puppet_ca]", "[[listen]]\naddress = \"0.0.0.0:8140\"\n[puppet_ca]");
    assert!(told.contains("listen[1].address") && told.contains("no other"), "{told}");
}

#[test]
fn affinity_is_on_unless_it_is_turned_off() {
    let affinity = |text: &str| with("# affinity = true", &format!("affinity = {text}"));
    assert!(affinity("true").unwrap().affinity && !affinity("false").unwrap().affinity);
    let told = affinity("\"no\"").unwrap_err()[0].to_string();
    assert!(told.contains("seats.affinity") && told.contains("true or false"), "{told}");
}

#[test]
fn a_share_of_the_seats_is_a_part_of_them() {
    let share = |text: &str| with("# share = 1.0", &format!("share = {text}"));
    assert_eq!(share("0.5").unwrap().share, Share::of(0.5).unwrap());
    assert_eq!(share("1").unwrap().share, Share::WHOLE);
    for wrong in ["0", "-0.5", "1.5", "nan", "\"0.5\""] {
        let mistakes = share(wrong).unwrap_err();
        let told = mistakes[0].to_string();
        assert!(told.contains("seats.share") && told.contains("at most 1, such as 0.5"), "{told}");
    }
}

#[test]
fn a_default_follows_the_bound_above_it_down() {
    let bounds = with("# connections = 16384", "connections = 100").unwrap().bounds;
    let expected = Bounds {
        connections: 100,
        handshakes: 100,
        master_connections: 100,
        queue: 100,
        unauthenticated_per_source: 100,
        passed: 100,
        ..Bounds::default()
    };
    assert_eq!(bounds, expected);
    let bounds = with("# bodies = \"256 MiB\"", "bodies = \"1 MiB\"").unwrap().bounds;
    assert_eq!((bounds.body, bounds.csr), (1 << 20, 64 << 10));
    let health = with("# interval = \"5s\"", "interval = \"1s\"").unwrap().health;
    assert_eq!(health.timeout, Duration::from_secs(1));
}

#[test]
fn at_most_two_certificates_are_shown() {
    let pair = |n: u8| format!("[[certificate]]\ncertificate = \"/{n}.pem\"\nkey = \"/{n}.key\"\n");
    assert_eq!(with("[puppet_ca]", &format!("{}[puppet_ca]", pair(1))).unwrap().certificates.len(), 2);
    let told = mistake("[puppet_ca]", &format!("{}{}[puppet_ca]", pair(1), pair(2)));
    assert!(told.contains("at most two"), "{told}");
    let told = mistake(
        "[puppet_ca]",
        &format!("{}[puppet_ca]", pair(1).replace("/1.pem", "/etc/stagedoor/tls/door.pem")),
    );
    assert!(told.contains("certificate[1].certificate"), "{told}");
}

#[test]
fn an_address_passes_what_it_is_told_to() {
    let listen = |more: &str| {
        let text = with("# mode = \"end-tls\"", more).unwrap_or_else(|told| panic!("{more}: {told:?}"));
        text.listen.into_iter().next().unwrap()
    };
    for more in ["pass_old_tls = true", "pass_sni = [\"Puppet-Old.example.com\"]", "split = \"by-capacity\""]
    {
        assert!(listen(more).passes_to_open_masters() && listen(more).ends_tls(), "{more}");
    }
    let named = listen("pass_sni = [\"Puppet-Old.example.com\"]").mode;
    assert!(matches!(named, Mode::EndTls(end) if end.pass_sni == ["puppet-old.example.com"]));
    assert_eq!(listen("mode = \"pass\"").mode, Mode::Pass(Behind::OpenMasters));
    let backends = Behind::Backends { addresses: vec!["c1.example.com:8142".into()], check: Check::Tcp };
    let passed = listen("mode = \"pass\"\nbackends = [\"C1.example.com:8142\"]\nsend_proxy = \"v2\"");
    assert_eq!((passed.mode, passed.send_proxy), (Mode::Pass(backends), Some(ProxyVersion::V2)));
    let from = listen("accept_proxy_from = [\"10.0.0.5\", \"10.1.0.0/16\"]").accept_proxy_from;
    assert!(from[1].contains("10.1.2.3".parse().unwrap()) && from.len() == 2);
}

#[test]
fn a_key_that_does_not_go_with_its_mode_is_told() {
    let told = |more: &str| mistake("# mode = \"end-tls\"", more);
    assert!(told("mode = \"pass\"\nsplit = \"off\"").contains("belongs to mode = \"end-tls\""));
    assert!(told("backends = [\"c1:8142\"]").contains("belongs to mode = \"pass\""));
    assert!(told("mode = \"pass\"\nbackends = []").contains("at least one of them"));
    assert!(told("mode = \"pass\"\nbackends = [\"c1\"]").contains("listen[0].backends[0]"));
    assert!(told("mode = \"pass\"\nbackends = [\"c1:1\", \"C1:1\"]").contains("each address once"));
    assert!(told("mode = \"pass\"\ncheck = \"tcp\"").contains("stands in the roster"));
    assert!(told("send_proxy = \"v1\"").contains("this address ends all of them"));
    assert!(told("accept_proxy_from = [\"10.0.0.1/8\"]").contains("further bits are zero"));
    assert!(
        told("accept_proxy_from = [\"10.0.0.5\", \"0.0.0.0/0\"]").contains("and nobody else: from 0.0.0.0/0")
    );
    assert!(told("accept_proxy_from = \"10.0.0.1\"").contains("a list"));
    assert!(told("pass_old_tls = 1").contains("true or false"));
    assert!(told("pass_sni = [\"*.example.com\"]").contains("a host name"));
}

#[test]
fn a_door_that_ends_no_tls_needs_no_certificate_and_one_without_sealed_masters_no_door_ca() {
    let parted = SHIPPED.split_once("# What the door shows to agents: certificates").unwrap();
    let rest = parted.1.split_once("# The Puppet CA's own").unwrap().1;
    let passing = parted.0.replace("# mode = \"end-tls\"", "mode = \"pass\"") + "#" + rest;
    let before = passing.split_once("[masters]").unwrap();
    let rest = before.1.split_once("# The admitted compile masters").unwrap().1;
    let settings = parse(&format!("{}#{rest}", before.0)).unwrap();
    assert_eq!((settings.certificates, settings.masters), (Vec::new(), None));
    let told = parse(&format!("{}#{rest}", parted.0)).unwrap_err();
    assert!(told.iter().any(|told| told.expected.contains("at least one [[certificate]]")), "{told:?}");
}

#[test]
fn a_program_outside_is_named_by_its_path() {
    let with = |command: &str| with("[masters]", &format!("[outside]\ncommand = {command}\n[masters]"));
    assert_eq!(with("[\"/usr/bin/ssh\", \"probe@out\"]").unwrap().outside, ["/usr/bin/ssh", "probe@out"]);
    for bad in ["[]", "[\"ssh\", \"probe@out\"]", "\"/usr/bin/ssh probe@out\"", "[\"/usr/bin/ssh\", \"\"]"] {
        let told = with(bad).unwrap_err();
        assert!(told[0].to_string().contains("outside.command"), "{told:?}");
    }
}

#[test]
fn what_may_be_off_is_off() {
    let text = SHIPPED
        .replace("# http = \"127.0.0.1:9140\"", "http = \"off\"")
        .replace("# unix = \"/run/stagedoor/admin.sock\"", "unix = \"off\"")
        .replace("# file = \"/var/log/stagedoor/access.log\"", "file = \"off\"");
    let settings = parse(&text).unwrap();
    assert_eq!((settings.admin.http, settings.admin.unix, settings.access_log), (None, None, None));
}

#[test]
fn who_may_ask_from_elsewhere_is_listed_by_name() {
    let with = |keys: &str| with("[access_log]", &format!("[admin.tls]\n{keys}\n[access_log]"));
    let tls = with("address = \"0.0.0.0:9141\"\nallow = [\"enroller.example.com\"]").unwrap().admin.tls;
    let allow = vec![Certname::parse("enroller.example.com").unwrap()];
    assert_eq!(tls, Some(AdminTls { address: "0.0.0.0:9141".parse().unwrap(), allow }));
    let allow = "allow = [\"enroller.example.com\"]";
    for (keys, key, words) in [
        ("address = \"0.0.0.0:9141\"".to_owned(), "admin.tls.allow", "the key is missing"),
        (allow.to_owned(), "admin.tls.address", "the key is missing"),
        ("address = \"0.0.0.0:9141\"\nallow = []".to_owned(), "admin.tls.allow", "at least one certname"),
        ("address = \"0.0.0.0:9141\"\nallow = [\"Enroller\"]".to_owned(), "admin.tls.allow[0]", "lower case"),
        ("address = \"0.0.0.0:9141\"\nallow = \"enroller\"".to_owned(), "admin.tls.allow", "a list"),
        (format!("address = \"door1:9141\"\n{allow}"), "admin.tls.address", "an IP address and a port"),
        (format!("address = \"0.0.0.0:8140\"\n{allow}"), "admin.tls.address", "no [[listen]] has"),
        (format!("address = \"0.0.0.0:9141\"\n{allow}\ndeny = []"), "admin.tls.deny", "a known key"),
    ] {
        let mistakes = with(&keys).unwrap_err();
        assert_eq!((mistakes.len(), mistakes[0].key.as_str()), (1, key), "{mistakes:#?}");
        assert!(mistakes[0].expected.contains(words), "{}", mistakes[0]);
    }
    let text = SHIPPED.replace("# mode = \"end-tls\"", "mode = \"pass\"");
    let parted = text.split_once("[[certificate]]\n").unwrap();
    let rest = parted.1.split_once("\n\n").unwrap().1;
    let told = parse(&format!("{}{rest}\n[admin.tls]\naddress = \"0.0.0.0:9141\"\n{allow}\n", parted.0))
        .unwrap_err();
    assert!(told.len() == 1 && told[0].expected.contains("[[certificate]]"), "{told:?}");
}

#[test]
fn bounds_are_read_in_their_units() {
    let text = format!("{SHIPPED}\nhead_time = \"2m\"\ncsr = 8192\nbody = \"1 MB\"\nattempts = 0x2\n");
    let bounds = parse(&text).unwrap().bounds;
    let expected = Bounds {
        head_time: Duration::from_secs(120),
        csr: 8192,
        body: 1_000_000,
        attempts: 2,
        ..Bounds::default()
    };
    assert_eq!(bounds, expected);
}

#[test]
fn a_socket_path_that_the_kernel_would_cut_is_refused() {
    let long = format!("unix = \"/{}\"", "a".repeat(107));
    let told = mistake("# unix = \"/run/stagedoor/admin.sock\"", &long);
    assert!(told.contains("at most 107 bytes"), "{told}");
}

#[test]
fn a_file_of_nothing_but_mistakes_is_told_up_to_a_bound() {
    let text: String = (0..10_000).map(|n| format!("key{n} = 1\n")).collect();
    assert_eq!(parse(&text).unwrap_err().len(), 100);
}

proptest! {
    /// Nothing that is written makes the reader panic, and whatever it refuses it gives a reason for.
    #[test]
    fn settings_with_any_line_in_them_are_read_or_refused_in_words(
        place in 0_usize..200,
        line in "[a-z_.\\[\\]\" ={}#,0-9\\PC]{0,40}",
    ) {
        let mut lines: Vec<&str> = SHIPPED.lines().collect();
        lines.insert(place.min(lines.len()), &line);
        let text = lines.join("\n");
        if let Err(mistakes) = parse(&text) {
            prop_assert!(!mistakes.is_empty());
            for mistake in &mistakes {
                prop_assert!(!mistake.to_string().chars().any(char::is_control), "{mistake}");
            }
            prop_assert!(!report(&mistakes, &text, false).is_empty());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        prop_assert!(parse(&text).is_err());
    }
}
