//! Sequence numbers of one sensor on one tier: ahead, seen before, or behind. PROTOCOL.md#sequence.
//!
//! The memory is the highest number and a bit for each of the 64 below it, so that a record costs no allocation and
//! twelve bytes of state. It never guesses: a number further behind than the memory reaches is behind, not a duplicate. No
//! number is trusted so far that it could silence its sensor: one that leaps begins the numbering anew.

/// Numbers below the highest that are remembered one by one.
pub const SEEN_BITS: u32 = u64::BITS;

/// Differences below this are ahead, modulo 2^32.
const AHEAD_END: u32 = 1 << 31;

/// A number further ahead than this begins the numbering anew. A sensor at 1 kHz needs a minute of silence for such a gap;
/// behind it is more likely a broken number or another count than a loss.
pub const AHEAD_MAX: u32 = 1 << 16;

/// Where a sequence number stands against those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// A new highest.
    Ahead {
        /// Numbers between the old highest and this one: not seen yet. None where the numbering begins anew.
        skipped: u32,
    },
    /// Seen before.
    Duplicate,
    /// Behind the highest and not seen.
    Behind {
        /// It is one of the 64 remembered, so it fills a number that was skipped.
        filled: bool,
    },
}

/// Takes `seq` into the memory (`highest`, `seen`) and says where it stands. Bit n of `seen` stands for the number
/// `highest - 1 - n`.
pub fn observe(highest: &mut u32, seen: &mut u64, seq: u32) -> Sighting {
    let ahead = seq.wrapping_sub(*highest);
    if ahead == 0 {
        return Sighting::Duplicate;
    }
    if ahead <= AHEAD_MAX {
        *highest = seq;
        *seen = (*seen << 1 | 1).checked_shl(ahead - 1).unwrap_or(0);
        return Sighting::Ahead { skipped: ahead - 1 };
    }
    if ahead < AHEAD_END {
        *highest = seq;
        *seen = 0;
        return Sighting::Ahead { skipped: 0 };
    }
    let behind = ahead.wrapping_neg();
    if behind > SEEN_BITS {
        return Sighting::Behind { filled: false };
    }
    let bit = 1 << (behind - 1);
    if *seen & bit != 0 {
        return Sighting::Duplicate;
    }
    *seen |= bit;
    Sighting::Behind { filled: true }
}
