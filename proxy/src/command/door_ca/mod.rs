//! `stagedoor door-ca`: the private CA whose client certificates alone open sealed masters.
//!
//! It works on files in a folder and asks nobody: no door needs to run, and the folder belongs on a machine that is
//! none. What it writes is taken to doors and masters by whatever the site copies files with; every step says which
//! file goes where, and in which order nobody is shut out.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the words of the command line |
//! | `words` | what is said after each step |
//! | `folder` | the folder, and the order in which its files change |
//! | `records` | what the files say (pure) |
//! | `not_done` | every reason why not |
//! | `make` | the shape of keys, certificates and lists |
//! | `show` | the listing |

mod folder;
mod make;
mod not_done;
mod records;
mod show;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::{Certname, NotACertname};

use self::folder::Folder;
use self::not_done::NotDone;
use super::{Failure, SETTINGS, say, warn};

#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    what: What,
    /// The CA's folder. It holds the CA's key: keep it off the doors and the masters.
    #[arg(long, global = true, value_name = "DIR", default_value = "door-ca")]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the CA: once for a site.
    Init,
    /// Make a door's key and certificate, valid for a year; each year again.
    Issue {
        /// The door, by its host name.
        #[arg(value_name = "DOOR", value_parser = door)]
        door: Certname,
        /// Where DOOR.pem and DOOR.key are written.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// Take back every certificate that was issued to a door.
    Revoke {
        /// The door, by its host name.
        #[arg(value_name = "DOOR", value_parser = door)]
        door: Certname,
    },
    /// Replace the CA, in two steps: a new one beside the old; with --finish the old one is dropped.
    Renew {
        /// Drop the old CA, when every door has a certificate of the new one.
        #[arg(long)]
        finish: bool,
        /// Drop it even where that shuts a door out.
        #[arg(long, requires = "finish")]
        force: bool,
    },
    /// Show the CA, its list, and each door's certificates, with the days that are left.
    Show {
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Whether a path is named as the key of a door CA is.
pub(super) fn is_key(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("ca-")?.strip_suffix(".key")).is_some_and(make::is_id)
}

fn door(text: &str) -> Result<Certname, NotACertname> {
    Certname::parse_host(text)
}

impl Asked {
    pub(super) fn run(self) -> Result<(), Failure> {
        let now = UnixTime::now();
        self.what.run(&self.folder, now)
    }
}

impl What {
    fn run(&self, path: &Path, now: UnixTime) -> Result<(), Failure> {
        match self {
            Self::Init => {
                let (folder, authority) = Folder::init(path, now)?;
                on_a_door();
                say(&words::made(&folder, &authority, now))
            }
            Self::Issue { door, out } => {
                let folder = open(path)?;
                let new = folder.issue(door, out, now)?;
                say(&words::issued(door, &new, now))
            }
            Self::Revoke { door } => {
                let folder = open(path)?;
                let count = folder.revoke(door, now)?;
                say(&words::revoked(&folder, door, count))
            }
            Self::Renew { finish: false, .. } => {
                let folder = open(path)?;
                let both = folder.renew(now)?;
                say(&words::renewed(&folder, &both, now))
            }
            Self::Renew { finish: true, force } => {
                let folder = open(path)?;
                let (new, old, behind) = folder.finish(*force, now)?;
                say(&words::finished(&folder, &new, &old, &behind))
            }
            Self::Show { json } => {
                let folder = Folder::open(path)?;
                let content = folder.read(now)?;
                let view = show::View::of(&folder, &content, now)?;
                if *json { say(&serde_json::to_string_pretty(&view)?) } else { say(&view.table()) }
            }
        }
    }
}

/// Opens the folder for a change, and says what is wrong with where it is kept.
fn open(path: &Path) -> Result<Folder, NotDone> {
    on_a_door();
    Folder::open(path)
}

/// Whoever takes over a door must not find the CA there.
fn on_a_door() {
    if Path::new(SETTINGS).exists() {
        warn(&format!(
            "warning: {SETTINGS} says that this machine is a door: keep the CA's folder on another one, or whoever \
             takes this door over can make doors"
        ));
    }
}
