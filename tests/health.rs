//! Masters that fall, return, drain, join, or are not who they should be.

use std::time::Duration;

use harness::agent::{Agent, Shape};
use harness::fleet::{Fleet, Site};
use harness::identity::Leaf;
use harness::master::{Health, Master, Plan, Work};
use harness::wait::eventually;
use http::StatusCode;

const TARGET: &str = "/puppet/v3/environments";

/// Who answers a request.
async fn answered_by(agent: &Agent) -> Result<String, String> {
    let answer = agent.get(TARGET).await.map_err(|e| format!("{e:#}"))?;
    if answer.status() != StatusCode::OK {
        return Err(answer.status().to_string());
    }
    let json: serde_json::Value = serde_json::from_slice(answer.body()).map_err(|e| e.to_string())?;
    Ok(json["served_by"].as_str().unwrap_or_default().to_owned())
}

async fn until_fit_is(fleet: &Fleet, name: &str, fit: &str) {
    eventually(&format!("{name} is {fit}"), async || match fleet.door.master(name).await["fit"].as_str() {
        Some(said) if said == fit => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn until_takes_work(agent: &Agent, name: &str) {
    eventually(&format!("{name} takes work"), async || match answered_by(agent).await {
        Ok(by) if by == name => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_killed_masters_work_is_taken_over_and_it_returns_by_itself() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    until_takes_work(&agent, "m1.example.com").await;
    fleet.master(0).listening().kill().await;
    for n in 0..20 {
        let by = answered_by(&agent).await;
        assert_eq!(by.as_deref(), Ok("m2.example.com"), "request {n} after the kill");
    }
    until_fit_is(&fleet, "m1.example.com", "unfit").await;
    fleet.master(0).listening().restart(None);
    until_takes_work(&agent, "m1.example.com").await;
}

#[tokio::test]
async fn a_dead_master_is_out_by_the_requests_that_cannot_be_connected() {
    let fleet = Site::with_masters(2).change(|papers| papers.health("interval", "\"5m\"")).open().await;
    let agent = fleet.agent("web01.example.com");
    until_takes_work(&agent, "m1.example.com").await;
    fleet.master(0).listening().kill().await;
    eventually("m1 is unfit", async || {
        assert_eq!(answered_by(&agent).await.as_deref(), Ok("m2.example.com"));
        let fit = fleet.door.master("m1.example.com").await["fit"].clone();
        if fit == "unfit" { Ok(()) } else { Err(fit.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn only_requests_that_a_killed_master_already_had_are_lost() {
    let fleet = Site::with_masters(2).open().await;
    for master in &fleet.masters {
        master.compile(Work::always(Duration::from_millis(300)));
    }
    let runs = (0..40).map(|n| {
        let agent = fleet.agent(&format!("web{n:02}.example.com"));
        tokio::spawn(async move { agent.run(Shape::default()).await })
    });
    let runs: Vec<_> = runs.collect();
    eventually("the first master compiles", async || match fleet.master(0).busy() {
        0 => Err("idle".to_owned()),
        _ => Ok(()),
    })
    .await;
    fleet.master(0).listening().kill().await;
    let mut failed = Vec::new();
    for run in runs {
        failed.extend(run.await.unwrap().err().map(|e| format!("{e:#}")));
    }
    // What may be asked twice was; a compile that had begun may not be.
    let begun = |words: &&String| words.contains("/catalog/") || words.contains("/report/");
    assert_eq!(failed.iter().filter(|words| !begun(words)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(failed.iter().all(|words| words.contains("502")), "each was told so: {failed:#?}");
    assert!(failed.len() <= 20, "no more than it had of forty: {failed:#?}");
    for n in 0..10 {
        fleet.agent(&format!("late{n}.example.com")).run(Shape::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_master_that_says_it_is_not_running_takes_nothing_until_it_does() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    for health in [Health::Starting, Health::Failing, Health::Hanging] {
        fleet.master(0).health(health);
        until_fit_is(&fleet, "m1.example.com", "unfit").await;
        for _ in 0..10 {
            assert_eq!(answered_by(&agent).await.as_deref(), Ok("m2.example.com"), "{health:?}");
        }
        fleet.master(0).health(Health::Running);
        until_fit_is(&fleet, "m1.example.com", "fit").await;
    }
    until_takes_work(&agent, "m1.example.com").await;
}

#[tokio::test]
async fn a_master_that_knows_its_status_by_the_older_name_alone_is_fit() {
    let site = Site::with_masters(1);
    site.masters[0].health(Health::MasterOnly);
    let fleet = site.open().await;
    until_fit_is(&fleet, "m1.example.com", "fit").await;
    assert!(answered_by(&fleet.agent("web01.example.com")).await.is_ok());
}

#[tokio::test]
async fn a_master_whose_health_nobody_knows_yet_counts_as_fit_after_two_seconds() {
    let site = Site::with_masters(1).change(|papers| {
        papers.health("interval", "\"1m\"");
        papers.health("timeout", "\"1m\"");
    });
    site.masters[0].health(Health::Hanging);
    let fleet = site.open_unready().await;
    let agent = fleet.agent("web01.example.com");
    eventually("it is sent work", async || answered_by(&agent).await).await;
    assert_eq!(fleet.door.master("m1.example.com").await["fit"], "unknown");
}

#[tokio::test]
async fn health_checks_that_fail_everywhere_at_once_never_empty_the_pool() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    for master in &fleet.masters {
        master.health(Health::Failing);
    }
    until_fit_is(&fleet, "m1.example.com", "unfit").await;
    until_fit_is(&fleet, "m2.example.com", "unfit").await;
    for _ in 0..10 {
        answered_by(&agent).await.unwrap();
    }
}

#[tokio::test]
async fn a_draining_master_finishes_what_it_has_and_takes_nothing_new() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    fleet.master(0).compile(Work::always(Duration::from_secs(2)));
    fleet.master(1).compile(Work::always(Duration::from_secs(2)));
    let running: Vec<_> = (0..6)
        .map(|n| {
            let agent = fleet.agent(&format!("slow{n}.example.com"));
            tokio::spawn(async move { agent.run(Shape::default()).await })
        })
        .collect();
    eventually("the first master compiles", async || match fleet.master(0).record().of("catalog").len() {
        0 => Err("idle".to_owned()),
        _ => Ok(()),
    })
    .await;
    fleet.door.drain("m1.example.com").await;
    let before = fleet.master(0).record().of("environments").len();
    for _ in 0..10 {
        assert_eq!(answered_by(&agent).await.as_deref(), Ok("m2.example.com"));
    }
    assert_eq!(fleet.master(0).record().of("environments").len(), before);
    for run in running {
        run.await.unwrap().unwrap();
    }
    eventually(
        "nothing is left on it",
        async || match fleet.door.master("m1.example.com").await["in_flight"].as_u64() {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    fleet.door.change("undrain", &serde_json::json!({ "certname": "m1.example.com" })).await;
    until_takes_work(&agent, "m1.example.com").await;
}

#[tokio::test]
async fn a_master_admitted_while_agents_run_takes_its_share_and_nobody_notices() {
    let fleet = Site::with_masters(1).open().await;
    let newcomer = Master::start(Plan::named("m2.example.com"), &fleet.ca, &fleet.door_ca);
    let runs: Vec<_> = (0..30)
        .map(|n| {
            let agent = fleet.agent(&format!("web{n:02}.example.com"));
            tokio::spawn(async move { agent.run(Shape::default()).await })
        })
        .collect();
    fleet.door.admit(&newcomer).await;
    for run in runs {
        run.await.unwrap().unwrap();
    }
    until_takes_work(&fleet.agent("web99.example.com"), "m2.example.com").await;
}

#[tokio::test]
async fn whoever_answers_at_a_masters_address_under_another_name_is_sent_nothing() {
    let mut site = Site::with_masters(1);
    // Any node has a certificate of the Puppet CA; only the name tells it from a master.
    let impostor = site.ca.issue(&Leaf::server("web66.example.com"));
    let impostor = Master::start_as(Plan::named("m2.example.com"), impostor, &site.door_ca);
    site.papers.admit(&impostor);
    let fleet = site.open().await;
    let agent = fleet.agent("web01.example.com");
    until_fit_is(&fleet, "m2.example.com", "unfit").await;
    for _ in 0..10 {
        assert_eq!(answered_by(&agent).await.as_deref(), Ok("m1.example.com"));
    }
    assert_eq!(impostor.record().total(), 0, "not even a question about its health");
}

#[tokio::test]
async fn a_master_of_old_without_alternative_names_is_known_by_its_one_common_name() {
    let plan = Plan { alt_names: Vec::new(), ..Plan::named("m1.example.com") };
    let fleet = Site::with([plan]).open().await;
    let run = fleet.agent("web01.example.com").run(Shape::default()).await.unwrap();
    assert_eq!(run.compiler, "m1.example.com");
}

#[tokio::test]
async fn the_common_name_counts_for_nothing_beside_alternative_names() {
    let mut site = Site::with_masters(1);
    let plan = Plan { alt_names: vec!["elsewhere.example.com".to_owned()], ..Plan::named("m2.example.com") };
    let other = Master::start(plan, &site.ca, &site.door_ca);
    site.papers.admit(&other);
    let fleet = site.open().await;
    until_fit_is(&fleet, "m2.example.com", "unfit").await;
    assert_eq!(other.record().total(), 0);
}
