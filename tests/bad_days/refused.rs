//! Refusals that arrive, and revocations that are in time.

use harness::fleet::Site;

use super::{counted, head_of, wire, with_body};

const REPORT: &str = "/puppet/v3/report/web01.example.com?environment=production";

/// As Ruby's client does: everything is written before anything is read.
#[tokio::test]
async fn an_agent_that_sends_all_of_its_report_first_reads_why_it_was_refused() {
    let fleet = Site::with_masters(1).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    let mut connection = wire(&fleet, Some(&web01)).await;
    for (target, status) in [
        ("/nowhere", 404),
        ("/puppet//v3/report/web01.example.com", 400),
        ("/puppet-ca/v1/certificate_status/web01.example.com", 403),
        ("/puppet-admin-api/v1/environment-cache", 403),
    ] {
        let reply = connection.ask(with_body("PUT", target, 3_000_000)).await.unwrap();
        assert_eq!(reply.status(), status, "{target}");
    }
    fleet.ca.revoke(&web01);
    fleet.door.papers().write_ca(&fleet.ca);
    counted(&fleet, "stagedoor_reloads_total", &[("what", "puppet_ca")], 1.0).await;
    let reply = connection.ask(with_body("PUT", REPORT, 3_000_000)).await.unwrap();
    assert_eq!(reply.status(), 403);
    assert!(reply.text().contains("revoked"), "{}", reply.text());
    assert_eq!(fleet.seen_by_masters("report"), 0);
}

#[tokio::test]
async fn a_revocation_reaches_an_agent_in_the_middle_of_its_body() {
    let fleet = Site::with_masters(1).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    let mut connection = wire(&fleet, Some(&web01)).await;
    connection.send(head_of("PUT", REPORT, 10) + "begun").await.unwrap();
    counted(&fleet, "stagedoor_bodies_held_bytes", &[], 5.0).await;
    fleet.ca.revoke(&web01);
    fleet.door.papers().write_ca(&fleet.ca);
    counted(&fleet, "stagedoor_reloads_total", &[("what", "puppet_ca")], 1.0).await;
    let reply = connection.ask("ended").await.unwrap();
    assert_eq!(reply.status(), 403);
    assert!(reply.text().contains("revoked"), "{}", reply.text());
    assert_eq!(fleet.seen_by_masters("report"), 0);
}
