//! A request's id: what joins the agent's trouble, the access line and the master's own log.
//!
//! Sixteen hexadecimal digits of a counter that begins at a random place, mixed so that neighbours look unlike each
//! other. Two doors repeat each other only if their places are closer than what they have counted. It is no secret
//! and proves nothing.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderValue;

/// One request's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    fn of(number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 16];
        let mut rest = mixed(number);
        for place in text.iter_mut().rev() {
            *place = DIGITS.get((rest & 15) as usize).copied().unwrap_or(b'0');
            rest >>= 4;
        }
        Self(text)
    }

    /// The sixteen digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same as a header's value.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives out ids. One relaxed addition each; no two alike from one door before 2^64.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Counting from `place`, which is chance.
    #[must_use]
    pub const fn from(place: u64) -> Self {
        Self(AtomicU64::new(place))
    }

    /// The next one.
    pub fn next(&self) -> RequestId {
        RequestId::of(self.0.fetch_add(1, Relaxed))
    }
}

/// SplitMix64's finisher: every number has exactly one image.
const fn mixed(number: u64) -> u64 {
    let n = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_sixteen_hexadecimal_digits_and_never_repeat() {
        let ids = RequestIds::from(u64::MAX - 5_000);
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let id = ids.next();
            assert!(id.as_str().len() == 16 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
            assert_eq!(id.to_header(), id.as_str());
            assert!(seen.insert(id), "{id} came twice");
        }
    }
}
