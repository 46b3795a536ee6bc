//! The CA's whole life, on files: what is made, what a master would say of it, what an interruption leaves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use stagedoor_config::trust::{Refused, Side, Trust};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};

use super::folder::{Content, Folder};
use super::not_done::NotDone;
use super::records::{self, Standing};
use super::*;
use super::{door, show, words};

mod damage;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_811_808_000));
const YEAR: u64 = 365 * 24 * 3600;
const DAY: u64 = 24 * 3600;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + seconds))
}

struct Desk {
    place: tempfile::TempDir,
    folder: Folder,
}

impl Desk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::init(&place.path().join("ca"), NOW).unwrap();
        fs::create_dir(place.path().join("out")).unwrap();
        Self { place, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn content(&self) -> Content {
        self.folder.read(NOW).unwrap()
    }

    fn issue(&self, name: &str) -> CertificateDer<'static> {
        self.issue_at(name, NOW)
    }

    fn issue_at(&self, name: &str, now: UnixTime) -> CertificateDer<'static> {
        let new = self.folder.issue(&door(name).unwrap(), &self.path("out"), now).unwrap();
        CertificateDer::from_pem_file(&new.certificate).unwrap()
    }

    /// What a master with the files as they are now says of a certificate.
    fn judge(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Refused> {
        let (bundle, lists) = (self.text("ca/ca.pem"), self.text("ca/crl.pem"));
        let trust = Trust::from_pem(bundle.as_bytes(), lists.as_bytes(), now).unwrap();
        trust.judge(leaf, &[], now, Side::Agent).map(drop)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn extension<T>(certificate: &Certificate) -> (bool, T)
where
    T: for<'a> x509_cert::der::Decode<'a, Error = x509_cert::der::Error> + x509_cert::der::oid::AssociatedOid,
{
    certificate.tbs_certificate().get_extension::<T>().unwrap().unwrap()
}

fn chain(error: &NotDone) -> String {
    crate::observe::log::chain(error)
}

#[test]
fn a_ca_signs_doors_and_lists_for_ten_years_and_nothing_else() {
    let desk = Desk::new();
    let der = CertificateDer::from_pem_file(desk.path("ca/ca.pem")).unwrap();
    let ca = Certificate::from_der(&der).unwrap();
    let (critical, constraints) = extension::<BasicConstraints>(&ca);
    assert!(critical && constraints.ca && constraints.path_len_constraint == Some(0));
    let (critical, usage) = extension::<KeyUsage>(&ca);
    assert!(critical && usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    let own = extension::<SubjectKeyIdentifier>(&ca).1.0;
    let tbs = ca.tbs_certificate();
    assert!(tbs.subject().to_string().starts_with("CN=stagedoor door CA "), "{}", tbs.subject());
    let serial = tbs.serial_number().as_bytes();
    assert!(serial.len() == 16 && serial[0] & 0x80 == 0, "positive and random");
    let content = desk.content();
    let ends = content.signing().unwrap().not_after;
    assert_eq!(ends, at(10 * YEAR));
    assert_eq!(content.lists[0].next_update, ends);
    assert_eq!(content.trust.lists()[0].number.as_deref(), Some(&[1][..]));

    let leaf = desk.issue("door1.example.com");
    let parsed = Certificate::from_der(&leaf).unwrap();
    let (_, constraints) = extension::<BasicConstraints>(&parsed);
    assert!(!constraints.ca);
    let (_, purposes) = extension::<ExtendedKeyUsage>(&parsed);
    assert_eq!(purposes.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.3.6.1.5.5.7.3.2"]);
    assert_eq!(extension::<AuthorityKeyIdentifier>(&parsed).1.key_identifier.unwrap(), own);
    assert_eq!(parsed.tbs_certificate().subject().to_string(), "CN=door1.example.com");
    for (now, verdict) in [(at(0), true), (at(YEAR - 1), true), (at(YEAR + 1), false)] {
        assert_eq!(desk.judge(&leaf, now).is_ok(), verdict, "{now:?}");
    }
    let early = UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() - DAY + 60));
    assert_eq!(desk.judge(&leaf, early), Ok(()), "a clock that is behind by less than a day");
}

#[test]
fn keys_are_for_their_owner_alone_and_never_said() {
    let desk = Desk::new();
    let new = desk.folder.issue(&door("d1").unwrap(), &desk.path("out"), NOW).unwrap();
    let content = desk.content();
    let authority = content.signing().unwrap();
    let key = format!("ca/ca-{}.key", authority.id);
    assert_eq!((desk.mode(&key), desk.mode("ca"), desk.mode("out/d1.key")), (0o400, 0o700, 0o600));
    let view = show::View::of(&desk.folder, &content, NOW).unwrap();
    let said = [
        words::made(&desk.folder, authority, NOW),
        words::issued(&door("d1").unwrap(), &new, NOW),
        view.table(),
        serde_json::to_string(&view).unwrap(),
        format!("{:?}", desk.folder),
    ];
    for secret in [desk.text(&key), desk.text("out/d1.key")] {
        let line = secret.lines().nth(1).unwrap();
        assert!(said.iter().all(|words| !words.contains("PRIVATE") && !words.contains(line)));
    }
    assert!(view.table().contains("d1  valid       365 days"), "{}", view.table());
}

#[test]
fn a_second_ca_is_never_made_over_a_first() {
    let desk = Desk::new();
    let Desk { folder, place } = desk;
    let path = folder.path.clone();
    assert!(matches!(Folder::open(&path), Err(NotDone::Busy(_))), "one command at a time");
    assert!(matches!(Folder::init(&path, NOW), Err(NotDone::Busy(_))));
    folder.issue(&door("d1").unwrap(), place.path(), NOW).unwrap();
    drop(folder);
    assert!(matches!(Folder::init(&path, NOW), Err(NotDone::AlreadyThere(_))));
    // Moved away instead of copied: what was issued says that there was a CA.
    fs::rename(path.join("ca.pem"), place.path().join("ca.pem")).unwrap();
    assert!(matches!(Folder::init(&path, NOW), Err(NotDone::AlreadyThere(_))));
    assert!(matches!(Folder::open(&path), Err(NotDone::NoAuthority(_))));
    fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
    assert!(matches!(Folder::init(&path, NOW), Err(NotDone::Open { mode: 0o775, .. })));
}

#[test]
fn a_door_that_is_revoked_is_refused_and_the_others_are_not() {
    let desk = Desk::new();
    let (one, other) = (desk.issue("d1"), desk.issue("d2"));
    let again = desk.issue("d1");
    assert_ne!(one, again);
    assert_eq!(
        (desk.judge(&one, NOW), desk.judge(&again, NOW)),
        (Ok(()), Ok(())),
        "the earlier one stays valid"
    );
    assert_eq!(desk.folder.revoke(&door("d1").unwrap(), NOW).unwrap(), 2);
    for revoked in [&one, &again] {
        assert_eq!(desk.judge(revoked, NOW), Err(Refused::Revoked));
    }
    assert_eq!(desk.judge(&other, NOW), Ok(()));
    let list = desk.content().lists.remove(0);
    assert_eq!((list.number.as_slice(), list.next_update), (&[2][..], at(10 * YEAR)));
    assert!(list.revoked.iter().all(|one| one.at < NOW), "in force where clocks are behind");

    let before = desk.text("ca/crl.pem");
    assert_eq!(desk.folder.revoke(&door("d1").unwrap(), at(DAY)).unwrap(), 0, "twice is once");
    assert_eq!(desk.text("ca/crl.pem"), before);
    assert_eq!(desk.judge(&desk.issue("d1"), NOW), Ok(()), "a new one is another");
    assert_eq!(desk.folder.revoke(&door("d2").unwrap(), at(DAY)).unwrap(), 1);
    let list = desk.content().lists.remove(0);
    assert_eq!((list.number.as_slice(), list.revoked.len()), (&[3][..], 3));
    let told = desk.folder.revoke(&door("d3").unwrap(), NOW).unwrap_err();
    assert!(told.to_string().contains("door-ca show"), "{told}");
}

#[test]
fn a_ca_is_replaced_without_shutting_a_door_out() {
    let desk = Desk::new();
    let old = desk.issue("d1");
    let revoked = desk.issue("d2");
    desk.folder.revoke(&door("d2").unwrap(), NOW).unwrap();
    assert!(matches!(desk.folder.finish(false, NOW), Err(NotDone::NothingToFinish)));
    let both = desk.folder.renew(NOW).unwrap();
    assert_ne!(both[0].name, both[1].name);
    assert!(matches!(desk.folder.renew(NOW), Err(NotDone::Renewing)));
    assert_eq!(desk.judge(&old, NOW), Ok(()), "the bundle takes both");
    assert_eq!(desk.judge(&revoked, NOW), Err(Refused::Revoked));

    let told = desk.folder.finish(false, NOW).unwrap_err();
    assert!(told.to_string().contains(": d1: "), "{told}");
    let new = desk.issue("d1");
    assert_eq!((desk.judge(&old, NOW), desk.judge(&new, NOW)), (Ok(()), Ok(())));
    desk.folder.finish(false, NOW).unwrap();
    assert_eq!((desk.judge(&old, NOW), desk.judge(&new, NOW)), (Err(Refused::UnknownIssuer), Ok(())));
    let content = desk.content();
    assert_eq!(content.signing().unwrap().name, both[0].name);
    assert!(
        !desk.folder.key_file(&both[1].id).exists() && desk.folder.leftovers(&content).unwrap().is_empty()
    );
    let standings: Vec<_> = content.issued.iter().map(|one| one.standing.name()).collect();
    assert_eq!(standings.iter().filter(|word| **word == "CA dropped").count(), 2, "{standings:?}");
}

#[test]
fn both_of_a_doors_certificates_are_revoked_while_two_cas_stand() {
    let desk = Desk::new();
    let old = desk.issue("d1");
    desk.folder.renew(NOW).unwrap();
    let new = desk.issue("d1");
    assert_eq!(desk.folder.revoke(&door("d1").unwrap(), NOW).unwrap(), 2);
    assert_eq!(
        (desk.judge(&old, NOW), desk.judge(&new, NOW)),
        (Err(Refused::Revoked), Err(Refused::Revoked))
    );
    let (_, _, behind) = desk.folder.finish(false, NOW).unwrap();
    assert!(behind.is_empty(), "who is revoked holds nothing up");
}

#[test]
fn a_door_left_behind_is_dropped_only_by_force() {
    let desk = Desk::new();
    let old = desk.issue("d1");
    desk.folder.renew(NOW).unwrap();
    assert!(matches!(desk.folder.finish(false, NOW), Err(NotDone::Behind(doors)) if doors.len() == 1));
    let (_, _, behind) = desk.folder.finish(true, NOW).unwrap();
    assert_eq!(behind, [door("d1").unwrap()]);
    assert_eq!(desk.judge(&old, NOW), Err(Refused::UnknownIssuer));
}

#[test]
fn an_interruption_between_two_files_leaves_a_ca_that_works() {
    let desk = Desk::new();
    let leaf = desk.issue("d1");
    let (bundle, lists) = (desk.text("ca/ca.pem"), desk.text("ca/crl.pem"));
    let put = |name: &str, text: &str| fs::write(desk.path(name), text).unwrap();
    // `renew` wrote the new key and both lists, and not the bundle.
    desk.folder.renew(NOW).unwrap();
    let (both, both_lists) = (desk.text("ca/ca.pem"), desk.text("ca/crl.pem"));
    put("ca/ca.pem", &bundle);
    assert_eq!(desk.folder.leftovers(&desk.content()).unwrap().len(), 1, "the new key is told");
    assert_eq!(desk.text("ca/crl.pem"), lists, "the list of no CA is taken out");
    assert_eq!(desk.judge(&leaf, NOW), Ok(()));
    desk.issue("d2");
    // `renew --finish` wrote the bundle, and neither the lists nor took the key away.
    put("ca/ca.pem", &both);
    put("ca/crl.pem", &both_lists);
    desk.issue("d1");
    desk.issue("d2");
    let old_key = desk.names("ca").into_iter().filter(|name| name.ends_with(".key")).count();
    desk.folder.finish(false, NOW).unwrap();
    put("ca/crl.pem", &both_lists);
    assert_eq!(desk.content().authorities.len(), 1);
    assert_ne!(desk.text("ca/crl.pem"), both_lists);
    assert_eq!((old_key, desk.judge(&desk.issue("d3"), NOW)), (2, Ok(())));
    // A record that was never brought to its name.
    put("ca/issued/.d9-00.pem.new", "half");
    assert_eq!(desk.folder.revoke(&door("d3").unwrap(), NOW).unwrap(), 1);
}

#[test]
fn an_init_that_was_interrupted_can_be_done_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("below/ca");
    drop(Folder::init(&path, NOW).unwrap());
    fs::remove_file(path.join("ca.pem")).unwrap();
    let (folder, _) = Folder::init(&path, NOW).unwrap();
    assert_eq!(folder.leftovers(&folder.read(NOW).unwrap()).unwrap().len(), 1);
}

#[test]
fn what_goes_to_a_door_is_never_written_over_the_ca() {
    let desk = Desk::new();
    let before = desk.text("ca/ca.pem");
    let link = desk.path("link");
    std::os::unix::fs::symlink(desk.path("ca"), &link).unwrap();
    fs::create_dir(desk.path("ca/below")).unwrap();
    for out in [desk.path("ca"), link, desk.path("ca/below"), desk.path("out/../ca")] {
        let told = desk.folder.issue(&door("ca").unwrap(), &out, NOW).unwrap_err();
        assert!(matches!(told, NotDone::OutIsTheFolder(_)), "{told}");
    }
    let told = desk.folder.issue(&door("d1").unwrap(), &desk.path("missing"), NOW).unwrap_err();
    assert!(matches!(told, NotDone::NoOut(_)), "{told}");
    let long = format!("{}.example.com", "d".repeat(60));
    let told = desk.folder.issue(&door(&long).unwrap(), &desk.path("out"), NOW).unwrap_err();
    assert!(matches!(told, NotDone::NameTooLong), "{told}");
    assert_eq!(desk.text("ca/ca.pem"), before);
    assert!(!desk.path("ca/issued").exists(), "nothing was issued");
    desk.issue("ca");
    assert_eq!(desk.text("ca/ca.pem"), before);
}

#[test]
fn a_certificate_never_outlives_its_ca_and_none_is_made_by_one_that_ended() {
    let desk = Desk::new();
    let late = at(10 * YEAR - 30 * DAY);
    let new = desk.folder.issue(&door("d1").unwrap(), &desk.path("out"), late).unwrap();
    assert!(new.cut_short && new.not_after == at(10 * YEAR));
    assert!(words::issued(&door("d1").unwrap(), &new, late).contains("door-ca renew"));
    let told = desk.folder.issue(&door("d1").unwrap(), &desk.path("out"), at(10 * YEAR + 1)).unwrap_err();
    assert!(matches!(told, NotDone::Ended { .. } | NotDone::Refused(_)), "{told}");
    assert_eq!(desk.names("ca/issued").len(), 1);
}

#[test]
fn a_number_is_followed_by_the_next() {
    for (number, next) in
        [(&[][..], &[1][..]), (&[1], &[2]), (&[0xff], &[1, 0]), (&[1, 0xff, 0xff], &[2, 0, 0])]
    {
        assert_eq!(records::next(number), next);
    }
}

#[test]
fn an_expired_certificate_holds_no_replacement_up() {
    let desk = Desk::new();
    desk.issue("d1");
    let later = at(2 * YEAR);
    desk.folder.renew(later).unwrap();
    let content = desk.folder.read(later).unwrap();
    assert_eq!(content.issued[0].standing, Standing::Expired);
    assert!(desk.folder.finish(false, later).is_ok());
}
