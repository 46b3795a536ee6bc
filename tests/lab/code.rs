//! The Puppet code that both compile masters share: a role picked by a trusted fact, a file with content on the
//! server, a fact whose weight the agent chooses, and a role that makes a long report. The installation's own machines get
//! theirs from the MoM, in an environment of their own: `sealing`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::machine::{Account, write};

/// What the file that every agent fetches from a master says.
pub(crate) const BANNER: &str = "This file came from the file server of a compile master.\n";

pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("code")
}

pub(crate) fn lay_out(root: &Path) -> Result<()> {
    let production = folder(root).join("environments/production");
    write(&production.join("manifests/site.pp"), &site(root))?;
    write(&production.join("modules/stage/files/banner.txt"), BANNER)?;
    // What r10k leaves, as far as anybody reads it.
    write(&production.join(".r10k-deploy.json"), "{ \"signature\": \"4dd9a2e0c3b1\" }\n")?;
    write(&production.join("modules/stage/lib/facter/stage_weight.rb"), WEIGHT)?;
    crate::sealing::lay_out(&folder(root))?;
    Account::named("puppet")?.own(&folder(root))
}

/// Resources that make an agent's report 3 MB long: Puppet repeats a message in the resource, the event and the log.
pub(crate) const CHATTY_LINES: usize = 80;

fn site(root: &Path) -> String {
    format!(
        r#"# pp_role comes from the agent's CSR, and reaches a compile master only in the certificate that the door states.
$role = $trusted['extensions']['pp_role']
$home = "{}/agents/${{trusted['certname']}}"

file {{ "$home/role.txt":
  content => "${{role}} ${{trusted['authenticated']}}\n",
}}
file {{ "$home/banner.txt":
  source => 'puppet:///modules/stage/banner.txt',
}}
if $role == 'chatty' {{
  Integer[1, {CHATTY_LINES}].each |$line| {{
    notify {{ "line $line":
      message => sprintf('%010000d', $line),
    }}
  }}
}}
"#,
        root.display()
    )
}

/// Reaches the agent by pluginsync, through the door. Values stay below 4096 bytes, the length up to which Puppet
/// takes a fact without a warning.
const WEIGHT: &str = r"Facter.add(:stage_weight) do
  confine { ENV['STAGE_WEIGHT'] }
  setcode do
    (1..(ENV['STAGE_WEIGHT'].to_i / 4000)).map { |n| [format('part%04d', n), 'x' * 4000] }.to_h
  end
end
";
