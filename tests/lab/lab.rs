//! The whole installation: the order in which it comes up, and how it goes away again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::door::{Door, Entrance};
use crate::door_ca::DoorCa;
use crate::machine::{
    DOOR, MASTERS, MOM, PORT, forget_hosts, lead_agents_to, make_folder, name_hosts, refuse_taken_ports,
    write,
};
use crate::master::Master;
use crate::mom::Mom;
use crate::outside::Outside;
use crate::patience::until;
use crate::process::Process;
use crate::puppet_server::START;
use crate::puppetdb::PuppetDb;
use crate::{code, door, install};

#[derive(Debug)]
pub(crate) struct Lab {
    /// The folder that holds all of it.
    pub(crate) root: PathBuf,
}

/// What `up` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Running,
    Nothing,
}

impl Lab {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn mom(&self) -> Mom {
        Mom::at(&self.root)
    }

    pub(crate) fn masters(&self) -> [Master; 2] {
        MASTERS.each_ref().map(|host| Master::at(&self.root, host))
    }

    pub(crate) fn puppetdb(&self) -> PuppetDb {
        PuppetDb::at(&self.root)
    }

    pub(crate) fn outside(&self) -> Outside {
        Outside::at(&self.root)
    }

    pub(crate) fn door(&self) -> Door {
        Door::at(&self.root)
    }

    /// Brings everything up, or finds that it is. What an earlier attempt left half done goes away first.
    pub(crate) fn up(&self) -> Result<Found> {
        install::require_root()?;
        if self.is_running()? {
            return Ok(Found::Running);
        }
        if self.root.exists() {
            println!("lab: {} holds a lab that is not whole; taking it down first", self.root.display());
            self.down()?;
        }
        install::install_missing()?;
        refuse_taken_ports()?;
        // `down` removes no folder without this one.
        make_folder(&self.root.join("processes"))?;
        let clock = Clock::start();
        // The door is built while nothing else wants the processor.
        door::program()?;
        clock.say("door built");
        name_hosts()?;
        code::lay_out(&self.root)?;
        self.start_mom()?;
        clock.say(&format!("{} has a CA, PostgreSQL answers, the servers have certificates", MOM.name));
        self.start_masters_and_puppetdb()?;
        clock.say("compile masters and PuppetDB answer");
        self.door().start(&self.mom())?;
        clock.say(&format!("the door stands at {}:{PORT} and has admitted both masters", DOOR.name));
        write(&self.complete(), "up\n")?;
        Ok(Found::Nothing)
    }

    /// Ends what `up` started, by process id, and removes what it made.
    pub(crate) fn down(&self) -> Result<()> {
        install::require_root()?;
        let processes = Process::all(&self.root)?;
        for process in &processes {
            process.ask_to_end()?;
        }
        for process in &processes {
            process.gone()?;
            println!("lab: {} has ended", process.name());
        }
        self.outside().end()?;
        forget_hosts()?;
        if self.root.exists() {
            if !self.root.join("processes").is_dir() {
                bail!("{} is no folder of the lab; not removing it", self.root.display());
            }
            fs::remove_dir_all(&self.root)
                .with_context(|| format!("{}: cannot remove it", self.root.display()))?;
        }
        Ok(())
    }

    /// Puts another build of the door before servers that are up already.
    pub(crate) fn restart_door(&self) -> Result<()> {
        if !self.complete().exists() {
            bail!("there is no lab in {}; bring it up first", self.root.display());
        }
        door::program()?;
        self.door().end()?;
        self.door().start(&self.mom())
    }

    /// Puts back what a scenario that failed has left otherwise than it found it.
    pub(crate) fn heal(&self) -> Result<()> {
        lead_agents_to(&DOOR)?;
        self.outside().end()?;
        let (door, mom) = (self.door(), self.mom());
        if !door.is_as(Entrance::Ends, &mom)? {
            door.restart_as(Entrance::Ends, &mom)?;
        }
        for master in &self.masters() {
            if !master.process().is_running() {
                master.start()?;
                until(&format!("{} runs again", master.host.name), START, || master.is_ready())?;
            }
            if !master.is_sealed()? {
                master.speak_as_shipped()?;
                master.seal_by_puppet()?;
            }
            if !door.has_sealed(master.host)? {
                door.cut_off(master.host).ok();
                door.admit(master.host, &[])?;
            }
        }
        door.until_ready()
    }

    /// Whole, and every part of it alive.
    pub(crate) fn is_running(&self) -> Result<bool> {
        Ok(self.complete().exists() && Process::all(&self.root)?.iter().all(Process::is_running))
    }

    /// The MoM is first: nothing has a certificate without its CA.
    fn start_mom(&self) -> Result<()> {
        let mom = self.mom();
        mom.start()?;
        self.puppetdb().start_postgresql()?;
        DoorCa::at(&self.root).make()?;
        until("the MoM runs", START, || mom.is_ready())?;
        mom.issue_for_servers()
    }

    fn start_masters_and_puppetdb(&self) -> Result<()> {
        let (mom, puppetdb, masters) = (self.mom(), self.puppetdb(), self.masters());
        puppetdb.start(&mom)?;
        for master in &masters {
            master.lay_out_open(&mom)?;
            // Before its first start: the run then has nothing to restart, which would cost as much as a start.
            master.seal_by_puppet()?;
            master.start()?;
        }
        until("PuppetDB runs", START, || puppetdb.is_ready())?;
        for master in &masters {
            until(&format!("{} runs", master.host.name), START, || master.is_ready())?;
        }
        Ok(())
    }

    fn complete(&self) -> PathBuf {
        self.root.join("complete")
    }
}

/// Says how long each part took.
pub(crate) struct Clock {
    begun: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now() }
    }

    pub(crate) fn say(&self, what: &str) {
        println!("lab: {:>6} {what}", self.minutes());
    }

    pub(crate) fn minutes(&self) -> String {
        let seconds = self.begun.elapsed().as_secs();
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }
}
