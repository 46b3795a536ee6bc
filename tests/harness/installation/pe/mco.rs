//! MCollective, as `mco rpc puppet … --json` shows it on the Master of Masters.

use serde_json::{Value, json};

/// What `mco` is asked: an action, its arguments, a machine; none where it is asked in another way.
pub(in super::super) fn asked<'w>(words: &[&'w str]) -> Option<(&'w str, Vec<&'w str>, &'w str)> {
    match words {
        ["rpc", "puppet", action, arguments @ .., "-I", host, "--json"] => {
            Some((action, arguments.to_vec(), host))
        }
        _ => None,
    }
}

/// The list of replies of one machine that answers.
pub(in super::super) fn reply(action: &str, host: &str, status: i64, message: &str, data: &Value) -> String {
    let reply = json!([{
        "agent": "puppet", "action": action, "sender": host, "statuscode": status, "statusmsg": message, "data": data,
    }]);
    format!("{reply}\n")
}

/// What the action `status` says.
pub(in super::super) fn status(applying: bool, disabled: bool, lastrun: u64) -> Value {
    let word = match (disabled, applying) {
        (true, _) => "disabled",
        (_, true) => "applying a catalog",
        _ => "idling",
    };
    json!({
        "applying": applying, "enabled": !disabled, "daemon_present": true, "idling": !applying && !disabled,
        "lastrun": 1_417_000_000 + lastrun, "since_lastrun": 60, "disable_message": if disabled { "by a test" } else { "" },
        "status": word, "message": format!("Currently {word}; last completed run 1 minutes 00 seconds ago"),
    })
}
