//! Sealed masters that strangers reach after all: found out, and sent nothing, until they are sealed again.

use std::path::PathBuf;
use std::sync::Arc;

use harness::agent::Agent;
use harness::door::binary;
use harness::fleet::{Fleet, Site};
use harness::identity::Leaf;
use harness::listening::{Speaks, own_address};
use harness::master::{Master, Plan};
use harness::tls::{self, Versions};
use harness::wait::eventually;
use http::{Response, StatusCode};
use stagedoor_config::master::{Isolation, Kind};

const TARGET: &str = "/puppet/v3/environments";
const M1: &str = "m1.example.com";
const M2: &str = "m2.example.com";

/// Masters whose seal is tested twice a second.
fn site(count: usize) -> Site {
    Site::with_masters(count).change(|papers| papers.health("seal_interval", "\"500ms\""))
}

async fn until_seal_is(fleet: &Fleet, name: &str, seal: &str) -> String {
    eventually(&format!("{name} is {seal}"), async || {
        let master = fleet.door.master(name).await;
        match master["seal"].as_str() {
            Some(said) if said == seal => Ok(master["seal_why"].as_str().unwrap_or_default().to_owned()),
            _ => Err(master.to_string()),
        }
    })
    .await
}

async fn until_takes_work(agent: &Agent, name: &str) {
    eventually(&format!("{name} takes work"), async || match answered_by(agent).await {
        Ok(by) if by == name => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn answered_by(agent: &Agent) -> Result<String, String> {
    let answer = agent.get(TARGET).await.map_err(|e| format!("{e:#}"))?;
    if answer.status() != StatusCode::OK {
        return Err(answer.status().to_string());
    }
    let json: serde_json::Value = serde_json::from_slice(answer.body()).map_err(|e| e.to_string())?;
    Ok(json["served_by"].as_str().unwrap_or_default().to_owned())
}

/// That nothing but tests reaches the master while agents ask, and what an agent is told.
async fn nothing_reaches(fleet: &Fleet, master: &Master) -> Response<bytes::Bytes> {
    let before = master.record().of_agents().len();
    let agent = fleet.agent("web01.example.com");
    for _ in 0..9 {
        agent.get(TARGET).await.unwrap();
    }
    let last = agent.get(TARGET).await.unwrap();
    assert_eq!(master.record().of_agents().len(), before, "it was sent a request");
    last
}

async fn roster_shown(fleet: &Fleet) -> String {
    let socket = fleet.door.papers().file("admin.sock");
    let mut command = tokio::process::Command::new(binary());
    let output = command.args(["roster", "show", "--socket"]).arg(socket).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Every way to be open, and a word of what the door says of it.
fn holes(fleet: &Fleet, master: &Master) -> [(Speaks, &'static str); 4] {
    let wants = tls::wanting(master.identity(), &fleet.ca, &fleet.door_ca);
    [
        (Speaks::Tls(wants), "without a certificate it answers "),
        (Speaks::Tls(tls::for_anybody(master.identity())), "without a certificate it answers "),
        (
            Speaks::Tls(tls::for_agents(master.identity(), &fleet.ca)),
            "with a certificate of the Puppet CA it answers ",
        ),
        (Speaks::Clear, "without TLS it answers "),
    ]
}

fn sealed(fleet: &Fleet, master: &Master) -> Speaks {
    Speaks::Tls(tls::sealed_master(master.identity(), &fleet.door_ca))
}

#[tokio::test]
async fn by_whichever_way_the_last_master_lets_strangers_in_it_is_sent_nothing_until_it_is_sealed() {
    let fleet = site(1).open().await;
    let (agent, master) = (fleet.agent("web01.example.com"), fleet.master(0));
    for (speaks, words) in holes(&fleet, master) {
        until_takes_work(&agent, M1).await;
        assert_eq!(fleet.door.metrics().await.sum("stagedoor_master_unsealed", &[("master", M1)]), 0.0);
        master.listening().speak(speaks);
        let why = until_seal_is(&fleet, M1, "unsealed").await;
        assert!(why.contains("gets no request") && why.contains(words), "{why}");
        let told = nothing_reaches(&fleet, master).await;
        assert_eq!(told.status(), StatusCode::SERVICE_UNAVAILABLE, "{words}");
        assert_eq!(told.headers()["retry-after"], "60");
        assert!(String::from_utf8_lossy(told.body()).contains("without a certificate of a door"));
        let metrics = fleet.door.metrics().await;
        assert_eq!(metrics.sum("stagedoor_master_unsealed", &[("master", M1)]), 1.0);
        let ready = fleet.door.admin("GET", "/ready", "").await;
        assert!(ready.status == 503 && ready.body.contains("refuses strangers"), "{}", ready.body);
        let shown = roster_shown(&fleet).await;
        assert!(shown.contains(&format!("unsealed ({why})")), "{shown}");
        master.listening().speak(sealed(&fleet, master));
        until_seal_is(&fleet, M1, "sealed").await;
    }
    until_takes_work(&agent, M1).await;
    let said = fleet.door.said();
    assert_eq!(said.matches("whoever connects may be any node").count(), 4, "{said}");
}

#[tokio::test]
async fn a_refusal_is_understood_in_each_version_of_tls() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let site = site(1);
        let tls = tls::sealed_master_speaking(versions, site.masters[0].identity(), &site.door_ca);
        site.masters[0].listening().speak(Speaks::Tls(tls));
        let fleet = site.open().await;
        until_seal_is(&fleet, M1, "sealed").await;
        until_takes_work(&fleet.agent("web01.example.com"), M1).await;
    }
}

#[tokio::test]
async fn agents_are_sent_to_the_masters_that_are_sealed() {
    let fleet = site(2).open().await;
    let agent = fleet.agent("web01.example.com");
    let master = fleet.master(0);
    until_takes_work(&agent, M1).await;
    master.listening().speak(Speaks::Tls(tls::for_anybody(master.identity())));
    until_seal_is(&fleet, M1, "unsealed").await;
    assert_eq!(nothing_reaches(&fleet, master).await.status(), StatusCode::OK);
    assert_eq!(answered_by(&agent).await.as_deref(), Ok(M2));
    master.listening().speak(sealed(&fleet, master));
    until_takes_work(&agent, M1).await;
}

#[tokio::test]
async fn a_request_that_a_master_has_when_it_is_found_open_is_finished() {
    let fleet = site(1).open().await;
    let master = fleet.master(0);
    master.script("/environments", Some(1), harness::answer::Act::Slow(std::time::Duration::from_secs(3)));
    let agent = fleet.agent("web01.example.com");
    let asked = tokio::spawn(async move { answered_by(&agent).await });
    eventually("the master has it", async || match master.record().of("environments").len() {
        0 => Err("nothing".to_owned()),
        _ => Ok(()),
    })
    .await;
    master.listening().speak(Speaks::Tls(tls::for_anybody(master.identity())));
    until_seal_is(&fleet, M1, "unsealed").await;
    assert_eq!(asked.await.unwrap().as_deref(), Ok(M1));
}

#[tokio::test]
async fn a_master_that_was_open_before_the_door_started_is_never_sent_anything() {
    let site = site(1);
    let tls = tls::for_anybody(site.masters[0].identity());
    site.masters[0].listening().speak(Speaks::Tls(tls));
    let fleet = site.open_unready().await;
    assert_eq!(nothing_reaches(&fleet, fleet.master(0)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    until_seal_is(&fleet, M1, "unsealed").await;
    assert_eq!(nothing_reaches(&fleet, fleet.master(0)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fleet.master(0).record().of_agents().len(), 0);
}

#[tokio::test]
async fn a_master_that_restarts_open_is_sent_nothing_however_fit_it_is() {
    let fleet = Site::with_masters(1).open().await;
    let (agent, master) = (fleet.agent("web01.example.com"), fleet.master(0));
    until_takes_work(&agent, M1).await;
    // The next test is a minute away: what finds this out is the restart itself.
    master.listening().kill().await;
    until_seal_is(&fleet, M1, "untested").await;
    let before = master.record().of_agents().len();
    master.listening().restart(Some(tls::wanting(master.identity(), &fleet.ca, &fleet.door_ca)));
    until_seal_is(&fleet, M1, "unsealed").await;
    nothing_reaches(&fleet, master).await;
    assert_eq!(master.record().of_agents().len(), before);
    master.listening().speak(sealed(&fleet, master));
    until_takes_work(&agent, M1).await;
}

#[tokio::test]
async fn a_master_that_is_only_too_slow_for_its_health_checks_keeps_its_seal() {
    let fleet = Site::with_masters(1).open().await;
    until_takes_work(&fleet.agent("web01.example.com"), M1).await;
    fleet.master(0).listening().speak(Speaks::Nothing);
    let master = eventually("it is unfit", async || {
        let master = fleet.door.master(M1).await;
        if master["fit"] == "unfit" { Ok(master) } else { Err(master.to_string()) }
    })
    .await;
    // Health never empties the pool, so it must not do so by way of the seal.
    assert_eq!(master["seal"], "sealed", "{master}");
}

#[tokio::test]
async fn what_is_refused_of_a_door_for_its_own_certificates_fault_says_nothing_of_agents() {
    let site = site(1);
    let no_client = Leaf { no_client: true, ..Leaf::server("door1.example.com").alt_name("puppet") };
    site.ca.issue(&no_client).write(site.papers.folder(), "door");
    let wide = tls::for_agents_too(site.masters[0].identity(), &site.ca, &site.door_ca);
    site.masters[0].listening().speak(Speaks::Tls(wide));
    let fleet = site.open_unready().await;
    eventually("the test says what is wrong", async || {
        let master = fleet.door.master(M1).await;
        let words = master["seal_why"].as_str().unwrap_or_default();
        if words.contains("is none for clients") { Ok(()) } else { Err(master.to_string()) }
    })
    .await;
    assert_eq!(nothing_reaches(&fleet, fleet.master(0)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fleet.master(0).record().of_agents().len(), 0);
}

#[tokio::test]
async fn a_master_that_hangs_up_on_strangers_without_a_word_is_not_sealed_by_it() {
    let site = site(1);
    let master = &site.masters[0];
    master.listening().speak(Speaks::Tls(tls::wanting(master.identity(), &site.ca, &site.door_ca)));
    let fleet = site.open_unready().await;
    let master = fleet.master(0);
    until_seal_is(&fleet, M1, "unsealed").await;
    // As one does that is being stopped.
    master.script_where(|head| head.target() == "/status/v1/simple", harness::answer::Act::Close);
    wait_for_another_test(&fleet, "unclear").await;
    assert_eq!(nothing_reaches(&fleet, master).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fleet.door.master(M1).await["seal"], "unsealed");
}

#[tokio::test]
async fn a_port_that_hangs_is_neither_sealed_nor_unsealed_and_is_sent_nothing() {
    let site = site(1);
    site.masters[0].listening().speak(Speaks::Nothing);
    let fleet = site.open_unready().await;
    let unclear = || async {
        let metrics = fleet.door.metrics().await;
        let tests =
            |outcome| metrics.sum("stagedoor_seal_tests_total", &[("master", M1), ("outcome", outcome)]);
        assert_eq!((tests("refused"), tests("answered")), (0.0, 0.0));
        tests("unclear")
    };
    eventually("two tests came to no verdict", async || match unclear().await {
        count if count >= 2.0 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    let why = until_seal_is(&fleet, M1, "untested").await;
    assert!(why.contains("in time"), "{why}");
    let told = nothing_reaches(&fleet, fleet.master(0)).await;
    assert_eq!(
        (told.status(), &told.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"15".parse().unwrap())
    );
    let metrics = fleet.door.metrics().await;
    assert_eq!(metrics.sum("stagedoor_master_untested", &[("master", M1)]), 1.0);
    fleet.master(0).listening().speak(sealed(&fleet, fleet.master(0)));
    until_takes_work(&fleet.agent("web01.example.com"), M1).await;
}

#[tokio::test]
async fn the_refusal_of_somebody_else_seals_no_master() {
    let mut site = site(1);
    let impostor = site.ca.issue(&Leaf::server("web66.example.com"));
    let impostor = Master::start_as(Plan::named(M2), impostor, &site.door_ca);
    site.papers.admit(&impostor);
    let fleet = site.open().await;
    eventually("it was said why", async || {
        let why = until_seal_is(&fleet, M2, "untested").await;
        if why.contains("did not prove to be m2.example.com") { Ok(()) } else { Err(why) }
    })
    .await;
}

#[tokio::test]
async fn a_firewall_that_nobody_can_test_is_believed_and_shown_as_untested() {
    let mut site = Site::with_masters(0);
    let master = behind_a_firewall(&mut site);
    let fleet = site.open().await;
    until_takes_work(&fleet.agent("web01.example.com"), M1).await;
    let why = until_seal_is(&fleet, M1, "untested").await;
    assert!(why.contains("used all the same") && why.contains("[outside]"), "{why}");
    let metrics = fleet.door.metrics().await;
    assert_eq!(metrics.sum("stagedoor_master_untested", &[("master", M1)]), 1.0);
    assert_eq!(metrics.sum("stagedoor_master_unsealed", &[("master", M1)]), 0.0);
    assert!(roster_shown(&fleet).await.contains("untested (used all the same"));
    drop(master);
}

/// A master that answers whoever reaches it, as one does that a firewall isolates.
fn behind_a_firewall(site: &mut Site) -> Arc<Master> {
    let master = Master::start(Plan::named(M1), &site.ca, &site.door_ca);
    master.listening().speak(Speaks::Tls(tls::for_anybody(master.identity())));
    let kind = Kind::Sealed { isolation: Isolation::Firewall };
    site.papers.admit_as(kind, M1, master.address());
    site.papers.health("seal_interval", "\"500ms\"");
    Arc::new(master)
}

/// A way to a host outside that does as a file beside it says: `open` runs what it is told as ssh would, through a
/// shell; `forced` as sshd would with our own forced command; `closed` says what curl does where nothing connects;
/// anything else is what a broken ssh exits with.
fn outside(site: &mut Site, now: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (script, state) = (site.papers.file("outside"), site.papers.file("outside.now"));
    let forced = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/outside/stagedoor-outside");
    let port = site.papers.roster.as_ref().unwrap().masters[0].address.rsplit(':').next().unwrap().to_owned();
    let text = format!(
        "#!/bin/sh\nnow=$(cat {})\ncase $now in\nopen) exec sh -c \"$*\" ;;\nforced) SSH_ORIGINAL_COMMAND=\"$*\" exec {forced} {port} ;;\nclosed) printf 'stagedoor:000:0'; exit 28 ;;\n\
         *) echo 'ssh: connect to host outside: No route to host' >&2; exit 255 ;;\nesac\n",
        state.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&state, now).unwrap();
    site.papers.extra.1 = format!("[outside]\ncommand = [\"{}\"]\n", script.display());
    state
}

#[tokio::test]
async fn a_firewall_that_lets_a_host_outside_in_takes_its_master_out() {
    let mut site = Site::with_masters(0);
    let master = behind_a_firewall(&mut site);
    let state = outside(&mut site, "closed");
    let fleet = site.open().await;
    let agent = fleet.agent("web01.example.com");
    until_takes_work(&agent, M1).await;
    until_seal_is(&fleet, M1, "sealed").await;

    std::fs::write(&state, "open").unwrap();
    let why = until_seal_is(&fleet, M1, "unsealed").await;
    assert!(why.contains("from outside it answers "), "{why}");
    let forged = master.record().for_path("/status/v1/simple");
    assert!(forged.iter().any(|seen| seen.head.get("x-client-verify") == Some("SUCCESS")), "{forged:?}");
    assert_eq!(nothing_reaches(&fleet, &master).await.status(), StatusCode::SERVICE_UNAVAILABLE);

    // Nobody to ask is no refusal.
    std::fs::write(&state, "broken").unwrap();
    wait_for_another_test(&fleet, "unclear").await;
    until_seal_is(&fleet, M1, "unsealed").await;

    std::fs::write(&state, "closed").unwrap();
    until_seal_is(&fleet, M1, "sealed").await;
    until_takes_work(&agent, M1).await;

    // The command that we ship for authorized_keys does the same as a shell.
    std::fs::write(&state, "forced").unwrap();
    let why = until_seal_is(&fleet, M1, "unsealed").await;
    assert!(why.contains("from outside it answers "), "{why}");
    std::fs::write(&state, "closed").unwrap();
    until_seal_is(&fleet, M1, "sealed").await;

    // A master that has no answer for curl is reached from outside nonetheless.
    master.listening().speak(Speaks::Clear);
    std::fs::write(&state, "open").unwrap();
    let why = until_seal_is(&fleet, M1, "unsealed").await;
    assert!(why.contains("a connection from outside comes to stand"), "{why}");
}

#[tokio::test]
async fn a_host_outside_that_cannot_be_asked_takes_no_master_out() {
    let mut site = Site::with_masters(0);
    let master = behind_a_firewall(&mut site);
    outside(&mut site, "broken");
    let fleet = site.open().await;
    until_takes_work(&fleet.agent("web01.example.com"), M1).await;
    let why = until_seal_is(&fleet, M1, "untested").await;
    assert!(why.contains("used all the same") && why.contains("No route to host"), "{why}");
    drop(master);
}

async fn wait_for_another_test(fleet: &Fleet, outcome: &str) {
    let count = async || {
        let labels = [("master", M1), ("outcome", outcome)];
        fleet.door.metrics().await.sum("stagedoor_seal_tests_total", &labels)
    };
    let before = count().await;
    eventually("another test ended", async || match count().await {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    })
    .await;
}

#[tokio::test]
async fn whoever_has_a_doors_key_to_the_host_outside_can_have_nothing_else_done_there() {
    let forced = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/outside/stagedoor-outside");
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let (mark, nobody) = (mark.display(), own_address());
    for asked in [
        String::new(),
        format!("touch {mark}"),
        format!("curl --resolve a:8140:{nobody};touch${{IFS}}{mark}"),
        format!("curl --resolve `touch {mark}`"),
        format!("curl --resolve $(touch {mark})"),
        format!("curl -o {mark} --resolve a:22:{nobody} https://a:22/"),
        format!("curl --resolve a:8140:{nobody} -o {mark} https://a:8140/"),
        format!("curl --resolve -o{mark}:8140:{nobody}"),
        "curl --resolve".to_owned(),
    ] {
        let mut command = tokio::process::Command::new(forced);
        let done = command.env("SSH_ORIGINAL_COMMAND", &asked).output().await.unwrap();
        let out = String::from_utf8_lossy(&done.stdout);
        assert!(!out.contains("stagedoor:2") && !done.status.success(), "{asked}: {out}");
        assert!(!std::path::Path::new(&mark.to_string()).exists(), "{asked}");
    }
}

#[tokio::test]
async fn whoever_has_a_doors_key_to_the_host_outside_can_name_nothing_but_a_host() {
    use std::os::unix::fs::PermissionsExt as _;

    let forced = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/outside/stagedoor-outside");
    let folder = tempfile::tempdir().unwrap();
    let curl = folder.path().join("curl");
    std::fs::write(&curl, "#!/bin/sh\necho asked \"$@\"\n").unwrap();
    std::fs::set_permissions(&curl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let asked = async |name: &str| {
        let mut command = tokio::process::Command::new(forced);
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
        command.env("SSH_ORIGINAL_COMMAND", format!("curl --resolve {name}:8140:127.0.0.1 https://x/"));
        let done = command.output().await.unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, words) = asked(M1).await;
    assert!(code == Some(0) && words.contains("https://m1.example.com:8140/status/v1/simple"), "{words}");
    for name in
        ["elsewhere.example.com/", "root@m1", "m[1-99999]", "{a,b}", "-Kfile", "", "m1?", "m1#", "m1%2f"]
    {
        assert_eq!(asked(name).await, (Some(64), String::new()), "{name}");
    }
}
