//! Bounds and deadlines: a default, a range and a reason each, in one table.
//!
//! The settings' types, their defaults, the checks of their values and the commented text of the shipped settings all
//! come from such a table, so that they cannot disagree.
#![deny(clippy::disallowed_methods)]

use crate::document::{Document, Section};
use crate::quantity::Quantity;

/// One row of the table: a value of `T` with its default, range and reason.
#[derive(Debug, Clone, Copy)]
pub struct Bound<T> {
    /// Its key in its table.
    pub key: &'static str,
    /// What it measures.
    pub quantity: Quantity,
    /// In bytes, milliseconds or pieces, like the next two.
    pub default: u64,
    /// The least that makes sense.
    pub least: u64,
    /// The most that makes sense.
    pub most: u64,
    /// What is bounded and why so.
    pub why: &'static str,
    pub(crate) get: fn(&T) -> u64,
    pub(crate) set: fn(&mut T, u64),
}

impl<T> Bound<T> {
    /// What a value of this row must be.
    #[must_use]
    pub fn expected(&self) -> String {
        let written = |value| self.quantity.written(value);
        let (least, most) = (written(self.least), written(self.most));
        format!("{} from {least} to {most}", self.quantity.spelling())
    }
}

/// Writes a struct and its table from one list: `key: type, quantity, default, least..=most`.
macro_rules! table {
    (
        $(#[$about:meta])*
        $name:ident
        $( $(#[doc = $why:literal])+ $key:ident: $type:ty, $quantity:ident, $default:expr, $least:expr, $most:expr; )+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $why])+ pub $key: $type, )+
        }

        impl $name {
            /// The table: one row for each key, in the order of the shipped settings.
            pub const TABLE: &'static [$crate::bound::Bound<Self>] = &[
                $( $crate::bound::Bound {
                    key: stringify!($key),
                    quantity: $crate::quantity::Quantity::$quantity,
                    default: $default,
                    least: $least,
                    most: $most,
                    why: concat!($($why),+),
                    get: |all| $crate::quantity::Measured::number(all.$key),
                    set: |all, number| all.$key = $crate::quantity::Measured::from_number(number),
                }, )+
            ];
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $crate::quantity::Measured::from_number($default), )+ }
            }
        }
    };
}
pub(crate) use table;

/// Values that are right by themselves and cannot all be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The keys, without their table; the one that is probably wrong first.
    pub keys: Vec<&'static str>,
    /// What was expected, in words, with the values.
    pub expected: String,
}

/// A table of the settings whose values are all quantities.
pub(crate) trait Measures: Default + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its rows.
    const ROWS: &'static [Bound<Self>];
    /// (lesser, greater, why), by key. A pair whose greater is another's lesser comes after that one.
    const AT_MOST: &'static [(&'static str, &'static str, &'static str)];

    /// Lowers each default to a greater value that was written below it: whoever lowers one bound means those under
    /// it as well. What was written is never changed.
    fn settle(&mut self, written: impl Fn(&str) -> bool) {
        for (lesser, greater) in Self::pairs() {
            let most = (greater.get)(self);
            if !written(lesser.key) && (lesser.get)(self) > most {
                (lesser.set)(self, most);
            }
        }
    }

    /// Every contradiction between two values.
    fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        for ((lesser, greater), (.., why)) in Self::pairs().zip(Self::AT_MOST) {
            let (less, more) = ((lesser.get)(self), (greater.get)(self));
            if less > more {
                let (less, more) = (lesser.quantity.written(less), greater.quantity.written(more));
                let (name, keys) = (Self::NAME, vec![lesser.key, greater.key]);
                let expected = format!(
                    "{name}.{} ({less}) to be at most {name}.{} ({more}): {why}",
                    lesser.key, greater.key
                );
                found.push(Contradiction { keys, expected });
            }
        }
        found
    }

    /// The rows of [`Measures::AT_MOST`].
    fn pairs() -> impl Iterator<Item = (&'static Bound<Self>, &'static Bound<Self>)> {
        let row = |key: &str| Self::ROWS.iter().find(|row| row.key == key);
        Self::AT_MOST.iter().filter_map(move |(lesser, greater, _)| Some((row(lesser)?, row(greater)?)))
    }
}

/// A table whose keys are quantities: each is checked against its own range, then against the others.
pub(crate) fn measured<T: Measures>(root: &mut Section<'_>, doc: &mut Document<'_>) -> T {
    let mut section = root.table(T::NAME, doc);
    let mut all = T::default();
    let mut written = Vec::new();
    for row in T::ROWS {
        let Some(entry) = section.take(row.key, doc) else { continue };
        written.push(row.key);
        let number = match row.quantity {
            Quantity::Time => entry.as_str().and_then(|text| row.quantity.parse(text)),
            _ => entry.as_count().or_else(|| row.quantity.parse(entry.as_str()?)),
        };
        match number.filter(|number| (row.least..=row.most).contains(number)) {
            Some(number) => (row.set)(&mut all, number),
            None => entry.wrong(doc, row.expected()),
        }
    }
    all.settle(|key| written.contains(&key));
    for Contradiction { keys, expected } in all.contradictions() {
        let keys: Vec<String> = keys.into_iter().map(|key| section.key(key)).collect();
        // A key that has a mistake holds its default here, which nobody wrote.
        if !keys.iter().any(|key| doc.is_wrong(key)) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            doc.contradiction(&keys, expected);
        }
    }
    section.finish(doc);
    all
}

/// The table as commented settings: each reason, then the key with its default.
#[must_use]
pub fn commented<T>(table: &[Bound<T>]) -> String {
    let mut out = String::new();
    for row in table {
        let mut line = String::from("#");
        for word in row.why.split_whitespace() {
            if line.len() + 1 + word.len() > 118 {
                out.push_str(&line);
                out.push_str("\n#");
                line.clear();
            }
            line.push(' ');
            line.push_str(word);
        }
        out.push_str(&line);
        out.push_str(&format!("\n# {} = {}\n", row.key, row.quantity.written(row.default)));
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rows_are_in_range<T: Default>(table: &[Bound<T>]) {
        for row in table {
            assert!(row.least <= row.default && row.default <= row.most, "{}", row.key);
            assert_eq!((row.get)(&T::default()), row.default, "{}", row.key);
            assert!(!row.why.trim().is_empty(), "{}", row.key);
        }
    }

    pub(crate) fn pairs_are_of_one_quantity<T: Measures>() {
        assert_eq!(T::pairs().count(), T::AT_MOST.len(), "a pair names no row");
        for (lesser, greater) in T::pairs() {
            assert_eq!(lesser.quantity, greater.quantity, "{} {}", lesser.key, greater.key);
            assert!(lesser.least <= greater.least, "a default lowered to {} leaves its range", greater.key);
        }
    }
}
