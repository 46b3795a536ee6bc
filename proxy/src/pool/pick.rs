//! Which master takes a request.
//!
//! Among those that may take it, the one where it is expected to end first: a fast one, and for a catalog one whose JRuby has
//! the environment's code. Of those where it ends about as soon, the least busy: the fewest requests in flight for its seats,
//! ties broken by the chance handed in so that idle masters share the trickle. Some requests ask for a certain master: what
//! a run asks for beside its catalog goes where that was compiled, if it ends about as soon there, so that a run sees one
//! version of the code; static file content goes there anyway, because that master has that code; a file bucket's backup
//! goes by its checksum, so that every door looks for it at the same place. A connection that is passed goes where its
//! address went before, while that master has no more than its share.
#![deny(clippy::disallowed_methods)]

use std::net::IpAddr;

/// What a request asks of the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Where it is expected to end first, and of those whoever is least busy.
    LeastBusy,
    /// The same, and of those the master of this number.
    Near(u32),
    /// The master of this number when it is there and fit, else the least busy.
    Prefer(u32),
    /// By rendezvous on this hash: the same order of masters for the same hash, whoever asks.
    Rendezvous(u64),
    /// The master of this number while it is there, fit, and has at most a quarter more than the mean and one; else
    /// the least busy.
    Stay(u32),
}

/// One master as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its number in the pool.
    pub id: u32,
    /// A hash of its certname, equal on every door.
    pub name: u64,
    /// Requests it has in hand.
    pub in_flight: u32,
    /// How many it serves at once, at least one: what is in hand counts beside that.
    pub seats: u32,
    /// How long the request is expected to take there, in whatever measure.
    pub takes: f64,
    /// Whether health lets it take work.
    pub fit: bool,
}

/// Masters where a request takes no longer than so many times the shortest are equal: chance makes up for less.
const APART: f64 = 1.4;

/// The number of the master to ask, or none when nobody is left.
///
/// Health never empties the pool: where no candidate is fit, all are, since a probe that fails everywhere says more
/// about the probe, or about something all masters share, than about each of them.
#[must_use]
pub fn pick(candidates: &[Candidate], want: Want, chance: u64) -> Option<u32> {
    let any_fit = candidates.iter().any(|c| c.fit);
    let able = || candidates.iter().filter(move |c| c.fit || !any_fit);
    match want {
        Want::Prefer(id) => able()
            .find(|c| c.id == id)
            .map_or_else(|| pick(candidates, Want::LeastBusy, chance), |c| Some(c.id)),
        Want::Stay(id) => {
            let (sum, count) =
                able().fold((0, 0), |(sum, count), c| (sum + u64::from(c.in_flight), count + 1));
            // in_flight <= 1.25 * sum / count + 1, without a fraction.
            able()
                .find(|c| c.id == id && 4 * count * u64::from(c.in_flight) <= 5 * sum + 4 * count)
                .map_or_else(|| pick(candidates, Want::LeastBusy, chance), |c| Some(c.id))
        }
        Want::Rendezvous(key) => able().max_by_key(|c| mix(c.name ^ key)).map(|c| c.id),
        Want::LeastBusy | Want::Near(_) => {
            let least = able().map(|c| c.takes).reduce(f64::min)?;
            let far = |c: &Candidate| matches!(want, Want::Near(id) if id != c.id);
            able()
                .min_by_key(|c| (behind(c.takes, least), far(c), c.load(), mix(c.name ^ chance)))
                .map(|c| c.id)
        }
    }
}

/// How far what takes so long is behind what takes the least; 0 is as good.
#[must_use]
pub fn behind(takes: f64, least: f64) -> u32 {
    let apart = (takes / least.max(f64::MIN_POSITIVE)).max(1.0);
    // At most a few.
    (apart.ln() / APART.ln()) as u32
}

impl Candidate {
    /// What is in hand for each seat, in parts small enough that no two loads of one master are equal.
    fn load(&self) -> u64 {
        (u64::from(self.in_flight) << 20) / u64::from(self.seats.max(1))
    }
}

/// FNV-1a over a name or a checksum: written out because it must be the same in every door and every release.
#[must_use]
pub fn hash(text: &str) -> u64 {
    fnv(text.as_bytes())
}

/// The same over an address, and spread over all 64 bits, since addresses differ in few. An IPv4 address that came over
/// an IPv6 socket is still that IPv4 address.
#[must_use]
pub fn hash_of_address(ip: IpAddr) -> u64 {
    mix(match ip.to_canonical() {
        IpAddr::V4(ip) => fnv(&ip.octets()),
        IpAddr::V6(ip) => fnv(&ip.octets()),
    })
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64: spreads nearby values over all 64 bits.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn master(id: u32, in_flight: u32, fit: bool) -> Candidate {
        Candidate {
            id,
            name: hash(&format!("compile{id}.example.com")),
            in_flight,
            seats: 1,
            takes: 1.0,
            fit,
        }
    }

    #[test]
    fn the_least_busy_fit_master_is_asked() {
        let pool = [master(0, 3, true), master(1, 1, true), master(2, 0, false)];
        assert_eq!(pick(&pool, Want::LeastBusy, 7), Some(1));
    }

    #[test]
    fn the_larger_of_two_masters_takes_more_until_both_are_equally_full() {
        let large = Candidate { seats: 8, ..master(0, 3, true) };
        let small = Candidate { seats: 2, ..master(1, 1, true) };
        assert_eq!(pick(&[large, small], Want::LeastBusy, 7), Some(0));
        assert_eq!(pick(&[Candidate { in_flight: 5, ..large }, small], Want::LeastBusy, 7), Some(1));
    }

    #[test]
    fn the_fastest_of_those_with_a_free_seat_is_asked() {
        let slow = Candidate { takes: 2.0, ..master(0, 0, true) };
        assert_eq!(pick(&[slow, master(1, 3, true)], Want::LeastBusy, 7), Some(1));
    }

    #[test]
    fn masters_that_are_hardly_apart_are_equally_fast() {
        assert_eq!([1.0, 1.1, 1.39].map(|takes| behind(takes, 1.0)), [0, 0, 0]);
        assert_eq!((behind(1.5, 1.0), behind(0.5, 1.0)), (1, 0));
    }

    #[test]
    fn a_runs_files_are_asked_of_its_master_unless_that_is_slower() {
        let pool = [master(0, 3, true), master(1, 1, true)];
        assert_eq!(pick(&pool, Want::Near(0), 7), Some(0));
        assert_eq!(pick(&[Candidate { takes: 2.0, ..pool[0] }, pool[1]], Want::Near(0), 7), Some(1));
        assert_eq!(pick(&pool, Want::Near(5), 7), Some(1));
    }

    #[test]
    fn health_failing_everywhere_never_empties_the_pool() {
        let pool = [master(0, 3, false), master(1, 1, false)];
        assert_eq!(pick(&pool, Want::LeastBusy, 7), Some(1));
        assert_eq!(pick(&[], Want::LeastBusy, 7), None);
    }

    #[test]
    fn static_files_go_where_the_catalog_was_compiled_while_that_master_is_fit() {
        let pool = [master(0, 9, true), master(1, 0, true)];
        assert_eq!(pick(&pool, Want::Prefer(0), 1), Some(0));
        let ill = [master(0, 9, false), master(1, 0, true)];
        assert_eq!(pick(&ill, Want::Prefer(0), 1), Some(1));
        assert_eq!(pick(&pool, Want::Prefer(5), 1), Some(1));
    }

    #[test]
    fn an_address_stays_with_its_master_until_that_has_more_than_its_share() {
        let at = |busy| [master(0, busy, true), master(1, 4, true), master(2, 4, true)];
        // Seven of fifteen: five is the mean, and 5 * 1.25 + 1 is more than seven.
        assert_eq!(pick(&at(7), Want::Stay(0), 1), Some(0));
        // Nine of seventeen: 17 / 3 * 1.25 + 1 is less than nine.
        assert_ne!(pick(&at(9), Want::Stay(0), 1), Some(0));
        assert_eq!(
            pick(&[master(0, 1, true), master(1, 0, true)], Want::Stay(0), 1),
            Some(0),
            "one more is no crowd"
        );
        assert_eq!(pick(&[master(0, 0, false), master(1, 3, true)], Want::Stay(0), 1), Some(1));
        assert_eq!(pick(&at(0), Want::Stay(9), 1), Some(0));
    }

    #[test]
    fn idle_masters_share_the_trickle() {
        let pool = [master(0, 0, true), master(1, 0, true), master(2, 0, true)];
        let mut asked = [0_u32; 3];
        for chance in 0..3000 {
            let id = pick(&pool, Want::LeastBusy, mix(chance)).expect("three are fit");
            asked[id as usize] += 1;
        }
        assert!(asked.iter().all(|n| *n > 800), "{asked:?}");
    }

    proptest! {
        #[test]
        fn a_backup_moves_only_when_its_own_master_leaves(key: u64, leaver in 0_u32..6) {
            let all: Vec<_> = (0..6).map(|id| master(id, id, true)).collect();
            let home = pick(&all, Want::Rendezvous(key), 0);
            let rest: Vec<_> = all.iter().copied().filter(|c| c.id != leaver).collect();
            let after = pick(&rest, Want::Rendezvous(key), 0);
            if home != Some(leaver) {
                prop_assert_eq!(home, after);
            }
        }

        #[test]
        fn an_unfit_master_is_never_asked_while_a_fit_one_is_there(
            fits in proptest::collection::vec(any::<bool>(), 1..8),
            chance: u64,
            want in prop_oneof![Just(Want::LeastBusy), (0_u32..8).prop_map(Want::Prefer), (0_u32..8).prop_map(Want::Stay), (0_u32..8).prop_map(Want::Near), any::<u64>().prop_map(Want::Rendezvous)],
        ) {
            let pool: Vec<_> = (0_u32..).zip(&fits).map(|(id, fit)| master(id, id % 3, *fit)).collect();
            let asked = pick(&pool, want, chance).expect("the pool is not empty");
            prop_assert!(fits[asked as usize] || !fits.contains(&true));
        }
    }
}
