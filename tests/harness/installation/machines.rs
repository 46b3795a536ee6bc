//! Machines, and the programs on them.
//!
//! A stand-in for `ssh` runs the command that it is given with a real shell, on this machine, with programs in front of
//! the others that hand their arguments over to here: `puppet`, `puppetserver`, `mco`, and what a shell asks about names
//! and ports. So quoting, scripts and standard inputs are real, and machines are not.

mod curl;
mod enterprise;
mod puppet;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::KeyPair;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::pe::Classifier;
use super::{CONSOLE, PUPPETDB, PuppetDb, Settings};
use crate::ca::DoorCa;
use crate::fleet::Site;
use crate::identity::KeyKind;
use crate::master::{Master, Plan};
use crate::mom::{self, Mom};

/// Programs that hand their arguments over.
const PROGRAMS: [&str; 10] = [
    "puppet",
    "puppetserver",
    "getent",
    "timeout",
    "curl",
    "mco",
    "openssl",
    "seal-master",
    "code-version",
    // In place of `test -x`, which is the shell's own.
    "file-there",
];

/// The machines of an installation.
#[derive(Clone)]
pub struct Machines {
    all: Arc<All>,
    port: u16,
    bin: PathBuf,
}

struct All {
    folder: PathBuf,
    door_ca: Arc<DoorCa>,
    mom: Mom,
    puppetdb: Arc<PuppetDb>,
    machines: Mutex<BTreeMap<String, Machine>>,
    masters: BTreeMap<String, Master>,
    runs: Mutex<Vec<String>>,
    scripts: Mutex<Vec<Scripted>>,
    transactions: AtomicU64,
    unknown_names: Mutex<Vec<String>>,
    shut_ports: Mutex<Vec<String>>,
    console: Mutex<Vec<String>>,
    /// Whether a machine has the `puppet` program only once an agent was installed there.
    bare: AtomicBool,
    /// The console's classifier, where servers run on Java 7.
    java_7: Mutex<Option<Arc<Classifier>>>,
    provisioned: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Machine {
    /// Whether its agent is there.
    installed: bool,
    settings: Settings,
    attributes: Vec<(String, String)>,
    key: Option<KeyPair>,
    disabled: bool,
    /// Whether site data has it sealed at its next run.
    sealed: bool,
    last_report: Option<Value>,
    /// How many runs it has ended.
    runs: u64,
}

struct Scripted {
    host: String,
    words: String,
    times: usize,
    turn: Turn,
}

/// What becomes of a program that a test has in mind.
#[derive(Clone)]
pub enum Turn {
    /// It says this and exits with this code, and nothing else happens.
    Says(i32, String),
    /// It prints this and exits with 0, and nothing else happens.
    Prints(String),
    /// The run ends like this, whatever it did: the status of its report, and further fields of that.
    Reports(&'static str, Value),
    /// It never ends; who waits is told once it was begun.
    Hangs(Arc<Notify>),
}

impl Machines {
    pub(super) fn start(
        folder: &Path,
        site: &Site,
        puppetdb: Arc<PuppetDb>,
        new: impl IntoIterator<Item = Plan>,
    ) -> Self {
        let mut machines: BTreeMap<String, Machine> = BTreeMap::new();
        for name in [mom::NAME, PUPPETDB, CONSOLE] {
            let installed = Machine { installed: true, ..Machine::default() };
            machines.insert(name.to_owned(), installed);
        }
        let mut masters = BTreeMap::new();
        for plan in new {
            let machine = Machine { sealed: !plan.open, ..Machine::default() };
            machines.insert(plan.name.clone(), machine);
            masters.insert(plan.name.clone(), Master::not_yet(plan));
        }
        let all = Arc::new(All {
            folder: folder.to_owned(),
            door_ca: site.door_ca.clone(),
            mom: site.mom.clone(),
            puppetdb,
            machines: Mutex::new(machines),
            masters,
            runs: Mutex::default(),
            scripts: Mutex::default(),
            transactions: AtomicU64::new(1),
            unknown_names: Mutex::default(),
            shut_ports: Mutex::default(),
            console: Mutex::default(),
            bare: AtomicBool::new(false),
            java_7: Mutex::default(),
            provisioned: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let serving = all.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = serving.clone();
                tokio::spawn(async move { all.serve(stream).await });
            }
        });
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).expect("a folder of our own");
        let this = Self { all, port, bin };
        this.write_programs();
        this
    }

    /// The stand-in for `ssh`.
    #[must_use]
    pub fn ssh(&self) -> PathBuf {
        self.bin.join("ssh")
    }

    /// A program that machines have, as it is called here too.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Where the Puppet Server of a new machine is, once there is one.
    #[must_use]
    pub fn address(&self, certname: &str) -> SocketAddr {
        self.master(certname).address()
    }

    /// The Puppet Server of a new machine, once there is one.
    ///
    /// # Panics
    /// When it is none of the new machines.
    #[must_use]
    pub fn master(&self, certname: &str) -> &Master {
        self.all.masters.get(certname).unwrap_or_else(|| panic!("{certname} is no new machine"))
    }

    /// Every run of an agent that came to its end, by host, in order.
    #[must_use]
    pub fn runs(&self) -> Vec<String> {
        self.all.runs.lock().unwrap().clone()
    }

    /// Has Puppet run on a host, as its daemon does.
    pub fn runs_by_itself(&self, host: &str) {
        self.all.agent_runs(host);
    }

    /// The next `times` programs on this host whose words hold these turn out so.
    pub fn script(&self, host: &str, words: &str, times: usize, turn: Turn) {
        let scripted = Scripted { host: host.to_owned(), words: words.to_owned(), times, turn };
        self.all.scripts.lock().unwrap().push(scripted);
    }

    /// Site data has a new master come up open, until [`Machines::seal`].
    pub fn leave_open(&self, certname: &str) {
        self.change(certname, |machine| machine.sealed = false);
    }

    /// Puts an agent onto a machine, set up for this server.
    pub fn install(&self, certname: &str, server: &str) {
        self.change(certname, |machine| {
            machine.installed = true;
            machine.settings.insert("server".to_owned(), server.to_owned());
        });
    }

    /// Has a machine make its key, and hand in no request.
    pub fn makes_key(&self, certname: &str) {
        let key = KeyKind::P256.generate();
        fs::write(self.all.file(certname, "hostprivkey"), key.serialize_pem()).expect("a file of our own");
        self.change(certname, |machine| machine.key = Some(key));
    }

    /// Has a machine ask for this extension as well.
    pub fn asks_for(&self, certname: &str, oid: &str, value: &str) {
        self.change(certname, |machine| machine.attributes.push((oid.to_owned(), value.to_owned())));
    }

    /// A name that no machine knows.
    pub fn forget_name(&self, name: &str) {
        self.all.unknown_names.lock().unwrap().push(name.to_owned());
    }

    /// A `host:port` that no machine reaches.
    pub fn shut(&self, to: &str) {
        self.all.shut_ports.lock().unwrap().push(to.to_owned());
    }

    /// The console's list.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.all.console.lock().unwrap().clone()
    }

    /// Whether a machine's agent is disabled.
    #[must_use]
    pub fn is_disabled(&self, certname: &str) -> bool {
        self.all.machines.lock().unwrap().get(certname).is_some_and(|machine| machine.disabled)
    }

    fn change(&self, certname: &str, change: impl FnOnce(&mut Machine)) {
        change(self.all.machines.lock().unwrap().entry(certname.to_owned()).or_default());
    }

    fn write_programs(&self) {
        let ssh = format!(
            "#!/bin/bash\nwhile [ \"$1\" != -- ]; do shift; done\n\
             case $3 in 'test -x '*) set -- \"$1\" \"$2\" \"file-there ${{3#test -x }}\" ;; esac\n\
             exec env STAND_IN_HOST=\"$2\" PATH=\"{bin}:$PATH\" sh -c \"$3\"\n",
            bin = self.bin.display()
        );
        write_program(&self.bin.join("ssh"), &ssh);
        let hands_over = format!(
            "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{port}\n\
             printf '%s\\n%s\\n%s\\n' \"${{STAND_IN_HOST:-here}}\" \"${{0##*/}}\" \"$#\" >&3\n\
             for word; do printf '%s' \"$word\" | base64 -w0 >&3; echo >&3; done\n\
             read -r code out err <&3\nhead -c \"$out\" <&3\nhead -c \"$err\" <&3 >&2\nexit \"$code\"\n",
            port = self.port
        );
        for name in PROGRAMS {
            write_program(&self.bin.join(name), &hands_over);
        }
        let su = "#!/bin/bash\n[ \"$1 $2 $3\" = '- peadmin -c' ] || exit 1\nexec sh -c \"$4\"\n";
        write_program(&self.bin.join("su"), su);
    }
}

/// Written by another process: were it open here for writing, a program that another thread starts meanwhile would hold
/// it open, and nobody could run it.
fn write_program(path: &Path, text: &str) {
    let mut install = std::process::Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(std::process::Stdio::piped());
    let mut child = install.spawn().expect("coreutils");
    child.stdin.take().expect("it was piped").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it is our child").success(), "{}", path.display());
    let mode = fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

/// What a program said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(code: i32, out: impl Into<String>) -> Said {
    Said { code, out: out.into(), err: String::new() }
}

fn failed(code: i32, err: impl Into<String>) -> Said {
    Said { code, out: String::new(), err: err.into() }
}

impl All {
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        let mut wanted = 3;
        while lines.len() < wanted {
            let mut line = String::new();
            if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
                return;
            }
            lines.push(line.trim_end_matches('\n').to_owned());
            if lines.len() == 3 {
                wanted = 3 + lines[2].parse::<usize>().unwrap_or_default();
            }
        }
        let words: Vec<String> = lines[3..].iter().map(|word| unbase64(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = match self.scripted(&lines[0], &lines[1], &words) {
            Some(Turn::Hangs(begun)) => {
                begun.notify_one();
                // Until whoever asked is gone.
                let mut rest = [0; 1];
                stream.read_exact(&mut rest).await.ok();
                return;
            }
            Some(Turn::Says(code, words)) => failed(code, words),
            Some(Turn::Prints(words)) => said(0, words),
            Some(Turn::Reports(status, more)) => self.run_reports(&lines[0], status, &more),
            None if lines[1] == "curl" && words.contains(&"--config") => self.curl_asks(&words).await,
            None => self.program(&lines[0], &lines[1], &words),
        };
        let answer = format!("{} {} {}\n{}{}", said.code, said.out.len(), said.err.len(), said.out, said.err);
        stream.write_all(answer.as_bytes()).await.ok();
        stream.shutdown().await.ok();
    }

    fn scripted(&self, host: &str, program: &str, words: &[&str]) -> Option<Turn> {
        let line = format!("{program} {}", words.join(" "));
        let mut scripts = self.scripts.lock().unwrap();
        let at =
            scripts.iter().position(|one| one.host == host && line.contains(&one.words) && one.times > 0)?;
        let scripted = &mut scripts[at];
        scripted.times -= 1;
        Some(scripted.turn.clone())
    }

    fn program(&self, host: &str, program: &str, words: &[&str]) -> Said {
        match (program, words) {
            ("getent", ["hosts", name]) => {
                let known = !self.unknown_names.lock().unwrap().iter().any(|unknown| unknown == name);
                said(if known { 0 } else { 2 }, "")
            }
            // `timeout 10 bash -c … stagedoor HOST PORT`: whether a connection comes to stand.
            ("timeout", [.., name, port]) => {
                let to = format!("{name}:{port}");
                said(i32::from(self.shut_ports.lock().unwrap().contains(&to)), "")
            }
            ("file-there", _) => {
                let bare = self.bare.load(Ordering::Relaxed);
                said(i32::from(bare && !self.machine(host, |machine| machine.installed)), "")
            }
            ("puppet", words) => self.puppet(host, words),
            ("mco", words) if host == mom::NAME => self.mco(words),
            ("puppetserver", ["ca", what, "--certname", certname]) => {
                let done = match *what {
                    "sign" => self.mom.sign_waiting(certname),
                    _ => self.mom.revoke_named(certname),
                };
                done.map_or_else(
                    |why| failed(1, why),
                    |()| said(0, format!("Successfully {what}ed {certname}\n")),
                )
            }
            ("curl", words) => self.curl(words),
            ("seal-master", [certname]) => {
                self.machine(certname, |machine| machine.sealed = true);
                said(0, "")
            }
            ("openssl", ["pkey", "-pubout", "-in", file]) => {
                fs::read_to_string(file).ok().and_then(|pem| KeyPair::from_pem(&pem).ok()).map_or_else(
                    || failed(1, "unable to load Private Key\n"),
                    |key| said(0, key.public_key_pem()),
                )
            }
            ("code-version", _) => said(0, "4dd9a2e0\n"),
            _ => failed(127, format!("{program}: no such program in this stand-in\n")),
        }
    }

    fn machine<T>(&self, host: &str, look: impl FnOnce(&mut Machine) -> T) -> T {
        look(self.machines.lock().unwrap().entry(host.to_owned()).or_default())
    }
}

fn unbase64(word: &str) -> String {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for letter in word.bytes().filter(|letter| *letter != b'=') {
        bits = bits << 6 | u32::from(value(letter));
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
