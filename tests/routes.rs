//! Which request goes where, and what arrives there.

use harness::agent::Shape;
use harness::fleet::{Fleet, Site};
use harness::master::{Master, Plan};
use harness::wait::eventually;
use http::{Method, StatusCode};

/// What the masters and the MoM have seen of agents, together.
fn seen_behind(fleet: &Fleet) -> usize {
    fleet.masters.iter().map(|master| master.record().of_agents().len()).sum::<usize>()
        + fleet.mom.record().total()
}

#[tokio::test]
async fn what_compiles_goes_to_the_masters_and_nothing_of_it_to_the_master_of_masters() {
    let fleet = Site::with_masters(2).open().await;
    for n in 0..10 {
        fleet.agent(&format!("web{n:02}.example.com")).run(Shape::default()).await.unwrap();
    }
    assert_eq!(fleet.seen_by_masters("catalog"), 10);
    assert_eq!(fleet.mom.record().total(), 0);
    assert_eq!(fleet.offences(), Vec::<String>::new());
}

#[tokio::test]
async fn certificate_administration_is_refused_with_words_and_reaches_nobody() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    for (method, path) in [
        (Method::GET, "/puppet-ca/v1/certificate_status/web02.example.com"),
        (Method::PUT, "/puppet-ca/v1/certificate_status/web02.example.com"),
        (Method::DELETE, "/puppet-ca/v1/certificate_status/web02.example.com"),
        (Method::GET, "/puppet-ca/v1/certificate_statuses/all"),
        (Method::PUT, "/puppet-ca/v1/clean"),
        (Method::POST, "/puppet-ca/v1/sign"),
        (Method::POST, "/puppet-ca/v1/sign/all"),
        (Method::GET, "/puppet-ca/v1/expirations"),
        (Method::PUT, "/puppet-ca/v1/certificate_revocation_list"),
        (Method::PUT, "/puppet-ca/v1/certificate_revocation_list/ca"),
        (Method::DELETE, "/puppet-ca/v1/certificate_request/web02.example.com"),
        (Method::GET, "/production/certificate_status/web02.example.com"),
        (Method::GET, "/production/certificate_statuses/all"),
        (Method::DELETE, "/puppet-admin-api/v1/environment-cache"),
        (Method::DELETE, "/puppet-admin-api/v1/jruby-pool"),
        (Method::GET, "/metrics/v2/list"),
        (Method::POST, "/file-sync/v1/commit"),
    ] {
        let answer = agent.ask(method.clone(), path, "").await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
        assert!(answer.body().len() > 40, "{method} {path} is refused with words");
    }
    assert_eq!(seen_behind(&fleet), 0);
}

#[tokio::test]
async fn ambiguous_paths_are_answered_400_and_reach_nobody() {
    let fleet = Site::with_masters(1).open().await;
    let mut session = fleet.agent("web01.example.com").connect().await.unwrap();
    for path in [
        "//puppet-ca/v1/certificate_status/web02.example.com",
        "/%70uppet-ca/v1/certificate_status/web02.example.com",
        "/puppet/../puppet-ca/v1/certificate_status/web02.example.com",
        "/puppet/v3/../../puppet-ca/v1/sign/all",
        "/puppet/./v3/catalog/web01.example.com",
        "/puppet/%2e%2e/puppet-ca/v1/sign/all",
        "/puppet;x=1/v3/catalog/web01.example.com",
        "/puppet/v3/catalog/web01.example.com;x",
        "/puppet%2fv3/catalog/web01.example.com",
        "/puppet/v3%5ccatalog/web01.example.com",
        "/puppet/v3//catalog/web01.example.com",
    ] {
        let answer = session.get(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(seen_behind(&fleet), 0);
}

#[tokio::test]
async fn the_legacy_form_reaches_the_masters_as_it_was_written() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    for (method, path) in [
        (Method::GET, "/production/node/web01.example.com?transaction_uuid=1&fail_on_404=true"),
        (Method::GET, "/production/file_metadatas/plugins?links=manage&recurse=true&ignore=--- %0A"),
        (Method::POST, "/production/catalog/web01.example.com"),
        (Method::PUT, "/production/report/web01.example.com"),
    ] {
        let path = path.replace(' ', "%20");
        let answer = agent.ask(method.clone(), &path, "x").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{method} {path}");
        let seen = fleet.masters[0].record().of_agents();
        let last = seen.last().unwrap();
        assert_eq!((last.head.method(), last.head.target()), (method.as_str(), path.as_str()));
    }
}

#[tokio::test]
async fn path_and_query_arrive_byte_for_byte() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    for target in [
        "/puppet/v3/file_content/modules/base/a%20b%25c+d~e?environment=production&x=%2F%2e&&y",
        "/puppet/v3/file_metadatas/plugins?recurse=true&ignore%5B%5D=.svn&ignore%5B%5D=CVS",
        "/puppet/v3/file_bucket_file/md5/9e107d9d372bb6826bd81d3542a419d6//etc/motd?environment=production",
    ] {
        agent.get(target).await.unwrap();
        let seen = fleet.masters[0].record().of_agents();
        assert_eq!(seen.last().unwrap().head.target(), target);
    }
}

#[tokio::test]
async fn headers_that_agents_rely_on_pass_and_the_door_adds_where_a_request_came_from() {
    let fleet = Site::with_masters(1).open().await;
    let mut session = fleet.agent("web01.example.com").connect().await.unwrap();
    let catalog = session.catalog("web01.example.com", 1000).await.unwrap();
    assert_eq!(catalog.headers()["x-puppet-version"], "8.10.0");
    assert_eq!(catalog.headers()["x-puppet-compiler-name"], "m1.example.com");
    assert_eq!(catalog.headers()["content-type"], "application/json;charset=utf-8");
    let file = session.get("/puppet/v3/file_content/plugins/x.rb").await.unwrap();
    assert_eq!(file.headers()["last-modified"], "Sat, 14 Nov 2026 10:00:00 GMT");

    let classes = "/puppet/v3/environment_classes?environment=production";
    let first = session.get(classes).await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let unchanged = session.ask_with(Method::GET, classes, &[("If-None-Match", &etag)], "").await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);

    for seen in fleet.masters[0].record().of_agents() {
        assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"));
        assert!(seen.head.get("x-request-id").is_some_and(|id| id.len() >= 8));
        assert_eq!(seen.head.get("x-puppet-version"), Some("8.10.0"));
    }
}

#[tokio::test]
async fn status_is_answered_by_the_door_itself_as_agents_with_a_server_list_ask_it() {
    let fleet = Site::with_masters(1).open().await;
    let stranger = fleet.stranger("nobody");
    for path in ["/status/v1/simple", "/status/v1/simple/server", "/status/v1/simple/master"] {
        let answer = stranger.get(path).await.unwrap();
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"running"[..]), "{path}");
    }
    assert_eq!(seen_behind(&fleet), 0);
    assert_eq!(stranger.get("/status/v1/services").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(stranger.get("/nowhere").await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_unknown_below_puppet_goes_to_the_masters() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    assert_eq!(agent.get("/puppet/v9/novelty").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(fleet.masters[0].record().of_agents().len(), 1);
}

#[tokio::test]
async fn static_files_are_asked_of_the_master_that_compiled_the_catalog() {
    let fleet = Site::with_masters(3).open().await;
    for n in 0..9 {
        let agent = fleet.agent(&format!("web{n:02}.example.com"));
        let run = agent.run(Shape::default()).await.unwrap();
        let target = "/puppet/v3/static_file_content/modules/base/files/x?environment=production&code_id=c1";
        let file = agent.get(target).await.unwrap();
        assert_eq!(file.body(), format!("{} c1", run.compiler).as_bytes());
    }
}

fn backup(number: usize) -> String {
    format!("/puppet/v3/file_bucket_file/sha256/{number:064x}")
}

async fn put_twelve_backups(fleet: &Fleet) {
    let agent = fleet.agent("web01.example.com");
    for n in 0..12 {
        let put =
            agent.ask(Method::PUT, &format!("{}/etc/motd", backup(n)), format!("old {n}")).await.unwrap();
        assert_eq!(put.status(), StatusCode::OK);
    }
}

async fn find_twelve_backups(fleet: &Fleet) {
    let other = fleet.agent("web02.example.com");
    for n in 0..12 {
        let got = other.get(&backup(n)).await.unwrap();
        assert_eq!(got.body(), format!("old {n}").as_bytes());
        assert_eq!(other.ask(Method::HEAD, &backup(n), "").await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(other.get(&backup(999)).await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn backups_are_spread_over_the_masters_each_kept_once_and_found_again() {
    let fleet = Site::with_masters(3).open().await;
    put_twelve_backups(&fleet).await;
    let files: Vec<usize> = fleet.masters.iter().map(|master| master.bucket_files()).collect();
    assert_eq!(files.iter().sum::<usize>(), 12, "each is kept once: {files:?}");
    assert!(files.iter().filter(|count| **count > 0).count() > 1, "and not all by one master: {files:?}");
    find_twelve_backups(&fleet).await;
}

#[tokio::test]
async fn backups_from_before_masters_joined_are_found_on_the_master_that_has_them() {
    let fleet = Site::with_masters(1).open().await;
    put_twelve_backups(&fleet).await;
    let newcomers =
        [2, 3].map(|n| Master::start(Plan::named(&format!("m{n}.example.com")), &fleet.ca, &fleet.door_ca));
    for newcomer in &newcomers {
        fleet.door.admit(newcomer).await;
        eventually("it takes work", async || {
            match fleet.door.master(newcomer.name()).await["fit"].as_str() {
                Some("fit") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    find_twelve_backups(&fleet).await;
    let asked: usize = newcomers.iter().map(|master| master.record().of("file_bucket_file").len()).sum();
    assert!(asked > 0, "the newcomers were asked first for some of them");
}
