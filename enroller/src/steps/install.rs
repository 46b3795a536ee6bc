//! The agent, from the Master of Masters and never through a balancer: what comes through one is set up for the machine
//! it came from.

use std::collections::BTreeSet;

use stagedoor_config::enroller::{By, Preset};
use stagedoor_config::read;

use super::preflight::has_agent;
use super::{Act, Enrolling, Look};
use crate::pipeline::{Facts, Looked, Stop, StopKind, ToLook};
use crate::runs::program;
use crate::shell::CommandLine;
use crate::site::not_run;
use crate::words::chain;

/// The machine's own settings for `curl` are passed over: one may believe anybody, or ask another in between.
///
/// `$1` is the script's address, `$2` whether it is to come from the CA's own (`ca`) or from anybody; the rest is the
/// script's. The CA's certificates come on the standard input.
const SCRIPT: &str = r#"
set -eu
url=$1; from=$2; shift 2
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
cat >"$kept/ca.pem"
fetch() {
  curl --disable --silent --show-error --fail --noproxy '*' --output "$kept/install.bash" "$@" "$url"
}
case $from in
ca) fetch --cacert "$kept/ca.pem" ;;
anybody) fetch --insecure ;;
esac
bash "$kept/install.bash" "$@" </dev/null
"#;

/// `$1` is the puppet program; then come names and values of `[main]`, two and two, in the order in which they are written.
/// The CA's certificates come on the standard input, before them the lines of csr_attributes.yaml and their number. Each
/// file is there as a whole or not at all, and before puppet.conf speaks of the server. Attributes of somebody else's
/// are left as they are.
const SETTINGS: &str = r#"
set -eu
puppet=$1; shift
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
IFS= read -r lines
if [ "$lines" -gt 0 ]; then
  attributes=$("$puppet" config print csr_attributes)
  while [ "$lines" -gt 0 ]; do IFS= read -r line; printf '%s\n' "$line" >>"$kept/attributes"; lines=$((lines - 1)); done
  if [ ! -e "$attributes" ]; then
    cp "$kept/attributes" "$attributes.new"; mv "$attributes.new" "$attributes"
  elif ! cmp -s "$kept/attributes" "$attributes"; then
    echo "$attributes is there already and says something else" >&2; exit 1
  fi
fi
ca=$("$puppet" config print localcacert)
if [ ! -e "$ca" ]; then mkdir -p "$(dirname "$ca")"; cat >"$ca.new"; mv "$ca.new" "$ca"; fi
while [ "$#" -gt 0 ]; do "$puppet" config set "$1" "$2" --section main; shift 2; done
"#;

pub(super) async fn look(at: &Enrolling<'_>, task: &ToLook) -> Look {
    if !at.site.shell.is_there() && matches!(at.site.settings.install.by, By::Command(_)) {
        // Nobody can look there: what the command said is believed, and the request that comes of it is judged.
        return Ok(match task.known().acted {
            Some(_) => Looked::There(Facts::none().and("by", "command, as it said")),
            None => Looked::Missing(Facts::none()),
        });
    }
    if !has_agent(at, at.master()).await? {
        return if at.site.settings.install.by == By::Settings {
            let (host, puppet) = (at.master(), at.site.puppet_program());
            let reason = format!("{puppet} is not on {host}: its agent's package is to be there already");
            let way_out = "install it, or have it installed by [install] with `by`, then resume";
            Err(Stop::new(StopKind::Refused, reason, way_out))
        } else {
            Ok(Looked::Missing(Facts::none()))
        };
    }
    let mom = &at.site.settings.mom.certname;
    let [server, names, own, path] = at
        .site
        .printed(at.master(), "main", ["server", "dns_alt_names", "certname", "environmentpath"])
        .await?;
    let path_is_wanted =
        at.site.settings.install.environmentpath.as_ref().is_none_or(|wanted| wanted == path.as_str());
    let agents = asked(at).await?;
    let wanted: BTreeSet<&str> =
        at.site.settings.certificate.dns_alt_names.iter().map(String::as_str).collect();
    let there: BTreeSet<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let named = there == wanted && own == at.master().as_str();
    if server == mom.as_str() && agents == server && named && path_is_wanted {
        let facts = Facts::none().and("server", server).and("dns_alt_names", names);
        return Ok(Looked::There(facts));
    }
    let untouched = server == "puppet" && agents == server && there.is_empty();
    if untouched || server == mom.as_str() && agents == server && there.is_empty() && !task.is_again() {
        return Ok(Looked::Missing(Facts::none()));
    }
    let reason = if own != at.master().as_str() {
        format!("the agent's certname is {own}, not {}", at.master())
    } else if server == mom.as_str() && agents == server && !path_is_wanted {
        format!("the agent's environmentpath is {path}, not the one under [install]")
    } else if server == mom.as_str() && agents == server {
        format!("the agent's alternative names are {names:?}, expected {wanted:?}")
    } else {
        format!("the agent's server is {agents} ([main] {server}), not the Master of Masters {mom}")
    };
    let way_out = format!(
        "a compile master's own agent asks {mom} by its own name: where the install script writes another, it came through a \
         balancer, or pe_repo's `master` says so; correct puppet.conf on {}, then resume",
        at.master()
    );
    Err(Stop::new(StopKind::Refused, reason, way_out))
}

/// Whom the agent asks: `server`, or those of `server_list` where that is set. Puppet knows it since version 4.6.
async fn asked(at: &Enrolling<'_>) -> Result<String, Stop> {
    if matches!(at.site.settings.preset, Preset::Pe3 | Preset::Pe2015) {
        let [server] = at.site.printed(at.master(), "agent", ["server"]).await?;
        return Ok(server);
    }
    let [server, list] = at.site.printed(at.master(), "agent", ["server", "server_list"]).await?;
    // As Ruby writes a list, or as it stands in the file; each with a port where that is not the usual one.
    let hosts: BTreeSet<&str> = list
        .split([',', '[', ']', '"', ' '])
        .filter_map(|one| one.split(':').next())
        .filter(|host| !host.is_empty())
        .collect();
    Ok(if hosts.is_empty() { server } else { hosts.into_iter().collect::<Vec<_>>().join(",") })
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    let (host, settings) = (at.master(), &at.site.settings);
    let failed = |words: String| {
        let reason = format!("{host}: the agent was not installed: {words}");
        Stop::new(StopKind::Failed, reason, "put right what it says, then resume")
    };
    let ca = || read::bytes(&settings.puppet_ca.bundle).map_err(|error| failed(chain(&error)));
    let (line, input) = match &settings.install.by {
        By::Command(command) => {
            program(command, host).await?;
            return Ok(Facts::none().and("by", "command"));
        }
        By::Script => {
            let url = address_of_script(at);
            let believes = if at.permits.insecure_install { "anybody" } else { "ca" };
            let mut words = vec![url, believes.to_owned()];
            words.extend(values(at).into_iter().map(|(name, value)| format!("main:{name}={value}")));
            let extensions = settings.certificate.extensions.iter();
            words.extend(extensions.map(|one| format!("extension_requests:{}={}", one.oid, one.value)));
            (CommandLine::script(SCRIPT, words), ca()?)
        }
        By::Settings => {
            let mut words = vec![at.site.puppet_program(), "certname".to_owned(), host.to_string()];
            words.extend(values(at).into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
            let mut input = attributes(at).into_bytes();
            input.extend(ca()?);
            (CommandLine::script(SETTINGS, words), input)
        }
    };
    let line = line.map_err(|error| not_run(&error.into()))?;
    let ended = at.site.shell.run(host, &line, &input).await?;
    if ended.code != 0 {
        return Err(failed(ended.last_words()));
    }
    Ok(Facts::none().and("by", if settings.install.by == By::Script { "script" } else { "settings" }))
}

/// Where the Master of Masters itself has the script.
fn address_of_script(at: &Enrolling<'_>) -> String {
    let mom = &at.site.settings.mom;
    let port = mom.address.rsplit(':').next().unwrap_or_default();
    format!("https://{}:{port}/packages/current/install.bash", mom.certname)
}

/// What stands under `[main]` of the new machine's puppet.conf.
fn values(at: &Enrolling<'_>) -> Vec<(&'static str, String)> {
    let settings = &at.site.settings;
    let mut values = Vec::new();
    let names = &settings.certificate.dns_alt_names;
    if !names.is_empty() {
        values.push(("dns_alt_names", names.join(",")));
    }
    if let Some(path) = &settings.install.environmentpath {
        values.push(("environmentpath", path.display().to_string()));
    }
    // By it, whoever looks tells that all of it was written.
    values.push(("server", settings.mom.certname.to_string()));
    values
}

/// The lines of csr_attributes.yaml, and before them how many they are.
fn attributes(at: &Enrolling<'_>) -> String {
    let extensions = &at.site.settings.certificate.extensions;
    if extensions.is_empty() {
        return "0\n".to_owned();
    }
    let mut lines = vec!["---".to_owned(), "extension_requests:".to_owned()];
    // In YAML, single quotes are doubled within single quotes, and nothing else means anything there.
    lines.extend(extensions.iter().map(|one| format!("  {}: '{}'", one.oid, one.value.replace('\'', "''"))));
    format!("{}\n{}\n", lines.len(), lines.join("\n"))
}
