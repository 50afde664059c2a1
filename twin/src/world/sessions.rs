//! What the tick thread knows of each session: its hello, and its own table from hint to row.
//!
//! A session names its sensors by a dense number, the hint, so the usual record finds its row by two array reads and
//! without a hash. The tables are thrown away as a whole when rows may have moved: a table remembers the structure it
//! was made in. A place is reused only by a session of another generation, whose id differs, so a late record of the
//! earlier session never meets the table of the later one.

use netloop::{NO_HINT, SessionEvent, SessionId, TierTally};
use wire::{Tier, Totals, capability};

use super::row::RowRef;

/// Most hints that a table takes; a further one is looked up by its key each time.
const HINTS_MAX: usize = 1 << 24;

/// How a session ended.
#[derive(Debug, Clone, Copy)]
struct Closed {
    tally: [TierTally; Tier::COUNT],
    totals: Option<Totals>,
}

/// One place of the table.
#[derive(Debug, Clone, Default)]
struct Place {
    session: Option<SessionId>,
    capabilities: u32,
    structure: u32,
    rows: Vec<RowRef>,
    /// Sequence numbers skipped and not filled later; on T3 there are none to miss.
    missing: [i64; Tier::COUNT],
    closed: Option<Closed>,
}

/// Losses as the sessions show them, for each tier, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Of sessions that closed: from their totals, and where they sent none, from their sequence numbers.
    pub closed: [u64; Tier::COUNT],
    /// Sequence numbers missing in sessions that are open.
    pub open_missing: [i64; Tier::COUNT],
    /// Shed and rejected by the worker in sessions that closed, already taken out of `closed`.
    pub closed_discarded: [u64; Tier::COUNT],
}

/// All sessions, by place.
#[derive(Debug)]
pub struct Sessions {
    places: Vec<Place>,
    /// Places below it may have had a session.
    used: usize,
    structure: u32,
    open: usize,
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
            settled: Losses::default(),
            stray_missing: [0; Tier::COUNT],
        }
    }

    /// Sessions that are open.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Takes a step of a session's life.
    pub fn handle_event(&mut self, event: &SessionEvent) {
        match *event {
            SessionEvent::Opened { session, .. } => self.handle_opened(session),
            SessionEvent::Hello { session, hello } => {
                if let Some(place) = self.place_mut(session) {
                    place.capabilities = hello.capabilities;
                }
            }
            SessionEvent::Closed { session, tally, totals, .. } => {
                if let Some(place) = self.place_mut(session).filter(|place| place.closed.is_none())
                {
                    place.closed = Some(Closed { tally, totals });
                    self.open -= 1;
                }
            }
            SessionEvent::Failed { .. } => {}
        }
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
        let mut rows = std::mem::take(&mut place.rows);
        rows.clear();
        *place =
            Place { session: Some(session), structure: self.structure, rows, ..Place::default() };
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
        if hint == NO_HINT || hint as usize >= HINTS_MAX {
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
    pub fn add_missing(&mut self, session: u32, lane: usize, count: i64) {
        match self.place_mut(SessionId(session)) {
            Some(place) => place.missing[lane] += count,
            None => self.stray_missing[lane] += count,
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

    /// True while the session is open.
    #[must_use]
    pub fn is_open(&self, session: u32) -> bool {
        let session = SessionId(session);
        let place = self.places.get(session.place());
        place.is_some_and(|place| place.session == Some(session) && place.closed.is_none())
    }

    /// The losses of all sessions that ever were.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut losses = self.settled;
        for (open, stray) in losses.open_missing.iter_mut().zip(self.stray_missing) {
            *open += stray;
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
    /// Adds what this session lost. A session that was opened over without a close is taken as open: its discarded
    /// records are not known apart.
    fn settle(&self, losses: &mut Losses) {
        for lane in 0..Tier::COUNT {
            let Some(closed) = &self.closed else {
                losses.open_missing[lane] += self.missing[lane];
                continue;
            };
            let tally = &closed.tally[lane];
            let discarded = tally.shed + tally.rejected;
            losses.closed_discarded[lane] += discarded;
            losses.closed[lane] += match closed.totals {
                Some(totals) => totals.offered[lane].saturating_sub(tally.received),
                None => self.missing[lane].saturating_sub_unsigned(discarded).max(0).unsigned_abs(),
            };
        }
    }
}
