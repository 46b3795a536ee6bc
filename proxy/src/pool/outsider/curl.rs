//! What a host outside is told to run, and what its words mean.
//!
//! The command may go through a shell over there: ssh joins its arguments with blanks and has the login shell read
//! them. So no argument has a letter that a shell reads as anything but itself, and none is empty.
//!
//! The host outside has no agent's certificate, so a master that asks for one and refuses it says nothing about agents,
//! who have. What a firewall promises is that nobody outside gets as far as that: a connection that comes to stand is
//! an answer.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;

use stagedoor_config::certname::Certname;

use super::super::seal::Outcome;
use super::verdict::Try;

/// For curl to connect and to be done, in seconds. A firewall that drops makes every test last as long as the first.
const CONNECT: &str = "3";
const WHOLE: &str = "10";
/// What curl's own words begin with, between whatever else comes from over there.
const MARK: &str = "stagedoor:";
/// curl's exit codes where no connection came to stand: refused or unreachable, and not in time.
const NOT_CONNECTED: [i32; 2] = [7, 28];

/// The arguments after the command of the settings. The address is the one the door uses: the name may be another
/// master's outside, or none's.
pub(super) fn arguments(certname: &Certname, address: SocketAddr) -> Vec<String> {
    let (ip, port) = (address.ip(), address.port());
    let fixed =
        ["curl", "-q", "-s", "-k", "-o", "/dev/null", "--connect-timeout", CONNECT, "--max-time", WHOLE];
    let headers = ["-H", "X-Client-Verify:SUCCESS", "-H", "X-Client-DN:CN=stagedoor-outsider"];
    let mut arguments: Vec<String> = fixed.into_iter().chain(headers).map(str::to_owned).collect();
    arguments.extend(["-w".to_owned(), format!("{MARK}%{{http_code}}:%{{local_port}}")]);
    // No proxy of that host's stands in for the way from there.
    arguments.extend(["--noproxy".to_owned(), certname.to_string()]);
    arguments.extend(["--resolve".to_owned(), format!("{certname}:{port}:{ip}")]);
    arguments.push(format!("https://{certname}:{port}/status/v1/simple"));
    arguments
}

/// What came of it: the exit code, none where a signal ended it, and what it wrote.
pub(super) fn said(exit: Option<i32>, out: &[u8], err: &[u8]) -> Result<Try, String> {
    let Some((status, port)) = words(out) else {
        let exit = exit.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        return Err(format!(
            "the command of [outside] ended with {exit} and no words of curl{}",
            last_line(err)
        ));
    };
    if status != 0 {
        return Ok(Try::Answered(format!("from outside it answers {status:03}")));
    }
    if port != 0 {
        return Ok(Try::Answered("a connection from outside comes to stand".to_owned()));
    }
    match exit {
        Some(code) if NOT_CONNECTED.contains(&code) => Ok(Try::Refused),
        Some(code) => Err(format!("curl on the host outside ended with exit code {code}{}", last_line(err))),
        None => Err("curl on the host outside was ended by a signal".to_owned()),
    }
}

/// No means at all, in words.
pub(super) fn without() -> Outcome {
    let why = "isolation is \"firewall\" and [outside] names no command on a host outside of it";
    Outcome::Unable(why.to_owned())
}

/// The status that was answered and the port that was connected from, each 0 where there is none.
fn words(out: &[u8]) -> Option<(u16, u16)> {
    let out = String::from_utf8_lossy(out);
    let (_, last) = out.rsplit_once(MARK)?;
    let (status, port) = last.trim_ascii_end().split_once(':')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    Some((number(status)?, number(port)?))
}

/// The last line of what went wrong over there, for whoever has to mend it.
fn last_line(err: &[u8]) -> String {
    let err = String::from_utf8_lossy(err);
    let Some(line) = err.lines().map(str::trim).rfind(|line| !line.is_empty()) else { return String::new() };
    let line: String = line.chars().filter(|letter| !letter.is_control()).take(200).collect();
    format!(": {line}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said_of(exit: i32, out: &str) -> Result<Try, String> {
        said(Some(exit), out.as_bytes(), b"")
    }

    #[test]
    fn any_answer_and_any_connection_from_outside_is_an_answer() {
        for (exit, out) in [
            (0, "stagedoor:200:40000"),
            (0, "Welcome to outside\nstagedoor:403:40000\n"),
            (18, "stagedoor:200:40000"),
            (28, "stagedoor:000:40000"),
            (35, "stagedoor:000:40000"),
            (52, "stagedoor:000:40000"),
            (56, "stagedoor:000:40000"),
        ] {
            assert!(matches!(said_of(exit, out), Ok(Try::Answered(_))), "{exit} {out}");
        }
    }

    #[test]
    fn only_curl_itself_can_say_that_nothing_connects() {
        assert_eq!(said_of(7, "stagedoor:000:0"), Ok(Try::Refused));
        assert_eq!(said_of(28, "stagedoor:000:0"), Ok(Try::Refused));
        for (exit, out) in [
            (7, ""),
            (28, ""),
            (255, ""),
            (127, ""),
            (0, "stagedoor:000:0"),
            (6, "stagedoor:000:0"),
            (7, "stagedoor:000"),
            (7, "stagedoor::"),
            (7, "stagedoor:000:+0"),
            (7, "stagedoor:000:0:0"),
            (7, "stagedoor:99999:0"),
        ] {
            assert!(said_of(exit, out).is_err(), "{exit} {out}");
        }
        assert!(said(None, b"", b"").is_err() && said(None, b"stagedoor:000:0", b"").is_err());
    }

    #[test]
    fn what_went_wrong_over_there_is_told_in_one_plain_line() {
        let err = b"Warning: Permanently added\nprobe@out: \x1b[31mPermission denied\x1b[0m (publickey).\n\n";
        let told = said(Some(255), b"", err).unwrap_err();
        assert!(told.ends_with(
            "exit code 255 and no words of curl: probe@out: [31mPermission denied[0m (publickey)."
        ));
        assert!(said(Some(1), b"", &b"x".repeat(5000)).unwrap_err().len() < 400);
    }

    proptest! {
        /// What a shell over there would read as anything but the word itself never comes near it.
        #[test]
        fn every_argument_is_one_word_to_any_shell(
            name in "[ -~]{1,80}",
            ip: std::net::IpAddr,
            port: u16,
        ) {
            let Ok(certname) = Certname::parse_host(&name) else { return Ok(()) };
            for argument in arguments(&certname, SocketAddr::new(ip, port)) {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=%{}".contains(&byte);
                prop_assert!(!argument.is_empty() && argument.bytes().all(plain), "{argument}");
            }
        }

        #[test]
        fn a_name_that_a_roster_takes_is_one_word_to_any_shell(name in "[a-z0-9._-]{1,60}", ip: std::net::IpAddr) {
            let Ok(certname) = Certname::parse_host(&name) else { return Ok(()) };
            let arguments = arguments(&certname, SocketAddr::new(ip, 8140));
            prop_assert!(arguments.iter().filter(|a| a.starts_with("https://")).count() == 1);
            for argument in arguments {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=%{}".contains(&byte);
                prop_assert!(argument.bytes().all(plain), "{argument}");
            }
        }

        #[test]
        fn whatever_comes_back_is_a_verdict_or_words(
            exit: Option<i32>,
            out: Vec<u8>,
            err: Vec<u8>,
        ) {
            if let Err(words) = said(exit, &out, &err) {
                prop_assert!(!words.chars().any(char::is_control), "{words}");
            }
        }
    }
}
