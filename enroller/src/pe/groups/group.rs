//! A group as the classifier has it, and what its parameters mean.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Change, Refusal};

/// Parameters of classes, by class and name.
type Classes = BTreeMap<String, BTreeMap<String, Value>>;

/// A group of the console's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The environment whose classes it has.
    #[serde(default)]
    pub environment: String,
    /// The identifier of the group above it.
    pub parent: String,
    /// Whom it matches; null where nobody.
    #[serde(default)]
    pub rule: Value,
    /// Classes that its nodes have, with parameters.
    #[serde(default, deserialize_with = "or_none")]
    pub classes: Classes,
    /// Parameters of classes that its nodes may have from elsewhere; since 2017.
    #[serde(default, deserialize_with = "or_none")]
    pub config_data: Classes,
    /// What it refers to and the classifier no longer knows.
    #[serde(default, deserialize_with = "or_none")]
    pub deleted: BTreeMap<String, Value>,
    /// Counts its changes; since 2018.
    #[serde(default)]
    pub serial_number: Option<u64>,
}

/// A parameter that is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct There<'g> {
    /// `classes` or `config_data`.
    place: &'static str,
    pub(super) value: &'g Value,
}

impl Group {
    /// The only group of this name.
    pub(super) fn find<'g>(groups: &'g [Self], name: &str) -> Result<&'g Self, Refusal> {
        let mut of_name = groups.iter().filter(|group| group.name == name);
        match (of_name.next(), of_name.next()) {
            (Some(group), None) => Ok(group),
            (None, _) => Err(Refusal {
                reason: format!("the console has no group {name}"),
                way_out: "name the one that it has under [classify]; then resume".to_owned(),
            }),
            (Some(one), Some(other)) => Err(Refusal {
                reason: format!(
                    "the console has more than one group {name}, of {} and of {}",
                    one.environment, other.environment
                ),
                way_out: "leave one of them in the console, or name another under [classify]; then resume"
                    .to_owned(),
            }),
        }
    }

    /// Whether its nodes have this class, and the classifier knows it.
    pub(super) fn has_class(&self, class: &str) -> bool {
        let is_deleted = |of: &Value| of.get("puppetlabs.classifier/deleted") == Some(&json!(true));
        self.classes.contains_key(class) && !self.deleted.get(class).is_some_and(is_deleted)
    }

    /// A parameter of a class: beside the class, which counts, else in the configuration data.
    pub(super) fn parameter(&self, class: &str, name: &str) -> Option<There<'_>> {
        [("classes", &self.classes), ("config_data", &self.config_data)].into_iter().find_map(
            |(place, classes)| {
                let value = classes.get(class)?.get(name)?;
                Some(There { place, value })
            },
        )
    }

    /// A delta that changes one key, and is refused where the group has changed since it was looked at.
    pub(super) fn delta(&self, key: &str, value: Value) -> Value {
        let mut delta = json!({ "id": self.id, key: value });
        if let (Some(fields), Some(serial)) = (delta.as_object_mut(), self.serial_number) {
            fields.insert("serial_number".to_owned(), serial.into());
        }
        delta
    }

    /// Sets a parameter beside its class.
    pub(super) fn set_class(&self, class: &str, parameter: &str, value: &Value) -> Change {
        There { place: "classes", value }.set(self, class, parameter, value)
    }
}

impl There<'_> {
    /// Sets the parameter where it stands.
    pub(super) fn set(self, group: &Group, class: &str, parameter: &str, value: &Value) -> Change {
        Change::Update {
            id: group.id.clone(),
            group: group.name.clone(),
            delta: group.delta(self.place, json!({ class: { parameter: value } })),
            words: format!("set {class}'s `{parameter}` of {} to {value}", group.name),
        }
    }
}

/// Nothing where null stands.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
