//! The whole installation: the order in which it comes up, and how it goes away again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::console::Console;
use crate::door::{Door, Entrance};
use crate::door_ca::DoorCa;
use crate::machine::{
    CONSOLE, DOOR, ENROLLER, MASTERS, MOM, NODES, PORT, PUPPETDB, forget_hosts, lead_agents_to, make_folder,
    name_hosts, refuse_taken_ports, write,
};
use crate::master::Master;
use crate::mom::Mom;
use crate::node::Node;
use crate::outside::Outside;
use crate::patience::until;
use crate::process::Process;
use crate::puppet_server::START;
use crate::puppetdb::PuppetDb;
use crate::ssh::Ssh;
use crate::{code, door, install, node};

#[derive(Debug)]
pub(crate) struct Lab {
    /// The folder that holds all of it.
    pub(crate) root: PathBuf,
}

/// How many compile masters there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Masters {
    /// The first alone. The second machine has an sshd and Puppet's packages, and nobody knows it.
    One,
    Two,
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

    pub(crate) fn console(&self) -> Console {
        Console::at(&self.root)
    }

    /// The way into every machine but the door's.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::at(&self.root)
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
        node::lay_out_programs(&self.root)?;
        self.start_mom()?;
        clock.say(&format!("{} has a CA, PostgreSQL answers, an sshd is on each machine", MOM.name));
        self.start_puppetdb()?;
        clock.say("PuppetDB answers, everybody has a certificate");
        self.make_first_master()?;
        clock.say(&format!(
            "a run of its agent has made {}, and PuppetDB and console know it",
            MASTERS[0].name
        ));
        self.door().start(&self.mom())?;
        clock.say(&format!("the door stands at {}:{PORT} and has admitted it", DOOR.name));
        write(&self.complete(), "up\n")?;
        Ok(Found::Nothing)
    }

    /// Ends what `up` started, by process id, and removes what it made.
    pub(crate) fn down(&self) -> Result<()> {
        install::require_root()?;
        self.end_runs()?;
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

    pub(crate) fn require_running(&self) -> Result<()> {
        if !self.complete().exists() {
            bail!("there is no lab in {}; bring it up first", self.root.display());
        }
        Ok(())
    }

    /// Puts another build of the door before servers that are up already.
    pub(crate) fn restart_door(&self) -> Result<()> {
        self.require_running()?;
        door::program()?;
        self.door().end()?;
        self.door().start(&self.mom())
    }

    /// Puts back what a scenario that failed has left otherwise than it found it, and sees to it that there are as many
    /// masters as the next one wants.
    pub(crate) fn heal(&self, wanted: Masters) -> Result<()> {
        lead_agents_to(&DOOR)?;
        self.outside().end()?;
        self.end_runs()?;
        let (door, mom, puppetdb) = (self.door(), self.mom(), self.puppetdb());
        // Where a run that restarts it was cut off, it is down, and nothing compiles.
        puppetdb.service().start()?;
        if !door.is_as(Entrance::Ends, &mom)? {
            door.restart_as(Entrance::Ends, &mom)?;
        }
        let [first, second] = self.masters();
        self.heal_master(&first)?;
        match wanted {
            Masters::One => self.forget_second()?,
            Masters::Two => {
                self.make_second()?;
                self.heal_master(&second)?;
            }
        }
        door.until_ready()
    }

    /// Ends the runs of the installation's own machines that are in progress.
    fn end_runs(&self) -> Result<()> {
        NODES.iter().try_for_each(|host| Node::at(&self.root, host).end_run())
    }

    fn heal_master(&self, master: &Master) -> Result<()> {
        let door = self.door();
        if !master.process().is_running() {
            master.start()?;
            until(&format!("{} runs again", master.host.name), START, || master.is_ready())?;
        }
        // Whatever its next run would have made of it.
        master.classify_sealed()?;
        if !master.is_sealed()? {
            master.speak_as_shipped()?;
            master.seal_by_puppet()?;
        }
        if !door.has_sealed(master.host)? {
            door.cut_off(master.host).ok();
            door.admit(master.host, &[])?;
        }
        Ok(())
    }

    /// Whole, and every part of it alive.
    pub(crate) fn is_running(&self) -> Result<bool> {
        Ok(self.complete().exists() && Process::all(&self.root)?.iter().all(Process::is_running))
    }

    /// The MoM is first: nobody has a certificate without its CA.
    fn start_mom(&self) -> Result<()> {
        let mom = self.mom();
        mom.begin()?;
        for master in &self.masters() {
            master.lay_out_package()?;
            master.node().lay_out_bare()?;
        }
        self.puppetdb().start_postgresql()?;
        DoorCa::at(&self.root).make()?;
        self.ssh().start()?;
        until("the MoM runs", START, || mom.is_ready()).map(drop)
    }

    /// Before any master: the MoM compiles nothing without it. The other certificates are made while it starts.
    fn start_puppetdb(&self) -> Result<()> {
        let (mom, puppetdb, [first, _]) = (self.mom(), self.puppetdb(), self.masters());
        mom.issue_for(PUPPETDB.name)?;
        puppetdb.begin(&mom)?;
        mom.issue_for_server(first.host)?;
        first.node().lay_out_with_certificate(&mom)?;
        mom.issue_for(CONSOLE.name)?;
        self.console().lay_out(&mom)?;
        mom.issue_for_server(&DOOR)?;
        mom.issue_for(ENROLLER)?;
        until("PuppetDB runs", START, || puppetdb.is_ready()).map(drop)
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
