//! What the console's groups must hold for a new master, and what is to be changed for it.
//!
//! A group is compared with what it must hold, one thing after the other. What is right is left alone; what is missing is
//! to be added; what somebody has set otherwise is refused, unless it may be overwritten. A group's documented classes are
//! never added: where they are missing, all of the groups are as an upgrade leaves them, and adding some of them in some
//! order cuts an installation's servers off from each other.
//!
//! | file | holds |
//! |---|---|
//! | `rule` | a group's rule, as far as it names nodes |
//! | `wanted` | what each kind of installation wants of its groups |
//! | `group` | a group as the classifier has it, and what its parameters mean |
#![deny(clippy::disallowed_methods)]

mod group;
pub mod rule;
#[cfg(test)]
mod tests;
mod wanted;

use serde_json::{Value, json};

pub use group::Group;
pub use wanted::{Asks, wanted};

/// One thing that a group must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Must {
    /// It is there, below another; with what it begins with where it is not.
    Child {
        /// Which group.
        group: String,
        /// Below which.
        parent: String,
        /// Its description, for whoever finds it in the console.
        about: String,
    },
    /// It has these classes, which are not added.
    Classes {
        /// Which group.
        group: String,
        /// The documented ones.
        classes: &'static [&'static str],
    },
    /// It names this node.
    Name {
        /// Which group.
        group: String,
        /// Whom.
        node: String,
        /// Whether there is an endpoint that pins.
        pins: bool,
    },
    /// Compile masters come into it by this condition, which stands in its rule.
    Condition {
        /// Which group.
        group: String,
        /// A condition of the classifier's grammar.
        condition: Value,
    },
    /// A parameter of a class has this value.
    Parameter {
        /// Which group.
        group: String,
        /// Which class.
        class: &'static str,
        /// The parameter's names: an older version has another. The first that is set counts.
        names: &'static [&'static str],
        /// What it is to be.
        value: Value,
        /// What it is compared by.
        asks: Asks,
        /// What becomes of it where nobody has set it.
        unset: Unset,
    },
}

/// What becomes of a parameter that nobody has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// It is set.
    Set,
    /// It is told: what changes every agent's server is not changed in passing.
    Tell,
    /// Nothing: it need not be set.
    Leave,
}

/// A change of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A group that is not there yet.
    Create {
        /// Its name.
        group: String,
        /// As the classifier wants it.
        body: Value,
    },
    /// A node is pinned, where there is an endpoint for it.
    Pin {
        /// The group's identifier.
        id: String,
        /// Its name.
        group: String,
        /// Whom.
        node: String,
        /// The same as a delta, for a version without that endpoint.
        delta: Value,
    },
    /// A node is pinned no more.
    Unpin {
        /// The group's identifier.
        id: String,
        /// Its name.
        group: String,
        /// Whom.
        node: String,
        /// The same as a delta.
        delta: Value,
    },
    /// A rule or a parameter, as a delta that holds nothing else.
    Update {
        /// The group's identifier.
        id: String,
        /// Its name.
        group: String,
        /// What changes.
        delta: Value,
        /// The same in words.
        words: String,
    },
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// What is to be changed, in its order.
    pub changes: Vec<Change>,
    /// What is not as it should be in the end, and is not changed in passing.
    pub warnings: Vec<String>,
}

/// Why groups are left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is otherwise than it must be.
    pub reason: String,
    /// What to do.
    pub way_out: String,
}

impl Change {
    /// What it does, for a plan and for a journal.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Create { group, .. } => format!("create the group {group}"),
            Self::Pin { group, node, .. } => format!("pin {node} to {group}"),
            Self::Unpin { group, node, .. } => format!("unpin {node} from {group}"),
            Self::Update { words, .. } => words.clone(),
        }
    }
}

/// Compares the groups with what they must hold.
///
/// # Errors
/// Something is set otherwise and may not be overwritten, or is missing and may not be added.
pub fn compare(groups: &[Group], musts: &[Must], overwrites: bool) -> Result<Compared, Refusal> {
    let mut compared = Compared::default();
    let mut otherwise = Vec::new();
    for must in musts {
        let name = must.group();
        let to_come = compared
            .changes
            .iter()
            .any(|change| matches!(change, Change::Create { group, .. } if group == name));
        // What goes into a group that is to be created is seen once it is there.
        if to_come {
            continue;
        }
        match must {
            Must::Child { parent, about, .. } => {
                let parent = Group::find(groups, parent)?;
                compared.changes.extend(child(groups, name, parent, about)?);
            }
            Must::Classes { classes, .. } => has_classes(Group::find(groups, name)?, classes)?,
            Must::Name { node, pins, .. } => {
                compared.changes.extend(named(Group::find(groups, name)?, node, *pins));
            }
            Must::Condition { condition, .. } => has_condition(Group::find(groups, name)?, condition)?,
            Must::Parameter { class, names, value, asks, unset, .. } => {
                let group = Group::find(groups, name)?;
                let found = names.iter().find_map(|name| Some((*name, group.parameter(class, name)?)));
                let first = names.first().copied().unwrap_or_default();
                match found {
                    Some((_, there)) if asks.is_met(there.value, value) => {}
                    Some((parameter, there)) if overwrites => {
                        compared.changes.push(there.set(group, class, parameter, value));
                    }
                    Some((parameter, there)) => otherwise.push(format!(
                        "{name} has {class}'s `{parameter}` = {}, expected {value}",
                        there.value
                    )),
                    None if *unset == Unset::Set || *unset == Unset::Tell && overwrites => {
                        compared.changes.push(group.set_class(class, first, value));
                    }
                    None if *unset == Unset::Leave => {}
                    None => compared
                        .warnings
                        .push(format!("{name} has no `{first}` of {class}, expected {value}")),
                }
            }
        }
    }
    if otherwise.is_empty() {
        return Ok(compared);
    }
    let reason = otherwise.join("; ");
    let way_out = "correct it in the console, or the settings under [classify]; `--overwrite` has it written as expected";
    Err(Refusal { reason, way_out: format!("{way_out}; then resume") })
}

/// What takes a node out of the groups that this program pins to; a group that is not there holds nobody.
#[must_use]
pub fn leaving(groups: &[Group], musts: &[Must], leaver: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    for must in musts {
        let Must::Name { group, node, pins } = must else { continue };
        let there = groups.iter().filter(|one| one.name == *group);
        for group in there.filter(|one| node == leaver && rule::names(&one.rule, leaver)) {
            let delta = group.delta("rule", rule::without(&group.rule, leaver));
            let (id, name) = (group.id.clone(), group.name.clone());
            changes.push(match pins {
                true => Change::Unpin { id, group: name, node: leaver.to_owned(), delta },
                false => {
                    let words = format!("take the branch for {leaver} out of the rule of {name}");
                    Change::Update { id, group: name, delta, words }
                }
            });
        }
    }
    changes
}

impl Must {
    /// Which group must hold it.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Child { group, .. }
            | Self::Classes { group, .. }
            | Self::Name { group, .. }
            | Self::Condition { group, .. }
            | Self::Parameter { group, .. } => group,
        }
    }
}

fn child(groups: &[Group], name: &str, parent: &Group, about: &str) -> Result<Option<Change>, Refusal> {
    if !groups.iter().any(|group| group.name == name) {
        let body = json!({
            "name": name, "parent": parent.id, "environment": parent.environment, "description": about,
            // It matches nobody until it names somebody.
            "classes": {},
        });
        return Ok(Some(Change::Create { group: name.to_owned(), body }));
    }
    let there = Group::find(groups, name)?;
    if there.parent == parent.id {
        return Ok(None);
    }
    let above = groups.iter().find(|group| group.id == there.parent);
    let above = above.map_or(there.parent.as_str(), |group| group.name.as_str());
    Err(Refusal {
        reason: format!("the console's group {name} stands below {above}, not below {}", parent.name),
        way_out:
            "give it the other parent in the console, or name another group with `override_group` under \
                  [classify]; then resume"
                .to_owned(),
    })
}

fn has_classes(group: &Group, classes: &[&str]) -> Result<(), Refusal> {
    let lacking: Vec<&str> = classes.iter().copied().filter(|class| !group.has_class(class)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        reason: format!("the console's group {} has no {}", group.name, lacking.join(", no ")),
        way_out: "an upgrade leaves the groups without their classes: add the documented ones to every group, in the \
                  documented order, PE Infrastructure first, and commit all of them before any run; then resume"
            .to_owned(),
    })
}

fn named(group: &Group, node: &str, pins: bool) -> Option<Change> {
    if rule::names(&group.rule, node) {
        return None;
    }
    let delta = group.delta("rule", rule::with(&group.rule, node));
    let (id, name) = (group.id.clone(), group.name.clone());
    Some(match pins {
        true => Change::Pin { id, group: name, node: node.to_owned(), delta },
        false => {
            let words = format!("add a branch for {node} to the rule of {name}");
            Change::Update { id, group: name, delta, words }
        }
    })
}

fn has_condition(group: &Group, condition: &Value) -> Result<(), Refusal> {
    if rule::says(&group.rule, condition) {
        return Ok(());
    }
    Err(Refusal {
        reason: format!("the rule of the console's group {} does not say {condition}", group.name),
        way_out: "without it no certificate makes a compile master: have the rule as Puppet Enterprise installs it, or \
                  use preset = \"pe-2015\" where compile masters are pinned to PE Master; then resume"
            .to_owned(),
    })
}
