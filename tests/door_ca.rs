//! `stagedoor door-ca`: its certificates alone open sealed masters, for as long as they are good; and what `check` and
//! a start say of a door whose certificate is not.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use harness::ca::{DoorCa, PuppetCa};
use harness::door::{Papers, binary};
use harness::fleet::Site;
use harness::identity::{Identity, Leaf};
use harness::master::Plan;
use harness::wait::eventually;
use http::StatusCode;
use serde_json::Value;

const TARGET: &str = "/puppet/v3/environments";
const DOOR: &str = "door1.example.com";

fn site(door_ca: DoorCa) -> Site {
    Site::sealed_by(door_ca, PuppetCa::with_intermediate(), [Plan::named("m1.example.com")])
}

fn days(seconds: f64) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    (seconds - now) / 86_400.0
}

#[tokio::test]
async fn a_ca_made_by_the_command_opens_sealed_masters_and_its_days_are_metrics() {
    let fleet = site(DoorCa::by_command()).open().await;
    let agent = fleet.agent("web01.example.com");
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK);
    let seen = fleet.master(0).record().of("environments");
    assert_eq!(seen.last().unwrap().peer.as_deref(), Some(DOOR));
    let metrics = fleet.door.metrics().await;
    for (name, what, least, most) in [
        ("certificate_expiry", "master_client", 364.0, 365.1),
        ("certificate_expiry", "door_ca", 3_649.0, 3_650.1),
        ("crl_next_update", "door_ca", 3_649.0, 3_650.1),
    ] {
        let left = days(metrics.sum(&format!("stagedoor_{name}_timestamp_seconds"), &[("what", what)]));
        assert!((least..most).contains(&left), "{name} {what}: {left}");
    }
}

#[tokio::test]
async fn a_ca_is_replaced_under_a_running_door_and_no_agent_notices() {
    let door_ca = DoorCa::by_command();
    let first = door_ca.door(DOOR);
    let first_ca = (door_ca.bundle_pem(), door_ca.crl_pem());
    let said = door_ca.command(&["renew"]);
    assert!(said.contains("1. ") && said.contains("--finish"), "{said}");
    // The master has the bundle already; the door has the first CA alone, and its certificate.
    let site = site(door_ca).change(|papers| {
        first.write(papers.folder(), "door-client");
        papers.write("door-ca.pem", &first_ca.0);
        papers.write("door-ca-crl.pem", &first_ca.1);
    });
    let fleet = site.open().await;
    let agent = fleet.agent("web01.example.com");
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK);

    // The certificate of the new CA comes before that CA does: it waits for it.
    let papers = fleet.door.papers();
    let second = fleet.door_ca.door(DOOR);
    papers.write("door-client.pem", &second.certificate_pem);
    papers.write("door-client.key", &second.key_pem);
    let taken = |outcome: &'static str| {
        let labels = [("what", "master_client"), ("outcome", outcome)];
        let fleet = &fleet;
        async move { fleet.door.metrics().await.sum("stagedoor_reloads_total", &labels) }
    };
    eventually("the new certificate is found to be of no known CA", async || {
        if taken("refused").await >= 1.0 { Ok(()) } else { Err(fleet.door.said()) }
    })
    .await;
    assert!(fleet.door.said().contains("it is of another"), "{}", fleet.door.said());
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK, "the old one goes on");
    fleet.door_ca.write(papers.folder());
    eventually("both are in force", async || {
        if taken("taken").await >= 1.0 { Ok(()) } else { Err(fleet.door.said()) }
    })
    .await;
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK);

    let said = fleet.door_ca.command(&["renew", "--finish"]);
    assert!(said.contains("is dropped"), "{said}");
    fleet.door_ca.write(papers.folder());
    eventually("the old CA is gone", async || {
        if taken("taken").await >= 2.0 { Ok(()) } else { Err(fleet.door.said()) }
    })
    .await;
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_door_is_shut_out_says_so_and_serves_the_master_of_masters() {
    let site = site(DoorCa::by_command());
    let said = site.door_ca.command(&["revoke", DOOR]);
    assert!(said.contains("every sealed master"), "{said}");
    // Masters that have the new list; the door has it as well.
    let Site { ca, door_ca, mom, papers, .. } = site;
    let master = harness::master::Master::start(Plan::named("m1.example.com"), &ca, &door_ca);
    let mut papers = papers;
    papers.roster = None;
    papers.admit(&master);
    door_ca.write(papers.folder());
    let site = Site { ca, door_ca, mom, masters: vec![master], papers };
    let fleet = site.open_unready().await;
    eventually("the door says that it is revoked", async || {
        let said = fleet.door.said();
        let told = said.contains("door-ca-crl.pem lists it") && said.contains("ERROR");
        if told { Ok(()) } else { Err(said) }
    })
    .await;
    eventually("the master shuts it out", async || {
        let master = fleet.door.master("m1.example.com").await;
        if master["fit"] == "unfit" { Ok(()) } else { Err(master.to_string()) }
    })
    .await;
    let answer = fleet.stranger("web02.example.com").get("/puppet-ca/v1/certificate/ca").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A check, or a start that ends by itself.
fn asked(papers: &Papers, command: &str) -> (i32, String) {
    let settings = papers.settle();
    let done: Output = Command::new(binary()).args([command, "--config"]).arg(settings).output().unwrap();
    (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
}

struct Case {
    what: &'static str,
    identity: Identity,
    /// In the error of a check.
    words: &'static [&'static str],
    /// Whether a start refuses it.
    opens: bool,
}

#[tokio::test]
async fn a_certificate_that_masters_refuse_or_must_never_see_is_told_by_check_and_the_worst_keep_a_door_shut()
{
    let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
    let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
    let revoked = door_ca.door(DOOR);
    door_ca.revoke(&revoked);
    door_ca.write(papers.folder());
    let case = |what, identity, words, opens| Case { what, identity, words, opens };
    let node = || Leaf::node(DOOR);
    for Case { what, identity, words, opens } in [
        case(
            "of another CA",
            DoorCa::new().door(DOOR),
            &["stagedoor door CA", "it is of another"][..],
            false,
        ),
        case("expired", door_ca.issue(&node().expired()), &["has not expired"], false),
        case("revoked", revoked, &["door-ca-crl.pem lists it"], false),
        case("for servers", door_ca.issue(&node().for_servers_alone()), &["clientAuth"], false),
        case("a CA's", door_ca.issue(&node().signing()), &["may sign others"], true),
        case("a CA's of another", DoorCa::new().issue(&node().signing()), &["may sign others"], true),
        case("Puppet's", ca.agent(DOOR), &["one of Puppet's CA"], true),
    ] {
        identity.write(papers.folder(), "door-client");
        let (code, said) = asked(&papers, "check");
        let line = said.lines().find(|line| line.contains("error: `masters"));
        let line = line.unwrap_or_else(|| panic!("{what}: {said}"));
        assert!(code == 1 && line.contains("door-client.pem"), "{what}: {said}");
        assert!(words.iter().all(|word| line.contains(word)), "{what}: {line}");
        assert_eq!(said.matches("error: ").count(), 1, "{what}: {said}");
        if opens {
            let (code, said) = asked(&papers, "run");
            assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{what}: {code} {said}");
        }
    }
    door_ca.door(DOOR).write(papers.folder(), "door-client");
    assert_eq!(asked(&papers, "check").0, 0);

    // The one mistake by which every agent is a door.
    papers.write("door-ca.pem", &ca.bundle_pem());
    papers.write("door-ca-crl.pem", &ca.crl_pem());
    for command in ["check", "run"] {
        let (code, said) = asked(&papers, command);
        assert!(code == 1 && said.contains("lets every agent in"), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_door_whose_certificate_has_expired_starts_and_says_so() {
    let door_ca = DoorCa::new();
    let expired = door_ca.issue(&Leaf::node(DOOR).expired());
    let site = site(door_ca).change(|papers| {
        expired.write(papers.folder(), "door-client");
    });
    let fleet = site.open_unready().await;
    let said = fleet.door.said();
    assert!(said.contains("ERROR") && said.contains("expected a certificate that has not expired"), "{said}");
    let answer = fleet.stranger("web02.example.com").get("/puppet-ca/v1/certificate/ca").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[test]
fn a_check_warns_a_month_before_the_end_and_fails_a_week_before_it() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
    let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
    let ends_in = |days: u32| Leaf::server(DOOR).ends_in(DAY * days + DAY / 2);
    for (days, code, level) in [(40, 0, None), (20, 0, Some("warning")), (3, 1, Some("error"))] {
        door_ca.issue(&ends_in(days)).write(papers.folder(), "door-client");
        ca.issue(&ends_in(days)).write(papers.folder(), "door");
        let (found, said) = asked(&papers, "check");
        assert_eq!(found, code, "{days}: {said}");
        for key in ["masters", "certificate[0]"] {
            let told = level.map(|level| format!("{level}: `{key}`: "));
            let line = said.lines().find(|line| line.contains(&format!("`{key}`")));
            assert_eq!(line.is_some(), told.is_some(), "{days}: {said}");
            if let (Some(line), Some(told)) = (line, told) {
                assert!(line.contains(&told) && line.contains(&format!(" {days}")), "{days}: {line}");
            }
        }
    }
}

#[test]
fn files_of_the_door_ca_that_are_cut_off_or_of_two_cas_are_told_by_name() {
    let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
    let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
    for (file, key, text, words) in [
        ("door-ca.pem", "masters.ca", String::new(), "it holds nothing"),
        ("door-ca.pem", "masters.ca", door_ca.bundle_pem()[..90].to_owned(), "no complete PEM"),
        ("door-ca-crl.pem", "masters.crl", DoorCa::by_command().crl_pem(), "is of no CA in ca.pem"),
        ("door-ca-crl.pem", "masters.crl", door_ca.bundle_pem(), "does not belong there"),
    ] {
        door_ca.write(papers.folder());
        papers.write(file, &text);
        let (code, said) = asked(&papers, "check");
        let line = said.lines().find(|line| line.contains(&format!("error: `{key}`"))).unwrap_or_default();
        assert!(code == 1 && line.contains(file) && line.contains(words), "{file}: {said}");
        assert!(!line.contains("Puppet"), "{line}");
        assert_eq!(asked(&papers, "run").0, 1, "and no door starts");
    }
}

#[test]
fn a_key_of_the_door_ca_on_a_door_is_a_warning() {
    let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::by_command());
    let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
    assert!(!asked(&papers, "check").1.contains("on no door"));
    for entry in fs::read_dir(door_ca.folder()).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            fs::copy(&from, papers.file(from.file_name().unwrap().to_str().unwrap())).unwrap();
        }
    }
    let (code, said) = asked(&papers, "check");
    let line = said.lines().find(|line| line.contains("on no door")).unwrap_or_else(|| panic!("{said}"));
    assert!(code == 0 && line.contains("warning: `masters.ca`") && line.contains(".key"), "{line}");
}

#[test]
fn the_listing_is_for_programs_too_and_usage_is_64() {
    let door_ca = DoorCa::by_command();
    let identity = door_ca.door(DOOR);
    let listing: Value = serde_json::from_str(&door_ca.command(&["show", "--json"])).unwrap();
    assert_eq!(listing["doors"][0]["door"], DOOR);
    assert_eq!(listing["doors"][0]["standing"], "valid");
    assert_eq!(listing["authorities"][0]["crl"]["revoked"], 0);
    let serial: String = identity.serial.iter().map(|octet| format!("{octet:02X}")).collect();
    assert_eq!(listing["doors"][0]["serial"], serial);
    for (words, code) in [
        (&["init"][..], 1),
        (&["issue", "Door1"], 64),
        (&["issue", "a/b"], 64),
        (&["issue"], 64),
        (&["renew", "--force"], 64),
        (&["revoke", "door9"], 1),
        (&["issue", DOOR, "--out", "/nowhere"], 1),
    ] {
        let mut command = Command::new(binary());
        let done = command.arg("door-ca").args(words).arg("--folder").arg(door_ca.folder()).output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{words:?}");
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{words:?}");
    }
}
