//! What the tick thread knows of each session: its hello, and its own table from hint to row.
//!
//! A session names its sensors by a dense number, the hint, so the usual record finds its row by two array reads and
//! without a hash. The tables are thrown away as a whole when rows may have moved: a table remembers the structure it
//! was made in. A place is reused only by a session of another generation, whose id differs, so a late record of the
//! earlier session never meets the table of the later one.

mod saved;

use std::collections::BTreeSet;

use netloop::{NO_HINT, SessionEvent, SessionId, TierTally};
use serde::{Deserialize, Serialize};
use wire::{DeviceId, Tier, Totals, capability};

use super::row::RowRef;

pub(super) use saved::SavedSessions;

/// How far beyond its table a hint may be: more than a ring holds records. One that is further, as of a damaged file, is looked up by its
/// key each time, and makes no table of its size.
const HINTS_AHEAD_MAX: usize = 1 << 17;

/// How a session ended.
#[derive(Debug, Clone, Copy)]
struct Closed {
    tally: [TierTally; Tier::COUNT],
    totals: Option<Totals>,
}

impl Closed {
    /// Whether it says what came of the session.
    fn tells(&self) -> bool {
        self.totals.is_some() || self.tally.iter().any(|tier| tier.received > 0)
    }
}

/// A device or gateway, and its epoch.
type Boot = (DeviceId, u32);

/// One place of the table.
#[derive(Debug, Clone, Default)]
struct Place {
    session: Option<SessionId>,
    capabilities: u32,
    /// Who it said it is, and its boot.
    boot: Option<Boot>,
    structure: u32,
    rows: Vec<RowRef>,
    /// Sequence numbers skipped and not filled later; on T3 there are none to miss.
    missing: [i64; Tier::COUNT],
    closed: Option<Closed>,
}

/// Losses as the sessions show them, for each tier, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Of sessions that closed: from their totals, and where they sent none, from their sequence numbers.
    pub closed: [u64; Tier::COUNT],
    /// Sequence numbers missing in sessions that are open. Of each session no fewer than none: a sensor whose records are all
    /// rejected skips none of its numbers, and would hide what others have lost.
    pub open_missing: [i64; Tier::COUNT],
    /// Left out by the worker in sessions that closed, see [`TierTally::left_out`]: already taken out of `closed`.
    pub closed_left_out: [u64; Tier::COUNT],
}

/// All sessions, by place.
#[derive(Debug)]
pub struct Sessions {
    places: Vec<Place>,
    /// Places below it may have had a session.
    used: usize,
    structure: u32,
    open: usize,
    /// Open sessions by who they said they are: a device may hold several, over paths of their own.
    boots: BTreeSet<(DeviceId, u32, u32)>,
    /// Of those, the ones that are not alone.
    redundant: usize,
    /// What the sessions amount to whose place was taken by another one.
    settled: Losses,
    /// Missing numbers that showed on records whose session had no place any more.
    stray_missing: [i64; Tier::COUNT],
}

impl Sessions {
    /// A table with room for `sessions_max` sessions.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        let places = vec![Place::default(); sessions_max.min(SessionId::PLACES_MAX)];
        Self {
            places,
            used: 0,
            structure: 0,
            open: 0,
            boots: BTreeSet::new(),
            redundant: 0,
            settled: Losses::default(),
            stray_missing: [0; Tier::COUNT],
        }
    }

    /// Sessions that are open.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Open sessions whose device or gateway holds another one in the same boot.
    #[must_use]
    pub const fn redundant(&self) -> usize {
        self.redundant
    }

    /// Takes a step of a session's life.
    pub fn handle_event(&mut self, event: &SessionEvent) {
        match *event {
            SessionEvent::Opened { session, .. } => self.handle_opened(session),
            SessionEvent::Hello { session, hello, proven } => {
                let open = self.place_mut(session).filter(|place| place.closed.is_none());
                if let Some(place) = open {
                    place.capabilities = hello.capabilities;
                    let boot = proven.then_some((hello.device, hello.epoch));
                    let before = std::mem::replace(&mut place.boot, boot);
                    self.leave(before, session);
                    if let Some(boot) = boot {
                        self.enter(boot, session);
                    }
                }
            }
            SessionEvent::Closed { session, tally, totals, .. } => {
                if let Some(place) = self.place_mut(session).filter(|place| place.closed.is_none())
                {
                    place.closed = Some(Closed { tally, totals });
                    let boot = place.boot.take();
                    self.open -= 1;
                    self.leave(boot, session);
                }
            }
            SessionEvent::Failed { .. } => {}
        }
    }

    fn enter(&mut self, boot: Boot, session: SessionId) {
        self.boots.insert((boot.0, boot.1, session.0));
        self.redundant += match self.of(boot).take(3).count() {
            1 => 0,
            2 => 2,
            _ => 1,
        };
    }

    fn leave(&mut self, boot: Option<Boot>, session: SessionId) {
        let Some(boot) = boot else { return };
        self.boots.remove(&(boot.0, boot.1, session.0));
        self.redundant -= match self.of(boot).take(2).count() {
            0 => 0,
            1 => 2,
            _ => 1,
        };
    }

    /// The open sessions of a device or gateway in one boot.
    fn of(&self, (device, epoch): Boot) -> impl Iterator<Item = u32> {
        let all = (device, epoch, 0)..=(device, epoch, u32::MAX);
        self.boots.range(all).map(|&(_, _, session)| session)
    }

    fn handle_opened(&mut self, session: SessionId) {
        let at = session.place();
        if at >= self.places.len() {
            self.places.resize_with(at + 1, Place::default);
        }
        self.used = self.used.max(at + 1);
        let place = &mut self.places[at];
        self.open += usize::from(place.session.is_none() || place.closed.is_some());
        place.settle(&mut self.settled);
        let boot = place.boot.take().zip(place.session);
        let mut rows = std::mem::take(&mut place.rows);
        rows.clear();
        *place =
            Place { session: Some(session), structure: self.structure, rows, ..Place::default() };
        if let Some((boot, before)) = boot {
            self.leave(Some(boot), before);
        }
    }

    /// Forgets every row of every table: they are looked up by key again.
    pub fn forget_rows(&mut self) {
        self.structure = self.structure.wrapping_add(1);
    }

    /// The rows of a session by hint; empty when it is unknown here or its table is out of date.
    #[inline]
    #[must_use]
    pub fn rows(&self, session: u32) -> &[RowRef] {
        let session = SessionId(session);
        match self.places.get(session.place()) {
            Some(place) if place.session == Some(session) && place.structure == self.structure => {
                &place.rows
            }
            _ => &[],
        }
    }

    /// Remembers the row that `hint` of a session stands for.
    pub fn insert(&mut self, session: u32, hint: u32, row: RowRef) {
        let structure = self.structure;
        let Some(place) = self.place_mut(SessionId(session)) else { return };
        if hint == NO_HINT || hint as usize >= place.rows.len().saturating_add(HINTS_AHEAD_MAX) {
            return;
        }
        if place.structure != structure {
            place.structure = structure;
            place.rows.clear();
        }
        let at = hint as usize;
        if at >= place.rows.len() {
            place.rows.resize(at + 1, RowRef::NONE);
        }
        place.rows[at] = row;
    }

    /// Counts sequence numbers of a session that are missing, or fewer when late ones came after all.
    pub fn add_missing(&mut self, session: u32, tier: usize, count: i64) {
        match self.place_mut(SessionId(session)) {
            Some(place) => place.missing[tier] += count,
            None => self.stray_missing[tier] += count,
        }
    }

    /// The session, if it is open and answers commands.
    #[must_use]
    pub fn commandable(&self, session: u32) -> Option<SessionId> {
        let session = SessionId(session);
        let place = self.places.get(session.place())?;
        let open = place.session == Some(session) && place.closed.is_none();
        (open && place.capabilities & capability::COMMANDS != 0).then_some(session)
    }

    /// The session through which a device is commanded: the one that its records came by, `link`, and where that is gone
    /// or shall be `avoided`, another one that the device itself holds in this boot.
    #[must_use]
    pub fn way(
        &self,
        link: u32,
        (device, epoch): (DeviceId, u32),
        avoided: Option<u32>,
    ) -> Option<SessionId> {
        let usual = self.commandable(link);
        if usual.is_some() && avoided != Some(link) {
            return usual;
        }
        let others = self.of((device, epoch)).filter(|&other| Some(other) != avoided);
        others.filter_map(|other| self.commandable(other)).next().or(usual)
    }

    /// True while the session is open.
    #[must_use]
    pub fn is_open(&self, session: u32) -> bool {
        let session = SessionId(session);
        let place = self.places.get(session.place());
        place.is_some_and(|place| place.session == Some(session) && place.closed.is_none())
    }

    /// The first open session of a worker of so many, at a place or behind it.
    #[must_use]
    pub fn open_from(&self, place: usize, (worker, workers): (usize, usize)) -> Option<SessionId> {
        let places = self.places[..self.used].iter().skip(place);
        let mut open =
            places.filter(|place| place.closed.is_none()).filter_map(|place| place.session);
        open.find(|session| session.worker(workers) == worker)
    }

    /// The losses of all sessions that ever were.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut losses = self.settled;
        for (open, stray) in losses.open_missing.iter_mut().zip(self.stray_missing) {
            *open += stray.max(0);
        }
        for place in &self.places[..self.used] {
            place.settle(&mut losses);
        }
        losses
    }

    /// Memory of the tables, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let rows: usize = self.places.iter().map(|place| place.rows.capacity()).sum();
        rows * size_of::<RowRef>() + self.places.capacity() * size_of::<Place>()
    }

    fn place_mut(&mut self, session: SessionId) -> Option<&mut Place> {
        self.places.get_mut(session.place()).filter(|place| place.session == Some(session))
    }
}

impl Place {
    /// Adds what this session lost. A session that was opened over without a close is taken as open, and so is one that ended
    /// with its worker, which could tell nothing any more: what was left out of their records is not known apart.
    fn settle(&self, losses: &mut Losses) {
        let told = self.closed.as_ref().filter(|closed| closed.tells());
        for tier in 0..Tier::COUNT {
            let Some(closed) = told else {
                losses.open_missing[tier] += self.missing[tier].max(0);
                continue;
            };
            let tally = &closed.tally[tier];
            let left_out = tally.left_out();
            losses.closed_left_out[tier] += left_out;
            let lost = match closed.totals {
                // Totals of less than what came are no last word.
                Some(Totals { offered }) if offered[tier] >= tally.received => {
                    offered[tier] - tally.received
                }
                _ => self.missing[tier].saturating_sub_unsigned(left_out).max(0).unsigned_abs(),
            };
            losses.closed[tier] = losses.closed[tier].saturating_add(lost);
        }
    }
}
