//! What stands behind addresses that pass: told before connections are closed for want of it.

use stagedoor_config::master::Standing;
use stagedoor_config::proxy::{Behind, Mode, Settings};
use stagedoor_config::roster::Roster;

use super::Found;

impl Found {
    /// Holds the addresses against the roster. It may change at any time, so what is missing is a warning.
    pub(super) fn behind(&mut self, settings: &Settings, roster: &Roster) {
        let open = roster.masters.iter().filter(|master| !master.kind.is_sealed());
        let admitted = open.clone().filter(|master| master.standing == Standing::Admitted).count();
        for (place, listen) in settings.listen.iter().enumerate() {
            let (key, address) = (format!("listen[{place}]"), listen.address);
            match &listen.mode {
                Mode::Pass(Behind::Backends { addresses, .. }) => {
                    self.facts.push(format!("passed: {address} to {} backends", addresses.len()));
                }
                Mode::Pass(Behind::OpenMasters) if admitted == 0 => self.warn(
                    &key,
                    format!(
                        "{address} passes connections to open masters and none is admitted, so each is closed: admit \
                         one with `stagedoor roster admit CERTNAME --open`, or list `backends`"
                    ),
                ),
                Mode::Pass(Behind::OpenMasters) => {
                    self.facts.push(format!("passed: {address} to {admitted} open masters"));
                }
                Mode::EndTls(rules) if (rules.pass_old_tls || !rules.pass_sni.is_empty()) && admitted == 0 => {
                    let why = "pass_old_tls and pass_sni are of no effect while no open master is admitted: admit one \
                               with `stagedoor roster admit CERTNAME --open`";
                    self.warn(&key, why);
                }
                Mode::EndTls(_) => {}
            }
        }
        let passes = settings.listen.iter().any(|listen| listen.passes_to_open_masters());
        if let (false, Some(master)) = (passes, open.into_iter().next()) {
            let why = format!(
                "{} is open and no address passes connections to open masters: nobody is sent to it",
                master.certname
            );
            self.warn("roster.file", why);
        }
    }
}
