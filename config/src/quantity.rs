//! Counts, sizes and times as people write them: `16384`, `"8 MiB"`, `"15s"`.
//!
//! One unit per value and no fractions, so that each value has one obvious spelling and a comparison by eye works.
//! A bare number is never a time: nobody remembers whether it meant seconds or milliseconds.
#![deny(clippy::disallowed_methods)]

use std::time::Duration;

/// What a number in settings measures, and so how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// A plain number.
    Count,
    /// Bytes: a plain number, or text with a unit.
    Size,
    /// Milliseconds: text with a unit.
    Time,
}

/// Largest first, so that the first that divides a value is the one it is written in.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Quantity {
    /// The value of a text with a unit, in bytes or milliseconds; none if it is not one or does not fit.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<u64> {
        let units: &[(&str, u64)] = match self {
            Self::Count => return None,
            Self::Size => &SIZES,
            Self::Time => &TIMES,
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let (_, one) = units.iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(*one)
    }

    /// A value as a person would write it in TOML, in its largest whole unit.
    #[must_use]
    pub fn written(self, value: u64) -> String {
        let whole = |units: &[(&'static str, u64)]| {
            units.iter().find(|(_, one)| value >= *one && value.is_multiple_of(*one)).copied()
        };
        match self {
            Self::Count => value.to_string(),
            Self::Size => match whole(&SIZES) {
                None | Some((_, 1)) => value.to_string(),
                Some((unit, one)) => format!("\"{} {unit}\"", value / one),
            },
            Self::Time => match whole(&TIMES) {
                None => "\"0s\"".to_owned(),
                Some((unit, one)) => format!("\"{}{unit}\"", value / one),
            },
        }
    }

    /// How such a value is written, for whoever wrote it otherwise.
    #[must_use]
    pub const fn spelling(self) -> &'static str {
        match self {
            Self::Count => "a whole number",
            Self::Size => "a size such as \"8 MiB\", \"64 kB\" or a number of bytes",
            Self::Time => "a time such as \"500ms\", \"15s\", \"2m\" or \"1h\"",
        }
    }
}

/// A type of the settings that holds a quantity.
pub(crate) trait Measured: Copy {
    /// From the number that [`Quantity`] gives; as near as the type can hold.
    fn from_number(number: u64) -> Self;
    /// The number that [`Quantity`] writes.
    fn number(self) -> u64;
}

impl Measured for usize {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
    fn number(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

impl Measured for u32 {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
    fn number(self) -> u64 {
        self.into()
    }
}

impl Measured for Duration {
    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }
    fn number(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        for (text, bytes) in
            [("8 MiB", 8 << 20), ("64 kB", 64_000), ("64kB", 64_000), ("0 B", 0), ("1 GiB", 1 << 30)]
        {
            assert_eq!(Quantity::Size.parse(text), Some(bytes), "{text}");
        }
        for (text, millis) in
            [("15s", 15_000), ("2m", 120_000), ("500ms", 500), ("1h", 3_600_000), ("2 m", 120_000)]
        {
            assert_eq!(Quantity::Time.parse(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_known_unit_is_no_quantity() {
        for text in [
            "",
            "8",
            "8 KB",
            "8 mib",
            "MiB",
            "-1 MiB",
            "+1 MiB",
            "1.5 MiB",
            "1  MiB",
            "1 MiB ",
            "99999999999 GiB",
        ] {
            assert_eq!(Quantity::Size.parse(text), None, "{text:?}");
        }
        for text in ["", "15", "15sec", "1m30s", "1.5s", "-1s", "s", "15 S", "1d"] {
            assert_eq!(Quantity::Time.parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any::<u64>(), round in 0_u64..4096) {
            for value in [value, round, round * 1024, round * 1000, round * 60_000] {
                for quantity in [Quantity::Size, Quantity::Time] {
                    let written = quantity.written(value);
                    let read = match written.strip_prefix('"').and_then(|w| w.strip_suffix('"')) {
                        Some(text) => quantity.parse(text),
                        None => written.parse().ok(),
                    };
                    prop_assert_eq!(read, Some(value), "{}", written);
                }
            }
        }

        #[test]
        fn only_text_that_begins_with_a_number_is_a_quantity(text in "\\PC{0,24}") {
            for quantity in [Quantity::Count, Quantity::Size, Quantity::Time] {
                let number = text.starts_with(|letter: char| letter.is_ascii_digit());
                prop_assert!(number || quantity.parse(&text).is_none());
            }
        }
    }
}
