//! The procedures, their steps and their order.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::str::FromStr;

use stagedoor_config::certname::Certname;
use stagedoor_config::proxy::PUPPET_PORT;

/// The most steps of a plan: far more than the settings' stages hold, and a journal of them stays readable.
pub const MOST_STEPS: usize = 1_000;

/// What is done to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Procedure {
    /// From a machine without an agent to a master that serves.
    Enroll,
    /// From a master that serves already: its earlier runs are evidenced, not repeated.
    Adopt,
    /// From a master that serves to a name that is on no list.
    Retire,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Whether everything is there that the others need.
    Preflight,
    /// The agent, from the Master of Masters.
    Install,
    /// The certificate.
    Sign,
    /// The new master's first run.
    FirstRun,
    /// Its groups and classes.
    Classify,
    /// One ordered run.
    Run {
        /// Counted from 1.
        stage: usize,
        /// On which host.
        host: Certname,
    },
    /// That such a run took place before.
    Evidence {
        /// Counted from 1.
        stage: usize,
        /// On which host.
        host: Certname,
    },
    /// Its isolation.
    Seal,
    /// The proof that it compiles.
    Check,
    /// At every door.
    Admit,
    /// The first traffic.
    Watch,
    /// At every door, until it has finished what it had.
    Drain,
    /// Off every roster.
    TakeOff,
    /// Its agent, so that no run of its own brings it back.
    StopAgent,
    /// Out of its groups.
    Unpin,
    /// In PuppetDB.
    Deactivate,
    /// Its certificate, at the CA and at every door.
    Revoke,
}

/// The steps of one procedure for one master, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    procedure: Procedure,
    master: Certname,
    address: String,
    stages: Vec<Vec<Certname>>,
    steps: Vec<Step>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPlan {
    /// Without its run, no list would ever hold it.
    #[error(
        "{master} runs in no stage: expected it in `stages`, before every host whose lists are to hold it"
    )]
    NoRun {
        /// Whose plan it was to be.
        master: Certname,
    },
    /// More than [`MOST_STEPS`].
    #[error("expected at most {MOST_STEPS} steps: name fewer hosts in `stages`")]
    TooLong,
}

/// A text that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no step")]
pub struct NotAStep {
    /// What was written.
    pub text: String,
}

impl Plan {
    /// The steps of a procedure. A host that is named twice runs once, at its latest place; a stage that is empty
    /// then is none.
    ///
    /// # Errors
    /// The master itself runs in no stage, or there are too many steps.
    pub fn new(procedure: Procedure, master: Certname, stages: &[Vec<Certname>]) -> Result<Self, NotAPlan> {
        let mut stages = once_each(stages);
        match procedure {
            Procedure::Enroll | Procedure::Adopt => {
                if !stages.iter().flatten().any(|host| *host == master) {
                    return Err(NotAPlan::NoRun { master });
                }
            }
            // Its agent is stopped: the others run so that their lists lose its name.
            Procedure::Retire => {
                stages.iter_mut().for_each(|stage| stage.retain(|host| *host != master));
                stages.retain(|stage| !stage.is_empty());
            }
        }
        let ordered = |step: fn(usize, Certname) -> Step| {
            let numbered = stages.iter().enumerate();
            numbered.flat_map(move |(at, stage)| stage.iter().map(move |host| step(at + 1, host.clone())))
        };
        let runs = ordered(|stage, host| Step::Run { stage, host });
        let steps: Vec<Step> = match procedure {
            Procedure::Enroll => [Step::Preflight, Step::Install, Step::Sign, Step::FirstRun, Step::Classify]
                .into_iter()
                .chain(runs)
                .chain([Step::Seal, Step::Check, Step::Admit, Step::Watch])
                .collect(),
            Procedure::Adopt => [Step::Preflight]
                .into_iter()
                .chain(ordered(|stage, host| Step::Evidence { stage, host }))
                .chain([Step::Seal, Step::Check, Step::Admit, Step::Watch])
                .collect(),
            Procedure::Retire => [Step::Drain, Step::TakeOff, Step::StopAgent, Step::Unpin, Step::Deactivate]
                .into_iter()
                .chain(runs)
                .chain([Step::Revoke])
                .collect(),
        };
        if steps.len() > MOST_STEPS {
            return Err(NotAPlan::TooLong);
        }
        let address = format!("{master}:{PUPPET_PORT}");
        Ok(Self { procedure, master, address, stages, steps })
    }

    /// The same for a master that is reached at this `host:port`.
    #[must_use]
    pub fn at(self, address: impl Into<String>) -> Self {
        Self { address: address.into(), ..self }
    }

    /// What is done.
    #[must_use]
    pub const fn procedure(&self) -> Procedure {
        self.procedure
    }

    /// To whom.
    #[must_use]
    pub const fn master(&self) -> &Certname {
        &self.master
    }

    /// `host:port` where its Puppet Server listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether that is its certname on Puppet's port.
    #[must_use]
    pub fn is_at_its_name(&self) -> bool {
        self.address == format!("{}:{PUPPET_PORT}", self.master)
    }

    /// Who runs in which stage; nobody twice, no stage empty.
    #[must_use]
    pub fn stages(&self) -> &[Vec<Certname>] {
        &self.stages
    }

    /// Every step in its order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Each host at its latest place, and no empty stage.
fn once_each(stages: &[Vec<Certname>]) -> Vec<Vec<Certname>> {
    let mut seen: Vec<&Certname> = Vec::new();
    let mut kept: Vec<Vec<Certname>> = Vec::new();
    for stage in stages.iter().rev() {
        let mut hosts = Vec::new();
        for host in stage.iter().rev() {
            if !seen.contains(&host) {
                seen.push(host);
                hosts.push(host.clone());
            }
        }
        hosts.reverse();
        kept.push(hosts);
    }
    kept.reverse();
    kept.retain(|stage| !stage.is_empty());
    kept
}

impl Procedure {
    /// Every procedure.
    pub const ALL: [Self; 3] = [Self::Enroll, Self::Adopt, Self::Retire];

    /// The word for it, on the command line and in journals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Adopt => "adopt",
            Self::Retire => "retire",
        }
    }
}

impl Step {
    /// Steps that concern no host of the stages, with their words.
    const WORDS: [(&'static str, Self); 15] = [
        ("preflight", Self::Preflight),
        ("install", Self::Install),
        ("sign", Self::Sign),
        ("first-run", Self::FirstRun),
        ("classify", Self::Classify),
        ("seal", Self::Seal),
        ("check", Self::Check),
        ("admit", Self::Admit),
        ("watch", Self::Watch),
        ("drain", Self::Drain),
        ("take-off", Self::TakeOff),
        ("stop-agent", Self::StopAgent),
        ("unpin", Self::Unpin),
        ("deactivate", Self::Deactivate),
        ("revoke", Self::Revoke),
    ];

    /// The word that each kind of step begins with.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).chain(["run", "evidence"])
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { stage, host } => write!(f, "run {stage} {host}"),
            Self::Evidence { stage, host } => write!(f, "evidence {stage} {host}"),
            other => {
                let word = Self::WORDS.iter().find(|(_, step)| step == other).map_or("", |(word, _)| *word);
                f.write_str(word)
            }
        }
    }
}

impl FromStr for Step {
    type Err = NotAStep;

    fn from_str(text: &str) -> Result<Self, NotAStep> {
        if let Some((_, step)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(step.clone());
        }
        let ordered = || {
            let (word, rest) = text.split_once(' ')?;
            let (stage, host) = rest.split_once(' ')?;
            let (number, host) = (stage.parse().ok()?, Certname::parse_host(host).ok()?);
            let step = match word {
                "run" => Self::Run { stage: number, host },
                "evidence" => Self::Evidence { stage: number, host },
                _ => return None,
            };
            // One spelling for each step: no `+1`, no `01`.
            (step.to_string() == text).then_some(step)
        };
        ordered().ok_or_else(|| NotAStep { text: text.to_owned() })
    }
}
