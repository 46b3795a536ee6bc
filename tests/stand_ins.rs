//! The stand-ins refuse what real Puppet refuses; otherwise no test through them could fail.

use std::sync::Arc;
use std::time::Duration;

use harness::agent::{Agent, Shape};
use harness::answer::Act;
use harness::ca::{DoorCa, PuppetCa};
use harness::identity::{Identity, Leaf, PP_ROLE};
use harness::master::{Believed, Health, Master, Plan, Work};
use harness::mom::Mom;
use harness::puppet::percent_encode;
use harness::tls::{self, Versions};
use harness::wait::eventually;
use harness::wire::Wire;
use http::{Method, StatusCode};

struct Lot {
    ca: Arc<PuppetCa>,
    door_ca: DoorCa,
    door: Identity,
}

impl Lot {
    fn new() -> Self {
        let door_ca = DoorCa::new();
        let door = door_ca.door("door1.example.com");
        Self { ca: Arc::new(PuppetCa::with_intermediate()), door_ca, door }
    }

    fn master(&self, name: &str) -> Master {
        let plan = Plan { alt_names: vec!["puppet".to_owned(), name.to_owned()], ..Plan::named(name) };
        Master::start(plan, &self.ca, &self.door_ca)
    }

    /// An agent that comes as a door would bring it.
    fn brought(&self, identity: &Identity, master: &Master) -> Agent {
        let mut agent = Agent::with(self.door.clone(), &self.ca, master.address())
            .forging("X-Client-Verify", "SUCCESS")
            .forging("X-Client-DN", &format!("CN={}", identity.name))
            .forging("X-Client-Cert", &percent_encode(&identity.certificate_pem));
        agent.certname = identity.name.clone();
        agent
    }
}

#[tokio::test]
async fn a_run_brought_with_identity_headers_is_compiled_for_that_identity() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let web01 = lot.ca.issue(&Leaf::node("web01.example.com").role("web"));
    let run = lot.brought(&web01, &master).run(Shape::default()).await.unwrap();
    assert_eq!(run.certname(), "web01.example.com");
    assert_eq!(run.extension(PP_ROLE), Some("web"));
    assert_eq!(run.compiler, "m1.example.com");
    assert_eq!(run.requests, master.record().total());
    assert_eq!(master.record().offences(), Vec::<String>::new());
    let catalogs = master.record().of("catalog");
    assert_eq!(catalogs.len(), 1);
    assert_eq!(catalogs[0].peer.as_deref(), Some("door1.example.com"));
    assert!(Believed::of(&catalogs[0].head).unwrap().agrees());
}

#[tokio::test]
async fn a_sealed_master_gives_no_byte_to_a_connection_without_the_doors_certificate() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let agent = lot.ca.agent("web01.example.com");
    for own in [None, Some(&agent)] {
        for versions in [Versions::Tls12, Versions::Tls13] {
            let config = tls::client(&lot.ca, own, versions);
            let request =
                "GET /status/v1/simple/server HTTP/1.1\r\nHost: puppet\r\nX-Client-Verify: SUCCESS\r\n\r\n";
            if let Ok(mut wire) = Wire::open(master.address(), "puppet", config).await {
                wire.send(request).await.ok();
                assert_eq!(wire.until_closed().await, b"", "{versions:?}");
            }
        }
    }
    assert_eq!(master.record().total(), 0);
    assert_eq!(master.listening().refusals().len(), 4);
}

#[tokio::test]
async fn a_master_compiles_a_catalog_for_its_own_node_alone() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let web01 = lot.ca.agent("web01.example.com");
    let agent = lot.brought(&web01, &master);
    let status = |answer: http::Response<bytes::Bytes>| answer.status();
    let other = "/puppet/v3/catalog/web02.example.com?environment=production";
    assert_eq!(status(agent.get(other).await.unwrap()), StatusCode::FORBIDDEN);
    let own = "/production/catalog/web01.example.com";
    assert_eq!(status(agent.get(own).await.unwrap()), StatusCode::OK);
    let twice = agent.forging("X-Client-Verify", "SUCCESS");
    assert_eq!(status(twice.get(own).await.unwrap()), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_mom_takes_a_certificate_request_once_and_signs_what_was_asked() {
    let lot = Lot::new();
    let mom = Mom::start(&lot.ca, &lot.door_ca);
    mom.autosign(false);
    let mut agent = Agent::new("new01.example.com", &lot.ca, mom.address());
    let leaf = Leaf::node("new01.example.com").role("fresh");
    assert!(agent.bootstrap(&leaf).await.unwrap_err().to_string().contains("not signed yet"));
    assert!(agent.bootstrap(&leaf).await.unwrap_err().to_string().contains("answered 400"));
    mom.sign("new01.example.com");
    mom.autosign(true);
    let mut other = Agent::new("new02.example.com", &lot.ca, mom.address());
    other.bootstrap(&leaf).await.unwrap();
    let identity = other.identity().unwrap();
    let words = harness::puppet::CertificateWords::from_der(&identity.certificate).unwrap();
    assert_eq!(words.name, "new02.example.com");
    assert_eq!(words.extensions, [(PP_ROLE.to_owned(), "fresh".to_owned())]);
    assert!(mom.record().all().iter().all(|seen| seen.peer.is_none()));
}

#[tokio::test]
async fn a_master_never_works_on_more_requests_than_it_has_jrubies() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    master.compile(Work::always(Duration::from_millis(20)));
    let web01 = lot.ca.agent("web01.example.com");
    let runs = (0..12).map(|_| {
        let agent = lot.brought(&web01, &master);
        tokio::spawn(async move { agent.run(Shape { metadata: 0, files: 0, ..Shape::default() }).await })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap().unwrap();
    }
    assert_eq!(master.most_busy(), 4);
    assert_eq!(master.busy(), 0);
}

#[tokio::test]
async fn a_killed_master_comes_back_on_its_port() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let agent = lot.brought(&lot.ca.agent("web01.example.com"), &master);
    let mut session = agent.connect().await.unwrap();
    let target = "/puppet/v3/environments";
    assert_eq!(session.get(target).await.unwrap().status(), StatusCode::OK);
    master.listening().kill().await;
    assert!(session.get(target).await.is_err());
    assert!(agent.get(target).await.is_err());
    master.listening().restart(None);
    assert_eq!(agent.get(target).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn health_and_misbehaviour_are_switched_while_a_master_runs() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let agent = lot.brought(&lot.ca.agent("web01.example.com"), &master);
    let (server, older) = ("/status/v1/simple/server", "/status/v1/simple/master");
    for (health, on_server, on_master) in
        [(Health::Running, 200, 200), (Health::Starting, 503, 503), (Health::MasterOnly, 404, 200)]
    {
        master.health(health);
        assert_eq!(agent.get(server).await.unwrap().status(), on_server, "{health:?}");
        assert_eq!(agent.get(older).await.unwrap().status(), on_master, "{health:?}");
    }
    master.script("environments", Some(1), Act::busy(7));
    let refused = agent.get("/puppet/v3/environments").await.unwrap();
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap())
    );
    assert_eq!(agent.get("/puppet/v3/environments").await.unwrap().status(), StatusCode::OK);
    master.script("environments", None, Act::Close);
    assert!(agent.get("/puppet/v3/environments").await.is_err());
    master.behave();
    eventually("connections of finished requests are gone", async || {
        match master.listening().counts().open() {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_streams_and_every_byte_is_looked_at() {
    let lot = Lot::new();
    let master = lot.master("m1.example.com");
    let agent = lot.brought(&lot.ca.agent("web01.example.com"), &master);
    let mut session = agent.connect().await.unwrap();
    let target = "/puppet/v3/file_content/modules/base/bytes-5000001";
    assert_eq!(session.download(target).await.unwrap(), 5_000_001);
    let put = "/puppet/v3/file_bucket_file/sha256/aa/etc/motd";
    assert_eq!(session.ask(Method::PUT, put, "old motd").await.unwrap().status(), StatusCode::OK);
    let got = session.get("/puppet/v3/file_bucket_file/sha256/aa").await.unwrap();
    assert_eq!(got.body(), "old motd");
}

#[tokio::test]
async fn the_papers_of_a_door_are_settings_that_it_reads() {
    let site = harness::fleet::Site::with_masters(2);
    let text = site.papers.settings();
    let settings = stagedoor_config::proxy::Settings::parse("proxy.toml".as_ref(), &text);
    assert!(settings.is_ok(), "{settings:#?}\n{text}");
}
