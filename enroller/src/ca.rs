//! The CA, on the Master of Masters: certificates, requests, and what a CA is asked to sign or to take back.
//!
//! It is asked by its own name and never through a balancer. Who may sign is tried in an order: an RBAC token, this
//! program's own certificate with a rule of its own in the CA's auth.conf, and last the command an operator would type
//! on the Master of Masters, over ssh. A way that the CA does not let in is passed over; what the CA says of the request
//! itself is its last word.

use http::{Method, StatusCode};
use serde_json::json;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{Preset, Server};

use crate::ask::{Answer, Question};
use crate::pipeline::{Stop, StopKind};
use crate::site::{Site, not_run};

/// The CA of an installation.
#[derive(Debug, Clone, Copy)]
pub struct Ca<'s> {
    site: &'s Site,
    server: &'s Server,
}

/// What the CA is asked to make of a request or a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The request signed.
    Signed,
    /// The certificate on the list of revoked ones.
    Revoked,
}

/// Who asked the CA in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// An RBAC token.
    Token,
    /// This program's own certificate.
    Certificate,
    /// The CA's own command, over ssh.
    Ssh,
}

impl Way {
    /// The word for it in a journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::Ssh => "ssh",
        }
    }
}

impl<'s> Ca<'s> {
    /// The installation's.
    #[must_use]
    pub const fn of(site: &'s Site) -> Self {
        Self { site, server: &site.settings.mom }
    }

    /// The certificate of this name, in PEM form; none where there is none.
    ///
    /// # Errors
    /// The CA cannot be asked, or answers something else.
    pub async fn certificate(&self, name: &Certname) -> Result<Option<String>, Stop> {
        self.pem("certificate", name).await
    }

    /// The request of this name that waits to be signed, in PEM form; none where there is none.
    ///
    /// # Errors
    /// The CA cannot be asked, or answers something else.
    pub async fn request(&self, name: &Certname) -> Result<Option<String>, Stop> {
        self.pem("certificate_request", name).await
    }

    /// Hands in a request. One that waits already, or was signed, stays as it is.
    ///
    /// # Errors
    /// The CA cannot be asked, or refuses.
    pub async fn hand_in(&self, name: &Certname, pem: &str) -> Result<(), Stop> {
        let question = Question::of(Method::PUT, self.path("certificate_request", name))
            .body("text/plain", pem.to_owned());
        let answer = self.ask(&question).await?;
        let there_already =
            answer.status == StatusCode::BAD_REQUEST && answer.text().contains("already has a");
        if answer.status.is_success() || there_already { Ok(()) } else { Err(self.refused(name, &answer)) }
    }

    /// Has a request signed or a certificate taken back.
    ///
    /// # Errors
    /// No way is let in, or the CA refuses what is asked.
    pub async fn have(&self, name: &Certname, wanted: Wanted) -> Result<Way, Stop> {
        let mut shut_out = Vec::new();
        // The API came with Puppet Server 2; before, its guard is a list of its own and signs no alternative names.
        if self.site.settings.preset != Preset::Pe3 {
            if let Some(token) = self.site.token()? {
                match self.have_by(self.question(name, wanted).with_token(&token), name, wanted).await? {
                    Said::Done => return Ok(Way::Token),
                    Said::ShutOut(words) => shut_out.push(format!("with the token: {words}")),
                }
            }
            if self.site.settings.identity.is_some() {
                match self.have_by(self.question(name, wanted).shown(), name, wanted).await? {
                    Said::Done => return Ok(Way::Certificate),
                    Said::ShutOut(words) => {
                        shut_out.push(format!("with the certificate under [identity]: {words}"))
                    }
                }
            }
        }
        if !self.site.shell.is_there() {
            let reason = format!("the CA lets this program neither sign nor revoke: {}", shut_out.join("; "));
            // Another token puts that right, where it is the token's end that keeps it out.
            let expired = shut_out.iter().any(|words| words.starts_with("with the token: 401"));
            let kind = if expired { StopKind::Paused } else { StopKind::Refused };
            return Err(Stop::new(kind, reason, self.rule()));
        }
        self.have_by_command(name, wanted, &shut_out).await.map(|()| Way::Ssh)
    }

    fn question(&self, name: &Certname, wanted: Wanted) -> Question {
        let state = match wanted {
            Wanted::Signed => "signed",
            Wanted::Revoked => "revoked",
        };
        Question::of(Method::PUT, self.path("certificate_status", name))
            .json(&json!({ "desired_state": state }))
    }

    async fn have_by(&self, question: Question, name: &Certname, wanted: Wanted) -> Result<Said, Stop> {
        let answer = self.ask(&question).await?;
        match answer.status {
            status if status.is_success() => Ok(Said::Done),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Said::ShutOut(answer.words())),
            StatusCode::CONFLICT if wanted == Wanted::Signed => Err(conflict(name, &answer.words())),
            _ => Err(self.refused(name, &answer)),
        }
    }

    /// The command an operator would type on the Master of Masters.
    async fn have_by_command(
        &self,
        name: &Certname,
        wanted: Wanted,
        shut_out: &[String],
    ) -> Result<(), Stop> {
        let mom = &self.server.certname;
        let puppet = self.site.puppet_program();
        let beside = self.site.settings.runs.puppet.with_file_name("puppetserver").display().to_string();
        let old = matches!(self.site.settings.preset, Preset::Pe3 | Preset::Pe2015);
        let words: Vec<&str> = match (old, wanted) {
            (true, Wanted::Signed) => vec![&puppet, "cert", "--allow-dns-alt-names", "sign", name.as_str()],
            (true, Wanted::Revoked) => vec![&puppet, "cert", "revoke", name.as_str()],
            (false, Wanted::Signed) => vec![&beside, "ca", "sign", "--certname", name.as_str()],
            (false, Wanted::Revoked) => vec![&beside, "ca", "revoke", "--certname", name.as_str()],
        };
        let command = words.join(" ");
        let line = crate::shell::CommandLine::of(words).map_err(|error| not_run(&error.into()))?;
        let ended = self.site.shell.look(mom, &line).await.map_err(|error| not_run(&error))?;
        if ended.code == 0 {
            return Ok(());
        }
        let said = ended.last_words();
        if wanted == Wanted::Signed && said.contains("code: 409") {
            return Err(conflict(name, &said));
        }
        let mut reason = format!("{mom}: `{command}` ended with {}: {said}", ended.code);
        if !shut_out.is_empty() {
            reason.push_str(&format!(" (before that, {})", shut_out.join("; ")));
        }
        Err(Stop::new(StopKind::Failed, reason, "see why the CA does not, then resume"))
    }

    async fn pem(&self, what: &str, name: &Certname) -> Result<Option<String>, Stop> {
        let answer = self.ask(&Question::get(self.path(what, name))).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer.text())),
            _ => Err(self.refused(name, &answer)),
        }
    }

    /// Puppet 3 has another form of paths, in which an environment comes first.
    fn path(&self, what: &str, name: &Certname) -> String {
        match self.site.settings.preset {
            Preset::Pe3 => format!("/production/{what}/{name}"),
            _ => format!("/puppet-ca/v1/{what}/{name}"),
        }
    }

    async fn ask(&self, question: &Question) -> Result<Answer, Stop> {
        self.site.ask(self.server, question).await.map_err(|error| error.stop())
    }

    fn refused(&self, name: &Certname, answer: &Answer) -> Stop {
        let reason = format!("the CA ({}) answered {} about {name}", self.server.address, answer.words());
        Stop::new(StopKind::Failed, reason, "see the CA's log, then resume")
    }

    fn rule(&self) -> String {
        format!(
            "on {}, let the certname of the certificate under [identity] do just that by a rule of its own in auth.conf \
             (path ^/puppet-ca/v1/certificate_status/, methods get and put), have a new token written where it has expired, \
             or write [ssh]; then resume",
            self.server.certname
        )
    }
}

enum Said {
    Done,
    /// This way is not let in.
    ShutOut(String),
}

/// Puppet Server's 409 is mostly this one.
fn conflict(name: &Certname, words: &str) -> Stop {
    let reason = format!("the CA does not sign {name}: {words}");
    let way_out = "where it is about alternative names or extensions: set `allow-subject-alt-names: true` (and \
                   `allow-authorization-extensions: true` where the settings name any) in the CA's ca.conf and reload \
                   it, then resume";
    Stop::new(StopKind::Refused, reason, way_out)
}
