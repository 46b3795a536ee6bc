//! The promises, one a scenario: what an operator may rely on, with real programs at both ends.

mod bootstrap;
mod door_ca;
mod enrolling;
mod failover;
mod firewall;
mod flush;
mod identity;
mod module;
mod moving;
mod outage;
mod overload;
mod pass;
mod paths;
mod revocation;
mod sealing;
mod seen;
mod steady;
mod trusted_facts;
mod unsealed;

use anyhow::Result;

use crate::access_log::{Entry, Mark};
use crate::lab::{Clock, Lab, Masters};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    /// How many compile masters it finds.
    masters: Masters,
    play: fn(&Lab) -> Result<()>,
}

pub(crate) const ALL: [Scenario; 29] = [
    Scenario {
        name: "a_new_master_is_enrolled_from_nothing_while_agents_run",
        promise: "One command takes a machine without an agent to a master that serves; killed after sign and in PuppetDB's run, it goes on. Nobody but the canary comes before, and only PuppetDB's restart fails a request.",
        masters: Masters::One,
        play: enrolling::a_new_master_is_enrolled_from_nothing_while_agents_run,
    },
    Scenario {
        name: "what_keeps_a_master_out_is_told_and_it_is_not_admitted",
        promise: "Runs in the wrong order, a run that failed, code that is behind: each says why, and nothing is admitted.",
        masters: Masters::Two,
        play: enrolling::what_keeps_a_master_out_is_told_and_it_is_not_admitted,
    },
    Scenario {
        name: "a_new_agent_bootstraps_and_compiles_through_the_door",
        promise: "An agent pointed only at the balancer gets CA, CRL and certificate from the MoM and catalogs from compile masters.",
        masters: Masters::Two,
        play: bootstrap::a_new_agent_bootstraps_and_compiles_through_the_door,
    },
    Scenario {
        name: "a_trusted_fact_decides_the_catalog",
        promise: "An extension of the agent's certificate arrives at the compile master and picks the role; the legacy address works too.",
        masters: Masters::Two,
        play: trusted_facts::a_trusted_fact_decides_the_catalog,
    },
    Scenario {
        name: "half_a_megabyte_of_facts_and_three_of_report_pass",
        promise: "Long facts and a long report arrive whole in PuppetDB.",
        masters: Masters::Two,
        play: trusted_facts::half_a_megabyte_of_facts_and_three_of_report_pass,
    },
    Scenario {
        name: "a_revoked_agent_is_refused_at_once",
        promise: "An agent revoked on the MoM is refused on new connections and on the one it holds open.",
        masters: Masters::Two,
        play: revocation::a_revoked_agent_is_refused_at_once,
    },
    Scenario {
        name: "every_certificate_of_the_ca_can_be_judged_beforehand",
        promise: "`stagedoor check --signed` finds none that Puppet's own CA signed and the door would refuse.",
        masters: Masters::Two,
        play: revocation::every_certificate_of_the_ca_can_be_judged_beforehand,
    },
    Scenario {
        name: "forged_identity_headers_change_nothing",
        promise: "Whatever X-Client-* headers a client sends, it is who its certificate says, or nobody.",
        masters: Masters::Two,
        play: identity::forged_identity_headers_change_nothing,
    },
    Scenario {
        name: "a_master_answers_nobody_but_the_door",
        promise: "A connection past the door gets no byte of an answer from a compile master.",
        masters: Masters::Two,
        play: identity::a_master_answers_nobody_but_the_door,
    },
    Scenario {
        name: "a_master_is_opened_and_sealed_by_puppet_runs_alone",
        promise: "The module opens and seals a master in one restart each; in no moment could a forged name get in, on the wire or on disk.",
        masters: Masters::Two,
        play: sealing::a_master_is_opened_and_sealed_by_puppet_runs_alone,
    },
    Scenario {
        name: "a_revoked_door_is_shut_out_without_a_restart",
        promise: "`stagedoor door-ca revoke`, the list on the master: that door gets nothing, the others go on, nothing restarts.",
        masters: Masters::Two,
        play: door_ca::a_revoked_door_is_shut_out_without_a_restart,
    },
    Scenario {
        name: "the_module_refuses_what_would_open_a_master",
        promise: "A door CA that is Puppet's own, without a valid revocation list or with its key, and a port without TLS: refused, nothing changed.",
        masters: Masters::Two,
        play: module::the_module_refuses_what_would_open_a_master,
    },
    Scenario {
        name: "pes_own_values_give_way_to_the_seal",
        promise: "The class for PE replaces what PE's module writes (here: stubs of it), stays so, and gives it back.",
        masters: Masters::Two,
        play: module::pes_own_values_give_way_to_the_seal,
    },
    Scenario {
        name: "the_module_is_clean",
        promise: "puppet-lint and puppet parser validate find nothing in the module.",
        masters: Masters::Two,
        play: module::the_module_is_clean,
    },
    Scenario {
        name: "ambiguous_paths_reach_nobody",
        promise: "A path that two servers could read in two ways is refused with 400 and reaches neither.",
        masters: Masters::Two,
        play: paths::ambiguous_paths_reach_nobody,
    },
    Scenario {
        name: "ca_administration_is_not_reached_through_the_door",
        promise: "Signing, revoking and cleaning are refused with 403, and so is the admin API.",
        masters: Masters::Two,
        play: paths::ca_administration_is_not_reached_through_the_door,
    },
    Scenario {
        name: "new_code_shows_after_a_flush_on_every_master",
        promise: "With environment_timeout = unlimited deployed code shows when `stagedoor flush` has told every master, and not before.",
        masters: Masters::Two,
        play: flush::new_code_shows_after_a_flush_on_every_master,
    },
    Scenario {
        name: "a_masters_own_status_is_relayed_by_the_door",
        promise: "What a sealed master measures of itself is read through the door.",
        masters: Masters::Two,
        play: flush::a_masters_own_status_is_relayed_by_the_door,
    },
    Scenario {
        name: "a_run_that_opens_a_master_takes_it_out_within_a_minute",
        promise: "A Puppet run that reverts webserver.conf takes the master out, even the last one; sealing it again brings it back, and nobody tells the door.",
        masters: Masters::Two,
        play: unsealed::a_run_that_opens_a_master_takes_it_out_within_a_minute,
    },
    Scenario {
        name: "a_firewall_is_tested_from_outside_of_it",
        promise: "A master behind a firewall is used while a host outside cannot reach it, over real ssh, and taken out as soon as that host can.",
        masters: Masters::Two,
        play: firewall::a_firewall_is_tested_from_outside_of_it,
    },
    Scenario {
        name: "old_and_new_agents_share_a_port_each_to_its_kind",
        promise: "A TLS 1.0 client is passed to the open master and a real agent ends at the door, on one port; real agents run through a port that passes everything.",
        masters: Masters::Two,
        play: pass::old_and_new_agents_share_a_port_each_to_its_kind,
    },
    Scenario {
        name: "a_site_moves_back_and_over_again_while_agents_run",
        promise: "From sealed masters to open ones without a door, and back behind the door, one by one, split by address: not one agent run fails.",
        masters: Masters::Two,
        play: moving::a_site_moves_back_and_over_again_while_agents_run,
    },
    Scenario {
        name: "an_environment_that_does_not_compile_puts_no_master_out",
        promise: "While every catalog of one environment fails, production compiles, no master is ejected, and what each master made of either is told apart.",
        masters: Masters::Two,
        play: outage::an_environment_that_does_not_compile_puts_no_master_out,
    },
    Scenario {
        name: "puppetdb_down_for_a_minute_puts_no_master_out",
        promise: "While PuppetDB is down every catalog fails at every master alike, and nobody is ejected; when it is up again all compiles, and nobody did anything.",
        masters: Masters::Two,
        play: outage::puppetdb_down_for_a_minute_puts_no_master_out,
    },
    Scenario {
        name: "a_locked_pool_is_given_nothing_and_no_run_fails",
        promise: "A master whose pool of JRubies is flushed during a long compile is seen to be locked and spared, and works again by itself; no run fails.",
        masters: Masters::Two,
        play: overload::a_locked_pool_is_given_nothing_and_no_run_fails,
    },
    Scenario {
        name: "an_agent_that_hangs_up_and_asks_again_has_one_seat",
        promise: "However often an agent hangs up and asks for its catalog again, it is compiled once at a time, and the runs of others go on.",
        masters: Masters::Two,
        play: overload::an_agent_that_hangs_up_and_asks_again_has_one_seat,
    },
    Scenario {
        name: "a_killed_master_costs_only_what_it_had",
        promise: "A compile master killed in the middle of forty runs costs the requests it had; back again, it takes traffic by itself.",
        masters: Masters::Two,
        play: failover::a_killed_master_costs_only_what_it_had,
    },
    Scenario {
        name: "prometheus_shows_what_the_masters_themselves_logged",
        promise: "Every panel and every rule of dashboards/ has data from real runs, and latency by class is what the masters' own access logs say.",
        masters: Masters::Two,
        play: seen::prometheus_shows_what_the_masters_themselves_logged,
    },
    Scenario {
        name: "a_retired_master_is_on_no_list_and_no_run_fails_for_it",
        promise: "Drained, off the roster, its agent disabled, on no list, its certificate refused, while agents run.",
        masters: Masters::Two,
        play: enrolling::a_retired_master_is_on_no_list_and_no_run_fails_for_it,
    },
];

/// Plays the scenarios and says how each ended; gives how many passed and how many failed.
pub(crate) fn play(lab: &Lab, scenarios: &[&Scenario]) -> (usize, usize) {
    let mut passed = 0;
    for scenario in scenarios {
        println!("\n{}\n  {}", scenario.name, scenario.promise);
        let clock = Clock::start();
        match lab.heal(scenario.masters).and_then(|()| (scenario.play)(lab)) {
            Ok(()) => {
                passed += 1;
                println!("  passed in {} minutes", clock.minutes());
            }
            Err(error) => {
                println!("  FAILED after {} minutes: {error:#}", clock.minutes());
                println!("  the door's last words:\n{}", lab.door().last_words());
            }
        }
    }
    (passed, scenarios.len() - passed)
}

/// What a scenario saw, for people.
pub(crate) fn saw(what: &str) {
    println!("  - {what}");
}

/// What reached the MoM and each compile master while a scenario played.
pub(crate) struct Watch {
    mom: Mark,
    masters: [Mark; 2],
}

/// What the servers themselves logged.
pub(crate) struct Reached {
    pub(crate) mom: Vec<Entry>,
    pub(crate) masters: [Vec<Entry>; 2],
}

impl Watch {
    pub(crate) fn begin(lab: &Lab) -> Result<Self> {
        let [first, second] = lab.masters();
        Ok(Self {
            mom: lab.mom().access_log().mark()?,
            masters: [first.access_log().mark()?, second.access_log().mark()?],
        })
    }

    /// Everything since, complete: each server has logged a request of the lab's own after it.
    pub(crate) fn end(&self, lab: &Lab) -> Result<Reached> {
        let (mom, [first, second]) = (lab.mom(), lab.masters());
        Ok(Reached {
            mom: mom.access_log().settle(self.mom, |mark| mom.leave_mark(mark))?,
            masters: [
                first.access_log().settle(self.masters[0], |mark| first.leave_mark(mark))?,
                second.access_log().settle(self.masters[1], |mark| second.leave_mark(mark))?,
            ],
        })
    }
}

impl Reached {
    pub(crate) fn at_masters(&self) -> impl Iterator<Item = &Entry> {
        self.masters.iter().flatten()
    }
}
