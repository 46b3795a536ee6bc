//! The certificate that the door shows to the CA: which it may be, and what becomes of a new one.

use std::path::Path;
use std::process::Command;

use harness::ca::{DoorCa, PuppetCa};
use harness::door::{Door, Papers, binary};
use harness::fleet::Site;
use harness::identity::{Identity, Leaf};
use harness::wait::eventually;

use super::{DOOR, renew, renews_with, site};

const PP_CLI_AUTH: &str = "1.3.6.1.4.1.34380.1.3.39";
const PP_AUTH_ROLE: &str = "1.3.6.1.4.1.34380.1.3.13";

/// How `stagedoor check` ends, and all that it says.
fn check(papers: &Papers) -> (i32, String) {
    let settings = papers.settle();
    let output = Command::new(binary()).arg("check").arg("--config").arg(settings).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn desk() -> (PuppetCa, DoorCa, Papers) {
    let (ca, door_ca) = (PuppetCa::with_intermediate(), DoorCa::new());
    let papers = Papers::new(&ca, &door_ca, "127.0.0.1:9".parse().unwrap());
    (ca, door_ca, papers)
}

fn with_rights(ca: &PuppetCa, right: &str) -> Identity {
    ca.issue(&Leaf::node(DOOR).extension(right, "true"))
}

#[test]
fn a_check_says_whether_certificates_are_renewed_and_what_it_cannot_see() {
    let (ca, _, mut papers) = desk();
    let (code, said) = check(&papers);
    assert!(code == 0 && said.contains("renewal: off"), "{said}");
    renews_with(&mut papers, &ca.agent(DOOR));
    let (code, said) = check(&papers);
    assert!(code == 0 && !said.contains("renewal: off"), "{said}");
    let warning =
        said.lines().find(|line| line.starts_with("warning: `renewal.certificate`")).unwrap_or_default();
    assert!(warning.contains(DOOR) && warning.contains("infra_inventory.txt"), "{said}");
}

#[test]
fn a_check_refuses_every_certificate_that_the_ca_would_not_take_or_that_may_do_more() {
    let (ca, door_ca, mut papers) = desk();
    let revoked = ca.agent(DOOR);
    ca.revoke(&revoked);
    papers.write_ca(&ca);
    for (own, words) in [
        (with_rights(&ca, PP_CLI_AUTH), "pp_cli_auth (1.3.6.1.4.1.34380.1.3.39)"),
        (with_rights(&ca, PP_AUTH_ROLE), "pp_auth_role (1.3.6.1.4.1.34380.1.3.13)"),
        (revoked, "revoked"),
        (ca.issue(&Leaf::node(DOOR).expired()), "expired"),
        (door_ca.door(DOOR), "expected a certificate of the Puppet CA"),
        (PuppetCa::with_intermediate().agent(DOOR), "expected a certificate of the Puppet CA"),
    ] {
        renews_with(&mut papers, &own);
        let (code, said) = check(&papers);
        let told = said.lines().any(|line| line.starts_with("error: `renewal") && line.contains(words));
        assert!(code == 1 && told, "{words}: {said}");
    }
    renews_with(&mut papers, &ca.agent(DOOR));
    let other = ca.agent(DOOR);
    papers.write("renewal.key", &other.key_pem);
    let (code, said) = check(&papers);
    assert!(code == 1 && said.contains("error: `renewal`") && said.contains("does not match"), "{said}");
}

#[test]
fn the_certificate_shown_to_masters_is_not_shown_to_the_ca() {
    let (_, _, mut papers) = desk();
    let file = |papers: &Papers, name: &str| papers.file(name).display().to_string();
    let (certificate, key) = (file(&papers, "door-client.pem"), file(&papers, "door-client.key"));
    papers.extra.1 = format!("[renewal]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let (code, said) = check(&papers);
    assert!(code == 64 && said.contains("masters.certificate") && said.contains("door CA"), "{said}");
    papers.extra.1 = "[renewal]\n".to_owned();
    let (code, said) = check(&papers);
    assert!(code == 64 && said.contains("renewal.certificate") && said.contains("renewal.key"), "{said}");
}

#[test]
fn the_certificate_shown_to_agents_may_be_shown_to_the_ca_too() {
    let (_, _, mut papers) = desk();
    let file = |name: &str| papers.file(name).display().to_string();
    papers.extra.1 =
        format!("[renewal]\ncertificate = \"{}\"\nkey = \"{}\"\n", file("door.pem"), file("door.key"));
    let (code, said) = check(&papers);
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn a_door_does_not_start_with_a_certificate_that_has_rights_at_the_ca() {
    for right in [PP_CLI_AUTH, PP_AUTH_ROLE] {
        let site = Site::with_masters(1);
        let own = with_rights(&site.ca, right);
        let site = site.change(|papers| renews_with(papers, &own));
        let (status, said) = Door::spawn(site.papers, None).ended().await;
        assert!(!status.success() && said.contains(right) && said.contains("renewal.pem"), "{said}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_one_with_rights_never_is() {
    let fleet = site().open().await;
    let agent = fleet.agent("web01.example.com");
    let write = |own: &Identity| {
        fleet.door.papers().write("renewal.pem", &own.certificate_pem);
        fleet.door.papers().write("renewal.key", &own.key_pem);
    };
    let last_shown = || fleet.mom.record().of("certificate_renewal").last().unwrap().shown.clone().unwrap();

    let next = fleet.ca.agent(DOOR);
    write(&next);
    eventually("the new certificate is shown", async || {
        assert_eq!(renew(&agent).await.status(), 200);
        if last_shown() == next.certificate { Ok(()) } else { Err("the old one".to_owned()) }
    })
    .await;

    write(&with_rights(&fleet.ca, PP_CLI_AUTH));
    eventually("a certificate with rights is counted as refused", async || {
        let refused = [("what", "renewal"), ("outcome", "refused")];
        match fleet.door.metrics().await.sum("stagedoor_reloads_total", &refused) {
            0.0 => Err("not yet".to_owned()),
            _ if fleet.door.said().contains(PP_CLI_AUTH) => Ok(()),
            _ => Err("for another reason".to_owned()),
        }
    })
    .await;
    assert_eq!(renew(&agent).await.status(), 200);
    assert_eq!(last_shown(), next.certificate, "the one before is shown");
}

#[tokio::test]
async fn the_end_of_the_certificate_is_a_metric() {
    let fleet = site().open().await;
    let ends = [("what", "renewal")];
    let seen = fleet.door.metrics().await.sum("stagedoor_certificate_expiry_timestamp_seconds", &ends);
    assert!(seen > 1_700_000_000.0, "{seen}");
    assert!(Path::new(&fleet.door.papers().file("renewal.pem")).exists());
}
