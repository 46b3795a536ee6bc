//! A brand-new agent that knows nothing but the door's name.

use harness::agent::Shape;
use harness::fleet::{Fleet, Site};
use harness::identity::{Leaf, PP_ROLE};
use http::{Method, StatusCode};

#[tokio::test]
async fn a_new_agent_gets_ca_crl_and_certificate_through_the_door_and_then_runs() {
    let fleet = Site::with_masters(2).open().await;
    let mut agent = fleet.stranger("new01.example.com");
    agent.bootstrap(&Leaf::node("new01.example.com").role("web")).await.unwrap();
    let run = agent.run(Shape { reconnects: true, ..Shape::default() }).await.unwrap();
    assert_eq!(run.certname(), "new01.example.com");
    assert_eq!(run.extension(PP_ROLE), Some("web"));
    assert_eq!(fleet.mom.record().total(), 5, "CA, CRL, not yet signed, request, certificate");
    assert_eq!(fleet.seen_by_masters("certificate") + fleet.seen_by_masters("certificate_request"), 0);
    assert_eq!(fleet.offences(), Vec::<String>::new());
}

#[tokio::test]
async fn the_master_of_masters_is_told_of_no_identity_and_shown_no_certificate() {
    let fleet = Site::with_masters(1).open().await;
    let signed = fleet.agent("web01.example.com");
    let stranger = fleet.stranger("new01.example.com").forging("X-Client-Verify", "SUCCESS");
    for agent in [&signed, &stranger] {
        assert_eq!(agent.get("/puppet-ca/v1/certificate/ca").await.unwrap().status(), StatusCode::OK);
        assert_eq!(agent.get("/packages/current/install.bash").await.unwrap().status(), StatusCode::OK);
    }
    let seen = fleet.mom.record().all();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert_eq!(request.peer, None, "{}", request.head.first);
        for (name, value) in request.identity_headers() {
            let stated = (name.to_ascii_lowercase(), value);
            assert_eq!(stated, ("x-client-verify".to_owned(), "NONE"), "{}", request.head.first);
        }
    }
}

#[tokio::test]
async fn what_the_ca_says_to_an_agent_that_waits_or_asks_twice_arrives_as_it_was_said() {
    let fleet = Site::with_masters(1).open().await;
    fleet.mom.autosign(false);
    let mut agent = fleet.stranger("slow01.example.com");
    let leaf = Leaf::node("slow01.example.com");
    assert!(agent.bootstrap(&leaf).await.unwrap_err().to_string().contains("not signed yet"));
    let twice = agent.bootstrap(&leaf).await.unwrap_err().to_string();
    assert!(twice.contains("400") && twice.contains("already has a requested certificate"), "{twice}");
    assert_eq!(fleet.mom.waiting(), ["slow01.example.com"]);
    fleet.mom.sign("slow01.example.com");
    let certificate = agent.get("/puppet-ca/v1/certificate/slow01.example.com").await.unwrap();
    assert!(certificate.body().starts_with(b"-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn an_agent_of_puppet_3_bootstraps_by_the_legacy_form() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.stranger("old01.example.com");
    let get = async |path: &str| agent.get(path).await.unwrap();
    assert_eq!(get("/production/certificate/ca").await.body(), fleet.ca.bundle_pem().as_bytes());
    assert_eq!(get("/production/certificate_revocation_list/ca").await.status(), StatusCode::OK);
    assert_eq!(get("/production/certificate/old01.example.com").await.status(), StatusCode::NOT_FOUND);
    let target = "/production/certificate_request/old01.example.com";
    let refused = agent.ask(Method::PUT, target, "no request").await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(
        String::from_utf8_lossy(refused.body()).contains("not a certificate request"),
        "the CA's own words"
    );
    assert_eq!(fleet.masters[0].record().of_agents().len(), 0);
}

#[tokio::test]
async fn the_install_script_is_passed_on_as_the_master_of_masters_wrote_it() {
    let fleet = Site::with_masters(1).open().await;
    let script = fleet.stranger("nobody").get("/packages/current/install.bash").await.unwrap();
    assert!(String::from_utf8_lossy(script.body()).contains("PUPPETSERVER=mom.example.com"));
}

#[tokio::test]
async fn hundreds_of_new_agents_at_once_are_all_signed() {
    let fleet = Site::with_masters(2).open().await;
    let all = (0..200).map(|n| {
        let mut agent = fleet.stranger(&format!("new{n:03}.example.com"));
        tokio::spawn(async move { agent.bootstrap(&Leaf::node("")).await })
    });
    for agent in all.collect::<Vec<_>>() {
        agent.await.unwrap().unwrap();
    }
    assert_each_asked_once(&fleet);
}

fn assert_each_asked_once(fleet: &Fleet) {
    let requests = fleet.mom.record().of("certificate_request");
    let mut names: Vec<&str> = requests.iter().map(|seen| seen.asked().key).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!((all, names.len()), (200, 200), "a certificate request is never sent twice");
}
