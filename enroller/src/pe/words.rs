//! What is done to the console's groups in each kind of installation, in words for a plan; and where the vendor's later
//! text differs from that.
#![deny(clippy::disallowed_methods)]

use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Groups, Override, Preset, Settings};
use stagedoor_config::master::Kind;

/// What the step `classify` would be.
#[must_use]
pub fn classify(settings: &Settings, groups: &Groups, new: &Certname) -> String {
    let mut words = vec![group(settings, groups, new)];
    words.extend(balancer(settings, groups, new));
    words.push(
        "what is right there is left alone; what is set otherwise is refused, unless `--overwrite` is given"
            .to_owned(),
    );
    words.join("; ")
}

/// What the step `unpin` would be.
#[must_use]
pub fn unpin(settings: &Settings, groups: &Groups, new: &Certname) -> String {
    let mut from = vec![match settings.preset {
        Preset::Pe2019 => groups.infrastructure_agent.as_str(),
        _ => groups.master.as_str(),
    }];
    if groups.balancer.is_some() && groups.names == Override::Masters {
        from.push(&groups.overriding);
    }
    let from = from.join(" and ");
    match settings.preset {
        Preset::Pe3 => format!("take the branch for {new} out of the rules of {from}, and nothing else"),
        _ => format!("unpin {new} from {from}, and from no other group"),
    }
}

fn group(settings: &Settings, groups: &Groups, new: &Certname) -> String {
    let Groups { master, infrastructure_agent, compiler, .. } = groups;
    match settings.preset {
        Preset::Pe3 => format!(
            "see that {master} has its documented classes (an upgrade leaves it without); add {new} to its rule by name, \
             since this version has no endpoint that pins; set `enable_ca_proxy` of puppet_enterprise::profile::master \
             there to true, since open masters are asked for the CA, and hand that on in their own name: none of them may \
             stand in the client-whitelist of the CA's ca.conf (CVE-2015-4100)"
        ),
        Preset::Pe2015 => format!("pin {new} to {master}"),
        Preset::Pe2019 if groups.delegate => format!(
            "pin {new} to {infrastructure_agent}, have Puppet run there, and on {mom} as root run `puppet infrastructure \
             provision compiler {new}`, which makes its certificate anew and does the rest",
            mom = settings.mom.certname
        ),
        Preset::Pe2019 => format!(
            "see that {compiler} takes in whoever's certificate has pp_auth_role=pe_compiler (it was put into the request); \
             pin {new} to {infrastructure_agent}"
        ),
        Preset::OpenSource => "nothing: the site's code says what a node is".to_owned(),
    }
}

/// The balancer's part of the procedure, and where later texts differ.
fn balancer(settings: &Settings, groups: &Groups, new: &Certname) -> Vec<String> {
    let Some(balancer) = &groups.balancer else {
        return vec!["without `balancer` under [classify], nothing of the balancer is looked at".to_owned()];
    };
    let (mom, master, overriding) = (&settings.mom.certname, &groups.master, &groups.overriding);
    let mut words = vec![format!(
        "set pe_repo's `master` of {master}, which holds {mom}, to {balancer}: the install script there then names it as \
         agents' server, and a new compile master is installed with main:server={mom}"
    )];
    match groups.names {
        Override::Masters => words.push(format!(
            "below {master}, have {overriding} with pe_repo's `master` = {mom} name {new}: what is installed from a compile \
             master then asks {mom}. The vendor's later text names {mom} itself in that group, sets `enable_ca_proxy`, and \
             has all compile masters ask the CA: override = \"ca\" under [classify]"
        )),
        Override::Ca => words.push(format!(
            "below {master}, have {overriding} with pe_repo's `master` = {mom} name {mom}, as the vendor's later text has \
             it: agents that are installed from {mom} then ask {mom}, not {balancer}"
        )),
        Override::None => {}
    }
    words.extend(passed(settings, groups, balancer));
    match settings.preset {
        Preset::Pe2015 => words.push(format!(
            "the vendor's text from 2016.4 on sets `compile_master_pool_address` of pe_repo instead, which counts on \
             compile masters alone: it is left unset, and must be {balancer} where it is set"
        )),
        Preset::Pe2019 => words.push(format!(
            "see that `compile_master_pool_address` of pe_repo, as the vendor's text has it, is {balancer} where it is \
             set, and that `server_list`, `pcp_broker_list` and `primary_uris` (`master_uris` before 2021) of {} hold it: \
             they are told where they are not set, since they move every agent",
            groups.agent
        )),
        Preset::Pe3 | Preset::OpenSource => {}
    }
    words
}

/// Who is passed to an open master fetches its install script, not the Master of Masters'.
fn passed(settings: &Settings, groups: &Groups, balancer: &str) -> Option<String> {
    let is_open = matches!(settings.master.kind, Kind::Open { .. });
    (is_open && groups.names == Override::Masters).then(|| {
        format!(
            "agents that are installed through an address that passes have that script from a compile master: with \
             override = \"ca\" they ask {balancer}"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(preset: &str, keys: &str) -> (String, String) {
        let shipped = include_str!("../../../config/enroller.toml")
            .replace("\"open-source\"\n", &format!("\"{preset}\"\n"));
        let text = shipped.replace("[classify]\n", &format!("[classify]\n{keys}\n"));
        let text = text.replace("# classify = \"5m\"", "classify = \"20m\"");
        let text = format!("{text}[console]\ncertname = \"console.example.com\"\n");
        let settings = Settings::parse(Path::new("enroller.toml"), &text).unwrap();
        let new = Certname::parse_host("new.example.com").unwrap();
        let groups = settings.groups.as_ref().unwrap();
        (classify(&settings, groups, &new), unpin(&settings, groups, &new))
    }

    #[test]
    fn each_kind_of_installation_says_what_it_does_and_where_later_texts_differ() {
        let balancer = "balancer = \"puppet.example.com\"";
        let (pe_3, leaves) = of("pe-3", balancer);
        for words in [
            "add new.example.com to its rule by name",
            "`enable_ca_proxy`",
            "an upgrade leaves it without",
            "The vendor's later text names master.example.com itself",
            "through an address that passes",
        ] {
            assert!(pe_3.contains(words), "{words}: {pe_3}");
        }
        assert!(
            leaves.contains("out of the rules of PE Master and PE CA pe_repo override, and nothing else")
        );
        let (pe_2015, leaves) = of("pe-2015", balancer);
        assert!(pe_2015.starts_with("pin new.example.com to PE Master"), "{pe_2015}");
        assert!(
            pe_2015.contains("from 2016.4 on sets `compile_master_pool_address`")
                && !pe_2015.contains("passes")
        );
        assert!(leaves.starts_with("unpin new.example.com from PE Master and PE CA"));
        let (pe_2019, leaves) = of("pe-2019", balancer);
        assert!(
            pe_2019.contains("`primary_uris`") && pe_2019.contains("pp_auth_role=pe_compiler"),
            "{pe_2019}"
        );
        assert_eq!(leaves, "unpin new.example.com from PE Infrastructure Agent, and from no other group");
        let (delegated, _) = of("pe-2019", "delegate = true");
        assert!(
            delegated.contains("puppet infrastructure provision compiler new.example.com"),
            "{delegated}"
        );
        assert!(delegated.contains("nothing of the balancer is looked at"), "{delegated}");
        let (ca, leaves) = of("pe-3", &format!("{balancer}\noverride = \"ca\""));
        assert!(ca.contains(
            "as the vendor's later text has it: agents that are installed from master.example.com"
        ));
        assert!(leaves.contains("out of the rules of PE Master, and nothing else"));
    }
}
