//! What is looked at before anything is changed, and how the agent and its certificate come about.

use harness::installation::{ENROLLER, PUPPETDB, Turn};
use harness::mom;

use super::order::{goes_on, stops_at};
use super::{NEW, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_cannot_reach_is_told_before_anything_is_changed() {
    let scene = Scene::open().await;
    scene.there.machines.forget_name(PUPPETDB);
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains(&format!("{NEW} does not know the name {PUPPETDB}")), "{told}");
    assert!(scene.there.machines.runs().is_empty() && scene.fleet.mom.waiting().is_empty());

    let scene = Scene::open().await;
    let port = scene.there.puppetdb.address().port();
    scene.there.machines.shut(&format!("{PUPPETDB}:{port}"));
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains(&format!("{NEW} cannot connect to {PUPPETDB}:{port}")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puppetdb_that_does_not_know_the_enroller_or_is_down_is_told_before_anything_is_changed() {
    let scene = Scene::open().await;
    scene.there.puppetdb.dies();
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains("cannot be connected to"), "{told}");

    let mut scene = Scene::open().await;
    scene
        .fleet
        .ca
        .issue(&harness::identity::Leaf::node("other.example.com"))
        .write(scene.there.folder(), "enroller");
    scene.there.paper.more = String::new();
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains("403") && told.contains("certificate-allowlist"), "{told}");
    assert_ne!(ENROLLER, "other.example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_the_ca_knows_already_is_not_enrolled_anew() {
    let scene = Scene::open().await;
    let key = harness::identity::KeyKind::P256.generate();
    scene.fleet.mom.hand_in(NEW, &harness::identity::Leaf::node(NEW).request_pem(&key));
    let told = stops_at(&scene, "preflight").await;
    assert!(told.contains("the CA has a request of") && told.contains("adopt"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_comes_from_the_moms_own_script_judged_by_the_ca() {
    let mut scene = Scene::open().await;
    // Another CA's certificates travel: what curl meets is believed by nobody.
    let other = harness::ca::PuppetCa::self_signed();
    let bundle = scene.there.folder().join("other.pem");
    std::fs::write(&bundle, other.bundle_pem() + &scene.fleet.ca.bundle_pem()).unwrap();
    let crl = scene.there.folder().join("other-crl.pem");
    std::fs::write(&crl, other.crl_pem() + &scene.fleet.ca.crl_pem()).unwrap();
    let at = scene.there.folder().display().to_string();
    scene
        .there
        .paper
        .change(&format!("bundle = \"{at}/ca_crt.pem\""), &format!("bundle = \"{}\"", bundle.display()));
    scene.there.paper.change(&format!("crl = \"{at}/ca_crl.pem\""), &format!("crl = \"{}\"", crl.display()));
    let told = stops_at(&scene, "install").await;
    assert!(told.contains("SSL certificate problem"), "{told}");
    let said = scene.there.enroller(&["resume", NEW, "--insecure-install"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_set_up_through_a_balancer_is_refused_and_not_overwritten() {
    let scene = Scene::open().await;
    scene.there.machines.install(NEW, "loadbalancer.example.com");
    let told = stops_at(&scene, "install").await;
    assert!(told.contains("loadbalancer.example.com") && told.contains(mom::NAME), "{told}");
    assert!(told.contains("balancer"), "{told}");

    // The same by a list, which an agent goes by whatever its `server` is.
    let scene = Scene::open().await;
    scene.there.machines.install(NEW, mom::NAME);
    let printed = format!("server = {}\nserver_list = [\"loadbalancer.example.com:8140\"]\n", mom::NAME);
    scene.there.machines.script(NEW, "print --section agent server server_list", 9, Turn::Prints(printed));
    let told = stops_at(&scene, "install").await;
    assert!(told.contains("the agent's server is loadbalancer.example.com"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_the_machines_own_is_not_signed() {
    let scene = Scene::open().await;
    // Somebody who reaches the CA hands one in under the name before the machine does.
    let scene_key = harness::identity::KeyKind::P256.generate();
    let forged = harness::identity::Leaf::node(NEW).alt_name("puppet").request_pem(&scene_key);
    let machines = &scene.there.machines;
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    machines.script(NEW, "ssl submit_request", 1, Turn::Hangs(begun.clone()));
    let mut enroller = scene.there.start(&["enroll", NEW, "--address", &scene.address()]);
    harness::wait::in_time("the machine is asked for its request", begun.notified()).await;
    enroller.kill().await.unwrap();
    scene.fleet.mom.hand_in(NEW, &forged);
    machines.makes_key(NEW);
    let said = scene.there.enroller(&["resume", NEW]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is not the one on the machine"), "{}", said.err);
    assert_eq!(scene.fleet.mom.times_signed(NEW), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_more_than_the_settings_say_is_not_signed_and_the_difference_is_shown() {
    for (oid, words) in [
        ("1.3.6.1.4.1.34380.1.3.39", "would give it rights that are not in the settings"),
        ("1.3.6.1.4.1.34380.1.1.13", "is not in the settings"),
    ] {
        let scene = Scene::open().await;
        scene.there.machines.asks_for(NEW, oid, "true");
        let told = stops_at(&scene, "sign").await;
        assert!(told.contains(oid) && told.contains(words), "{told}");
        assert_eq!(scene.fleet.mom.times_signed(NEW), 0);
    }
    let mut scene = Scene::open().await;
    scene.there.paper.more =
        "[certificate]\ndns_alt_names = [\"puppet\", \"puppet.example.com\"]\n".to_owned();
    scene.there.machines.script(NEW, "config set dns_alt_names", 1, Turn::Says(0, String::new()));
    let told = stops_at(&scene, "install").await;
    assert!(told.contains("alternative names"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_signs_no_alternative_names_is_explained() {
    let scene = Scene::open().await;
    scene.fleet.mom.allow_alternative_names(false);
    let told = stops_at(&scene, "sign").await;
    assert!(told.contains("409") && told.contains("`allow-subject-alt-names: true`"), "{told}");
    scene.fleet.mom.allow_alternative_names(true);
    goes_on(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_certificate_is_let_in_the_cas_own_command_signs() {
    let scene = Scene::open().await;
    scene.fleet.mom.let_nobody_administer();
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("signed_by ssh"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_signs_by_itself_is_judged_by_what_it_signed() {
    let scene = Scene::open().await;
    scene.fleet.mom.autosign(true);
    let said = scene.there.enroller(&["enroll", NEW, "--address", &scene.address()]).await;
    assert_eq!(said.code, 0, "{}", said.err);

    let scene = Scene::open().await;
    scene.fleet.mom.autosign(true);
    scene.there.machines.asks_for(NEW, "1.3.6.1.4.1.34380.1.3.39", "true");
    let told = stops_at(&scene, "sign").await;
    assert!(told.contains("revoke it at once") && told.contains("would give it rights"), "{told}");
}
