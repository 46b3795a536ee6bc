//! What several tries say together: one answer is enough to be unsealed, and only refusals all around make a seal.
#![deny(clippy::disallowed_methods)]

use super::super::seal::Outcome;

/// How one try at one address ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Try {
    /// Answered; how, in words.
    Answered(String),
    /// Refused by the master itself.
    Refused,
    /// It got through to the address and no further, or was refused by who knows whom. Why, in words.
    Unclear(String),
    /// No connection. Why, in words.
    Unreached(String),
}

/// The tries at one address, each by another way.
pub(super) fn of_one_address(tries: impl IntoIterator<Item = Try>) -> Try {
    let (mut refused, mut unclear, mut unreached) = (false, None, None);
    for one in tries {
        match one {
            Try::Answered(_) => return one,
            Try::Refused => refused = true,
            Try::Unclear(why) => unclear = unclear.or(Some(why)),
            Try::Unreached(why) => unreached = unreached.or(Some(why)),
        }
    }
    match (unclear, unreached) {
        (Some(why), _) => Try::Unclear(why),
        // One way was closed and another not tried.
        (None, Some(why)) if refused => Try::Unclear(why),
        (None, Some(why)) => Try::Unreached(why),
        (None, None) if refused => Try::Refused,
        (None, None) => Try::Unclear("nothing was tried".to_owned()),
    }
}

/// The addresses of one master. One that cannot be reached leads nobody in, as long as another shows that the master
/// is there.
pub(super) fn of_all(addresses: impl IntoIterator<Item = Try>) -> Outcome {
    let (mut refused, mut unclear, mut unreached) = (false, None, None);
    for one in addresses {
        match one {
            Try::Answered(why) => return Outcome::Answered(why),
            Try::Refused => refused = true,
            Try::Unclear(why) => unclear = unclear.or(Some(why)),
            Try::Unreached(why) => unreached = unreached.or(Some(why)),
        }
    }
    match unclear {
        Some(why) => Outcome::Unclear(why),
        None if refused => Outcome::Refused,
        None => Outcome::Unclear(unreached.unwrap_or_else(|| "nothing was tried".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(letter: char) -> Try {
        match letter {
            'A' => Try::Answered("a".to_owned()),
            'R' => Try::Refused,
            'u' => Try::Unclear("u".to_owned()),
            _ => Try::Unreached("-".to_owned()),
        }
    }

    fn letter(one: &Try) -> char {
        match one {
            Try::Answered(_) => 'A',
            Try::Refused => 'R',
            Try::Unclear(_) => 'u',
            Try::Unreached(_) => '-',
        }
    }

    #[test]
    fn one_answer_is_enough_and_only_refusals_by_every_way_are_a_refusal() {
        for (tries, together) in [
            ("RRR", 'R'),
            ("RAR", 'A'),
            ("uA-", 'A'),
            ("RRu", 'u'),
            ("RR-", 'u'),
            ("--u", 'u'),
            ("---", '-'),
            ("", 'u'),
        ] {
            assert_eq!(letter(&of_one_address(tries.chars().map(one))), together, "{tries}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_reached_leads_nobody_in_and_proves_nothing() {
        for (addresses, sealed) in
            [("R", true), ("RR", true), ("R-", true), ("-R", true), ("Ru", false), ("-", false), ("", false)]
        {
            let outcome = of_all(addresses.chars().map(one));
            assert_eq!(outcome == Outcome::Refused, sealed, "{addresses}");
            assert!(!matches!(outcome, Outcome::Answered(_)), "{addresses}");
        }
        assert!(matches!(of_all("R-uA".chars().map(one)), Outcome::Answered(_)));
    }
}
