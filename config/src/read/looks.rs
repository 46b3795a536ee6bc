//! When a file that changes is taken: as soon as two successive looks at it agree.
//!
//! Whoever writes a certificate and then its key, or a long CRL in several pieces, does so over some time. A single
//! look may fall in between; two that agree, half a second apart, almost never do, and what is taken is checked
//! before it comes into force anyway.
#![deny(clippy::disallowed_methods)]

/// What was seen, and what was taken last. `L` is what a look sees of the files: it must differ when they do.
#[derive(Debug, Clone)]
pub struct TwoLooks<L> {
    taken: Option<L>,
    last: Option<L>,
}

impl<L> Default for TwoLooks<L> {
    /// Nothing was seen yet: the first two looks that agree are taken.
    fn default() -> Self {
        Self { taken: None, last: None }
    }
}

impl<L: PartialEq> TwoLooks<L> {
    /// Says whether to take what was seen now. `None` means that a file was missing or could not be looked at, which
    /// never replaces anything.
    ///
    /// What is taken once is not offered again while it stays the same, even where it turns out to be bad: it would
    /// be as bad half a second later.
    pub fn look(&mut self, seen: Option<L>) -> bool {
        let settled = seen.is_some() && self.last == seen && self.taken != seen;
        if settled {
            self.taken = seen;
            self.last = None;
        } else {
            self.last = seen;
        }
        settled
    }

    /// What was taken changed under the reader's hands: two looks must agree again.
    pub fn unsettle(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(looks: &[Option<u8>]) -> Vec<bool> {
        let mut two = TwoLooks::default();
        looks.iter().map(|seen| two.look(*seen)).collect()
    }

    #[test]
    fn a_change_is_taken_once_when_two_looks_agree() {
        let looks = [Some(1), Some(1), Some(1), Some(2), Some(3), Some(3), Some(3)];
        assert_eq!(taken(&looks), [false, true, false, false, false, true, false]);
    }

    #[test]
    fn a_file_that_is_gone_for_a_look_replaces_nothing() {
        let looks = [Some(1), Some(1), None, None, Some(1), Some(1), Some(2), None, Some(2), Some(2)];
        assert_eq!(taken(&looks), [false, true, false, false, false, false, false, false, false, true]);
    }

    #[test]
    fn what_changed_while_it_was_read_is_taken_anew() {
        let mut two = TwoLooks::default();
        assert!(!two.look(Some(1)) && two.look(Some(1)));
        two.unsettle();
        assert!(!two.look(Some(1)) && two.look(Some(1)));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_that_was_not_seen_twice_running_and_nothing_twice(
            looks in prop::collection::vec(prop::option::of(0_u8..3), 0..40),
        ) {
            let mut in_force = None;
            for (place, take) in taken(&looks).into_iter().enumerate() {
                let twice = place > 0 && looks[place].is_some() && looks[place] == looks[place - 1];
                prop_assert_eq!(take, twice && looks[place] != in_force);
                if take {
                    in_force = looks[place];
                }
            }
        }
    }
}
