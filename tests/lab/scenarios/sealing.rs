//! A compile master opened and sealed again by runs of its own agent, and looked at all the while by somebody who would
//! like to be another node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::ClientConfig;

use super::saw;
use crate::agent::new_name;
use crate::conversation::{Conversation, client};
use crate::door_ca::DoorCa;
use crate::lab::Lab;
use crate::machine::{DOOR, read};
use crate::master::Master;
use crate::patience::{until, when};
use crate::program::{Ended, run};

pub(super) fn a_master_is_opened_and_sealed_by_puppet_runs_alone(lab: &Lab) -> Result<()> {
    let [_, master] = lab.masters();
    let forger = Forger::of(lab)?;
    ensure!(forger.borrows_a_name(&master)? == 200, "the door's certificate and a name got no 200");
    saw("sealed by Puppet when the lab came up; with the door's certificate a name in a header counts (200)");

    let over = AtomicBool::new(false);
    let (tries, runs) = thread::scope(|scope| {
        let tries = scope.spawn(|| forger.keeps_trying(&master, &over));
        let runs = there_and_back(&master);
        over.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((tries.join().map_err(|_| anyhow!("the forger panicked"))?, runs))
    })?;
    runs?;
    ensure!(tries.granted == 0, "{} of the forger's requests were answered 200: {tries:?}", tries.granted);
    ensure!(tries.refused > 0, "the forger never met the open port, so that nothing was shown: {tries:?}");
    ensure!(tries.nothing > 0, "the forger never met the sealed port, so that nothing was shown: {tries:?}");
    saw(&format!(
        "{} tries meanwhile, with an agent's certificate and with none, in another's name: {} times 403 from the open \
         port, {} times not a byte, never an answer in that name",
        tries.refused + tries.nothing,
        tries.refused,
        tries.nothing
    ));

    may_flush_and_no_more(lab, &master)?;
    let name = master.host.name;
    until(&format!("the door finds {name} fit"), Duration::from_secs(60), || {
        Ok(when(lab.door().says_of(master.host, "fit")?.as_deref() == Some("fit")))
    })?;
    saw("the door found it fit again by itself");
    Ok(())
}

fn there_and_back(master: &Master) -> Result<()> {
    let opened = once_restarted(master, "opened", Order::OffBeforeOpen, || master.unseal_by_puppet())?;
    ensure!(opened.output.contains("client-auth changed"), "an odd run:\n{}", opened.said());
    let webserver = read(&master.settings("webserver.conf"))?;
    ensure!(
        read(&master.settings("auth.conf"))? == read(&master.packaged("auth.conf"))?,
        "auth.conf is not as it was laid out"
    );
    ensure!(
        webserver.contains("client-auth: want\n")
            && !webserver.contains("ssl-c")
            && !webserver.contains("ssl-k")
            && !webserver.contains("max-size"),
        "webserver.conf is not as it was laid out:\n{webserver}"
    );
    saw(
        "opened by one run and one restart: header identity off first, auth.conf as it was laid out, byte for byte",
    );
    changes_nothing(master, || master.unseal_by_puppet())?;

    once_restarted(master, "sealed", Order::SealedBeforeOn, || master.seal_by_puppet())?;
    saw("sealed by one run and one restart: webserver.conf first, then auth.conf");
    changes_nothing(master, || master.seal_by_puppet())?;
    saw("after either, the next run changes nothing (exit 0, no restart)");
    Ok(())
}

/// A run that changes things, restarts the server once, and never has header identity on and the port open on disk.
fn once_restarted(
    master: &Master,
    what: &str,
    order: Order,
    act: impl Fn() -> Result<Ended>,
) -> Result<Ended> {
    let before = master.restarts()?;
    let over = AtomicBool::new(false);
    let (looks, ended) = thread::scope(|scope| {
        let looks = scope.spawn(|| on_disk(master, order, &over));
        let ended = act();
        over.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((looks.join().map_err(|_| anyhow!("the watcher panicked"))??, ended))
    })?;
    let ended = ended?;
    ensure!(ended.code == 2, "the run that {what} it ended with {}:\n{}", ended.code, ended.said());
    let restarts = master.restarts()? - before;
    ensure!(restarts == 1, "{restarts} restarts, not 1, when it was {what}:\n{}", ended.said());
    saw(&format!(
        "{looks} looks at both files while it was {what}: never header identity on and the port open"
    ));
    Ok(ended)
}

fn changes_nothing(master: &Master, act: impl Fn() -> Result<Ended>) -> Result<()> {
    let before = master.restarts()?;
    let ended = act()?;
    ensure!(ended.code == 0, "a second run changed something (exit {}):\n{}", ended.code, ended.said());
    ensure!(master.restarts()? == before, "a second run restarted the server");
    Ok(())
}

/// Which file has to change first, and so has to be read last.
#[derive(Debug, Clone, Copy)]
enum Order {
    SealedBeforeOn,
    OffBeforeOpen,
}

/// Reads both files over and over until `over`; gives how often.
fn on_disk(master: &Master, order: Order, over: &AtomicBool) -> Result<usize> {
    let header_identity = || {
        Ok::<_, anyhow::Error>(read(&master.settings("auth.conf"))?.contains("allow-header-cert-info: true"))
    };
    let open =
        || Ok::<_, anyhow::Error>(!read(&master.settings("webserver.conf"))?.contains("client-auth: need"));
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        let hole = match order {
            Order::SealedBeforeOn => header_identity()? && open()?,
            Order::OffBeforeOpen => open()? && header_identity()?,
        };
        if hole {
            bail!("on disk, header identity was on while the port was open");
        }
        looks += 1;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(looks)
}

/// Somebody with a good certificate of the Puppet CA who says to be another.
struct Forger {
    target: String,
    headers: String,
    /// With an agent's certificate, and with none.
    shows: [Arc<ClientConfig>; 2],
    door: Arc<ClientConfig>,
}

/// How the forger's requests ended.
#[derive(Debug, Default)]
struct Tries {
    granted: usize,
    refused: usize,
    /// No connection, a TLS alert, an end: not a byte of an answer.
    nothing: usize,
}

impl Forger {
    fn of(lab: &Lab) -> Result<Self> {
        let own = lab.mom().issue_for_agents(&[new_name(&lab.root)?])?;
        let victim = new_name(&lab.root)?;
        let ca = lab.mom().ca_file();
        Ok(Self {
            target: format!("/puppet/v3/node/{victim}?environment=production"),
            headers: format!("X-Client-Verify: SUCCESS\r\nX-Client-DN: CN={victim}\r\n"),
            shows: [client(&ca, own.first())?, client(&ca, None)?],
            door: client(&ca, Some(&DoorCa::at(&lab.root).door()))?,
        })
    }

    /// What a forged name gets with the door's own certificate: the proof that it is one that would be believed.
    fn borrows_a_name(&self, master: &Master) -> Result<u16> {
        Ok(Conversation::open(master.host, &self.door)?.get(master.host, &self.target, &self.headers)?.status)
    }

    fn keeps_trying(&self, master: &Master, over: &AtomicBool) -> Tries {
        let mut tries = Tries::default();
        while !over.load(Ordering::Relaxed) {
            for shows in &self.shows {
                let answer = Conversation::open(master.host, shows)
                    .and_then(|mut conversation| conversation.get(master.host, &self.target, &self.headers));
                match answer {
                    Ok(answer) if answer.status == 403 => tries.refused += 1,
                    // Whatever else it is, it is no refusal.
                    Ok(_) => tries.granted += 1,
                    Err(_) => tries.nothing += 1,
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        tries
    }
}

/// A door may empty environment caches; in an agent's name it may not, and nobody may empty the JRuby pool.
fn may_flush_and_no_more(lab: &Lab, master: &Master) -> Result<()> {
    let agent = new_name(&lab.root)?;
    let caches = "/puppet-admin-api/v1/environment-cache";
    for (name, method, path, expected) in [
        (DOOR.name, "DELETE", caches, "204"),
        (DOOR.name, "DELETE", "/puppet-admin-api/v1/environment-cache?environment=production", "204"),
        (DOOR.name, "GET", caches, "403"),
        (&agent, "DELETE", caches, "403"),
        (DOOR.name, "DELETE", "/puppet-admin-api/v1/jruby-pool", "403"),
        (DOOR.name, "GET", "/status/v1/services", "200"),
    ] {
        let door = DoorCa::at(&lab.root).door();
        let mut curl = master.ask(path, Some(&door));
        curl.args(["--request", method, "--output", "/dev/null", "--write-out", "%{http_code}"]);
        curl.args(["--header", "X-Client-Verify: SUCCESS", "--header"])
            .arg(format!("X-Client-DN: CN={name}"));
        let status = run(&mut curl).context("curl does not run")?.output;
        ensure!(status == expected, "{method} {path} as {name} was answered {status:?}, not {expected}");
    }
    saw("a door in its own name empties environment caches (204); as an agent, and the JRuby pool: 403");
    Ok(())
}
