//! Which way a connection goes: it is ended here, passed on, or refused.
//!
//! An address that passes, passes every ClientHello. At one that ends TLS, an old ClientHello and a configured name go
//! to open masters while one is admitted. While a site moves from open masters to sealed ones, both kinds are admitted
//! and the source address decides, in proportion to what each kind can carry: the same at every door, in every release,
//! so that an agent stays on one side. As masters move from open to sealed, an address that is ended stays ended.
//!
//! A client chooses its ClientHello, so this is no protection: it is for masters that both ways lead to safely.
#![deny(clippy::disallowed_methods)]

use std::net::IpAddr;

use stagedoor_config::master::{Master, Standing};
use stagedoor_config::proxy::{EndTls, Mode, Split};

use crate::hello::{First, Hello, NotTls};
use crate::pool::pick;

/// Where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The door ends its TLS.
    End,
    /// Its bytes go to an open master, and why.
    Pass(Why),
    /// It is closed, and why.
    Refuse(Refused),
}

/// Why a connection is closed without having been served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its ClientHello is below TLS 1.2, and nobody is there who speaks that.
    TooOld,
    /// It is TLS and begins with no ClientHello that anybody could answer. Where TLS ends here, the library says so.
    Broken,
    /// It is no TLS.
    NotTls(NotTls),
}

impl Refused {
    /// The word for it in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::Broken => "broken",
            Self::NotTls(what) => what.label(),
        }
    }
}

/// Why a connection is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Everything is, at the address where it came in.
    Listener,
    /// Its ClientHello is below TLS 1.2.
    OldTls,
    /// It asks for a name whose connections are passed.
    Sni,
    /// Its address is among those that open masters still serve.
    Split,
}

impl Why {
    /// Every reason, in the order of [`Why::index`].
    pub const ALL: [Self; 4] = [Self::Listener, Self::OldTls, Self::Sni, Self::Split];

    /// The place of this reason in tables that hold one entry for each.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in metrics and access lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::OldTls => "old_tls",
            Self::Sni => "sni",
            Self::Split => "split",
        }
    }
}

/// What the admitted masters can carry, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sides {
    /// Those that the door sends requests to.
    pub sealed: Side,
    /// Those that connections are passed to.
    pub open: Side,
}

/// What the admitted masters of one kind can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    /// How many there are.
    pub masters: u32,
    /// Their JRubies, each counted [`Sides::ONE`] times.
    pub capacity: u64,
    /// Whether one of them is fit.
    pub fit: bool,
}

impl Sides {
    /// One JRuby: a master of which nobody said how many it has counts as the mean of the others, in fractions.
    pub const ONE: u64 = 1 << 16;

    /// Adds up masters, each with whether it takes work now. One that may get nothing, whatever its health, because
    /// strangers may reach it, takes none and keeps its share: a restart must send nobody to and fro.
    #[must_use]
    pub fn of<'a>(masters: impl Iterator<Item = (&'a Master, bool)> + Clone) -> Self {
        let admitted = masters.filter(|(master, _)| master.standing == Standing::Admitted);
        let said = |master: &Master| master.jrubies.map(|n| u64::from(n.get()) * Self::ONE);
        let (known, sum) = admitted
            .clone()
            .filter_map(|(master, _)| said(master))
            .fold((0_u64, 0_u64), |(known, sum), jrubies| (known + 1, sum + jrubies));
        let mean = sum.checked_div(known).unwrap_or(Self::ONE);
        let mut sides = Self::default();
        for (master, fit) in admitted {
            let side = if master.kind.is_sealed() { &mut sides.sealed } else { &mut sides.open };
            side.masters += 1;
            side.capacity += said(master).unwrap_or(mean);
            side.fit |= fit;
        }
        sides
    }

    /// Whether a connection from this address is one of those that are ended.
    ///
    /// Shares follow who is admitted and not who is fit, so that a master that falls and rises sends nobody to and
    /// fro. Only where one kind has no fit master at all and the other has one, the other takes everybody: slow is
    /// better than refused. Where no master is fit, shares hold as if all were.
    #[must_use]
    pub fn ends(&self, source: IpAddr) -> bool {
        match (self.sealed.masters, self.open.masters) {
            (_, 0) => return true,
            (0, _) => return false,
            _ if self.sealed.fit != self.open.fit => return self.sealed.fit,
            _ => {}
        }
        let all = u128::from(self.sealed.capacity) + u128::from(self.open.capacity);
        // The whole address, also of IPv6: servers keep theirs, and a network of them on one side would be no share.
        let place = u128::from(pick::hash_of_address(source));
        // place / 2^64 < sealed / all, without a fraction.
        place * all < u128::from(self.sealed.capacity) << 64
    }
}

/// Which way a connection goes whose first bytes are `first`, complete enough to tell. `sides` is asked only where it
/// matters.
#[must_use]
pub fn way(mode: &Mode, first: &First<'_>, source: IpAddr, sides: impl Fn() -> Sides) -> Way {
    match (mode, first) {
        (_, First::NotTls(what)) => Way::Refuse(Refused::NotTls(*what)),
        (Mode::EndTls(rules), first) => ending(rules, first, source, sides),
        (Mode::Pass(_), First::Hello(_) | First::TooOld(_) | First::Fragmented) => Way::Pass(Why::Listener),
        // Garbage in a record's clothes is kept away from those who cannot refuse as many as the door can.
        (Mode::Pass(_), First::Broken | First::NeedMore) => Way::Refuse(Refused::Broken),
    }
}

fn ending(rules: &EndTls, first: &First<'_>, source: IpAddr, sides: impl Fn() -> Sides) -> Way {
    match first {
        First::TooOld(_) if rules.pass_old_tls && sides().open.masters > 0 => Way::Pass(Why::OldTls),
        First::TooOld(_) => Way::Refuse(Refused::TooOld),
        // The library knows the alert; one that is passed gets none.
        First::Broken => Way::End,
        First::Hello(Hello { sni: Some(name), .. }) if passes(rules, name) && sides().open.masters > 0 => {
            Way::Pass(Why::Sni)
        }
        _ if rules.split == Split::ByCapacity && !sides().ends(source) => Way::Pass(Why::Split),
        _ => Way::End,
    }
}

fn passes(rules: &EndTls, name: &str) -> bool {
    // A name's last dot is allowed to be there, and says nothing.
    let name = name.strip_suffix('.').unwrap_or(name);
    rules.pass_sni.iter().any(|passed| passed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
