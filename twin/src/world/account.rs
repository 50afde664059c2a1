//! The account: every record has exactly one outcome, and what has none is the residual.
//!
//! For each tier, in records:
//!
//! ```text
//! offered   = received + lost on the network + second copies that fault injection added
//! in flight = in the rings + held back by fault injection
//! residual  = offered - applied - duplicate - stale - rejected - shed - lost - in flight
//! ```
//!
//! *received*, *shed* and what broke a rule of the layout come from the worker; the world rejects what names a sensor of
//! another type, what is beyond the limit of entities, and what fault injection has broken. *lost* has three parts:
//!
//! ```text
//! closed with totals     offered by its totals - received                                           (exact)
//! closed without totals  max(0, skipped - filled - shed - malformed)                                (estimate)
//! open                   max(0, sum over sessions of max(0, skipped - filled) - shed - malformed)   (estimate)
//! ```
//!
//! Of totals that say less than what was received nothing is believed. A session whose worker is gone stays among the open
//! ones, because what it has shed is known of all of them together only.
//!
//! A number that was skipped and came late is filled; one that was shed or malformed was skipped as well, but is not
//! lost. One of another type than its row is not counted as skipped (`Live::pass_over`), and a record that was rejected
//! because of whose it is never had a row that could have skipped it: neither hides what was lost. Losses that fault
//! injection made are lost too, and are known exactly. An estimate may shrink, when a late
//! record comes or a session closes with totals. While the worker runs, its counts and what is in the rings are read at
//! slightly different moments, and the residual is off by what moved in between; at rest it is 0, or there is a bug.

use netloop::TierTally;
use serde::{Deserialize, Serialize};
use wire::Tier;

use crate::stats::TierTotals;

use super::fault::Injected;
use super::sessions::Losses;

/// Why the world rejects a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The sensor began with another type.
    Type,
    /// The world is at its limit of entities.
    Limit,
    /// It breaks a rule of the layout: only fault injection can do that behind the worker.
    Record,
    /// It asks for an operation that nobody handles; T3 only.
    NoHandler,
}

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = 4;
}

/// What became of the records that the world took from one ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Folded into a row; on T3: answered.
    pub applied: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Older than what the row holds.
    pub stale: u64,
    /// Rejected, by [`Reason`].
    pub rejected: [u64; Reason::COUNT],
}

impl Outcomes {
    /// Records rejected, for whatever reason.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Records with an outcome.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.applied + self.duplicate + self.stale + self.rejected_total()
    }

    /// Adds `other` to these counts.
    pub fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
        for (sum, count) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += count;
        }
    }
}

/// What the account of one tier is made of, beside the world's own outcomes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ingress {
    /// The worker's counts.
    pub tally: TierTally,
    /// Records in the ring.
    pub depth: u64,
    /// Records held back by fault injection.
    pub held: u64,
    /// What fault injection has done.
    pub injected: Injected,
}

/// The account of one tier as it stands.
#[must_use]
pub fn balance(tier: Tier, outcomes: &Outcomes, ingress: &Ingress, losses: &Losses) -> TierTotals {
    let tally = &ingress.tally;
    let lost_network = lost(tier, tally, losses);
    let mut totals = TierTotals {
        offered: (tally.received + ingress.injected.duplicates).saturating_add(lost_network),
        applied: outcomes.applied,
        duplicate: outcomes.duplicate,
        stale: outcomes.stale,
        rejected: tally.rejected + outcomes.rejected_total(),
        shed: tally.shed,
        lost: lost_network.saturating_add(ingress.injected.lost),
        in_flight: ingress.depth + ingress.held,
        decode_errors: tally.decode_errors,
        residual: 0,
    };
    let accounted = totals.applied
        + totals.duplicate
        + totals.stale
        + totals.rejected
        + totals.shed
        + totals.in_flight;
    let accounted = accounted.wrapping_add(totals.lost);
    totals.residual = totals.offered.wrapping_sub(accounted).cast_signed();
    totals
}

fn lost(tier: Tier, tally: &TierTally, losses: &Losses) -> u64 {
    let at = tier.index();
    let left_out = tally.left_out().saturating_sub(losses.closed_left_out[at]);
    let open = losses.open_missing[at].saturating_sub_unsigned(left_out);
    losses.closed[at].saturating_add(open.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_number_that_was_shed_is_not_lost() {
        let tally =
            TierTally { received: 103, rejected: 5, forbidden: 3, shed: 8, decode_errors: 1 };
        let outcomes = Outcomes { applied: 85, duplicate: 1, stale: 1, rejected: [1, 0, 0, 0] };
        let ingress = Ingress { tally, depth: 2, ..Ingress::default() };
        let losses = Losses { open_missing: [15, 0, 0], ..Losses::default() };
        let totals = balance(Tier::T1, &outcomes, &ingress, &losses);
        assert_eq!((totals.lost, totals.offered, totals.rejected), (5, 108, 6));
        assert_eq!((totals.in_flight, totals.residual), (2, 0));
    }

    #[test]
    fn a_record_without_an_outcome_shows_as_residual() {
        let tally = TierTally { received: 10, ..TierTally::default() };
        let outcomes = Outcomes { applied: 9, ..Outcomes::default() };
        let ingress = Ingress { tally, ..Ingress::default() };
        assert_eq!(balance(Tier::T2, &outcomes, &ingress, &Losses::default()).residual, 1);
    }

    #[test]
    fn injected_faults_keep_the_account_whole() {
        let tally = TierTally { received: 100, ..TierTally::default() };
        let outcomes = Outcomes { applied: 80, duplicate: 7, ..Outcomes::default() };
        let injected = Injected { lost: 10, duplicates: 7, corrupted: 0 };
        let ingress = Ingress { tally, depth: 4, held: 6, injected };
        let totals = balance(Tier::T1, &outcomes, &ingress, &Losses::default());
        assert_eq!((totals.offered, totals.lost, totals.residual), (107, 10, 0));
    }
}
