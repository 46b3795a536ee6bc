//! Masters of Puppet Enterprise: the console's groups, the orchestrator, MCollective, and servers on Java 7.
//!
//! | module | promises about |
//! |---|---|
//! | `whole` | one enrollment of each kind of installation, from nothing to admitted |
//! | `groups` | what is left alone, changed and refused in the console |
//! | `jobs` | the orchestrator's jobs, and runs by MCollective |
//! | `tokens` | tokens that end, and permissions that lack |
//! | `crash` | killed at each point and taken up again |

mod crash;
mod groups;
mod jobs;
mod tokens;
mod whole;

use harness::fleet::Site;
use harness::installation::{CONSOLE, Enterprise, Installation, PUPPETDB, Said, Version};
use harness::master::Plan;
use harness::mom;

use super::{NEW, Scene};

/// The name by which agents reach masters.
const BALANCER: &str = "puppet.example.com";

/// An installation of Puppet Enterprise with a door and a machine for another master.
struct Pe {
    scene: Scene,
    pe: Enterprise,
}

impl Pe {
    async fn open(version: Version) -> Self {
        let mut site = Site::with_masters(1);
        // Masters on Java 7 are open, and the door passes connections to them.
        let plan = match version {
            Version::V3 => Plan { open: true, ..Installation::plan(NEW) },
            _ => Installation::plan(NEW),
        };
        if version == Version::V3 {
            site.papers.listen_keys = "pass_old_tls = true".to_owned();
        }
        let mut there = Installation::of(&site, [plan]);
        site.mom.autosign(false);
        there.paper.door("door1.example.com", &site.papers);
        let pe = Enterprise::beside(&mut there, &site.ca, &site.mom, version);
        Self { scene: Scene { fleet: site.open().await, there }, pe }
    }

    /// The same, with these keys under `[classify]`.
    async fn with(version: Version, keys: &str) -> Self {
        let mut this = Self::open(version).await;
        this.scene.there.paper.more.push_str(&format!("[classify]\n{keys}\n\n"));
        this
    }

    async fn enroll(&self) -> Said {
        self.scene.there.enroller(&["enroll", NEW, "--address", &self.scene.address()]).await
    }

    async fn is_enrolled(&self) -> Said {
        let said = self.enroll().await;
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        assert_eq!(self.scene.standing(NEW).await.as_deref(), Some("admitted"));
        said
    }
}

/// The hosts of the documented order.
const ORDER: [&str; 4] = [NEW, PUPPETDB, CONSOLE, mom::NAME];
