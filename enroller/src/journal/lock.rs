//! One process per master, and one enrollment at a time at each host whose lists it changes.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use stagedoor_config::certname::Certname;

use super::JournalError;
use super::refused::failed;

/// Somebody who only looks whether the lock is held has it for a moment: this often, and this long between.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(25);

/// The right to work on one master, or at one host; the kernel takes it back when the process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

/// Given back by word, not by the file's close alone: a child that is being started has the file open as well until
/// its program begins, and would keep the lock for that long.
impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that is not held any more is no failure, and nothing else can fail here.
        flock(&self.0, FlockOperation::Unlock).ok();
    }
}

/// What a lock is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'c> {
    /// A master that is enrolled.
    Master(&'c Certname),
    /// A host whose lists are changed: PuppetDB, the console.
    Host(&'c Certname),
}

impl Lock {
    pub(super) fn take(folder: &Path, of: Of<'_>) -> Result<Self, JournalError> {
        let path = path(folder, of);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path);
        let mut file = opened.map_err(failed(&path, "open this lock"))?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Only said to others: what counts is the kernel's word.
                    let said = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                    said.map_err(failed(&path, "write the process into this lock"))?;
                    return Ok(Self(file));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(BETWEEN),
                Err(errno) => return Err(failed(&path, "lock this")(errno.into())),
            }
        }
        let mut by = String::new();
        let read = file.rewind().and_then(|()| (&mut file).take(20).read_to_string(&mut by));
        let by = read.ok().and_then(|_| by.trim().parse().ok());
        Err(match of {
            Of::Master(master) => JournalError::Busy { master: master.clone(), by },
            Of::Host(host) => JournalError::Taken { host: host.clone(), by },
        })
    }

    /// Whether a process is at work on this master.
    pub(super) fn is_held(folder: &Path, master: &Certname) -> bool {
        let Ok(file) = File::open(path(folder, Of::Master(master))) else { return false };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                drop(Self(file));
                false
            }
            Err(errno) => errno == Errno::WOULDBLOCK,
        }
    }
}

fn path(folder: &Path, of: Of<'_>) -> PathBuf {
    folder.join(match of {
        Of::Master(master) => format!("{master}.lock"),
        Of::Host(host) => format!("{host}.turn"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_given_back_is_free_while_a_child_that_is_being_started_has_its_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let master = Certname::parse("compile9.example.com").unwrap();
        let lock = Lock::take(dir.path(), Of::Master(&master)).unwrap();
        let as_a_child_has_it = lock.0.try_clone().unwrap();
        assert!(Lock::is_held(dir.path(), &master));
        drop(lock);
        assert!(!Lock::is_held(dir.path(), &master));
        drop(Lock::take(dir.path(), Of::Master(&master)).unwrap());
        drop(as_a_child_has_it);
    }
}
