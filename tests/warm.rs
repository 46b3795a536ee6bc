//! Masters that are warmed before agents depend on them, and the canary that shows what they do.

use bytes::Bytes;
use harness::agent::{Agent, Shape, catalog_form};
use harness::answer::Act;
use harness::door::{Door, binary};
use harness::fleet::{Fleet, Site};
use harness::master::{Health, Master, Plan};
use harness::tls;
use harness::wait::eventually;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use stagedoor_config::master::Standing;

const TARGET: &str = "/puppet/v3/environments";
const M1: &str = "m1.example.com";
const M2: &str = "m2.example.com";
const CANARY: &str = "canary.m2.example.com";

/// Two masters, the second of which stands so.
fn site(standing: Standing) -> Site {
    Site::with_masters(2).change(|papers| {
        papers.health("seal_interval", "\"500ms\"");
        papers.roster.as_mut().unwrap().masters[1].standing = standing;
    })
}

/// What the door says about a master, once it is fit and sealed.
async fn until_good(door: &Door, name: &str) -> Value {
    eventually(&format!("{name} is fit and sealed"), async || {
        let master = door.master(name).await;
        let good = master["fit"] == "fit" && master["seal"] == "sealed";
        if good { Ok(master) } else { Err(master.to_string()) }
    })
    .await
}

async fn until_seal_is(fleet: &Fleet, name: &str, seal: &str) {
    eventually(&format!("{name} is {seal}"), async || {
        let master = fleet.door.master(name).await;
        if master["seal"] == seal { Ok(()) } else { Err(master.to_string()) }
    })
    .await;
}

async fn catalog(agent: &Agent) -> Response<Bytes> {
    let name = &agent.certname;
    let target = format!("/puppet/v3/catalog/{name}?environment=production");
    agent.ask(Method::POST, &target, catalog_form(name, 1000)).await.unwrap()
}

fn served_by(answer: &Response<Bytes>) -> String {
    let json: Value = serde_json::from_slice(answer.body()).unwrap();
    json["served_by"].as_str().unwrap().to_owned()
}

fn words(answer: &Response<Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

/// That a master was sent nothing of anybody's since it started.
fn untouched(master: &Master) {
    let seen = master.record().of_agents();
    let seen: Vec<_> = seen.iter().map(|seen| seen.head.first.clone()).collect();
    assert_eq!(seen, Vec::<String>::new(), "{} was sent requests", master.name());
}

#[tokio::test]
async fn a_warm_master_is_tested_and_gets_nothing_but_its_canary_until_it_is_admitted() {
    let fleet = site(Standing::Warm).open().await;
    let warm = until_good(&fleet.door, M2).await;
    assert_eq!(warm["standing"], "warm", "{warm}");
    for n in 0..10 {
        let run = fleet.agent(&format!("web{n}.example.com")).run(Shape::default()).await.unwrap();
        assert_eq!(run.compiler, M1);
    }
    untouched(fleet.master(1));
    fleet.master(0).record().clear();

    let canary = fleet.agent(CANARY);
    for _ in 0..3 {
        let run = canary.run(Shape { reconnects: true, ..Shape::default() }).await.unwrap();
        assert_eq!((run.compiler.as_str(), run.certname()), (M2, CANARY));
    }
    untouched(fleet.master(0));

    let before = fleet.master(1).record().of("catalog").len();
    let roster = fleet.door.admit(fleet.master(1)).await;
    assert_eq!(roster["masters"][1]["standing"], "admitted", "{roster}");
    let agent = fleet.agent("web01.example.com");
    for _ in 0..6 {
        agent.run(Shape::default()).await.unwrap();
    }
    assert!(fleet.master(1).record().of("catalog").len() > before, "it takes requests at once");
    assert_eq!(canary.run(Shape::default()).await.unwrap().compiler, M2);
}

#[tokio::test]
async fn whatever_an_agent_says_it_is_no_canary_without_the_certificate() {
    let fleet = site(Standing::Warm).open().await;
    until_good(&fleet.door, M2).await;
    let liar = fleet.agent("web01.example.com").forging("X-Client-DN", &format!("CN={CANARY}"));
    let liar = liar.forging("X-Client-Verify", "SUCCESS").forging("X-Client-CN", CANARY);
    for _ in 0..4 {
        assert_eq!(served_by(&liar.get(TARGET).await.unwrap()), M1);
    }
    let target = format!("/puppet/v3/catalog/{CANARY}?environment=production");
    let other = fleet.agent("web02.example.com").ask(Method::POST, &target, catalog_form(CANARY, 10)).await;
    assert_eq!(other.unwrap().status(), StatusCode::FORBIDDEN, "the admitted master says so");
    let nobody = fleet.stranger(CANARY).forging("X-Authentication", "a token").get(TARGET).await.unwrap();
    assert_eq!(nobody.status(), StatusCode::FORBIDDEN, "a master is asked, whose rules let no such token in");
    for near in
        ["canary.m2.example.com.evil", "xcanary.m2.example.com", "canary.canary.m2.example.com", "canary."]
    {
        let answer = fleet.agent(near).get(TARGET).await.unwrap();
        assert_eq!(served_by(&answer), M1, "{near} is an agent like any other");
    }
    untouched(fleet.master(1));
}

#[tokio::test]
async fn a_canary_goes_to_no_other_master_when_its_own_is_down_ill_or_busy() {
    let fleet = Site::with_masters(2).open().await;
    until_good(&fleet.door, M2).await;
    let (canary, master) = (fleet.agent(CANARY), fleet.master(1));
    master.script("catalog", Some(1), Act::busy(321));
    let busy = catalog(&canary).await;
    assert_eq!(
        (busy.status(), &busy.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"321".parse().unwrap())
    );
    master.script("environments", Some(1), Act::Close);
    assert_eq!(
        canary.get(TARGET).await.unwrap().status(),
        StatusCode::BAD_GATEWAY,
        "a request that may be asked twice"
    );
    let missing =
        canary.get("/puppet/v3/file_bucket_file/md5/0123456789abcdef0123456789abcdef").await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND, "nobody else is asked for a backup");

    master.health(Health::Failing);
    eventually("it is unfit", async || {
        let master = fleet.door.master(M2).await;
        if master["fit"] == "unfit" { Ok(()) } else { Err(master.to_string()) }
    })
    .await;
    assert_eq!(catalog(&canary).await.status(), StatusCode::OK, "health is what is being found out");
    fleet.door.drain(M2).await;
    assert_eq!(catalog(&canary).await.status(), StatusCode::OK, "it is asked while it drains, too");

    master.listening().kill().await;
    for _ in 0..3 {
        let answer = canary.get(TARGET).await.unwrap();
        assert!(answer.status().is_server_error(), "{}", words(&answer));
    }
    untouched(fleet.master(0));
    fleet.door.change("retire", &json!({ "certname": M2 })).await;
    assert_eq!(
        served_by(&canary.get(TARGET).await.unwrap()),
        M1,
        "its master is gone: an agent like any other"
    );
}

#[tokio::test]
async fn not_even_its_canary_comes_past_a_masters_seal() {
    let fleet = site(Standing::Warm).open().await;
    until_good(&fleet.door, M2).await;
    let (canary, master) = (fleet.agent(CANARY), fleet.master(1));
    master.listening().speak(harness::listening::Speaks::Tls(tls::for_anybody(master.identity())));
    until_seal_is(&fleet, M2, "unsealed").await;
    let answer = canary.get(TARGET).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(words(&answer).contains("without a certificate of a door"), "{}", words(&answer));
    untouched(master);
    untouched(fleet.master(0));
    let sealed = tls::sealed_master(master.identity(), &fleet.door_ca);
    master.listening().speak(harness::listening::Speaks::Tls(sealed));
    until_seal_is(&fleet, M2, "sealed").await;
    assert_eq!(served_by(&canary.get(TARGET).await.unwrap()), M2);

    let newcomer = Master::start(Plan::named("m3.example.com"), &fleet.ca, &fleet.door_ca);
    newcomer.listening().speak(harness::listening::Speaks::Nothing);
    let body = json!({ "certname": newcomer.name(), "address": newcomer.address().to_string() });
    fleet.door.change("warm", &body).await;
    let answer = fleet.agent("canary.m3.example.com").get(TARGET).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "nobody knows yet: {}", words(&answer));
}

#[tokio::test]
async fn the_canary_of_an_open_master_is_told_to_ask_it_itself() {
    let fleet = Site::with([Plan::named(M1), Plan::open(M2)]).open().await;
    let answer = fleet.agent(CANARY).get(TARGET).await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(words(&answer).contains("by its own name"), "{}", words(&answer));
    untouched(fleet.master(0));
    untouched(fleet.master(1));
}

#[tokio::test]
async fn a_door_whose_masters_are_all_warm_serves_no_agent_and_says_so() {
    let fleet = Site::with_masters(1)
        .change(|papers| papers.roster.as_mut().unwrap().masters[0].standing = Standing::Warm)
        .open_unready()
        .await;
    until_good(&fleet.door, M1).await;
    let ready = fleet.door.admin("GET", "/ready", "").await;
    assert!(ready.status == 503 && ready.body.contains("is warm"), "{}", ready.body);
    let agent = fleet.agent("web01.example.com");
    let answer = agent.get(TARGET).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"60".parse().unwrap())
    );
    assert!(words(&answer).contains("no compile master has been admitted"), "{}", words(&answer));
    let status = agent.get("/status/v1/simple").await.unwrap();
    assert_eq!(status.status(), StatusCode::SERVICE_UNAVAILABLE);
    let canary = fleet.agent("canary.m1.example.com");
    assert_eq!(canary.run(Shape::default()).await.unwrap().compiler, M1);
    let flushed = fleet.door.admin("POST", "/v1/flush", "{}").await;
    assert_eq!((flushed.status, fleet.master(0).flushed().len()), (200, 1), "its caches matter too");
}

#[tokio::test]
async fn a_warm_open_master_is_passed_nothing() {
    let site = Site::with([Plan::open(M1)]);
    let fleet = site.change(|papers| papers.listen_keys = "mode = \"pass\"".to_owned()).open().await;
    let open = Master::start(Plan::open(M2), &fleet.ca, &fleet.door_ca);
    let body = json!({ "certname": M2, "address": open.address().to_string(), "kind": "open" });
    fleet.door.change("warm", &body).await;
    eventually("it is fit", async || {
        let master = fleet.door.master(M2).await;
        if master["fit"] == "fit" { Ok(()) } else { Err(master.to_string()) }
    })
    .await;
    let agent = fleet.agent("web01.example.com");
    // The least busy is picked, so a second one would have had some.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut session = agent.connect().await.unwrap();
        assert_eq!(served_by(&session.get(TARGET).await.unwrap()), M1);
        held.push(session);
    }
    untouched(&open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_warmed_shown_and_taken_back_by_commands() {
    let fleet = Site::with_masters(1).open().await;
    let socket = fleet.door.papers().file("admin.sock");
    let roster = async |words: &[&str]| {
        let mut line = tokio::process::Command::new(binary());
        let output = line.arg("roster").args(words).arg("--socket").arg(&socket).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let newcomer = Master::start(Plan::named(M2), &fleet.ca, &fleet.door_ca);
    let address = newcomer.address().to_string();
    let warm = ["warm", M2, "--address", &address, "--jrubies", "4"];
    let (code, out, err) = roster(&warm).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("m2.example.com is warm; the roster is at generation "), "{out}");
    assert_eq!(roster(&warm).await, (0, out, String::new()), "asking twice changes nothing");
    until_good(&fleet.door, M2).await;
    let (_, shown, _) = roster(&["show"]).await;
    let line = shown.lines().find(|line| line.starts_with(M2)).unwrap();
    assert!(line.contains("warm      fit  sealed"), "{shown}");

    for words in [&["drain", M2][..], &["undrain", M2]] {
        let (code, _, err) = roster(words).await;
        assert!(code == 1 && err.contains("is warm") && err.contains("roster admit"), "{err}");
    }
    let (code, _, err) = roster(&["warm", M1]).await;
    assert!(code == 1 && err.contains("m1.example.com is on the roster already"), "another address: {err}");
    let (code, out, err) = roster(&["retire", M2]).await;
    assert_eq!((code, err.as_str()), (0, ""), "without --force: {out}");
    let kept = std::fs::read_to_string(fleet.door.papers().file("roster.toml")).unwrap();
    assert!(!kept.contains(M2), "{kept}");
}

#[tokio::test]
async fn a_door_that_starts_anew_keeps_a_master_warm() {
    let mut fleet = site(Standing::Warm).open().await;
    let papers = fleet.door.papers().clone();
    fleet.door.signal(rustix::process::Signal::KILL);
    fleet.door.ended().await;
    fleet.door = Door::start(papers).await;
    assert_eq!(until_good(&fleet.door, M2).await["standing"], "warm");
    let agent = fleet.agent("web01.example.com");
    for _ in 0..4 {
        assert_eq!(served_by(&agent.get(TARGET).await.unwrap()), M1);
    }
    untouched(fleet.master(1));
    let body = json!({ "certname": M2, "address": fleet.master(1).address().to_string(), "kind": "open" });
    let refused = fleet.door.admin("POST", "/v1/roster/admit", &body.to_string()).await;
    assert_eq!(refused.status, 409, "as what it was warmed, or not at all: {}", refused.body);
}
