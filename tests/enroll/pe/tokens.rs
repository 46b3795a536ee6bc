//! Tokens that end, and permissions that lack.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use harness::installation::{ENROLLER, PUPPETDB, TOKEN, Version};

use super::{NEW, ORDER, Pe};
use crate::enroll::order::{goes_on, stops_at};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_the_middle_pauses_and_a_new_one_carries_on_to_the_end() {
    let pe = Pe::open(Version::V2018).await;
    // It ends while the job that runs PuppetDB's machine is looked at.
    pe.pe.rights.expire_after(TOKEN, 15);
    let told = stops_at(&pe.scene, "run 2 puppetdb.example.com").await;
    assert!(told.contains("paused: the orchestrator") && told.contains("401 Unauthorized"), "{told}");
    assert!(told.contains("has expired, or was revoked") && told.contains("`puppet access login"), "{told}");
    assert_eq!(pe.pe.orchestrator.jobs(), [NEW, PUPPETDB]);
    let status = pe.scene.there.enroller(&["status"]).await;
    assert!(status.out.contains("paused"), "{}", status.out);
    // Nothing puts that right but a new token.
    let again = pe.scene.there.enroller(&["resume", NEW]).await;
    assert!(again.code == 1 && again.err.contains("paused"), "{}", again.err);
    let new = "n3w-t0k3n-0f-th3-3nr0ll3r";
    pe.pe.new_token(new);
    goes_on(&pe.scene).await;
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER, "the job that was under way is no second one");
    let journal = pe.scene.there.paper.journal(NEW);
    for secret in [TOKEN, new] {
        assert!(!journal.contains(secret) && !told.contains(secret) && !again.err.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_ended_pauses_before_anything_is_changed() {
    let pe = Pe::open(Version::V2019).await;
    pe.pe.rights.expire_after(TOKEN, 0);
    let told = stops_at(&pe.scene, "preflight").await;
    assert!(told.contains("paused: the classifier"), "{told}");
    assert!(pe.scene.there.machines.runs().is_empty() && pe.scene.fleet.mom.waiting().is_empty());
    pe.pe.new_token(TOKEN);
    goes_on(&pe.scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_everyone_may_read_is_not_used() {
    let pe = Pe::open(Version::V2018).await;
    let file = pe.scene.there.folder().join("token");
    fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
    let told = stops_at(&pe.scene, "preflight").await;
    assert!(told.contains("its mode is 604") && told.contains("have the token revoked"), "{told}");
    assert!(!told.contains(TOKEN) && pe.pe.classifier.record().all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_lacks_is_named() {
    for (path, step, words) in [
        ("/command/deploy", "run 1 new.example.com", "Puppet agent: Run Puppet on agent nodes"),
        ("/jobs", "preflight", "Job orchestrator: Start, stop and view jobs"),
        ("/pin", "classify", "Node groups: Create, edit, and delete child groups"),
        ("/groups", "preflight", "Node groups: View"),
    ] {
        let pe = Pe::open(Version::V2018).await;
        pe.pe.rights.forbid(path);
        let told = stops_at(&pe.scene, step).await;
        assert!(told.contains("refused") && told.contains("403 Forbidden"), "{told}");
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_enrollers_own_certificate_is_shown_where_it_is_listed() {
    let mut pe = Pe::open(Version::V2018).await;
    let token = format!("[token]\nfile = \"{}\"\n", pe.scene.there.folder().join("token").display());
    pe.scene.there.paper.change(&token, "");
    pe.pe.rights.unlist(ENROLLER);
    let told = stops_at(&pe.scene, "preflight").await;
    assert!(told.contains("it does not know the certificate under [identity]"), "{told}");
    assert!(told.contains("rbac-certificate-allowlist") && told.contains("console.example.com"), "{told}");
    pe.pe.rights.list(ENROLLER);
    goes_on(&pe.scene).await;
}
