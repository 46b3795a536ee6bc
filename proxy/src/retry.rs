//! Whether a request that failed is asked again, and where.
//!
//! The question is how far it came. While nothing was written, any master may be asked. Once a byte was written, only
//! the class knows what asking twice would do (`stagedoor_config::class::Replay`); a master that says 503 with
//! `Retry-After` has refused before any work, so that even a catalog may go elsewhere while its body is kept.
#![deny(clippy::disallowed_methods)]

use stagedoor_config::class::Replay;

/// How an attempt ended without a response for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, too late, or the handshake failed.
    Unconnected,
    /// Not a byte was written on a connection that had served before: it was closed while idle.
    ClosedIdle,
    /// Not a byte was written on a new connection.
    NothingSent,
    /// Something was written, and the connection ended before a response began.
    Cut {
        /// Whether the connection had served before.
        reused: bool,
    },
    /// The master answered 503 with `Retry-After`: refused before any work.
    Refused,
    /// The whole time for an answer passed: the master may still be at work, and nobody waits for another's answer.
    Silent,
}

impl Failure {
    /// The word in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unconnected => "unconnected",
            Self::ClosedIdle => "closed_idle",
            Self::NothingSent => "nothing_sent",
            Self::Cut { .. } => "cut",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same master over a new connection: the old one had died of age, which says nothing against the master.
    SameOverNew,
    /// Another master.
    Another,
    /// Answer the agent.
    GiveUp,
}

/// What is left to try with.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// Attempts made, this one included.
    pub made: u32,
    /// Attempts allowed.
    pub allowed: u32,
    /// Whether the whole body can be sent again.
    pub body_kept: bool,
    /// Whether another may be asked: not for a canary, and not where there is only the one.
    pub elsewhere: bool,
}

/// Decides what follows a failure.
#[must_use]
pub fn next(replay: Replay, failure: Failure, left: Left) -> Next {
    // A connection that died of age has asked nobody, so it is no attempt; the new one cannot die so.
    if failure == Failure::ClosedIdle {
        return Next::SameOverNew;
    }
    if left.made >= left.allowed {
        return Next::GiveUp;
    }
    let another = if left.elsewhere { Next::Another } else { Next::GiveUp };
    match failure {
        // Nothing was written, so the body has not been touched, kept or not.
        Failure::Unconnected | Failure::NothingSent => another,
        Failure::Refused if left.body_kept => another,
        Failure::Cut { reused } if left.body_kept && replay == Replay::Safe => {
            if reused {
                Next::SameOverNew
            } else {
                another
            }
        }
        Failure::Refused | Failure::Cut { .. } | Failure::Silent | Failure::ClosedIdle => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Left = Left { made: 1, allowed: 3, body_kept: true, elsewhere: true };
    const STREAMED: Left = Left { body_kept: false, ..KEPT };

    #[test]
    fn nothing_sent_is_always_safe_to_ask_elsewhere() {
        for replay in [Replay::Safe, Replay::RefusedOnly, Replay::Never] {
            assert_eq!(next(replay, Failure::Unconnected, STREAMED), Next::Another);
            assert_eq!(next(replay, Failure::ClosedIdle, STREAMED), Next::SameOverNew);
            assert_eq!(next(replay, Failure::NothingSent, STREAMED), Next::Another);
        }
    }

    #[test]
    fn a_catalog_is_asked_again_after_a_byte_only_when_it_was_refused_before_work() {
        let replay = Replay::RefusedOnly;
        assert_eq!(next(replay, Failure::Refused, KEPT), Next::Another);
        assert_eq!(next(replay, Failure::Refused, STREAMED), Next::GiveUp);
        assert_eq!(next(replay, Failure::Cut { reused: true }, KEPT), Next::GiveUp);
        assert_eq!(next(replay, Failure::Cut { reused: false }, KEPT), Next::GiveUp);
    }

    #[test]
    fn a_file_is_asked_again_while_no_response_has_begun() {
        assert_eq!(next(Replay::Safe, Failure::Cut { reused: true }, KEPT), Next::SameOverNew);
        assert_eq!(next(Replay::Safe, Failure::Cut { reused: false }, KEPT), Next::Another);
    }

    #[test]
    fn a_body_that_has_streamed_away_is_never_asked_again() {
        for failure in [Failure::Cut { reused: true }, Failure::Cut { reused: false }, Failure::Refused] {
            assert_eq!(next(Replay::Safe, failure, STREAMED), Next::GiveUp, "{failure:?}");
        }
    }

    #[test]
    fn a_master_that_was_silent_for_the_whole_time_is_the_last_one_asked() {
        assert_eq!(next(Replay::Safe, Failure::Silent, KEPT), Next::GiveUp);
    }

    #[test]
    fn a_connection_closed_while_idle_costs_no_attempt() {
        let only = Left { allowed: 1, ..KEPT };
        assert_eq!(next(Replay::Never, Failure::ClosedIdle, only), Next::SameOverNew);
    }

    #[test]
    fn where_there_is_only_one_to_ask_nobody_else_is() {
        let only = Left { elsewhere: false, ..KEPT };
        for replay in [Replay::Safe, Replay::RefusedOnly, Replay::Never] {
            for failure in [
                Failure::Unconnected,
                Failure::ClosedIdle,
                Failure::NothingSent,
                Failure::Cut { reused: true },
                Failure::Cut { reused: false },
                Failure::Refused,
                Failure::Silent,
            ] {
                assert_ne!(next(replay, failure, only), Next::Another, "{replay:?} {failure:?}");
            }
        }
        assert_eq!(next(Replay::Safe, Failure::Cut { reused: true }, only), Next::SameOverNew);
        assert_eq!(next(Replay::Never, Failure::ClosedIdle, only), Next::SameOverNew);
    }

    #[test]
    fn attempts_end() {
        let last = Left { made: 3, ..KEPT };
        assert_eq!(next(Replay::Safe, Failure::Unconnected, last), Next::GiveUp);
    }
}
