//! One process per master.

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

/// The right to work on one master; the kernel takes it back when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(folder: &Path, master: &Certname) -> Result<Self, JournalError> {
        let path = path(folder, master);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path);
        let mut file = opened.map_err(failed(&path, "open the lock of this master"))?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Only said to others: what counts is the kernel's word.
                    let said = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                    said.map_err(failed(&path, "write the process into the lock of this master"))?;
                    return Ok(Self { _file: file });
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(BETWEEN),
                Err(errno) => return Err(failed(&path, "lock this master")(errno.into())),
            }
        }
        let mut by = String::new();
        let read = file.rewind().and_then(|()| (&mut file).take(20).read_to_string(&mut by));
        let by = read.ok().and_then(|_| by.trim().parse().ok());
        Err(JournalError::Busy { master: master.clone(), by })
    }

    /// Whether a process is at work on this master.
    pub(super) fn is_held(folder: &Path, master: &Certname) -> bool {
        File::open(path(folder, master))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }
}

fn path(folder: &Path, master: &Certname) -> PathBuf {
    folder.join(format!("{master}.lock"))
}
