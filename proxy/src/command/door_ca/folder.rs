//! The folder of a door CA, and the order in which its files change.
//!
//! ```text
//! FOLDER/             0700
//!   ca.pem            the CA; two while it is being replaced, the one that signs first
//!   crl.pem           a list of revoked certificates for each
//!   ca-ID.key         0400, the key of the CA with this ID
//!   issued/           every certificate that was issued, DOOR-SERIAL.pem
//!   lock              held by the command that works here
//! ```
//!
//! Each file is replaced whole or not at all, and `ca.pem` is what counts: a key whose CA is not in it, and a list of
//! such a CA, are leftovers of a command that was interrupted: the next one takes the list out, and keys are never
//! removed unasked. So a crash between two files leaves the CA as it was or as it was to be. What was made is verified
//! as a master would before any of it is written.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::read::{self, Exposed, NotRead};
use stagedoor_config::trust::{Trust, Untrusted};
use zeroize::Zeroizing;

use super::make::{self, Key, Revoked};
use super::not_done::{DOOR_LONGEST, NotDone};
use super::records::{self, Authority, Issued, List, Odd, Standing};

/// More certificates than this were never issued to doors by hand; reading them would only take time.
const ISSUED_MOST: usize = 10_000;

/// A folder that this process alone works in.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

/// Everything in the folder but the keys.
#[derive(Debug)]
pub(super) struct Content {
    /// The one that signs first.
    pub(super) authorities: Vec<Authority>,
    /// In the same order.
    pub(super) lists: Vec<List>,
    pub(super) issued: Vec<Issued>,
    pub(super) trust: Trust,
}

/// A door's new certificate.
#[derive(Debug)]
pub(super) struct New {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authority: Authority,
    /// Ends with its CA, earlier than a door's certificate otherwise does.
    pub(super) cut_short: bool,
    pub(super) not_after: UnixTime,
    /// The door's other valid certificates.
    pub(super) earlier: usize,
}

impl Content {
    /// The CA that signs.
    pub(super) fn signing(&self) -> Option<&Authority> {
        self.authorities.first()
    }
}

impl Folder {
    /// Makes a CA in a folder that has none.
    pub(super) fn init(path: &Path, now: UnixTime) -> Result<(Self, Authority), NotDone> {
        let fail = |step| system(path, step);
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            fs::create_dir_all(above).map_err(fail("create the folders above it"))?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fail("create the folder")(error));
            }
            _ => {}
        }
        let folder = Self::lock(path)?;
        if folder.file("ca.pem").exists() || !folder.names()?.is_empty() {
            return Err(NotDone::AlreadyThere(path.to_owned()));
        }
        let (id, key) = (make::id()?, Key::generate()?);
        let certificate = make::authority(&id, &key, now)?;
        let list = make::list(&make::name(&id), &key, &[1], &[], now)?;
        let authorities = verified(&certificate, &list, now)?;
        let authority =
            authorities.into_iter().next().ok_or(Odd::NotOurs).map_err(|e| folder.odd("ca.pem", e))?;
        folder.write_key(&authority, &key)?;
        folder.write("crl.pem", &list)?;
        folder.write("ca.pem", &certificate)?;
        Ok((folder, authority))
    }

    /// Opens the folder of a CA.
    pub(super) fn open(path: &Path) -> Result<Self, NotDone> {
        if !path.join("ca.pem").exists() {
            return Err(NotDone::NoAuthority(path.to_owned()));
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self, NotDone> {
        let metadata = fs::metadata(path).map_err(system(path, "look at the folder"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(NotDone::Open { folder: path.to_owned(), mode });
        }
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(system(&file, "open the lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(NotDone::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(system(&file, "lock the folder")(error)),
        }
    }

    /// Reads everything and checks that it goes together.
    pub(super) fn read(&self, now: UnixTime) -> Result<Content, NotDone> {
        let text = |name: &str| read::text(&self.file(name));
        let authorities = records::authorities(&text("ca.pem")?).map_err(|e| self.odd("ca.pem", e))?;
        let lists = records::lists(&text("crl.pem")?, &authorities).map_err(|e| self.odd("crl.pem", e))?;
        let (lists, passed_over) = lists;
        if passed_over > 0 {
            let pem: String = lists.iter().map(|one| one.pem.as_str()).collect();
            self.write("crl.pem", &pem)?;
        }
        let trust = trust(&authorities, &lists, now)
            .map_err(|source| NotDone::Untrusted { folder: self.path.clone(), source })?;
        let mut issued = Vec::new();
        for path in self.names()? {
            let one = records::issued(&read::text(&path)?, &authorities, &trust, now);
            issued.push(one.map_err(|source| NotDone::Odd { path, source })?);
        }
        Ok(Content { authorities, lists, issued, trust })
    }

    /// Issues a door's certificate and writes it beside its key.
    pub(super) fn issue(&self, door: &Certname, out: &Path, now: UnixTime) -> Result<New, NotDone> {
        if door.as_str().len() > DOOR_LONGEST {
            return Err(NotDone::NameTooLong);
        }
        self.must_be_elsewhere(out)?;
        let content = self.read(now)?;
        let authority = content.signing().ok_or_else(|| NotDone::NoAuthority(self.path.clone()))?;
        let (signing, own) = (self.key(authority)?, Key::generate()?);
        let pem = make::leaf(door, &own, &authority.name, &signing, now, authority.not_after)?;
        let made = records::issued(&pem, &content.authorities, &content.trust, now);
        let made = made.map_err(|source| self.odd("issued", source))?;
        match made.standing {
            Standing::Valid => {}
            Standing::Refused(why) => return Err(NotDone::Refused(why)),
            _ => return Err(NotDone::Ended { name: authority.name.clone() }),
        }
        // Recorded first: a certificate that is out there must be one that can be taken back.
        let folder = self.file("issued");
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(system(&folder, "create the folder")(error));
            }
            _ => {}
        }
        let serial = made.serial;
        read::replace(&folder.join(format!("{door}-{serial}.pem")), pem.as_bytes(), 0o600)?;
        let (certificate, key) = (out.join(format!("{door}.pem")), out.join(format!("{door}.key")));
        read::replace(&key, own.pem().as_bytes(), 0o600)?;
        read::replace(&certificate, pem.as_bytes(), 0o644)?;
        let earlier = |one: &&Issued| one.door == *door && one.standing == Standing::Valid;
        Ok(New {
            certificate,
            key,
            not_after: made.not_after,
            cut_short: made.not_after == authority.not_after,
            earlier: content.issued.iter().filter(earlier).count(),
            authority: authority.clone(),
        })
    }

    /// Takes back every certificate of a door. Gives back how many were taken back now; 0 where all were before.
    pub(super) fn revoke(&self, door: &Certname, now: UnixTime) -> Result<usize, NotDone> {
        let content = self.read(now)?;
        if !content.issued.iter().any(|one| one.door == *door) {
            return Err(NotDone::NeverIssued { issued: self.file("issued"), door: door.clone() });
        }
        let (mut all, mut count) = (String::new(), 0);
        for (authority, list) in content.authorities.iter().zip(&content.lists) {
            let mut revoked = list.revoked.clone();
            for one in &content.issued {
                let of_this = one.door == *door && one.authority.as_ref() == Some(&authority.id);
                if of_this && !revoked.iter().any(|known| known.serial == one.serial_octets) {
                    revoked.push(Revoked { serial: one.serial_octets.clone(), at: make::early(now) });
                }
            }
            if revoked.len() == list.revoked.len() {
                all.push_str(&list.pem);
                continue;
            }
            count += revoked.len() - list.revoked.len();
            let number = records::next(&list.number);
            all.push_str(&make::list(&authority.name, &self.key(authority)?, &number, &revoked, now)?);
        }
        if count > 0 {
            let bundle: String = content.authorities.iter().map(|one| one.pem.as_str()).collect();
            verified(&bundle, &all, now)?;
            self.write("crl.pem", &all)?;
        }
        Ok(count)
    }

    /// Makes a new CA beside the old one. Gives back both, the new one first.
    pub(super) fn renew(&self, now: UnixTime) -> Result<Vec<Authority>, NotDone> {
        let content = self.read(now)?;
        let ([old], [old_list]) = (&content.authorities[..], &content.lists[..]) else {
            return Err(NotDone::Renewing);
        };
        let (id, key) = (make::id()?, Key::generate()?);
        let bundle = make::authority(&id, &key, now)? + &old.pem;
        let lists = make::list(&make::name(&id), &key, &[1], &[], now)? + &old_list.pem;
        let both = verified(&bundle, &lists, now)?;
        if let Some(new) = both.first() {
            self.write_key(new, &key)?;
        }
        self.write("crl.pem", &lists)?;
        self.write("ca.pem", &bundle)?;
        Ok(both)
    }

    /// Drops the CA that was replaced. Gives back the new one, the old one, and the doors that are shut out by it.
    pub(super) fn finish(
        &self,
        force: bool,
        now: UnixTime,
    ) -> Result<(Authority, Authority, Vec<Certname>), NotDone> {
        let content = self.read(now)?;
        let ([new, old], [list, _]) = (&content.authorities[..], &content.lists[..]) else {
            return Err(NotDone::NothingToFinish);
        };
        let behind = records::behind(&content.issued, &new.id);
        if !behind.is_empty() && !force {
            return Err(NotDone::Behind(behind));
        }
        verified(&new.pem, &list.pem, now)?;
        self.write("ca.pem", &new.pem)?;
        self.write("crl.pem", &list.pem)?;
        let key = self.key_file(&old.id);
        match fs::remove_file(&key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(system(&key, "remove the old CA's key: remove it by hand")(error))
            }
            _ => Ok((new.clone(), old.clone(), behind)),
        }
    }

    /// Keys whose CA is not in `ca.pem`, left by a command that was interrupted.
    pub(super) fn leftovers(&self, content: &Content) -> Result<Vec<PathBuf>, NotDone> {
        let known: Vec<PathBuf> = content.authorities.iter().map(|one| self.key_file(&one.id)).collect();
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(system(&self.path, "list the folder"))? {
            let path = entry.map_err(system(&self.path, "list the folder"))?.path();
            if path.extension().is_some_and(|extension| extension == "key") && !known.contains(&path) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether a CA's key is there, and whether others can read it.
    pub(super) fn key_exposed(&self, authority: &Authority) -> Result<Option<Exposed>, NotRead> {
        read::exposed(&self.key_file(&authority.id))
    }

    /// The name of a CA's key.
    pub(super) fn key_file(&self, id: &str) -> PathBuf {
        self.file(&format!("ca-{id}.key"))
    }

    fn key(&self, authority: &Authority) -> Result<Key, NotDone> {
        let path = self.key_file(&authority.id);
        let text = Zeroizing::new(read::text(&path)?);
        match Key::from_pem(&text) {
            Ok(key) if key.public() == authority.public => Ok(key),
            // The library's words on a broken key are dropped on purpose: none of its text may come out.
            _ => Err(NotDone::Key { path, name: authority.name.clone() }),
        }
    }

    fn write_key(&self, authority: &Authority, key: &Key) -> Result<(), NotDone> {
        Ok(read::replace(&self.key_file(&authority.id), key.pem().as_bytes(), 0o400)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), NotDone> {
        Ok(read::replace(&self.file(name), text.as_bytes(), 0o644)?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn odd(&self, name: &str, source: Odd) -> NotDone {
        NotDone::Odd { path: self.file(name), source }
    }

    /// The files of issued certificates, in order; none where nothing was issued yet.
    fn names(&self) -> Result<Vec<PathBuf>, NotDone> {
        let folder = self.file("issued");
        let fail = system(&folder, "list the certificates that were issued");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(&fail)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(&fail)?.file_name();
            // What begins with a dot was never brought to its name.
            let text = name.to_string_lossy();
            if text.ends_with(".pem") && !text.starts_with('.') {
                names.push(folder.join(name));
            }
            if names.len() > ISSUED_MOST {
                return Err(fail(io::Error::other(format!("more than {ISSUED_MOST} files"))));
            }
        }
        names.sort();
        Ok(names)
    }

    /// A door's files in the CA's folder would lie beside its keys, and those of a door named `ca` over `ca.pem`.
    fn must_be_elsewhere(&self, out: &Path) -> Result<(), NotDone> {
        let real = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_dir());
        let (Some(here), Some(there)) = (real(&self.path), real(out)) else {
            return Err(NotDone::NoOut(out.to_owned()));
        };
        if there.starts_with(&here) { Err(NotDone::OutIsTheFolder(out.to_owned())) } else { Ok(()) }
    }
}

fn trust(authorities: &[Authority], lists: &[List], now: UnixTime) -> Result<Trust, Box<Untrusted>> {
    let bundle: String = authorities.iter().map(|one| one.pem.as_str()).collect();
    let lists: String = lists.iter().map(|one| one.pem.as_str()).collect();
    Trust::from_pem(bundle.as_bytes(), lists.as_bytes(), now).map_err(Box::new)
}

/// The CAs of a bundle that is about to be written, after a door would have taken it.
fn verified(bundle: &str, lists: &str, now: UnixTime) -> Result<Vec<Authority>, NotDone> {
    Trust::from_pem(bundle.as_bytes(), lists.as_bytes(), now)
        .map_err(|error| NotDone::WouldBeRefused(Box::new(error)))?;
    records::authorities(bundle).map_err(|source| NotDone::Odd { path: "ca.pem".into(), source })
}

fn system(path: &Path, step: &'static str) -> impl Fn(io::Error) -> NotDone {
    move |source| NotDone::System { path: path.to_owned(), step, source }
}
