//! What each kind of installation wants of its groups, as the documented procedures have it.
#![deny(clippy::disallowed_methods)]

use serde_json::{Value, json};
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Groups, Override, Preset};

use super::{Must, Unset};

/// Makes a Puppet Server of a node.
const MASTER: &str = "puppet_enterprise::profile::master";
/// What its agent is told.
const AGENT: &str = "puppet_enterprise::profile::agent";
/// The packages that agents are installed from, with the script that names their server.
const PE_REPO: &str = "pe_repo";
/// The classes of PE Master in 3.7 and 3.8.
const OF_PE_3: &[&str] = &[
    MASTER,
    "puppet_enterprise::profile::mcollective::peadmin",
    "puppet_enterprise::profile::master::mcollective",
];
/// Those without which there is no Puppet Server later; what else the group has differs from version to version.
const LATER: &[&str] = &[MASTER];
/// Where agents reach a master, and where their brokers are.
const PUPPET_PORT: &str = ":8140";
const BROKER_PORT: &str = ":8142";

/// What a parameter is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The same value; `"true"` is as good as `true`.
    Same,
    /// The server is among those that it names, in whatever form.
    Among,
}

impl Asks {
    /// Whether what is there is as good as what is wanted.
    #[must_use]
    pub fn is_met(self, there: &Value, wanted: &Value) -> bool {
        match self {
            Self::Same => plain(there) == plain(wanted),
            Self::Among => {
                let there = servers(there);
                servers(wanted).iter().all(|server| there.contains(server))
            }
        }
    }
}

/// A value as the console shows it: older ones keep every value as text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

/// The servers that a value names: a list, or a text that holds one, with or without ports and `https://`.
fn servers(value: &Value) -> Vec<String> {
    let texts: Vec<String> = match value {
        Value::Array(all) => all.iter().map(plain).collect(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(all)) => all.iter().map(plain).collect(),
            _ => text.split(',').map(str::to_owned).collect(),
        },
        _ => Vec::new(),
    };
    let host = |text: &String| {
        let text = text.trim().trim_start_matches("https://").trim_end_matches('/');
        text.trim_end_matches(PUPPET_PORT).to_owned()
    };
    texts.iter().map(host).collect()
}

/// What the groups must hold for this master.
#[must_use]
pub fn wanted(preset: Preset, groups: &Groups, mom: &Certname, master: &Certname) -> Vec<Must> {
    let pins = preset != Preset::Pe3;
    let name =
        |group: &str, node: &Certname| Must::Name { group: group.to_owned(), node: node.to_string(), pins };
    let mut musts = vec![Must::Classes {
        group: groups.master.clone(),
        classes: if preset == Preset::Pe3 { OF_PE_3 } else { LATER },
    }];
    match preset {
        Preset::Pe3 => {
            musts.push(name(&groups.master, master));
            // Its masters are open: an agent that is passed to one asks it for the CA.
            musts.push(parameter(&groups.master, MASTER, &["enable_ca_proxy"], json!(true)));
        }
        Preset::Pe2015 => musts.push(name(&groups.master, master)),
        Preset::Pe2019 => {
            let condition = json!(["=", ["trusted", "extensions", "pp_auth_role"], "pe_compiler"]);
            musts.push(Must::Condition { group: groups.compiler.clone(), condition });
            musts.push(name(&groups.infrastructure_agent, master));
        }
        Preset::OpenSource => return Vec::new(),
    }
    let Some(balancer) = &groups.balancer else { return musts };
    musts.push(parameter(&groups.master, PE_REPO, &["master"], json!(balancer)));
    if preset != Preset::Pe3 {
        let names = &["compile_master_pool_address"];
        let (class, value) = (PE_REPO, json!(balancer));
        let group = groups.master.clone();
        musts.push(Must::Parameter { group, class, names, value, asks: Asks::Same, unset: Unset::Leave });
    }
    let whom = match groups.names {
        Override::Masters => Some(master),
        Override::Ca => Some(mom),
        Override::None => None,
    };
    if let Some(whom) = whom {
        musts.push(Must::Child {
            group: groups.overriding.clone(),
            parent: groups.master.clone(),
            about: format!("Install scripts of these nodes name {mom}. Made by stagedoor-enroller."),
        });
        musts.push(parameter(&groups.overriding, PE_REPO, &["master"], json!(mom)));
        musts.push(name(&groups.overriding, whom));
    }
    if preset == Preset::Pe2019 {
        let of_agents = |names, value: String| {
            let (group, value) = (groups.agent.clone(), json!([value]));
            Must::Parameter { group, class: AGENT, names, value, asks: Asks::Among, unset: Unset::Tell }
        };
        musts.push(of_agents(&["server_list"], balancer.clone()));
        musts.push(of_agents(&["pcp_broker_list"], format!("{balancer}{BROKER_PORT}")));
        musts.push(of_agents(&["primary_uris", "master_uris"], balancer.clone()));
    }
    musts
}

/// A parameter that is set where it is not.
fn parameter(group: &str, class: &'static str, names: &'static [&'static str], value: Value) -> Must {
    Must::Parameter { group: group.to_owned(), class, names, value, asks: Asks::Same, unset: Unset::Set }
}
