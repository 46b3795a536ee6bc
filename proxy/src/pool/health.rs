//! Whether a master is fit, counted from its answers to probes.
//!
//! HAProxy's rise and fall: one lost answer ejects nobody and one good answer admits nobody back. Requests count beside
//! probes: one that could not be connected is as good as a bad probe, or a busy site would find out a dead master as late as
//! an idle one. Only a probe brings a master back. A master that has not been judged yet is `Unknown`; how long that may last
//! is the caller's rule, since it alone knows the time.
#![deny(clippy::disallowed_methods)]

/// What the probes say of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No probe has come to an end yet.
    Unknown,
    /// The last `rise` probes were good, or no `fall` bad ones in a row came since.
    Fit,
    /// The last `fall` probes were bad, or no `rise` good ones in a row came since.
    Unfit,
}

/// The verdict on one master and the run of answers that may change it.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    verdict: Verdict,
    /// Answers in a row that contradict the verdict.
    against: u32,
}

impl Health {
    /// A master nobody has asked yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { verdict: Verdict::Unknown, against: 0 }
    }

    /// What the probes say so far.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Counts one probe's outcome; answers with the new verdict when it flipped, so that the caller may log and count.
    ///
    /// The first answer of all decides alone: a door that has just started must not send agents to a master that is
    /// down for `fall` intervals, nor keep a good one waiting for `rise` of them.
    pub fn observe(&mut self, good: bool, rise: u32, fall: u32) -> Option<Verdict> {
        let (agrees, needed, other) = match self.verdict {
            Verdict::Unknown => (false, 1, if good { Verdict::Fit } else { Verdict::Unfit }),
            Verdict::Fit => (good, fall, Verdict::Unfit),
            Verdict::Unfit => (!good, rise, Verdict::Fit),
        };
        if agrees {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < needed {
            return None;
        }
        *self = Self { verdict: other, against: 0 };
        Some(other)
    }

    /// A request could not be connected there; answers as [`Self::observe`] does.
    pub fn unconnected(&mut self, fall: u32) -> Option<Verdict> {
        // Whoever is asked although it is unfit, since nobody is fit, must not be kept from becoming so.
        if self.verdict == Verdict::Fit { self.observe(false, u32::MAX, fall) } else { None }
    }

    /// A request was answered there.
    pub fn answered(&mut self) {
        if self.verdict == Verdict::Fit {
            self.against = 0;
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &str) -> Verdict {
        let mut health = Health::new();
        for answer in answers.chars() {
            let _flipped = health.observe(answer == '+', 2, 3);
        }
        health.verdict()
    }

    #[test]
    fn the_first_answer_decides_alone() {
        assert_eq!(after(""), Verdict::Unknown);
        assert_eq!(after("+"), Verdict::Fit);
        assert_eq!(after("-"), Verdict::Unfit);
    }

    #[test]
    fn a_fit_master_falls_after_three_bad_answers_in_a_row() {
        assert_eq!(after("+--"), Verdict::Fit);
        assert_eq!(after("+--+--"), Verdict::Fit);
        assert_eq!(after("+---"), Verdict::Unfit);
    }

    #[test]
    fn an_unfit_master_rises_after_two_good_answers_in_a_row() {
        assert_eq!(after("-+"), Verdict::Unfit);
        assert_eq!(after("-+-+"), Verdict::Unfit);
        assert_eq!(after("-++"), Verdict::Fit);
    }

    #[test]
    fn requests_that_cannot_be_connected_count_like_bad_probes_and_bring_nobody_back() {
        let mut health = Health::new();
        assert_eq!(health.unconnected(3), None, "nobody knows it yet");
        let _fit = health.observe(true, 2, 3);
        assert_eq!([health.unconnected(3), health.unconnected(3)], [None, None]);
        health.answered();
        assert_eq!(health.unconnected(3), None, "one was answered in between");
        assert_eq!(health.observe(false, 2, 3), None);
        assert_eq!(health.unconnected(3), Some(Verdict::Unfit));
        let _first = health.observe(true, 2, 3);
        assert_eq!(health.unconnected(3), None);
        health.answered();
        assert_eq!(health.observe(true, 2, 3), Some(Verdict::Fit));
    }

    #[test]
    fn a_flip_is_told_once() {
        let mut health = Health::new();
        assert_eq!(health.observe(true, 2, 3), Some(Verdict::Fit));
        assert_eq!(health.observe(true, 2, 3), None);
        let told: Vec<_> = (0..5).map(|_| health.observe(false, 2, 3)).collect();
        assert_eq!(told, [None, None, Some(Verdict::Unfit), None, None]);
    }
}
