//! Asking the door's admin doors, and reading its metrics.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Door, Papers};
use crate::http1::Conn;
use crate::master::Master;
use crate::wait::in_time;

/// What an admin door answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Asked {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Papers {
    /// Asks the admin door that may be written to.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn admin(&self, method: &str, path: &str, body: &str) -> io::Result<Asked> {
        ask(UnixStream::connect(self.file("admin.sock")).await?, method, path, body).await
    }

    /// Asks the read-only admin door.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn admin_http(&self, method: &str, path: &str, body: &str) -> io::Result<Asked> {
        ask(TcpStream::connect(self.admin_http).await?, method, path, body).await
    }

    /// Puts a master on the roster of the door that runs with these papers.
    ///
    /// # Errors
    /// When nobody answers, or the door refuses.
    pub async fn admit_now(&self, master: &Master) -> io::Result<()> {
        let answer = self.admin("POST", "/v1/roster/admit", &admission(master).to_string()).await?;
        if answer.status == 200 { Ok(()) } else { Err(io::Error::other(answer.body)) }
    }
}

impl Door {
    /// Asks the admin door that may be written to.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Asked {
        self.papers.admin(method, path, body).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Puts a master on the roster, as `stagedoor roster admit` does.
    ///
    /// # Panics
    /// When the door refuses.
    pub async fn admit(&self, master: &Master) -> Value {
        self.change("admit", &admission(master)).await
    }

    /// Drains a master, as `stagedoor roster drain` does.
    ///
    /// # Panics
    /// When the door refuses.
    pub async fn drain(&self, certname: &str) -> Value {
        self.change("drain", &json!({ "certname": certname })).await
    }

    /// Changes the roster; gives back the roster after it.
    ///
    /// # Panics
    /// When the door refuses.
    pub async fn change(&self, change: &str, body: &Value) -> Value {
        let answer = self.admin("POST", &format!("/v1/roster/{change}"), &body.to_string()).await;
        assert_eq!(answer.status, 200, "{change}: {}", answer.body);
        answer.json()
    }

    /// What the door says about one master.
    ///
    /// # Panics
    /// When it does not know it.
    pub async fn master(&self, certname: &str) -> Value {
        let masters = self.admin("GET", "/v1/masters", "").await.json();
        let found =
            masters["masters"].as_array().and_then(|all| all.iter().find(|m| m["certname"] == certname));
        found.unwrap_or_else(|| panic!("{certname} is not among {masters}")).clone()
    }

    /// The door's metrics as of now.
    ///
    /// # Panics
    /// When it does not give them.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin("GET", "/metrics", "").await;
        assert_eq!(answer.status, 200);
        Metrics(answer.body)
    }
}

fn admission(master: &Master) -> Value {
    let kind = if master.is_open() { "open" } else { "sealed" };
    json!({ "certname": master.name(), "address": master.address().to_string(), "kind": kind })
}

async fn ask<S>(stream: S, method: &str, path: &str, body: &str) -> io::Result<Asked>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut conn = Conn::new(stream);
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    in_time("an answer of the admin door", async {
        conn.write(head.as_bytes()).await?;
        let head = conn.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = conn.whole_body(head.response_framing(method)).await?;
        Ok(Asked { status: head.status(), body: String::from_utf8_lossy(&body).into_owned() })
    })
    .await
}

/// Metrics in their text form.
#[derive(Debug, Clone)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of every sample of this name that carries these labels; 0 where there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).map(|(_, value)| value).sum()
    }

    /// Every sample of this name that carries these labels: its whole label text, and its value.
    pub fn samples<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
            // A bucket's exemplar is not its value.
            let line = line.split_once(" # ").map_or(line, |(line, _)| line);
            let (series, value) = line.rsplit_once(' ')?;
            let (own, carried) = series.split_once('{').unwrap_or((series, ""));
            let has = |(key, wanted): &(&str, &str)| carried.contains(&format!("{key}=\"{wanted}\""));
            (own == name && labels.iter().all(has)).then_some((carried, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text =
            "# HELP a_total x\na_total{class=\"ca\",x=\"1\"} 2\na_total{class=\"node\"} 3\na_totals 9\nb 4\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.sum("a_total", &[]), 5.0);
        assert_eq!(metrics.sum("a_total", &[("class", "ca")]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 4.0);
        assert_eq!(metrics.sum("c", &[]), 0.0);
    }
}
