//! Who waits for a JRuby, who is next, and what a master is never given.

use std::time::Duration;

use harness::agent::catalog_form;
use harness::answer::Act;
use harness::fleet::{Fleet, Site};
use harness::master::{Plan, Work};
use harness::wait::eventually;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

const M1: &str = "m1.example.com";

/// Masters with so many JRubies each, of which the door has been told.
async fn fleet(jrubies: &[usize], compile: Duration) -> Fleet {
    let plan = |(at, jrubies): (usize, &usize)| Plan {
        jrubies: *jrubies,
        compile: Work::always(compile),
        ..Plan::named(&format!("m{}.example.com", at + 1))
    };
    let site = Site::with(jrubies.iter().enumerate().map(plan));
    let fleet = site
        .change(|papers| papers.health("interval", "\"500ms\""))
        .change(|papers| papers.health("timeout", "\"500ms\""))
        .open()
        .await;
    for at in 1..=jrubies.len() {
        until(&fleet, &format!("m{at}.example.com"), "says how many JRubies it has", |seats| {
            seats["known"] == "gauges"
        })
        .await;
    }
    fleet
}

async fn until(fleet: &Fleet, master: &str, what: &str, good: impl Fn(&Value) -> bool) {
    eventually(&format!("{master} {what}"), async || {
        let seats = fleet.door.master(master).await["seats"].clone();
        if good(&seats) { Ok(()) } else { Err(seats.to_string()) }
    })
    .await;
}

async fn until_queued(fleet: &Fleet, small: u64, catalogs: u64) {
    eventually(&format!("{small} small requests and {catalogs} catalogs wait"), async || {
        let queue = fleet.door.admin("GET", "/v1/queue", "").await.json();
        let there = (queue["small"].as_u64(), queue["catalogs"].as_u64());
        if there == (Some(small), Some(catalogs)) { Ok(()) } else { Err(queue.to_string()) }
    })
    .await;
}

/// An agent that asks for its catalog, as a run does.
fn catalog(fleet: &Fleet, agent: &str) -> JoinHandle<StatusCode> {
    catalog_in(fleet, agent, "production")
}

fn catalog_in(fleet: &Fleet, agent: &str, environment: &str) -> JoinHandle<StatusCode> {
    let target = format!("/puppet/v3/catalog/{agent}?environment={environment}");
    let (asking, form) = (fleet.agent(agent), catalog_form(agent, 4000));
    tokio::spawn(async move { asking.ask(Method::POST, &target, form).await.unwrap().status() })
}

fn file(fleet: &Fleet, agent: &str) -> JoinHandle<StatusCode> {
    let asking = fleet.agent(agent);
    let target = "/puppet/v3/file_metadata/modules/stage/banner.txt?environment=production";
    tokio::spawn(async move { asking.get(target).await.unwrap().status() })
}

#[tokio::test]
async fn no_master_is_given_more_requests_than_it_has_jrubies_and_the_rest_wait_at_the_door() {
    let fleet = fleet(&[1, 2], Duration::from_millis(200)).await;
    let asked: Vec<_> = (0..12).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), StatusCode::OK);
    }
    for master in &fleet.masters {
        assert_eq!(master.waited(), 0, "{} had more than it can serve", master.name());
    }
    let [first, second] = [0, 1].map(|at| fleet.master(at).record().of("catalog").len());
    assert!(first + second == 12 && first >= 2 && second > first, "{first} and {second}: by their JRubies");
    until_queued(&fleet, 0, 0).await;
}

#[tokio::test]
async fn a_small_request_does_not_wait_behind_catalogs() {
    let fleet = fleet(&[1], Duration::from_secs(1)).await;
    let catalogs: Vec<_> = (0..3).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    until_queued(&fleet, 0, 2).await;
    assert_eq!(file(&fleet, "web9.example.com").await.unwrap(), StatusCode::OK);
    let done = fleet.master(0).record().of("catalog").len();
    assert!(done < 3, "it was answered before the catalogs that came earlier");
    for catalog in catalogs {
        assert_eq!(catalog.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_agents_second_catalog_is_not_compiled_beside_its_first() {
    let fleet = fleet(&[4], Duration::from_millis(700)).await;
    let first = catalog(&fleet, "web1.example.com");
    until(&fleet, M1, "compiles", |seats| seats["taken"] == 1).await;
    let second = catalog(&fleet, "web1.example.com");
    until_queued(&fleet, 0, 1).await;
    let third = catalog(&fleet, "web1.example.com");
    let replaced = second.await.unwrap();
    assert_eq!(replaced, StatusCode::SERVICE_UNAVAILABLE, "a newer one takes its place");
    assert_eq!((first.await.unwrap(), third.await.unwrap()), (StatusCode::OK, StatusCode::OK));
    assert_eq!((fleet.master(0).most_busy(), fleet.master(0).record().of("catalog").len()), (1, 2));
}

#[tokio::test]
async fn a_master_whose_pool_is_locked_gets_nothing_until_it_is_unlocked() {
    let fleet = fleet(&[2, 2], Duration::from_millis(5)).await;
    fleet.master(0).lock(true);
    until(&fleet, M1, "is locked", |seats| seats["locked"] == true).await;
    for n in 0..6 {
        assert_eq!(catalog(&fleet, &format!("web{n}.example.com")).await.unwrap(), StatusCode::OK);
    }
    assert_eq!(fleet.master(0).record().of("catalog").len(), 0);
    fleet.master(1).lock(true);
    until(&fleet, "m2.example.com", "is locked", |seats| seats["locked"] == true).await;
    let waits = catalog(&fleet, "web7.example.com");
    until_queued(&fleet, 0, 1).await;
    fleet.master(0).lock(false);
    assert_eq!(waits.await.unwrap(), StatusCode::OK);
    assert_eq!(fleet.master(0).record().of("catalog").len(), 1);
}

async fn hold(fleet: &Fleet, seconds: u16) -> Value {
    let body = serde_json::json!({ "seconds": seconds }).to_string();
    let answer = fleet.door.admin("POST", "/v1/hold", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[tokio::test]
async fn catalogs_are_kept_while_that_is_asked_for_and_small_requests_go_on() {
    let fleet = fleet(&[2], Duration::from_millis(5)).await;
    let held = hold(&fleet, 600).await;
    assert!(held["seconds"].as_f64().is_some_and(|left| left > 50.0 && left <= 60.0), "{held}");
    let kept = catalog(&fleet, "web1.example.com");
    until_queued(&fleet, 0, 1).await;
    assert_eq!(file(&fleet, "web2.example.com").await.unwrap(), StatusCode::OK);
    assert!(!kept.is_finished());
    hold(&fleet, 0).await;
    assert_eq!(kept.await.unwrap(), StatusCode::OK);
    hold(&fleet, 1).await;
    assert_eq!(catalog(&fleet, "web1.example.com").await.unwrap(), StatusCode::OK, "it ends by itself");
}

#[tokio::test]
async fn a_jruby_that_others_use_is_not_given_away() {
    let fleet = fleet(&[3], Duration::from_millis(300)).await;
    let others = [fleet.master(0).occupied().await, fleet.master(0).occupied().await];
    until(&fleet, M1, "is used by others", |seats| seats["others"] == 2).await;
    let asked: Vec<_> = (0..4).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    until_queued(&fleet, 0, 3).await;
    drop(others);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(fleet.master(0).waited(), 0);
}

#[tokio::test]
async fn an_agent_that_hangs_up_leaves_the_queue_at_once_and_a_compile_that_goes_on_keeps_its_seat() {
    let fleet = fleet(&[1], Duration::from_secs(2)).await;
    let compiling = catalog(&fleet, "web1.example.com");
    until(&fleet, M1, "compiles", |seats| seats["taken"] == 1).await;
    let waiting = catalog(&fleet, "web2.example.com");
    until_queued(&fleet, 0, 1).await;
    waiting.abort();
    until_queued(&fleet, 0, 0).await;
    compiling.abort();
    assert_eq!(catalog(&fleet, "web3.example.com").await.unwrap(), StatusCode::OK);
    assert_eq!((fleet.master(0).waited(), fleet.master(0).most_busy()), (0, 1), "it waited at the door");
}

#[tokio::test]
async fn where_a_catalog_would_wait_a_minute_no_run_begins_and_those_that_have_begun_go_on() {
    let fleet = fleet(&[1], Duration::from_secs(3)).await;
    assert_eq!(catalog(&fleet, "web1.example.com").await.unwrap(), StatusCode::OK);
    let agent = fleet.agent("web50.example.com");
    let mut begun = agent.connect().await.unwrap();
    let plugins = "/puppet/v3/file_metadatas/pluginfacts?environment=production";
    assert_eq!(begun.get(plugins).await.unwrap().status(), StatusCode::OK);
    let waiting: Vec<_> = (2..26).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    until_queued(&fleet, 0, 23).await;
    let node = |name: &str| format!("/puppet/v3/node/{name}?environment=production");
    for (name, target) in
        [("web51.example.com", plugins.to_owned()), ("web53.example.com", node("web53.example.com"))]
    {
        let answer = fleet.agent(name).get(&target).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{target}");
        let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((60..=900).contains(&after) && answer.headers()["connection"] == "close", "{after}");
    }
    let again = fleet.agent("web53.example.com").get(&node("web53.example.com")).await.unwrap();
    assert_eq!(again.status(), StatusCode::SERVICE_UNAVAILABLE, "it asks the same again, too early");
    let next = fleet.agent("web53.example.com").get(plugins).await.unwrap();
    assert_eq!(next.status(), StatusCode::OK, "it has lost that request and goes on: it loses no other");
    assert_eq!(begun.get(plugins).await.unwrap().status(), StatusCode::OK, "its run has begun");
    let another = catalog(&fleet, "web52.example.com");
    eventually("a catalog of a run that has begun waits", async || {
        let queue = fleet.door.admin("GET", "/v1/queue", "").await.json();
        if queue["catalogs"].as_u64() >= Some(20) { Ok(()) } else { Err(queue.to_string()) }
    })
    .await;
    assert!(!another.is_finished());
    waiting.iter().for_each(JoinHandle::abort);
    another.abort();
}

#[tokio::test]
async fn what_waits_for_a_master_that_leaves_is_served_by_another_or_told() {
    let fleet = fleet(&[1, 1], Duration::from_secs(1)).await;
    let asked: Vec<_> = (0..4).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    until_queued(&fleet, 0, 2).await;
    fleet.door.drain(M1).await;
    fleet.door.drain("m2.example.com").await;
    let mut statuses = Vec::new();
    for asked in asked {
        statuses.push(asked.await.unwrap().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503], "what was in hand is finished, the rest told");
}

/// Agents that ask for their catalogs one after the other, four at a time; how many failed.
async fn catalogs_of(fleet: &Fleet, agents: std::ops::Range<u32>, environment: &str) -> usize {
    let mut failed = 0;
    for four in agents.collect::<Vec<_>>().chunks(4) {
        let asked = four.iter().map(|n| catalog_in(fleet, &format!("web{n}.example.com"), environment));
        for asked in asked.collect::<Vec<_>>() {
            failed += usize::from(asked.await.unwrap() != StatusCode::OK);
        }
    }
    failed
}

fn broken() -> Act {
    Act::Answer(harness::answer::Answer::text(500, "Server Error: [403 Forbidden] Permission denied"))
}

async fn ejections(fleet: &Fleet) -> f64 {
    fleet.door.metrics().await.sum("stagedoor_ejections_total", &[])
}

#[tokio::test]
async fn a_master_that_fails_what_others_compile_is_out_within_ten_failures_though_it_says_that_it_runs() {
    let fleet = fleet(&[2, 2, 2], Duration::from_millis(50)).await;
    assert_eq!(catalogs_of(&fleet, 0..8, "production").await, 0);
    fleet.master(0).script("/catalog/", None, broken());
    let failed = catalogs_of(&fleet, 100..180, "production").await;
    assert!((1..=10).contains(&failed), "{failed}");
    let master = fleet.door.master(M1).await;
    assert_eq!(master["fit"], "unfit", "{master}");
    assert!(master["why"].as_str().unwrap().contains("others compile"), "{master}");
    assert_eq!(ejections(&fleet).await, 1.0);
    assert!(fleet.door.said().contains("certificate-allowlist"), "with what to look for");
}

#[tokio::test]
async fn an_environment_that_is_broken_everywhere_puts_no_master_out() {
    let fleet = fleet(&[2, 2], Duration::from_millis(20)).await;
    for master in &fleet.masters {
        let of = |head: &harness::http1::Head| {
            head.path().contains("/catalog/") && head.query("environment") == Some("broken")
        };
        master.script_where(of, broken());
    }
    for at in 0..10 {
        let (from, to) = (at * 10, at * 10 + 4);
        assert_eq!(catalogs_of(&fleet, from..to, "broken").await, 4);
        assert_eq!(catalogs_of(&fleet, from..to, "production").await, 0);
    }
    assert_eq!(ejections(&fleet).await, 0.0);
}

#[tokio::test]
async fn where_every_catalog_fails_for_a_while_no_master_is_out_for_it() {
    let fleet = fleet(&[2, 2, 2], Duration::from_millis(20)).await;
    assert_eq!(catalogs_of(&fleet, 0..12, "production").await, 0);
    for master in &fleet.masters {
        master.script("/catalog/", None, broken());
    }
    assert_eq!(catalogs_of(&fleet, 0..60, "production").await, 60);
    for master in &fleet.masters {
        master.behave();
    }
    assert_eq!(catalogs_of(&fleet, 100..160, "production").await, 0);
    assert_eq!(ejections(&fleet).await, 0.0);
}

#[tokio::test]
async fn a_master_that_comes_back_takes_its_share_though_the_other_has_become_fast_meanwhile() {
    let fleet = fleet(&[4, 4], Duration::from_millis(40)).await;
    fleet.door.drain("m2.example.com").await;
    assert_eq!(catalogs_of(&fleet, 0..40, "production").await, 0);
    fleet.master(0).compile(Work::always(Duration::from_millis(20)));
    assert_eq!(catalogs_of(&fleet, 100..240, "production").await, 0);
    fleet.door.change("undrain", &serde_json::json!({ "certname": "m2.example.com" })).await;
    let before = fleet.master(1).record().of("catalog").len();
    assert_eq!(catalogs_of(&fleet, 300..340, "production").await, 0);
    let took = fleet.master(1).record().of("catalog").len() - before;
    assert!(took >= 10, "it took {took} of 40");
}

#[tokio::test]
async fn a_master_that_was_started_anew_is_tested_again_and_begins_with_one_jruby() {
    let fleet = fleet(&[4], Duration::from_secs(1)).await;
    let count = async |name, labels: &[(&str, &str)]| fleet.door.metrics().await.sum(name, labels);
    let of = [("master", M1)];
    let tests = count("stagedoor_seal_tests_total", &of).await;
    fleet.master(0).started_anew();
    eventually("it is seen to have been started anew", async || {
        let seen = count("stagedoor_master_restarts_total", &of).await;
        if seen == 1.0 { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    eventually("it is tested again", async || {
        let seen = count("stagedoor_seal_tests_total", &of).await;
        if seen > tests { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let asked: Vec<_> = (0..5).map(|n| catalog(&fleet, &format!("web{n}.example.com"))).collect();
    until_queued(&fleet, 0, 4).await;
    for asked in asked {
        assert_eq!(asked.await.unwrap(), StatusCode::OK);
    }
    assert!(fleet.master(0).most_busy() > 1, "more with each catalog");
}

#[tokio::test]
async fn a_master_that_does_not_say_has_four_seats_and_that_is_shown() {
    let site = Site::with([Plan { jrubies: 9, ..Plan::named(M1) }]);
    site.masters[0].script(
        "jruby-metrics",
        None,
        Act::Answer(harness::answer::Answer::text(403, "Forbidden")),
    );
    let fleet = site.open().await;
    let seats = fleet.door.master(M1).await["seats"].clone();
    assert_eq!((&seats["jrubies"], &seats["known"]), (&4.into(), &"assumed".into()));
    eventually("the door says so", async || {
        let said = fleet.door.said();
        if said.contains("does not say how many JRubies") && said.contains("403") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    let asked = fleet.master(0).record().all();
    let gauges = asked.iter().find(|seen| seen.path().contains("jruby-metrics")).unwrap();
    assert_eq!(gauges.head.get("x-client-dn"), Some("CN=door1.example.com"), "by its name");
}
