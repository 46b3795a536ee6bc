//! `stagedoor roster` asks the running door and changes its roster.

use std::path::Path;

use harness::door::binary;
use harness::fleet::{Fleet, Site};
use harness::wait::eventually;
use serde_json::Value;
use tokio::process::Command;

struct Said {
    code: i32,
    out: String,
    err: String,
}

async fn roster(fleet: &Fleet, words: &[&str]) -> Said {
    let socket = fleet.door.papers().file("admin.sock");
    asked(&["--socket", socket.to_str().unwrap()], words).await
}

async fn asked(door: &[&str], words: &[&str]) -> Said {
    let output = Command::new(binary()).arg("roster").args(door).args(words).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_admitted_drained_and_retired_by_commands() {
    let fleet = Site::with_masters(2).open().await;
    let before = roster(&fleet, &["show", "--json"]).await;
    let generation = serde_json::from_str::<Value>(&before.out).unwrap()["generation"].as_u64().unwrap();

    let said = roster(&fleet, &["admit", "new.example.com", "--address", "127.0.0.1:9"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let expected = format!("new.example.com is admitted; the roster is at generation {}\n", generation + 1);
    assert_eq!(said.out, expected);
    let again = roster(&fleet, &["admit", "new.example.com", "--address", "127.0.0.1:9"]).await;
    assert_eq!((again.code, again.out), (0, expected), "asking twice changes nothing");

    let said = roster(&fleet, &["drain", "m1.example.com"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    eventually("the roster is shown with how each master does", async || {
        let shown = roster(&fleet, &["show"]).await;
        let line = |name: &str| shown.out.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let good = line("m1.example.com").contains("draining")
            && line("m2.example.com").contains("admitted  fit")
            && line("new.example.com").contains("127.0.0.1:9");
        if good { Ok(()) } else { Err(shown.out) }
    })
    .await;

    let said = roster(&fleet, &["retire", "m1.example.com", "--json"]).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, json["masters"].as_array().unwrap().len()), (0, 2), "{json}");
    let said = roster(&fleet, &["undrain", "m1.example.com"]).await;
    assert!(said.code == 1 && said.err.contains("m1.example.com is not on the roster"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_says_why_and_the_way_out() {
    let fleet = Site::with_masters(2).open().await;
    let said = roster(&fleet, &["retire", "m1.example.com"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("m1.example.com is admitted") && said.err.contains("--force"), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);

    let said = roster(&fleet, &["drain", "m1.exmaple.com"]).await;
    assert!(said.code == 1 && said.err.contains("did you mean m1.example.com?"), "{}", said.err);

    let said = roster(&fleet, &["drain", "m1.example.com", "--generation", "0", "--json"]).await;
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.code, 1);
    assert!(json["error"].as_str().unwrap().contains("not at 0"), "{json}");
    assert!(json["hint"].as_str().unwrap().contains("roster show"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_found_through_its_settings() {
    let fleet = Site::with_masters(1).open().await;
    let settings = fleet.door.papers().file("proxy.toml");
    let said = asked(&["--config", settings.to_str().unwrap()], &["show", "--json"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("m1.example.com"), "{}", said.out);

    let off = fleet.door.papers().file("off.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let socket = fleet.door.papers().file("admin.sock");
    std::fs::write(&off, text.replace(socket.to_str().unwrap(), "off")).unwrap();
    let said = asked(&["--config", off.to_str().unwrap()], &["show"]).await;
    assert!(said.code == 1 && said.err.contains("`admin.unix` is \"off\""), "{}", said.err);

    let nobody = Path::new("/nowhere/admin.sock");
    let said = asked(&["--socket", nobody.to_str().unwrap()], &["show"]).await;
    assert!(said.code == 1 && said.err.contains("is stagedoor running"), "{}", said.err);
}
