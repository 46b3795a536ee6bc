//! The module where no server is needed: what it refuses, and the class for PE against stubs of PE's own modules, since
//! those cannot be had. Applied by `puppet apply` to files in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::saw;
use crate::door_ca::DoorCa;
use crate::lab::Lab;
use crate::machine::{copy, make_folder, read, write};
use crate::program::{Ended, run, succeed};
use crate::sealing::{infrastructure, module};

pub(super) fn the_module_refuses_what_would_open_a_master(lab: &Lab) -> Result<()> {
    let bench = Bench::new(lab, "refusals")?;
    let key = bench.door_ca.door().key;
    let with_key = bench.folder.join("with-key.pem");
    write(&with_key, &format!("{}{}", read(&bench.door_ca.certificate())?, read(&key)?))?;
    let (ca, crl) = (bench.door_ca.certificate(), bench.door_ca.crl());
    let (puppet_ca, puppet_crl) = (lab.mom().ca_file(), lab.mom().crl_file());
    let ended = bench.folder.join("ended.pem");
    bench.door_ca.make_ended_crl(&ended)?;

    for (what, ca, crl, words) in [
        ("Puppet's own CA", &puppet_ca, &puppet_crl, "is of the Puppet CA: every agent would get in"),
        ("a door CA with its key", &with_key, &crl, "expected certificates as PEM and nothing else"),
        ("a door CA without its revocation list", &ca, &puppet_crl, "has no revocation list signed by"),
        ("a revocation list that has run out", &ca, &ended, "ran out on"),
    ] {
        let said = bench.apply(&bench.sealed(ca, crl))?;
        bench.refused(what, &said, words)?;
        ensure!(!said.said().contains("PRIVATE KEY"), "the key is in what Puppet says");
    }
    let webserver = bench.folder.join("conf.d/webserver.conf");
    let as_shipped = read(&webserver)?;
    write(&webserver, &as_shipped.replace("client-auth: want", "client-auth: want\n    port: 8080"))?;
    let said = bench.apply(&bench.sealed(&ca, &crl))?;
    ensure!(
        said.code != 0 && said.said().contains("webserver.port, which a sealed master must not have"),
        "a port without TLS was not refused:\n{}",
        said.said()
    );
    saw("a port without TLS in webserver.conf: refused, header identity not switched on, no restart");
    write(&webserver, &as_shipped)?;
    bench.untouched()?;

    let changed = bench.apply(&bench.sealed(&ca, &crl))?;
    ensure!(
        changed.code == 2,
        "the same with nothing wrong ended with {}:\n{}",
        changed.code,
        changed.said()
    );
    ensure!(read(&bench.restarts())?.lines().count() == 1, "not one restart:\n{}", changed.said());
    saw("the same with nothing wrong: sealed, one restart");

    let said = lab.mom().seals_itself()?;
    ensure!(
        said.code == 1 && said.said().contains("compiles its own catalog and cannot be sealed"),
        "the MoM's own agent may seal the MoM (exit {}):\n{}",
        said.code,
        said.said()
    );
    saw("a run of the MoM's own agent that would seal the MoM: no catalog");
    Ok(())
}

pub(super) fn pes_own_values_give_way_to_the_seal(lab: &Lab) -> Result<()> {
    let bench = Bench::new(lab, "pe")?;
    write(&bench.folder.join("conf.d/webserver.conf"), PE_WEBSERVER)?;
    write(
        &bench.folder.join("orchestration/webserver.conf"),
        "webserver: { orchestrator: { ssl-port: 8143 } }\n",
    )?;
    let header_identity = || -> Result<bool> {
        Ok(read(&bench.folder.join("conf.d/auth.conf"))?.contains("allow-header-cert-info: true"))
    };
    let webserver = || read(&bench.folder.join("conf.d/webserver.conf"));
    let open = |text: &str| {
        text.contains("client-auth: want") && text.contains("/etc/puppetlabs/puppet/ssl/certs/ca.pem")
    };

    bench.settles("", "PE alone")?;
    ensure!(
        open(&webserver()?) && !header_identity()?,
        "the stubs do not write what PE writes:\n{}",
        webserver()?
    );
    let elsewhere = read(&bench.folder.join("orchestration/webserver.conf"))?;

    let order = bench.settles(&bench.pe("present"), "sealed")?;
    let sealed = webserver()?;
    for line in [
        "client-auth: need".to_owned(),
        format!("ssl-ca-cert: \"{}/stagedoor/ca.pem\"", bench.folder.display()),
        format!("ssl-crl-path: \"{}/stagedoor/crl.pem\"", bench.folder.display()),
        "request-header-max-size: 65536".to_owned(),
        "ssl-key: \"/etc/puppetlabs/puppet/ssl/private_keys/".to_owned(),
    ] {
        ensure!(sealed.contains(&line), "no {line:?} in a sealed webserver.conf:\n{sealed}");
    }
    ensure!(header_identity()?, "sealed, and header identity is off");
    in_order(&order, "puppet-server.client-auth", "allow-header-cert-info")?;
    ensure!(
        read(&bench.folder.join("orchestration/webserver.conf"))? == elsewhere,
        "another server of PE was changed too"
    );
    saw(
        "PE's values for webserver.conf and auth.conf are replaced, in this order, and the next run changes nothing",
    );

    let order = bench.settles(&bench.pe("absent"), "opened")?;
    ensure!(
        open(&webserver()?) && !webserver()?.contains("max-size"),
        "not PE's own again:\n{}",
        webserver()?
    );
    ensure!(!header_identity()?, "opened, and header identity is on");
    in_order(&order, "allow-header-cert-info", "puppet-server.client-auth")?;
    saw("with ensure => absent PE's own values are back, header identity off first");
    Ok(())
}

pub(super) fn the_module_is_clean(_: &Lab) -> Result<()> {
    let module = module();
    succeed(Command::new("puppet-lint").arg("--fail-on-warnings").args([&module, &infrastructure()]))?;
    let mut validate = Command::new("puppet");
    validate.args(["parser", "validate"]).current_dir(&module).args(["manifests", "functions", "types"]);
    validate.arg(infrastructure());
    succeed(&mut validate)?;
    saw("puppet-lint and puppet parser validate have nothing to say");
    succeed(Command::new("ruby").arg(module.join("spec/document.rb")))?;
    saw("settings and rules go into HOCON of every shape and out again, and the rest stays");
    Ok(())
}

const PE_WEBSERVER: &str =
    "webserver: {\n    puppet-server: {\n        # by PE's installer\n        ssl-port: 8140\n    }\n}\n";

/// A master's settings files with no master.
struct Bench {
    folder: PathBuf,
    door_ca: DoorCa,
    puppet_ca: PathBuf,
}

impl Bench {
    fn new(lab: &Lab, name: &str) -> Result<Self> {
        let folder = lab.root.join("module").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        make_folder(&folder.join("modules"))?;
        for file in ["auth.conf", "webserver.conf"] {
            copy(&packaged(file), &folder.join("conf.d").join(file))?;
        }
        std::os::unix::fs::symlink(module(), folder.join("modules/stagedoor"))?;
        write(&folder.join("restarts"), "")?;
        Ok(Self { folder, door_ca: DoorCa::at(&lab.root), puppet_ca: lab.mom().ca_file() })
    }

    fn restarts(&self) -> PathBuf {
        self.folder.join("restarts")
    }

    fn sealed(&self, ca: &Path, crl: &Path) -> String {
        format!(
            "service {{ 'puppetserver': ensure => running, provider => base, hasrestart => true, status => 'true',\n  \
             start => 'false', stop => 'false', restart => 'echo restart >> {restarts}' }}\n\
             class {{ 'stagedoor::sealed': door_ca => file('{ca}'), door_crl => file('{crl}'), doors => ['door1.example.com'],\n  \
             confdir => '{at}/conf.d', door_ca_dir => '{at}/stagedoor', puppet_ca => '{puppet_ca}', manage_service => false }}\n",
            restarts = self.restarts().display(),
            ca = ca.display(),
            crl = crl.display(),
            at = self.folder.display(),
            puppet_ca = self.puppet_ca.display(),
        )
    }

    fn pe(&self, ensure: &str) -> String {
        format!(
            "class {{ 'stagedoor::sealed::pe': ensure => {ensure}, door_ca => file('{ca}'), door_crl => '{crl}',\n  \
             doors => ['door1.example.com'], confdir => '{at}/conf.d', door_ca_dir => '{at}/stagedoor',\n  \
             puppet_ca => '{puppet_ca}' }}\n",
            ca = self.door_ca.certificate().display(),
            crl = self.door_ca.crl().display(),
            at = self.folder.display(),
            puppet_ca = self.puppet_ca.display(),
        )
    }

    /// PE's classes and `more`: the first run changes things, the second nothing. Gives what the first said.
    fn settles(&self, more: &str, what: &str) -> Result<String> {
        let at = self.folder.display();
        let manifest =
            format!("class {{ 'puppet_enterprise::profile::master': confdir => '{at}/conf.d' }}\n{more}");
        let first = self.apply(&manifest)?;
        ensure!(first.code == 2, "{what}: exit {}:\n{}", first.code, first.said());
        ensure!(
            first.output.matches("Service[pe-puppetserver]: Triggered 'refresh'").count() == 1,
            "{what}: not one restart:\n{}",
            first.said()
        );
        let second = self.apply(&manifest)?;
        ensure!(second.code == 0, "{what}: the next run ended with {}:\n{}", second.code, second.said());
        Ok(first.output)
    }

    fn apply(&self, manifest: &str) -> Result<Ended> {
        let site = self.folder.join("site.pp");
        write(&site, manifest)?;
        let mut puppet = Command::new("timeout");
        puppet.args(["300", "puppet", "apply", "--detailed-exitcodes", "--color", "false", "--modulepath"]);
        puppet.arg(format!("{}/modules:{}/spec/fixtures/pe", self.folder.display(), module().display()));
        for part in ["conf", "var"] {
            puppet.arg(format!("--{part}dir")).arg(self.folder.join(part));
        }
        run(puppet.arg(site).env("LC_ALL", "C.UTF-8"))
    }

    fn refused(&self, what: &str, said: &Ended, words: &str) -> Result<()> {
        ensure!(
            ![0, 2].contains(&said.code) && said.said().contains(words),
            "{what} was not refused with {words:?} (exit {}):\n{}",
            said.code,
            said.said()
        );
        self.untouched()?;
        saw(&format!("{what}: refused, both files as they were, no restart"));
        Ok(())
    }

    fn untouched(&self) -> Result<()> {
        for file in ["auth.conf", "webserver.conf"] {
            ensure!(
                read(&self.folder.join("conf.d").join(file))? == read(&packaged(file))?,
                "{file} was changed"
            );
        }
        ensure!(read(&self.restarts())?.is_empty(), "the server was restarted");
        Ok(())
    }
}

fn packaged(file: &str) -> PathBuf {
    Path::new("/etc/puppet/puppetserver/conf.d").join(file)
}

fn in_order(said: &str, first: &str, then: &str) -> Result<()> {
    let at = |what: &str| said.lines().position(|line| line.contains(what) && line.contains("changed"));
    let (one, other) = (at(first), at(then));
    ensure!(one.is_some() && one < other, "{first} has to change before {then}:\n{said}");
    Ok(())
}
