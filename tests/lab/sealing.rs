//! How compile masters are sealed and opened: by a run of their own agent, which asks the MoM and gets the module in
//! `packaging/puppet`. The run is told by a fact what the master shall be; a site would tell it by classification.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::door_ca::DoorCa;
use crate::machine::{DOOR, Host, MOM, make_folder, write};
use crate::program::{Ended, run};

/// What a run makes of a compile master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shall {
    BeSealed,
    /// As Puppet's packages leave it: Puppet's own CA, no header identity.
    BeOpen,
    /// As PE's own module leaves a sealed master when nobody overrides it: webserver.conf opened, header identity on.
    LoseItsSeal,
    /// Sealed by the wrong CA: Puppet's own, so that every agent gets in, and header identity on.
    LetAgentsIn,
}

impl Shall {
    fn word(self) -> &'static str {
        match self {
            Self::BeSealed => "sealed",
            Self::BeOpen => "open",
            Self::LoseItsSeal => "unsealed",
            Self::LetAgentsIn => "sealed by puppet's ca",
        }
    }
}

/// The agent that runs on a compile master itself, with the master's own certificate.
#[derive(Debug)]
pub(crate) struct OwnAgent {
    name: &'static str,
    folder: PathBuf,
}

impl OwnAgent {
    pub(crate) fn of(host: &'static Host, server: &Path) -> Self {
        Self { name: host.name, folder: server.join("agent") }
    }

    /// As in the field: it asks the MoM, never the balancer, and shares its certificate with the server.
    pub(crate) fn lay_out(&self, ssl: &Path) -> Result<()> {
        make_folder(&self.folder.join("code"))?;
        let at = self.folder.display();
        write(
            &self.folder.join("puppet.conf"),
            &format!(
                "[main]\ncertname = {name}\nserver = {mom}\nenvironment = masters\nssldir = {ssl}\nvardir = {at}/var\n\
                 publicdir = {at}/public\nrundir = {at}/run\nlogdir = {at}/log\nusecacheonfailure = false\n",
                name = self.name,
                mom = MOM.name,
                ssl = ssl.display(),
            ),
        )
    }

    /// A run that must end with 0 for nothing changed or 2 for changed.
    pub(crate) fn make(&self, shall: Shall) -> Result<Ended> {
        let ended = self.try_to_make(shall)?;
        if ended.code != 0 && ended.code != 2 {
            bail!("{}: its own puppet agent ended with {}:\n{}", self.name, ended.code, ended.said());
        }
        Ok(ended)
    }

    /// `puppet agent --test`, however it ends.
    pub(crate) fn try_to_make(&self, shall: Shall) -> Result<Ended> {
        let mut puppet = Command::new("timeout");
        puppet
            .args([
                "--kill-after=10",
                "300",
                "puppet",
                "agent",
                "--test",
                "--no-daemonize",
                "--color",
                "false",
            ])
            .arg("--confdir")
            .arg(&self.folder)
            .arg("--codedir")
            .arg(self.folder.join("code"))
            .env("FACTER_lab_master", shall.word())
            .env("LC_ALL", "C.UTF-8");
        run(&mut puppet)
    }
}

/// The module as it is shipped.
pub(crate) fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/puppet/stagedoor")
}

/// The environment that the masters' own agents are in: the module, and a site that applies it.
pub(crate) fn lay_out(root: &Path, code: &Path) -> Result<()> {
    let environment = code.join("environments/masters");
    let modules = environment.join("modules");
    for part in ["manifests", "functions", "types", "lib"] {
        copy_folder(&module().join(part), &modules.join("stagedoor").join(part))?;
    }
    fs::copy(module().join("metadata.json"), modules.join("stagedoor/metadata.json"))
        .context("the module has no metadata.json")?;
    write(&environment.join("manifests/site.pp"), &site(root))
}

/// The certificate comes as text, read where the catalog is compiled, the revocation list as a place to copy it from:
/// the two ways in which the module takes either.
fn site(root: &Path) -> String {
    let door_ca = DoorCa::at(root);
    format!(
        r#"$folder = "{root}/${{trusted['certname']}}"

# A machine with a service manager needs nothing of this. Without `ensure`, because the lab starts its servers.
service {{ 'puppetserver':
  provider   => base,
  hasrestart => true,
  start      => "$folder/service start",
  stop       => "$folder/service stop",
  status     => "$folder/service status",
  restart    => "$folder/service restart",
}}
case $facts['lab_master'] {{
  'sealed', 'open': {{
    class {{ 'stagedoor::sealed':
      ensure         => $facts['lab_master'] ? {{ 'sealed' => present, 'open' => absent }},
      door_ca        => file('{ca}'),
      door_crl       => '{crl}',
      doors          => ['{door}'],
      confdir        => "$folder/conf.d",
      door_ca_dir    => "$folder/stagedoor",
      ssldir         => "$folder/ssl",
      manage_service => false,
    }}
  }}
  'unsealed': {{
    stagedoor_settings {{ "$folder/conf.d/webserver.conf":
      settings => {{ 'webserver.client-auth' => 'want' }},
      remove   => ['webserver.ssl-cert', 'webserver.ssl-key', 'webserver.ssl-ca-cert', 'webserver.ssl-crl-path'],
      notify   => Service['puppetserver'],
    }}
  }}
  "sealed by puppet's ca": {{
    stagedoor_settings {{ "$folder/conf.d/webserver.conf":
      settings => {{
        'webserver.ssl-ca-cert'  => "$folder/ssl/certs/ca.pem",
        'webserver.ssl-crl-path' => "$folder/ssl/crl.pem",
      }},
      notify   => Service['puppetserver'],
    }}
  }}
  default: {{
    fail("what shall ${{trusted['certname']}} be?")
  }}
}}
"#,
        root = root.display(),
        ca = door_ca.certificate().display(),
        crl = door_ca.crl().display(),
        door = DOOR.name,
    )
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}: cannot list it", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry without a name")?);
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            crate::machine::copy(&path, &target)?;
        }
    }
    Ok(())
}
