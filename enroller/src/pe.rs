//! Puppet Enterprise: the console's groups, which say what a new master is, and the orchestrator, which has agents run.
//!
//! Both are asked with an RBAC token, where the settings name one, else with a certificate that they know. A token that
//! has expired is no failure: the enrollment pauses until a new one is written. Servers on Java 7 are asked on their own
//! machines, by `curl` there.
//!
//! | file | holds |
//! |---|---|
//! | `groups` | what the console's groups must hold, and what is to be changed for it (pure) |
//! | `classifier` | the console's classifier: groups looked at and changed |
//! | `orchestrator` | jobs, and who is connected |
//! | `job` | what a job and its node come to (pure) |
//! | `rights` | in whose name they are asked, and what it means to be refused |
//! | `words` | what each preset does, in words for a plan (pure) |

pub mod classifier;
pub mod groups;
pub mod job;
pub mod orchestrator;
mod rights;
pub mod words;

use stagedoor_config::enroller::Runner;

use crate::pipeline::Stop;
use crate::site::Site;
use classifier::Classifier;
use orchestrator::Orchestrator;

/// Asks the console and the orchestrator something that they will be asked later, where an installation has them.
///
/// # Errors
/// One of them cannot be asked, or refuses.
pub(crate) async fn preflight(site: &Site) -> Result<(), Stop> {
    if let Some(classifier) = Classifier::of(site) {
        classifier.groups().await?;
    }
    if let Runner::Orchestrator { address } = &site.settings.runs.runner {
        Orchestrator::at(site, address).jobs().await?;
    }
    Ok(())
}
