//! Groups as an installation has them, compared with what they must hold.

use proptest::prelude::*;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Groups, Override, Preset};

use super::*;

const NEW: &str = "new.example.com";
const MOM: &str = "mom.example.com";
const BALANCER: &str = "puppet.example.com";

fn certname(text: &str) -> Certname {
    Certname::parse_host(text).unwrap()
}

fn settings(names: Override) -> Groups {
    Groups {
        balancer: Some(BALANCER.into()),
        names,
        delegate: false,
        master: "PE Master".into(),
        overriding: "PE CA pe_repo override".into(),
        agent: "PE Agent".into(),
        infrastructure_agent: "PE Infrastructure Agent".into(),
        compiler: "PE Compiler".into(),
    }
}

fn musts(preset: Preset, names: Override) -> Vec<Must> {
    wanted(preset, &settings(names), &certname(MOM), &certname(NEW))
}

/// The groups of a new installation, of any version.
fn fresh() -> Vec<Group> {
    let group = |id: &str, name: &str, parent: &str, rule: Value, classes: Value| -> Group {
        serde_json::from_value(json!({
            "id": id, "name": name, "environment": "production", "parent": parent, "rule": rule,
            "classes": classes, "serial_number": 3,
        }))
        .unwrap()
    };
    let mom = json!(["or", ["=", "name", MOM]]);
    let role = json!(["and", ["=", ["trusted", "extensions", "pp_auth_role"], "pe_compiler"]]);
    let of_master = json!({
        "puppet_enterprise::profile::master": {}, "puppet_enterprise::profile::mcollective::peadmin": {},
        "puppet_enterprise::profile::master::mcollective": {}, "pe_repo": {},
    });
    vec![
        group("0", "All Nodes", "0", json!(["and", ["~", "name", ".*"]]), json!({})),
        group("1", "PE Infrastructure", "0", Value::Null, json!({ "puppet_enterprise": {} })),
        group("2", "PE Master", "1", mom.clone(), of_master),
        group("3", "PE Agent", "1", Value::Null, json!({ "puppet_enterprise::profile::agent": {} })),
        group("4", "PE Infrastructure Agent", "3", mom, json!({ "puppet_enterprise::profile::agent": {} })),
        group("5", "PE Compiler", "2", role, json!({ "puppet_enterprise::profile::master": {} })),
    ]
}

/// The classifier's own merging of a delta.
fn apply(groups: &mut Vec<Group>, change: &Change) {
    let (id, delta) = match change {
        Change::Create { body, .. } => {
            let mut body = body.clone();
            body["id"] = json!(groups.len().to_string());
            groups.push(serde_json::from_value(body).unwrap());
            return;
        }
        Change::Pin { id, delta, .. }
        | Change::Unpin { id, delta, .. }
        | Change::Update { id, delta, .. } => (id, delta),
    };
    let group = groups.iter_mut().find(|group| group.id == *id).unwrap();
    if let Some(rule) = delta.get("rule") {
        group.rule = rule.clone();
    }
    for (key, place) in [("classes", &mut group.classes), ("config_data", &mut group.config_data)] {
        for (class, parameters) in delta.get(key).and_then(Value::as_object).into_iter().flatten() {
            let there = place.entry(class.clone()).or_default();
            there.extend(parameters.as_object().unwrap().clone());
        }
    }
}

/// Changes one after the other, each after a fresh look, until nothing is left to do.
fn settled(mut groups: Vec<Group>, musts: &[Must]) -> (Vec<Group>, Vec<String>) {
    let mut done = Vec::new();
    while let Some(change) = compare(&groups, musts, false).unwrap().changes.first() {
        done.push(change.words());
        apply(&mut groups, change);
        assert!(done.len() < 20, "{done:#?}");
    }
    (groups, done)
}

#[test]
fn each_kind_of_installation_has_the_documented_changes_made() {
    let (groups, done) = settled(fresh(), &musts(Preset::Pe3, Override::Masters));
    let expected = [
        "add a branch for new.example.com to the rule of PE Master",
        "set puppet_enterprise::profile::master's `enable_ca_proxy` of PE Master to true",
        "set pe_repo's `master` of PE Master to \"puppet.example.com\"",
        "create the group PE CA pe_repo override",
        "set pe_repo's `master` of PE CA pe_repo override to \"mom.example.com\"",
        "add a branch for new.example.com to the rule of PE CA pe_repo override",
    ];
    assert_eq!(done, expected);
    assert_eq!(groups[2].rule, json!(["or", ["=", "name", MOM], ["=", "name", NEW]]));
    assert_eq!(groups[6].parent, "2");

    let (groups, done) = settled(fresh(), &musts(Preset::Pe2015, Override::Ca));
    assert_eq!(done[0], "pin new.example.com to PE Master");
    assert_eq!(done.last().unwrap(), "pin mom.example.com to PE CA pe_repo override");
    assert!(!done.iter().any(|words| words.contains("enable_ca_proxy")), "{done:?}");
    assert_eq!(compare(&groups, &musts(Preset::Pe2015, Override::Ca), false).unwrap().changes, []);

    let (groups, done) = settled(fresh(), &musts(Preset::Pe2019, Override::None));
    assert_eq!(done[0], "pin new.example.com to PE Infrastructure Agent");
    assert_eq!(groups.len(), 6);
    // Where every agent goes is told, and not changed in passing.
    let warned = compare(&groups, &musts(Preset::Pe2019, Override::None), false).unwrap().warnings;
    assert_eq!(warned.len(), 3, "{warned:?}");
    assert!(warned[0].contains("PE Agent has no `server_list`"), "{warned:?}");
    assert!(
        wanted(Preset::OpenSource, &settings(Override::Masters), &certname(MOM), &certname(NEW)).is_empty()
    );
}

#[test]
fn what_is_set_otherwise_is_refused_unless_it_may_be_overwritten() {
    let mut groups = fresh();
    let agent = groups.iter_mut().find(|group| group.name == "PE Agent").unwrap();
    let parameters = agent.classes.get_mut("puppet_enterprise::profile::agent").unwrap();
    parameters.insert("server_list".into(), json!(["lb.example.com"]));
    parameters.insert("pcp_broker_list".into(), json!("[\"puppet.example.com:8142\", \"other:8142\"]"));
    parameters.insert("master_uris".into(), json!(["https://puppet.example.com"]));
    let musts = musts(Preset::Pe2019, Override::None);
    let refused = compare(&groups, &musts, false).unwrap_err();
    assert_eq!(
        refused.reason,
        "PE Agent has puppet_enterprise::profile::agent's `server_list` = [\"lb.example.com\"], expected \
         [\"puppet.example.com\"]"
    );
    assert!(refused.way_out.contains("--overwrite"));
    let changes = compare(&groups, &musts, true).unwrap().changes;
    let words: Vec<String> = changes.iter().map(Change::words).collect();
    assert!(
        words.contains(
            &"set puppet_enterprise::profile::agent's `server_list` of PE Agent to [\"puppet.example.com\"]"
                .to_owned()
        )
    );
    assert!(
        !words.iter().any(|words| words.contains("pcp_broker_list") || words.contains("uris")),
        "{words:?}"
    );
}

#[test]
fn configuration_data_counts_and_is_changed_where_it_stands() {
    let mut groups = fresh();
    groups[2].config_data.entry("pe_repo".into()).or_default().insert("master".into(), json!("lb"));
    let musts = musts(Preset::Pe2015, Override::None);
    assert!(compare(&groups, &musts, false).unwrap_err().reason.contains("`master` = \"lb\""));
    let changes = compare(&groups, &musts, true).unwrap().changes;
    let Change::Update { delta, .. } = &changes[1] else { panic!("{changes:?}") };
    assert_eq!(
        *delta,
        json!({ "id": "2", "serial_number": 3, "config_data": { "pe_repo": { "master": BALANCER } } })
    );
    groups[2].config_data.get_mut("pe_repo").unwrap().insert("master".into(), json!(BALANCER));
    assert_eq!(compare(&groups, &musts, false).unwrap().changes.len(), 1, "the pin alone");
}

#[test]
fn groups_without_their_classes_are_as_an_upgrade_leaves_them() {
    let mut groups = fresh();
    groups[2].classes.remove("puppet_enterprise::profile::master::mcollective");
    groups[2].deleted.insert(
        "puppet_enterprise::profile::mcollective::peadmin".into(),
        json!({ "puppetlabs.classifier/deleted": true }),
    );
    let refused = compare(&groups, &musts(Preset::Pe3, Override::None), true).unwrap_err();
    assert_eq!(
        refused.reason,
        "the console's group PE Master has no puppet_enterprise::profile::mcollective::peadmin, no \
         puppet_enterprise::profile::master::mcollective"
    );
    assert!(refused.way_out.contains("an upgrade leaves the groups without their classes"));
    // Later versions have no MCollective.
    assert!(compare(&groups, &musts(Preset::Pe2015, Override::None), false).is_ok());
}

#[test]
fn a_group_that_is_not_what_it_should_be_is_told_by_its_name() {
    let refused = |change: fn(&mut Vec<Group>), preset| {
        let mut groups = fresh();
        change(&mut groups);
        compare(&groups, &musts(preset, Override::Masters), false).unwrap_err().reason
    };
    let gone = refused(|groups| drop(groups.remove(2)), Preset::Pe3);
    assert_eq!(gone, "the console has no group PE Master");
    let twice = refused(
        |groups| {
            let other = Group { environment: "test".into(), ..groups[2].clone() };
            groups.push(other);
        },
        Preset::Pe3,
    );
    assert!(twice.contains("more than one group PE Master, of production and of test"), "{twice}");
    let elsewhere = refused(
        |groups| {
            let child = Group { id: "9".into(), name: "PE CA pe_repo override".into(), ..groups[3].clone() };
            groups.push(child);
        },
        Preset::Pe3,
    );
    assert!(elsewhere.contains("stands below PE Infrastructure, not below PE Master"), "{elsewhere}");
    let by_hand = refused(|groups| groups[5].rule = Value::Null, Preset::Pe2019);
    assert!(by_hand.contains("PE Compiler does not say [\"=\",[\"trusted\""), "{by_hand}");
}

#[test]
fn who_leaves_is_taken_out_of_the_groups_it_was_put_into_and_of_no_other() {
    for (preset, names, expected) in [
        (Preset::Pe3, Override::Masters, 2),
        (Preset::Pe2015, Override::Ca, 1),
        (Preset::Pe2019, Override::None, 1),
    ] {
        let musts = musts(preset, names);
        let (mut groups, _) = settled(fresh(), &musts);
        // A group of the site's own that pins it.
        groups.push(Group { id: "own".into(), name: "Ours".into(), ..groups[2].clone() });
        let before = groups.clone();
        let leaving = leaving(&groups, &musts, NEW);
        assert_eq!(leaving.len(), expected, "{leaving:?}");
        for change in &leaving {
            apply(&mut groups, change);
        }
        assert!(super::leaving(&groups, &musts, NEW).is_empty());
        for (group, before) in groups.iter().zip(&before) {
            assert_eq!((&group.classes, &group.config_data), (&before.classes, &before.config_data));
            let named = rule::names(&before.rule, NEW) && group.name != "Ours";
            assert_eq!(group.rule != before.rule, named, "{}", group.name);
        }
    }
}

proptest! {
    /// Whatever is there before, what is done once is not done again, and what others have set stays.
    #[test]
    fn a_second_enrollment_changes_nothing(
        preset in proptest::sample::select(vec![Preset::Pe3, Preset::Pe2015, Preset::Pe2019]),
        names in proptest::sample::select(Override::ALL.to_vec()),
        pinned in proptest::collection::vec("[a-d]", 0..4),
        overwrites in any::<bool>(),
    ) {
        let mut groups = fresh();
        for node in &pinned {
            groups[2].rule = rule::with(&groups[2].rule, node);
        }
        let musts = musts(preset, names);
        for _ in 0..20 {
            let compared = compare(&groups, &musts, overwrites).unwrap();
            let Some(change) = compared.changes.first() else { break };
            apply(&mut groups, change);
        }
        prop_assert_eq!(compare(&groups, &musts, overwrites).unwrap().changes, vec![]);
        for node in &pinned {
            prop_assert!(rule::names(&groups[2].rule, node));
        }
    }
}
