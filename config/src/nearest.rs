//! The nearest known word to one that a person mistyped, for "did you mean".
//!
//! It only ever suggests; nothing is done on a guess.
#![deny(clippy::disallowed_methods)]

/// Longer words are not compared: the comparison costs the product of both lengths, and a word from outside may
/// be as long as its file.
const LONGEST: usize = 255;

/// The candidate that needs the fewest insertions, deletions, replacements and swaps of neighbours to become
/// `word`; none when even the best needs more than a third of its letters changed.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(changes, candidate)| *changes <= (candidate.len() / 3).max(1))
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment over bytes, three rows at a time.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut two_above: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut before: Option<u8> = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        let mut left = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&above, j) + usize::from(x != y)).min(at(&above, j + 1) + 1).min(left + 1);
            let swapped = j > 0 && before == Some(y) && b.get(j - 1) == Some(&x);
            if swapped {
                best = best.min(at(&two_above, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        two_above = std::mem::replace(&mut above, row);
        before = Some(x);
    }
    above.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbour_and_a_strange_one_finds_none() {
        let keys = ["address", "mode", "certificate", "key"];
        for (typed, meant) in [
            ("adress", Some("address")),
            ("addres", Some("address")),
            ("mdoe", Some("mode")),
            ("certficate", Some("certificate")),
            ("kye", Some("key")),
            ("backlog", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed:?}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), keys), None);
    }

    #[test]
    fn a_distance_counts_changes() {
        for (a, b, changes) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("ab", "ba", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), changes, "{a} {b}");
        }
    }
}
