use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::bound::commented;
use crate::master::{Check, Isolation};
use crate::mistake::{Mistake, report};

const SHIPPED: &str = include_str!("../../enroller.toml");

fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    Settings::parse(Path::new("enroller.toml"), text)
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

/// Settings of another kind of installation, with whatever it needs.
fn preset(preset: &str, more: &str) -> Result<Settings, Vec<Mistake>> {
    let console = "[console]\ncertname = \"console.example.com\"\n";
    let text = SHIPPED.replace("\"open-source\"\n", &format!("\"{preset}\"\n"));
    parse(&format!("{text}\n{}{more}", if preset == "open-source" { "" } else { console }))
}

fn names(stages: &[Vec<Certname>]) -> Vec<Vec<&str>> {
    stages.iter().map(|stage| stage.iter().map(Certname::as_str).collect()).collect()
}

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

#[test]
fn the_shipped_settings_are_read() {
    let settings = parse(SHIPPED).unwrap();
    assert_eq!(settings.preset, Preset::OpenSource);
    assert_eq!(settings.mom.address, "master.example.com:8140");
    assert_eq!(settings.puppetdb.as_ref().unwrap().address, "puppetdb.example.com:8081");
    assert_eq!((&settings.console, &settings.token), (&None, &None));
    assert_eq!(settings.master, NewMaster { kind: Kind::SEALED, header_limit: 8192, jrubies: None });
    assert_eq!(settings.doors[0].agents, "door1.example.com:8140");
    assert_eq!(settings.install, Install { by: By::Settings, environmentpath: None });
    assert_eq!((&settings.code, settings.watch), (&Compared::R10k, Watch::default()));
    assert_eq!((&settings.classify, &settings.groups), (&None, &None));
    let request = Request { dns_alt_names: vec!["puppet".into()], extensions: Vec::new() };
    assert_eq!(settings.certificate, request);
    assert_eq!(settings.runs.runner, Runner::Ssh);
    assert_eq!(settings.deadlines, Deadlines::default());
    assert_eq!(settings.journal, Path::new(JOURNAL));
    let stages = settings.stages(&certname("add.example.com"));
    assert_eq!(names(&stages), [["add.example.com"], ["puppetdb.example.com"]]);
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
        Deadlines::TABLE.len() + Watch::TABLE.len() + 22,
        "a key is not in the shipped settings"
    );
}

#[test]
fn the_shipped_settings_say_what_the_tables_say() {
    for text in [
        format!("[deadlines]\n{}", commented(Deadlines::TABLE)),
        format!("[watch]\n{}", commented(Watch::TABLE)),
    ] {
        assert!(SHIPPED.contains(&text), "config/enroller.toml is to hold:\n{text}");
    }
}

#[test]
fn every_mistake_is_told_in_one_reading() {
    let text = r#"
preset = "open-sauce"
wokers = 3
[mom]
certname = "Master.example.com"
[puppetdb]
certname = "puppetdb.example.com"
address = "puppetdb.example.com"
[puppet_ca]
bundle = "ca_crt.pem"
[[door]]
certname = "door1.example.com"
[[door]]
certname = "door1.example.com"
socket = "/run/a.sock"
address = "door1:9141"
[token]
file = 3
[master]
kind = "closed"
header_limit = 1
[certificate]
dns_alt_names = ["puppet", "Puppet", "*.example.com"]
extensions = ["pp_cli_auth=true", "pp_role=a", "pp_role=b"]
[runs]
runner = "telepathy"
stages = [["{master}"], ["{pupetdb}"], []]
puppet = "puppet"
[ssh]
user = "-root"
options = ["StrictHostKeyChecking=no", "ConectTimeout=10", "Port=$PORT"]
[journal]
folder = "journal"
[deadlines]
sign = 5
"#;
    let mistakes = parse(text).unwrap_err();
    let told: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("{} {}", mistake.line.map_or(0, |line| line), mistake.key))
        .collect();
    let expected = [
        "2 preset",
        "3 wokers",
        "5 mom.certname",
        "8 puppetdb.address",
        "9 puppet_ca.crl",
        "10 puppet_ca.bundle",
        "11 door[0].socket",
        "14 door[1].certname",
        "16 door[1].address",
        "18 token.file",
        "20 master.kind",
        "21 master.header_limit",
        "23 certificate.dns_alt_names[2]",
        "24 certificate.extensions",
        "24 certificate.extensions",
        "26 runs.runner",
        "27 runs.stages[1][0]",
        "27 runs.stages[2]",
        "28 runs.puppet",
        "29 ssh.known_hosts",
        "30 ssh.user",
        "31 ssh.options",
        "31 ssh.options",
        "31 ssh.options",
        "33 journal.folder",
        "35 deadlines.sign",
    ];
    assert_eq!(told, expected, "{mistakes:#?}");
    assert_eq!(report(&mistakes, text, false).matches("error: ").count(), expected.len());
}

#[test]
fn an_empty_file_lacks_every_key_that_has_no_default() {
    let keys: Vec<String> = parse("").unwrap_err().into_iter().map(|mistake| mistake.key).collect();
    assert_eq!(keys, ["preset", "mom.certname", "puppet_ca.bundle", "puppet_ca.crl", "door"]);
}

#[test]
fn each_kind_of_installation_has_its_documented_order() {
    let new = certname("add.example.com");
    let (add, db, console, mom) =
        ("add.example.com", "puppetdb.example.com", "console.example.com", "master.example.com");
    let order = |settings: &Settings| {
        settings.stages(&new).into_iter().flatten().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let pe_3 = preset("pe-3", "").unwrap();
    assert_eq!(order(&pe_3), [add, db, console]);
    assert_eq!(pe_3.master.kind, Kind::Open { check: Check::Tcp });
    assert_eq!(pe_3.runs.runner, Runner::Mcollective);
    let pe_2015 = preset("pe-2015", "").unwrap();
    assert_eq!(order(&pe_2015), [add, db, console, mom]);
    let pe_2019 = preset("pe-2019", "").unwrap();
    assert_eq!(pe_2019.runs.runner, Runner::Orchestrator { address: "master.example.com:8143".into() });
    assert_eq!(pe_2019.certificate.extensions[0].oid, "1.3.6.1.4.1.34380.1.3.13");
    let alone = SHIPPED.replace("\"open-source\"\n", "\"pe-2019\"\n").replace("puppetdb.example.com", mom);
    assert_eq!(
        order(&parse(&alone).unwrap()),
        [add, mom, mom, mom],
        "one machine, which runs once, at the end"
    );
    let no_puppetdb = with("[puppetdb]\ncertname = \"puppetdb.example.com\"\n", "").unwrap();
    assert_eq!(order(&no_puppetdb), [add]);
}

#[test]
fn no_setting_turns_the_order_round() {
    let told = |stages: &str| {
        let mistakes = with("# stages = [[\"{master}\"], [\"{puppetdb}\"]]", &format!("stages = {stages}"));
        let mistakes = mistakes.unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert_eq!(mistakes[0].key, "runs.stages");
        mistakes[0].expected.clone()
    };
    assert!(told(r#"[["{puppetdb}"], ["{master}"]]"#).contains("{master} alone in the first stage"));
    assert!(told(r#"[["{master}", "{puppetdb}"]]"#).contains("{master} alone in the first stage"));
    assert!(told("[]").contains("{master} alone in the first stage"));
    assert!(told(r#"[["{master}"], ["{puppetdb}"], ["{master}"]]"#).contains("in the first stage only"));
    assert!(told(r#"[["{master}"]]"#).contains("{puppetdb} (puppetdb.example.com)"));
    assert!(told(r#"[["{master}"], ["{console}"]]"#).contains("no [console]"));
    let by_name = r#"stages = [["{master}"], ["puppetdb.example.com", "puppetdb2.example.com"]]"#;
    assert!(with("# stages = [[\"{master}\"], [\"{puppetdb}\"]]", by_name).is_ok());
    let swapped = r#"stages = [["{master}"], ["{console}"], ["{puppetdb}"]]"#;
    let text = SHIPPED.replace("# stages = [[\"{master}\"], [\"{puppetdb}\"]]", swapped);
    let text = text.replace("\"open-source\"\n", "\"pe-3\"\n").replace("# runner", "runner");
    let told = parse(&format!("{text}\n[console]\ncertname = \"c.example.com\"\n")).unwrap_err();
    assert!(told[0].expected.contains("{console} not before {puppetdb}"), "{told:#?}");
}

#[test]
fn what_a_kind_of_installation_does_not_have_is_refused() {
    let told = |name: &str, more: &str| {
        let told = preset(name, more).unwrap_err();
        assert_eq!(told.len(), 1, "{told:#?}");
        told[0].to_string()
    };
    assert!(told("pe-3", "[token]\nfile = \"/t\"\n").contains("2015.3"));
    assert!(told("open-source", "[console]\ncertname = \"c\"\n").contains("no [console]"));
    let runner = |name: &str, runner: &str| {
        let text = SHIPPED.replace("# runner = \"ssh\"", &format!("runner = \"{runner}\""));
        let text = text.replace("\"open-source\"\n", &format!("\"{name}\"\n"));
        let console = if name == "open-source" { "" } else { "[console]\ncertname = \"c\"\n" };
        parse(&format!("{text}{console}")).map(|settings| settings.runs.runner)
    };
    assert!(runner("open-source", "orchestrator").is_err() && runner("pe-3", "orchestrator").is_err());
    assert!(runner("pe-2019", "mcollective").is_err());
    assert_eq!(runner("pe-2015", "mcollective").unwrap(), Runner::Mcollective);
    assert_eq!(runner("pe-2019", "observe").unwrap(), Runner::Observe);
    assert!(runner("pe-3", "observe").is_err());
    let sealed = SHIPPED.replace("\"open-source\"\n", "\"pe-3\"\n").replace("# kind", "kind");
    let told = parse(&format!("{sealed}[console]\ncertname = \"c\"\n")).unwrap_err();
    assert!(told[0].to_string().contains("master.kind = \"sealed\"") && told.len() == 1, "{told:#?}");
}

#[test]
fn what_would_never_come_to_an_end_is_told() {
    let told = mistake("# lasts = \"5m\"", "lasts = \"30m\"");
    assert!(told.contains("shorter than `watch` under [deadlines]"), "{told}");
    let text = SHIPPED.replace("# runner = \"ssh\"", "runner = \"observe\"");
    assert!(parse(&text).is_ok());
    let (before, after) = text.split_once("\n[puppetdb]\n").unwrap();
    let after = after.split_once("\n[").unwrap().1;
    let told = parse(&format!("{before}\n[{after}")).unwrap_err();
    assert!(
        told.iter().any(|told| told.to_string().contains("[puppetdb]: of runs that nobody starts")),
        "{told:#?}"
    );
}

#[test]
fn a_key_that_does_not_go_with_another_is_told() {
    let told = mistake("# runner = \"ssh\"", "command = [\"/bin/true\", \"{host}\"]");
    assert!(told.contains("belongs to runner = \"command\""), "{told}");
    let told = mistake("# kind = \"sealed\"", "check = \"tcp\"");
    assert!(told.contains("belongs to an open master"), "{told}");
    let told = mistake("# kind = \"sealed\"", "kind = \"open\"\nisolation = \"firewall\"");
    assert!(told.contains("belongs to a sealed master"), "{told}");
    let kind = with("# isolation = \"door-ca\"", "isolation = \"firewall\"").unwrap().master.kind;
    assert_eq!(kind, Kind::Sealed { isolation: Isolation::Firewall });
    let ssh = SHIPPED.split_once("# How other machines are reached.").unwrap();
    let rest = ssh.1.split_once("# One file for each enrollment").unwrap().1;
    let told = parse(&format!("{}#{rest}", ssh.0)).unwrap_err();
    assert!(told[0].to_string().contains("runs.runner: expected [ssh] with `known_hosts`"), "{told:#?}");
}

#[test]
fn a_command_is_given_the_host_as_a_word_of_its_own() {
    let with = |command: &str| {
        let text = format!("runner = \"command\"\ncommand = {command}");
        with("# runner = \"ssh\"", &text).map(|settings| settings.runs.runner)
    };
    let command = Runner::Command(vec!["/usr/local/bin/run-puppet".into(), HOST.into()]);
    assert_eq!(with("[\"/usr/local/bin/run-puppet\", \"{host}\"]").unwrap(), command);
    for bad in ["[]", "[\"{host}\"]", "[\"run\", \"{host}\"]", "[\"/run\", \"-h{host}\"]", "\"/run {host}\""]
    {
        let told = with(bad).unwrap_err();
        assert!(told[0].to_string().contains("runs.command"), "{told:?}");
    }
    let told = mistake("# runner = \"ssh\"", "runner = \"command\"");
    assert!(told.contains("runs.command") && told.contains("missing"), "{told}");
}

#[test]
fn ssh_is_told_nothing_that_starts_a_program_or_weakens_its_checks() {
    let ssh =
        with("# options = []", "options = [\"Port=2222\", \"ProxyJump=gate.example.com\"]").unwrap().ssh;
    assert_eq!(ssh.unwrap().options, ["Port=2222", "ProxyJump=gate.example.com"]);
    for bad in ["StrictHostKeyChecking=no", "ProxyCommand=nc", "UserKnownHostsFile=/dev/null", "port=22"] {
        let told = mistake("# options = []", &format!("options = [\"{bad}\"]"));
        assert!(told.contains("ssh.options") && told.contains("options that may be set"), "{told}");
    }
    let told = mistake("# sudo = false", "sudo = \"yes\"");
    assert!(told.contains("true or false"), "{told}");
}

#[test]
fn a_door_is_asked_one_way_and_one_elsewhere_needs_a_certificate_shown() {
    let tls = with("socket = \"/run/stagedoor/admin.sock\"", "address = \"door1.example.com:9141\"").unwrap();
    assert_eq!(tls.doors[0].admin, DoorAdmin::Tls("door1.example.com:9141".into()));
    let identity = "[identity]\ncertificate = \"/etc/stagedoor/enroller/enroller.pem\"\n\
                    key = \"/etc/stagedoor/enroller/enroller.key\"\n";
    let told = mistake(identity, "");
    assert!(told.contains("identity: expected [identity]"), "{told}");
    let pe_3 = SHIPPED.replace("\"open-source\"\n", "\"pe-3\"\n").replace("# runner", "runner");
    let pe_3 = pe_3.replace(identity, "") + "[console]\ncertname = \"c\"\n";
    assert_eq!(parse(&pe_3).unwrap().identity, None);
    let tls = pe_3.replace("socket = \"/run/stagedoor/admin.sock\"", "address = \"door1.example.com:9141\"");
    assert!(parse(&tls).unwrap_err()[0].to_string().contains("identity"));
}

/// Settings of a kind of Puppet Enterprise with these keys under `[classify]`.
fn classify(name: &str, keys: &str) -> Result<Groups, Vec<Mistake>> {
    let text = SHIPPED.replace("\"open-source\"\n", &format!("\"{name}\"\n"));
    let text = text.replace("[classify]\n", &format!("[classify]\n{keys}\n"));
    let console = if name == "open-source" { "" } else { "[console]\ncertname = \"c.example.com\"\n" };
    parse(&format!("{text}{console}")).map(|settings| settings.groups.unwrap())
}

#[test]
fn the_consoles_groups_have_their_documented_names_and_may_have_others() {
    let usual = classify("pe-3", "").unwrap();
    assert_eq!((usual.balancer, usual.names, usual.delegate), (None, Override::Masters, false));
    assert_eq!((usual.master.as_str(), usual.overriding.as_str()), ("PE Master", "PE CA pe_repo override"));
    let later = classify("pe-2019", "").unwrap();
    assert_eq!(
        (later.names, later.infrastructure_agent.as_str()),
        (Override::None, "PE Infrastructure Agent")
    );
    let balancer = "balancer = \"Puppet.example.com\"\noverride = \"ca\"\nmaster_group = \"Masters of ours\"";
    let told = classify("pe-2015", balancer).unwrap_err();
    assert!(told.len() == 1 && told[0].key == "classify.balancer", "{told:#?}");
    let other = classify("pe-2015", &balancer.to_lowercase().replace("masters", "Masters")).unwrap();
    assert_eq!((other.balancer.as_deref(), other.names), (Some("puppet.example.com"), Override::Ca));
    assert_eq!(other.master, "Masters of ours");
}

#[test]
fn what_a_console_does_not_do_there_is_refused() {
    for (name, keys, key, words) in [
        ("open-source", "balancer = \"puppet\"", "classify.balancer", "belongs to Puppet Enterprise"),
        ("open-source", "delegate = true", "classify.delegate", "belongs to Puppet Enterprise"),
        ("pe-3", "delegate = true", "classify.delegate", "belongs to preset = \"pe-2019\""),
        ("pe-2015", "agent_group = \"A\"", "classify.agent_group", "belongs to preset = \"pe-2019\""),
        ("pe-3", "override = \"ca\"", "classify.override", "`balancer` beside it"),
        ("pe-3", "balancer = \"p\"\noverride = \"mom\"", "classify.override", "\"masters\""),
        ("pe-3", "master_group = \"\"", "classify.master_group", "the name of a group"),
        ("pe-2019", "delegate = true", "classify.delegate", "at least \"15m\""),
        ("pe-2019", "delegate = 1", "classify.delegate", "true or false"),
        ("pe-2015", "command = [\"/x\", \"{host}\"]", "classify.command", "open-source"),
    ] {
        let told = classify(name, keys).unwrap_err();
        assert_eq!((told.len(), told[0].key.as_str()), (1, key), "{name} {keys}: {told:#?}");
        assert!(told[0].expected.contains(words), "{}", told[0]);
    }
    let delegate = SHIPPED
        .replace("\"open-source\"\n", "\"pe-2019\"\n")
        .replace("# classify = \"5m\"", "classify = \"30m\"");
    let delegate = delegate.replace("#   delegate = false", "delegate = true");
    assert!(parse(&delegate).unwrap().groups.unwrap().delegate);
}

#[test]
fn servers_on_java_7_are_asked_on_their_own_machines_so_there_must_be_a_way_there() {
    let ssh = SHIPPED.split_once("# How other machines are reached.").unwrap();
    let rest = ssh.1.split_once("# One file for each enrollment").unwrap().1;
    let text = format!("{}#{rest}\n[console]\ncertname = \"c\"\n", ssh.0);
    let text = text
        .replace("\"open-source\"\n", "\"pe-3\"\n")
        .replace("# runner = \"ssh\"", "runner = \"command\"\ncommand = [\"/bin/run\", \"{host}\"]");
    let told = parse(&text).unwrap_err();
    assert!(told.len() == 1 && told[0].to_string().contains("[ssh] with `known_hosts`"), "{told:#?}");
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
        }
    }

    /// Whatever order is accepted, the new master runs first and PuppetDB after it.
    #[test]
    fn an_order_that_is_accepted_can_work(
        stages in proptest::collection::vec(proptest::collection::vec(0_usize..5, 0..3), 0..4),
    ) {
        let words = ["{master}", "{puppetdb}", "{mom}", "other.example.com", "puppetdb.example.com"];
        let stages: Vec<Vec<&str>> = stages.iter().map(|s| s.iter().map(|at| words[*at]).collect()).collect();
        let text = format!("stages = {stages:?}");
        if let Ok(settings) = with("# stages = [[\"{master}\"], [\"{puppetdb}\"]]", &text) {
            let order: Vec<Certname> = settings.stages(&certname("new")).into_iter().flatten().collect();
            prop_assert_eq!(order.iter().rposition(|name| name.as_str() == "new"), Some(0));
            prop_assert!(order.iter().rposition(|name| name.as_str() == "puppetdb.example.com") > Some(0));
        }
    }
}
