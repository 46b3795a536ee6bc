//! What sealing took away is given back: environment caches flushed, and each master's own status.

use harness::answer::{Act, Answer};
use harness::door::binary;
use harness::fleet::{Fleet, Site};
use harness::master::Health;
use harness::tls::wanting;
use harness::wait::eventually;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use stagedoor_config::master::{Check, Isolation, Kind};
use tokio::process::Command;

const CACHE: &str = "/puppet-admin-api/v1/environment-cache";

struct Said {
    code: i32,
    out: String,
    err: String,
}

async fn stagedoor(fleet: &Fleet, command: &str, words: &[&str]) -> Said {
    let socket = fleet.door.papers().file("admin.sock");
    let mut line = Command::new(binary());
    let output = line.arg(command).arg("--socket").arg(socket).args(words).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

async fn flush(fleet: &Fleet, words: &[&str]) -> Said {
    stagedoor(fleet, "flush", words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_every_master_has_forgotten_draining_ones_too() {
    let fleet = Site::with_masters(3).open().await;
    fleet.door.drain("m2.example.com").await;
    let said = flush(&fleet, &[]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert_eq!(said.out, "m1.example.com flushed\nm2.example.com flushed\nm3.example.com flushed\n");
    for master in &fleet.masters {
        assert_eq!(master.flushed(), [None], "{}", master.name());
        let [seen] = &master.record().for_path(CACHE)[..] else { panic!("one request") };
        assert_eq!(seen.head.get("x-client-verify"), Some("SUCCESS"));
        assert_eq!(seen.head.get("x-client-dn"), Some("CN=door1.example.com"));
        assert_eq!(seen.peer.as_deref(), Some("door1.example.com"), "by the door's own certificate");
    }
    assert_eq!(fleet.offences(), Vec::<String>::new());
    eventually("the log says so", async || {
        let said = fleet.door.said();
        if said.contains("environment caches flushed") { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_are_named_as_r10k_names_them_and_told_on_one_connection() {
    let fleet = Site::with_masters(1).open().await;
    let said = flush(&fleet, &["--environment", "production feature_42"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let said = flush(&fleet, &["--json", "--environment", "test", "--environment", "test"]).await;
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let expected = json!({ "certname": "m1.example.com", "outcome": "flushed", "status": 204 });
    assert_eq!((said.code, &told["masters"][0]), (0, &expected), "{}", said.err);
    for removed in [&["--environment", ""][..], &["--environment"]] {
        let said = flush(&fleet, removed).await;
        assert_eq!(said.code, 0, "{}", said.err);
    }
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        fleet.master(0).flushed(),
        [named("feature_42"), named("production"), named("test"), None, None]
    );
    let seen = fleet.master(0).record().for_path(CACHE);
    assert_eq!(seen[0].connection, seen[1].connection);

    let wrong = flush(&fleet, &["--environment", "production/../test"]).await;
    assert_eq!((wrong.code, wrong.out.as_str()), (64, ""));
    assert!(wrong.err.contains("is no environment"), "{}", wrong.err);
    assert_eq!(fleet.master(0).flushed().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_fails_is_named_and_keeps_no_other_from_being_flushed() {
    let fleet = Site::with_masters(3).open().await;
    fleet.master(0).listening().kill().await;
    fleet.master(1).let_nobody_flush();
    let said = flush(&fleet, &["--environment", "production"]).await;
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.err.starts_with("stagedoor: 2 of 3 masters may still compile old code"), "{}", said.err);
    let [down, refused, flushed] = said.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", said.out) };
    assert!(down.starts_with("m1.example.com failed: cannot connect: "), "{down}");
    for part in ["m2.example.com failed: it answered 403", "let door1.example.com delete", "`doors`", CACHE] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(flushed, "m3.example.com flushed");
    assert_eq!(fleet.master(2).flushed(), [Some("production".to_owned())]);

    let said = flush(&fleet, &["--json"]).await;
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, said.err.as_str()), (1, ""), "the answer tells it all");
    assert_eq!(
        (&told["masters"][1]["status"], &told["masters"][1]["outcome"]),
        (&json!(403), &json!("failed"))
    );
    let answer = fleet.door.admin("POST", "/v1/flush", "{}").await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    let metrics = fleet.door.metrics().await;
    let counted = |master: &str, outcome: &str| {
        metrics.sum("stagedoor_flushes_total", &[("master", master), ("outcome", outcome)])
    };
    assert_eq!((counted("m1.example.com", "failed"), counted("m3.example.com", "flushed")), (3.0, 3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_never_answers_keeps_no_other_waiting_and_a_flush_goes_on_without_its_asker() {
    let fleet = Site::with_masters(2).open().await;
    fleet.master(0).script(CACHE, None, Act::Hang);
    let papers = fleet.door.papers().clone();
    let asked = tokio::spawn(async move { papers.admin("POST", "/v1/flush", "{}").await });
    eventually("the second is flushed while the first says nothing", async || {
        if fleet.master(1).flushed().len() == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    asked.abort();
    eventually("its end is in the log although nobody waits", async || {
        let said = fleet.door.said();
        if said.contains("m1.example.com") && said.contains("no answer in time") { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_the_doors_own_name_flushes_nothing() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("door1.example.com");
    for path in [CACHE, "/puppet-admin-api/v1/environment-cache?environment=production"] {
        for method in [Method::DELETE, Method::POST, Method::GET] {
            let answer = agent.ask(method.clone(), path, "").await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    for path in ["//puppet-admin-api/v1/environment-cache", "/%70uppet-admin-api/v1/environment-cache"] {
        let answer = agent.ask(Method::DELETE, path, "").await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(fleet.master(0).record().of_agents().len(), 0, "nothing reached the master");
    assert!(fleet.master(0).flushed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_flushed_through_the_read_only_door_or_on_a_misunderstanding() {
    let fleet = Site::with_masters(1).open().await;
    let papers = fleet.door.papers();
    assert_eq!(papers.admin_http("POST", "/v1/flush", "{}").await.unwrap().status, 403);
    for (method, body, status) in [
        ("GET", "", 405),
        ("DELETE", "", 405),
        ("POST", r#"{"environment":"production"}"#, 422),
        ("POST", r#"{"environments":["a b"]}"#, 422),
        ("POST", "flush", 400),
    ] {
        let answer = papers.admin(method, "/v1/flush", body).await.unwrap();
        assert_eq!(answer.status, status, "{method} {body}: {}", answer.body);
        assert!(answer.json()["hint"].is_string(), "{}", answer.body);
    }
    assert!(fleet.master(0).flushed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewalled_master_is_flushed_by_name_and_an_open_one_is_left_alone() {
    let fleet = Site::with_masters(2)
        .change(|papers| {
            let [first, second] = &mut papers.roster.as_mut().unwrap().masters[..] else { panic!("two") };
            first.kind = Kind::Sealed { isolation: Isolation::Firewall };
            second.kind = Kind::Open { check: Check::Tcp };
        })
        .open_unready()
        .await;
    let first = fleet.master(0);
    first.listening().kill().await;
    // As its firewall lets it be: it wants a certificate and does without.
    first.listening().restart(Some(wanting(first.identity(), &fleet.ca, &fleet.door_ca)));
    let said = flush(&fleet, &[]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let [first, second] = said.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", said.out) };
    assert_eq!(first, "m1.example.com flushed");
    assert!(second.starts_with("m2.example.com open: ") && second.contains("as before"), "{second}");
    let seen = fleet.master(0).record().for_path(CACHE);
    assert_eq!((seen.len(), seen[0].peer.as_deref()), (1, None), "no certificate is shown there");
    assert_eq!(seen[0].head.get("x-client-dn"), Some("CN=door1.example.com"));
    assert_eq!(fleet.master(1).record().for_path(CACHE).len(), 0);

    let retired = json!({ "certname": "m1.example.com", "force": true });
    fleet.door.change("retire", &retired).await;
    let said = flush(&fleet, &[]).await;
    assert!(said.code == 1 && said.err.contains("every master on the roster is open"), "{}", said.err);
    let status = fleet.door.admin("GET", "/v1/masters/m2.example.com/status", "").await;
    assert!(status.status == 502 && status.body.contains("tcp"), "{}", status.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masters_own_status_is_relayed_and_nothing_of_the_asker_with_it() {
    let fleet = Site::with_masters(2).open().await;
    let papers = fleet.door.papers();
    let of = async |query: &str| {
        papers.admin_http("GET", &format!("/v1/masters/m1.example.com/status{query}"), "").await.unwrap()
    };
    let told = of("").await;
    assert_eq!(told.status, 200, "{}", told.body);
    assert_eq!(told.json()["jruby-metrics"]["status"]["experimental"]["metrics"]["num-jrubies"], 4);
    assert_eq!(of("?level=info").await.json()["jruby-metrics"]["detail_level"], "info");
    for query in ["?level=everything", "?timeout=1", "?level=debug&timeout=1"] {
        assert_eq!(of(query).await.status, 400, "{query}");
    }
    let services = fleet.master(0).record().for_path("/status/v1/services");
    let targets: Vec<_> = services.iter().map(|seen| seen.head.target().to_owned()).collect();
    assert_eq!(targets, ["/status/v1/services?level=debug", "/status/v1/services?level=info"]);
    assert!(services.iter().all(|seen| seen.identity_headers().is_empty()), "nobody's rights are lent");
    assert_eq!(fleet.master(1).record().for_path("/status/v1/services").len(), 0);

    fleet.master(0).health(Health::Failing);
    let told = of("").await;
    assert_eq!((told.status, told.json()["jruby-metrics"]["state"].as_str()), (503, Some("error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_cannot_be_had_is_told_in_words_and_a_page_is_none() {
    let fleet = Site::with_masters(1).open().await;
    let papers = fleet.door.papers();
    let of = async |name: &str| {
        let answer = papers.admin_http("GET", &format!("/v1/masters/{name}/status"), "").await.unwrap();
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    let (status, words) = of("m2.example.com").await;
    assert!(status == 404 && words.contains("m2.example.com is not on the roster"), "{words}");
    let part = "/status/v1/services";
    let pages = [
        (Answer::text(200, "<html>running</html>"), "its status is no JSON"),
        (Answer::json(&json!({ "x": "y".repeat(5 << 20) })), "longer than 4194304 bytes"),
        (Answer::text(404, "not found"), "it answered 404 Not Found"),
    ];
    for (page, words) in pages {
        fleet.master(0).script(part, Some(1), Act::Answer(page));
        let (status, told) = of("m1.example.com").await;
        assert!(status == 502 && told.contains(words), "{status} {told}");
    }
    fleet.master(0).listening().kill().await;
    let (status, told) = of("m1.example.com").await;
    assert!(status == 502 && told.starts_with("m1.example.com: cannot connect"), "{status} {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_masters_are_shown_with_what_they_are_and_how_they_do() {
    let fleet = Site::with_masters(2).open().await;
    fleet.master(1).health(Health::Failing);
    eventually("a table says that the second is unfit, and why", async || {
        let said = stagedoor(&fleet, "masters", &[]).await;
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let line = said.out.lines().find(|line| line.starts_with("m2.example.com")).unwrap_or_default();
        let good =
            line.contains("sealed by door-ca") && line.contains("unfit") && line.contains("it answered 503");
        if good && !said.out.contains('\x1b') { Ok(()) } else { Err(said.out) }
    })
    .await;
    let said = stagedoor(&fleet, "masters", &["--json"]).await;
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &told["masters"][0]["certname"]), (0, &json!("m1.example.com")));
    let nobody =
        Command::new(binary()).args(["masters", "--socket", "/nowhere/admin.sock"]).output().await.unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("is stagedoor running"));
}
