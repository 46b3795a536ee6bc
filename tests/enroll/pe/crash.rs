//! Killed before and after each step's act, one after the other, in one enrollment: the same end.

use harness::installation::Version;
use harness::mom;
use stagedoor_enroller::pipeline::Procedure;

use super::super::crash::through;
use super::{BALANCER, NEW, ORDER, Pe};

async fn came_to_the_same_end(pe: &Pe) {
    assert_eq!(pe.scene.standing(NEW).await.as_deref(), Some("admitted"));
    for name in [NEW.to_owned(), format!("canary.{NEW}")] {
        assert_eq!(pe.scene.fleet.mom.times_signed(&name), 1, "{name}");
    }
    let mut names: Vec<_> = pe.pe.classifier.groups().iter().map(|group| group["name"].clone()).collect();
    let count = names.len();
    names.sort_by_key(ToString::to_string);
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_an_enrollment_in_pe_2019_has_one_certificate_one_pin_and_one_job_each()
 {
    let pe = Pe::with(Version::V2019, &format!("balancer = \"{BALANCER}\"")).await;
    let points = through(&pe.scene, Procedure::Enroll).await;
    // install, sign, first run, classify, four runs, check, admit, watch.
    assert_eq!(points.len(), 22, "{points:?}");
    came_to_the_same_end(&pe).await;
    assert_eq!(pe.pe.classifier.times_named("PE Infrastructure Agent", NEW), 1);
    assert_eq!(pe.pe.orchestrator.jobs(), ORDER);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_act_an_enrollment_in_pe_3_has_one_certificate_and_one_branch_in_each_rule()
 {
    let pe = Pe::with(Version::V3, &format!("balancer = \"{BALANCER}\"")).await;
    let points = through(&pe.scene, Procedure::Enroll).await;
    assert_eq!(points.len(), 20, "{points:?}");
    came_to_the_same_end(&pe).await;
    for (group, nodes) in [("PE Master", &[NEW, mom::NAME][..]), ("PE CA pe_repo override", &[NEW])] {
        let rule = pe.pe.classifier.group(group)["rule"].clone();
        assert_eq!(rule.as_array().map(Vec::len), Some(1 + nodes.len()), "{rule}");
        for node in nodes {
            assert_eq!(pe.pe.classifier.times_named(group, node), 1);
        }
    }
    let runs = pe.scene.there.machines.runs();
    let last = |host: &str| runs.iter().rposition(|run| run == host);
    assert!(last(ORDER[0]) < last(ORDER[1]) && last(ORDER[1]) < last(ORDER[2]), "{runs:?}");
}
