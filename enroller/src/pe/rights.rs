//! In whose name the console and the orchestrator are asked, and what it means to be refused.
//!
//! A token counts where the settings name one: it is a person's, with that person's permissions, and an end. It is read
//! anew for each question, so that a new one is taken as soon as it is written.

use http::StatusCode;
use stagedoor_config::enroller::Server;

use crate::ask::{Answer, Question};
use crate::pipeline::{Stop, StopKind};
use crate::site::Site;

/// A server of Puppet Enterprise's that is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service<'s> {
    pub(super) site: &'s Site,
    pub(super) server: &'s Server,
    /// What it is called in words.
    pub(super) what: &'static str,
    /// Where it writes what went wrong.
    pub(super) log: &'static str,
}

impl Service<'_> {
    /// Asks in the name of the token, else of this program's own certificate; whatever is answered but 401 and 403 is an
    /// answer. `permission` is what the token's owner must have.
    pub(super) async fn ask(&self, question: Question, permission: &str) -> Result<Answer, Stop> {
        let token = self.site.token()?;
        let question = match &token {
            Some(token) => question.with_token(token),
            None => question.shown(),
        };
        let answer = self.site.ask(self.server, &question).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED if token.is_some() => Err(self.expired(&answer)),
            StatusCode::UNAUTHORIZED => Err(self.unknown(&answer)),
            StatusCode::FORBIDDEN => Err(self.forbidden(&answer, permission, token.is_some())),
            _ => Ok(answer),
        }
    }

    /// The stop for an answer that nobody foresaw.
    pub(super) fn odd(&self, answer: &Answer) -> Stop {
        let way_out = format!("see {} on {}, then resume", self.log, self.server.certname);
        Stop::new(StopKind::Failed, self.answered(answer), way_out)
    }

    /// What it answered, in words.
    pub(super) fn answered(&self, answer: &Answer) -> String {
        format!("{} ({}) answered {}", self.what, self.server.address, answer.words())
    }

    /// Nothing went wrong that another token does not put right.
    fn expired(&self, answer: &Answer) -> Stop {
        let file =
            self.site.settings.token.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let reason = format!("{}: the token in {file} has expired, or was revoked", self.answered(answer));
        let way_out = format!(
            "have a new one written to {file} (`puppet access login --lifetime 1d --print`), then resume"
        );
        Stop::new(StopKind::Paused, reason, way_out)
    }

    fn unknown(&self, answer: &Answer) -> Stop {
        let reason = format!("{}: it does not know {}", self.answered(answer), self.own_name());
        Stop::new(StopKind::Refused, reason, self.list())
    }

    fn forbidden(&self, answer: &Answer, permission: &str, by_token: bool) -> Stop {
        let reason = self.answered(answer);
        let way_out = match by_token {
            true => format!(
                "give the token's owner the permission {permission}, by a role of his in the console; then resume"
            ),
            false => self.list(),
        };
        Stop::new(StopKind::Refused, reason, way_out)
    }

    /// Whose certificate is shown.
    fn own_name(&self) -> String {
        match self.site.settings.preset.is_java_7() {
            true => format!("the certificate of its own machine's agent, {}", self.server.certname),
            false => "the certificate under [identity]".to_owned(),
        }
    }

    fn list(&self) -> String {
        let or_token = match self.site.settings.preset.has_tokens() {
            true => ", or name an RBAC token's file under [token]",
            false => "",
        };
        format!(
            "put the certname of {} on rbac-certificate-whitelist (rbac-certificate-allowlist in later versions) in \
             /etc/puppetlabs/console-services on {} and restart pe-console-services{or_token}; then resume",
            self.own_name(),
            self.site
                .settings
                .console
                .as_ref()
                .map_or_else(String::new, |console| console.certname.to_string())
        )
    }
}
