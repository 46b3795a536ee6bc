//! The admin doors, the roster's file, metrics and the access log.

use harness::agent::Shape;
use harness::door::{Door, binary};
use harness::fleet::Site;
use harness::master::{Health, Master, Plan};
use harness::wait::eventually;
use serde_json::json;
use stagedoor_config::roster::Roster;
use tokio::process::Command;

#[tokio::test]
async fn the_read_only_door_shows_everything_and_changes_nothing() {
    let fleet = Site::with_masters(2).open().await;
    let papers = fleet.door.papers();
    for path in ["/live", "/ready", "/metrics", "/v1/roster", "/v1/masters"] {
        assert_eq!(papers.admin_http("GET", path, "").await.unwrap().status, 200, "{path}");
    }
    let roster = std::fs::read_to_string(papers.file("roster.toml")).unwrap();
    let drain = json!({ "certname": "m1.example.com" }).to_string();
    for change in ["admit", "drain", "undrain", "retire"] {
        let answer = papers.admin_http("POST", &format!("/v1/roster/{change}"), &drain).await.unwrap();
        assert!((400..500).contains(&answer.status), "{change}: {answer:?}");
    }
    assert_eq!(std::fs::read_to_string(papers.file("roster.toml")).unwrap(), roster);
    let shown = papers.admin_http("GET", "/v1/roster", "").await.unwrap().json();
    assert!(shown["masters"].as_array().unwrap().iter().all(|master| master["standing"] == "admitted"));
}

#[tokio::test]
async fn every_change_of_the_roster_counts_up_and_one_that_looked_at_an_older_one_is_refused() {
    let fleet = Site::with_masters(2).open().await;
    let generation = fleet.door.admin("GET", "/v1/roster", "").await.json()["generation"].as_u64().unwrap();
    let drained = fleet.door.drain("m1.example.com").await;
    assert_eq!(drained["generation"], generation + 1);
    let late = json!({ "certname": "m2.example.com", "generation": generation }).to_string();
    let refused = fleet.door.admin("POST", "/v1/roster/drain", &late).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("generation"), "{}", refused.body);
    let again = fleet.door.drain("m1.example.com").await;
    assert_eq!(again["generation"], generation + 1, "asking twice changes nothing");
    let metric = fleet.door.metrics().await.sum("stagedoor_roster_generation", &[]);
    assert_eq!(metric as u64, generation + 1);
}

#[tokio::test]
async fn the_roster_is_kept_in_its_file_whole_and_a_new_door_goes_on_with_it() {
    let mut fleet = Site::with_masters(1).open().await;
    let newcomer = Master::start(Plan::named("m2.example.com"), &fleet.ca, &fleet.door_ca);
    fleet.door.admit(&newcomer).await;
    let file = fleet.door.papers().file("roster.toml");
    let kept = Roster::parse(&file, &std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(kept.masters.len(), 2);
    let beside: Vec<_> = std::fs::read_dir(fleet.door.papers().folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("roster") && name != "roster.toml")
        .collect();
    assert_eq!(beside, Vec::<String>::new(), "nothing is left beside it");

    let papers = fleet.door.papers().clone();
    fleet.door.signal(rustix::process::Signal::KILL);
    fleet.door.ended().await;
    fleet.door = Door::start(papers).await;
    let shown = fleet.door.admin("GET", "/v1/roster", "").await.json();
    assert_eq!(shown["generation"], kept.generation);
    assert_eq!(shown["masters"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_retired_master_is_gone_and_one_that_still_works_is_retired_by_force_alone() {
    let fleet = Site::with_masters(2).open().await;
    let retire = |force: bool| json!({ "certname": "m1.example.com", "force": force });
    let refused = fleet.door.admin("POST", "/v1/roster/retire", &retire(false).to_string()).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let roster = fleet.door.change("retire", &retire(true)).await;
    assert_eq!(roster["masters"].as_array().unwrap().len(), 1);
    let agent = fleet.agent("web01.example.com");
    for _ in 0..6 {
        assert_eq!(agent.run(Shape::default()).await.unwrap().compiler, "m2.example.com");
    }
    let series = fleet.door.metrics().await;
    assert_eq!(series.samples("stagedoor_master_fit", &[("master", "m1.example.com")]).count(), 0);
}

#[tokio::test]
async fn every_request_has_one_access_line_and_no_line_holds_a_query() {
    let fleet = Site::with_masters(1).open().await;
    let run = fleet.agent("web01.example.com").run(Shape::default()).await.unwrap();
    let refused = fleet.stranger("nobody").get("/puppet/v3/node/x?token=sesame").await.unwrap();
    assert_eq!(refused.status(), 403);
    let path = fleet.door.papers().file("access.log");
    let lines = eventually("a line for each request", async || {
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let lines: Result<Vec<serde_json::Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.map_err(|e| e.to_string())?;
        if lines.len() == run.requests + 1 { Ok(lines) } else { Err(format!("{} lines", lines.len())) }
    })
    .await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("sesame") && !text.contains("environment=production"), "{text}");
    let catalog = lines.iter().find(|line| line["class"] == "catalog").unwrap();
    assert_eq!(catalog["certname"], "web01.example.com");
    assert_eq!(catalog["master"], "m1.example.com");
    assert_eq!(catalog["status"], 200);
    let id = catalog["id"].as_str().unwrap();
    let seen = fleet.masters[0].record().of("catalog");
    assert_eq!(seen[0].head.get("x-request-id"), Some(id), "the master was told the same id");
    assert_eq!(lines.last().unwrap()["answered_by"], "door");
}

#[tokio::test]
async fn access_lines_can_be_words_with_who_what_and_where_at_fixed_places() {
    let site = Site::with_masters(1).change(|papers| papers.access_keys = "format = \"text\"".to_owned());
    let fleet = site.open().await;
    let run = fleet.agent("web01.example.com").run(Shape::default()).await.unwrap();
    fleet.stranger("nobody").get("/puppet/v3/node/x?token=sesame").await.unwrap();
    let path = fleet.door.papers().file("access.log");
    let text = eventually("a line for each request", async || {
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        if text.lines().count() == run.requests + 1 { Ok(text) } else { Err(text) }
    })
    .await;
    let words = |class: &str| -> Vec<String> {
        let mut lines = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        lines.find(|line| line[2] == class).unwrap_or_else(|| panic!("no line of {class}:\n{text}"))
    };
    let catalog = words("catalog");
    assert_eq!(catalog[1..6], ["web01.example.com", "catalog", "production", "m1.example.com", "200"]);
    let seen = fleet.masters[0].record().of("catalog");
    let id = seen[0].head.get("x-request-id").unwrap();
    for word in [&format!("id={id}"), "outcome=answered", "by=master", "tls=1.3", "POST"] {
        assert!(catalog.iter().any(|there| there == word), "{word}: {catalog:?}");
    }
    let last = text.lines().last().unwrap();
    assert!(last.contains(" - node - - 403 ") && last.contains(" reason=needs_identity "), "{last}");
    assert!(!text.contains("sesame"), "{text}");
}

#[tokio::test]
async fn the_overview_shows_what_happened_and_top_says_it() {
    let fleet = Site::with_masters(2).open().await;
    for n in 0..3 {
        fleet.agent(&format!("web{n}.example.com")).run(Shape::default()).await.unwrap();
    }
    fleet.stranger("nobody").get("/puppet/v3/node/x").await.unwrap();
    fleet.masters[1].health(Health::Failing);
    let seen = eventually("a master is out", async || {
        let seen = fleet.door.admin("GET", "/v1/overview", "").await.json();
        if seen["events"][0]["master"] == "m2.example.com" {
            Ok(seen)
        } else {
            Err(seen["events"].to_string())
        }
    })
    .await;
    assert_eq!(seen["events"][0]["back"], false);
    assert!(seen["events"][0]["why"].as_str().unwrap().contains("503"), "{seen}");
    assert_eq!(
        (&seen["compile"]["all"]["compiled"], &seen["compile"]["all"]["failed"]),
        (&json!(3), &json!(0))
    );
    let refusal = &seen["refusals"][0];
    assert_eq!(
        (&refusal["class"], &refusal["reason"], &refusal["count"]),
        (&json!("node"), &json!("needs_identity"), &json!(1))
    );
    assert!(
        seen["expiry"].as_array().unwrap().iter().any(|one| one["what"] == "door_ca" && one["list"] == true),
        "{seen}"
    );
    fleet.masters[1].health(Health::Running);
    eventually("it is back", async || {
        let seen = fleet.door.admin("GET", "/v1/overview", "").await.json();
        if seen["events"][0]["back"] == true { Ok(()) } else { Err(seen["events"].to_string()) }
    })
    .await;
    fleet.door.drain("m2.example.com").await;
    let seen = fleet.door.admin("GET", "/v1/overview", "").await.json();
    assert_eq!(seen["roster"][0]["changes"], json!(["m2.example.com draining, was admitted"]));

    let socket = fleet.door.papers().file("admin.sock");
    let top = Command::new(binary()).args(["top", "--socket"]).arg(socket).output().await.unwrap();
    let said = String::from_utf8(top.stdout).unwrap();
    assert_eq!((top.status.code(), top.stderr.as_slice()), (Some(0), &b""[..]), "{said}");
    for words in
        ["ready", "within ten minutes 3 compiled", "m1.example.com", "draining", "m2.example.com is back"]
    {
        assert!(said.contains(words), "{words:?}:\n{said}");
    }
    assert!(!said.contains('\x1b'), "no colours where nobody sees them:\n{said}");
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_no_agent() {
    let fleet = Site::with_masters(2).open().await;
    for n in 0..4 {
        fleet.agent(&format!("secret{n}.example.com")).run(Shape::default()).await.unwrap();
    }
    let metrics = fleet.door.metrics().await;
    let answered =
        |class: &str| metrics.sum("stagedoor_requests_total", &[("class", class), ("outcome", "answered")]);
    assert_eq!((answered("catalog"), answered("report"), answered("node")), (4.0, 4.0, 4.0));
    assert!(!metrics.0.contains("secret"), "labels come from the roster and the program alone");
    assert!(metrics.0.ends_with("# EOF\n"));
}

#[tokio::test]
async fn told_to_stop_the_door_finishes_what_is_under_way() {
    let fleet = Site::with_masters(1).open().await;
    fleet.master(0).compile(harness::master::Work::always(std::time::Duration::from_secs(2)));
    let agent = fleet.agent("web01.example.com");
    let mut session = agent.connect().await.unwrap();
    let catalog = tokio::spawn(async move { session.catalog("web01.example.com", 1000).await.map(|_| ()) });
    eventually("the catalog is being compiled", async || match fleet.master(0).busy() {
        0 => Err("idle".to_owned()),
        _ => Ok(()),
    })
    .await;
    let address = fleet.door.address();
    let (status, said) = fleet.door.stop().await;
    assert!(status.success(), "{status}: {said}");
    catalog.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
