//! What a door is given: its settings, its roster, its certificates, in a folder of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use stagedoor_config::certname::Certname;
use stagedoor_config::master::{Check, JETTY_HEADER_LIMIT, Kind, Master as OnRoster, Standing};
use stagedoor_config::roster::Roster;
use tempfile::TempDir;

use crate::ca::{DoorCa, PuppetCa, replace};
use crate::identity::{Identity, Leaf};
use crate::listening::{free_address, own_address};
use crate::master::Master;
use crate::mom;

/// A folder with a door's files, and what its settings say.
pub struct Papers {
    folder: TempDir,
    /// Where agents will connect.
    pub listen: SocketAddr,
    /// Where the read-only admin door will be.
    pub admin_http: SocketAddr,
    /// Where the Master of Masters is.
    pub mom: SocketAddr,
    health: Vec<(String, String)>,
    bounds: Vec<(String, String)>,
    /// Further keys of the access log, in TOML.
    pub access_keys: String,
    /// Further keys of the address where agents connect, in TOML.
    pub listen_keys: String,
    /// The masters on the roster; none writes no file.
    pub roster: Option<Roster>,
    /// Further text before the first table, and after the last.
    pub extra: (String, String),
}

impl Papers {
    /// A door in front of this Master of Masters, with nobody on its roster. Agents know it as `puppet`.
    #[must_use]
    pub fn new(ca: &PuppetCa, door_ca: &DoorCa, mom: SocketAddr) -> Self {
        let shown = ca.issue(&Leaf::server("door1.example.com").alt_name("puppet"));
        Self::showing(&shown, ca, door_ca, mom)
    }

    /// A door that shows agents this certificate.
    #[must_use]
    pub fn showing(shown: &Identity, ca: &PuppetCa, door_ca: &DoorCa, mom: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        ca.write(folder.path());
        shown.write(folder.path(), "door");
        door_ca.door("door1.example.com").write(folder.path(), "door-client");
        door_ca.write(folder.path());
        let host = own_address();
        let line = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            folder,
            listen: free_address(host),
            admin_http: free_address(host),
            mom,
            health: vec![
                line("interval", "\"500ms\""),
                line("timeout", "\"500ms\""),
                line("rise", "1"),
                line("fall", "2"),
            ],
            // Machines of tests have low limits on open files.
            bounds: vec![line("connections", "600"), line("handshakes", "100")],
            access_keys: String::new(),
            listen_keys: String::new(),
            roster: Some(Roster::default()),
            extra: (String::new(), String::new()),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder: `proxy.toml`, `roster.toml`, `ca_crt.pem`, `ca_crl.pem`, `door.pem`, `door.key`,
    /// `door-client.pem`, `door-client.key`, `door-ca.pem`, `door-ca-crl.pem`, `access.log`, `admin.sock`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Puts a master on the roster.
    pub fn admit(&mut self, master: &Master) {
        let kind = if master.is_open() { Kind::Open { check: Check::Status } } else { Kind::SEALED };
        self.admit_as(kind, master.name(), master.address());
    }

    /// Puts a name on the roster as a sealed master, wherever it is.
    pub fn admit_at(&mut self, name: &str, address: SocketAddr) {
        self.admit_as(Kind::SEALED, name, address);
    }

    /// Puts a name on the roster, whatever and wherever it is.
    pub fn admit_as(&mut self, kind: Kind, name: &str, address: SocketAddr) {
        let roster = self.roster.get_or_insert_default();
        roster.generation += 1;
        roster.masters.push(OnRoster {
            certname: Certname::parse_host(name).expect("a host name"),
            address: address.to_string(),
            kind,
            standing: Standing::Admitted,
            header_limit: JETTY_HEADER_LIMIT,
            jrubies: None,
        });
    }

    /// One more address, which passes; with these keys. Says where it is.
    pub fn passing(&mut self, keys: &str) -> SocketAddr {
        let address = free_address(own_address());
        let table = format!("\n[[listen]]\naddress = \"{address}\"\nmode = \"pass\"\n{keys}\n");
        self.extra.1.push_str(&table);
        address
    }

    /// The admin door for other machines, which takes certificates of these names. Says where it is.
    pub fn admin_tls(&mut self, allow: &[&str]) -> SocketAddr {
        let address = free_address(own_address());
        self.extra.1.push_str(&format!("\n[admin.tls]\naddress = \"{address}\"\nallow = {allow:?}\n"));
        address
    }

    /// Sets a bound, in TOML: `bound("body", "\"1 MiB\"")`.
    pub fn bound(&mut self, key: &str, value: &str) {
        set(&mut self.bounds, key, value);
    }

    /// Sets a key of `[health]`, in TOML.
    pub fn health(&mut self, key: &str, value: &str) {
        set(&mut self.health, key, value);
    }

    /// Writes the CA's files as they are now; the door looks at them twice a second.
    pub fn write_ca(&self, ca: &PuppetCa) {
        ca.write(self.folder());
    }

    /// Writes a file of the folder as a careful program does.
    pub fn write(&self, name: &str, text: &str) {
        replace(&self.file(name), text);
    }

    /// The settings as text.
    #[must_use]
    pub fn settings(&self) -> String {
        let file = |name: &str| toml::Value::from(self.file(name).display().to_string());
        let table = |lines: &[(String, String)]| -> String {
            lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
        };
        format!(
            "{before}\n[[listen]]\naddress = \"{listen}\"\n{listen_keys}\n\n\
             [[certificate]]\ncertificate = {door}\nkey = {door_key}\n\n\
             [puppet_ca]\nbundle = {bundle}\ncrl = {crl}\n\n\
             [mom]\ncertname = \"{mom_name}\"\naddress = \"{mom}\"\n\n\
             [masters]\ncertificate = {client}\nkey = {client_key}\nca = {door_ca}\ncrl = {door_ca_crl}\n\n\
             [roster]\nfile = {roster}\n\n\
             [admin]\nhttp = \"{admin}\"\nunix = {socket}\n\n\
             [access_log]\nfile = {access}\n{access_keys}\n\n\
             [health]\n{health}\n[bounds]\n{bounds}\n{after}\n",
            before = self.extra.0,
            listen = self.listen,
            listen_keys = self.listen_keys,
            door = file("door.pem"),
            door_key = file("door.key"),
            bundle = file("ca_crt.pem"),
            crl = file("ca_crl.pem"),
            mom_name = mom::NAME,
            mom = self.mom,
            client = file("door-client.pem"),
            client_key = file("door-client.key"),
            door_ca = file("door-ca.pem"),
            door_ca_crl = file("door-ca-crl.pem"),
            roster = file("roster.toml"),
            admin = self.admin_http,
            socket = file("admin.sock"),
            access = file("access.log"),
            access_keys = self.access_keys,
            health = table(&self.health),
            bounds = table(&self.bounds),
            after = self.extra.1,
        )
    }

    /// Writes `proxy.toml`, and `roster.toml` unless one is there; says where the settings are.
    pub fn settle(&self) -> PathBuf {
        let (settings, roster) = (self.file("proxy.toml"), self.file("roster.toml"));
        fs::write(&settings, self.settings()).expect("a file in our folder");
        if let Some(there) = &self.roster
            && !roster.exists()
        {
            fs::write(&roster, there.render()).expect("a file in our folder");
        }
        settings
    }
}

fn set(lines: &mut Vec<(String, String)>, key: &str, value: &str) {
    lines.retain(|(there, _)| there != key);
    lines.push((key.to_owned(), value.to_owned()));
}
