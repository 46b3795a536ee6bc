//! The part of every master's seats that is one door's.
#![deny(clippy::disallowed_methods)]

const WHOLE: u32 = 1_000_000;

/// 1 where a door is the only one, 0.5 where there are two; in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// All of them.
    pub const WHOLE: Self = Self(WHOLE);

    /// A part, more than 0 and at most 1.
    #[must_use]
    pub fn of(part: f64) -> Option<Self> {
        let millionths = (part * f64::from(WHOLE)).round();
        // Between the two it fits.
        (part <= 1.0 && millionths >= 1.0).then_some(Self(millionths as u32))
    }

    /// This part of so many, at least one. Rounded up: one too many waits a moment at the master, one too few is idle.
    #[must_use]
    pub fn part_of(self, all: u32) -> u32 {
        let part = (u64::from(all) * u64::from(self.0)).div_ceil(u64::from(WHOLE));
        u32::try_from(part).unwrap_or(all).max(1)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doors_share_is_rounded_up_and_never_nothing() {
        let half = Share::of(0.5).unwrap();
        assert_eq!([1, 2, 3, 4].map(|all| half.part_of(all)), [1, 1, 2, 2]);
        let third = Share::of(1.0 / 3.0).unwrap();
        assert_eq!([3, 4, 6].map(|all| third.part_of(all)), [1, 2, 2]);
        assert_eq!(Share::of(0.01).unwrap().part_of(4), 1);
        assert_eq!(Share::WHOLE.part_of(7), 7);
        for none in [0.0, -0.5, 1.1, 1e-9, f64::NAN, f64::INFINITY] {
            assert!(Share::of(none).is_none(), "{none}");
        }
    }
}
