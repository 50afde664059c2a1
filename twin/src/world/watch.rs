//! What the tick shows of single rows and sessions: it writes them into a [`Picture`].
//!
//! The world remembers which rows records have touched, by one bit each. In rounds through all tables, some hundred of
//! those rows are copied at a time, a few times for each picture. So the cost is bounded by a budget of rows, whatever comes
//! in and however many look; while nobody asks for the plant, no row is copied. A plant of [`ROWS_MAX`] sensors is shown
//! whole in each picture; a larger one more slowly, and the picture says how far a row may be behind.

use ecs::{Archetype, Component, prefetch_read};
use netloop::SessionEvent;
use wire::SensorType;

use crate::picture::{
    CROSSINGS_MAX, NAMES_MAX, OTHERS_MAX, PICTURES_HZ, Picture, PictureProducer, ROWS_MAX,
    ROWS_SHARE, ShownActuator, ShownClose, ShownCrossing, ShownName, ShownRow, ShownSession,
};

use super::Crossing;
use super::component::{ActuatorState, Live, SensorKey, Smoothed};
use super::marks::Marks;
use super::row::RowRef;

/// Tables of rows: one for each sensor type, and that of the actuators behind them.
const TABLES: usize = SensorType::COUNT + 1;
const ACTUATORS: usize = SensorType::COUNT;
/// Names looked at in a tick of a millisecond, so that a plant that comes up at once is named over several; in a longer one so
/// many for each of its milliseconds.
const NAMES_BUDGET: usize = 256;
/// Ticks of a millisecond in a second.
const NAMES_HZ: u32 = 1000;
/// Rows that wait are counted for one in so many pictures: it takes a look at every word of their bits.
const COUNT_PICTURES: u64 = 8;
/// Bursts of rows in a picture.
const BURSTS: u64 = 4;
const NS_PER_S: u64 = 1_000_000_000;

/// The tick thread's side of the exchange of pictures.
pub struct Watch {
    pictures: PictureProducer,
    tables: [Table; TABLES],
    /// The table whose marked rows come next.
    turn: usize,
    round: Round,
    plant: Plant,
    sessions: Sessions,
    period_ticks: u64,
    /// Rows are copied in every so many ticks.
    burst_ticks: u64,
    tick_ns: u64,
    /// Names looked at in a tick.
    names_budget: usize,
    next_tick: u64,
    /// Rows that waited when they were last counted, and when they are counted again.
    waiting: u64,
    next_count_tick: u64,
}

/// How far the plant was shown to whoever asks for it.
#[derive(Debug, Default)]
struct Plant {
    /// The question that is being answered; 0 for none.
    wanted: u32,
    /// Every row had its name when the round under way began.
    is_named: bool,
    /// Such a round has ended, so that every row of a sensor was shown.
    is_complete: bool,
    /// The actuators were, too. Those that change later take nothing away from that.
    is_whole: bool,
}

/// How long it takes to come by all marked rows, in ticks.
#[derive(Debug, Default)]
struct Round {
    began_tick: u64,
    last_ticks: u64,
}

impl Round {
    fn end(&mut self, tick: u64) {
        self.last_ticks = tick - self.began_tick;
        self.began_tick = tick;
    }

    /// The last round or the one under way, whichever is the longer.
    fn longest_ticks(&self, tick: u64) -> u64 {
        self.last_ticks.max(tick - self.began_tick)
    }
}

/// What of a table is still to be shown.
#[derive(Debug, Default)]
struct Table {
    /// Rows whose names were shown; they are the first ones.
    named: usize,
    marks: Marks,
}

impl Watch {
    /// A watch over a world of `hz` ticks a second, with sessions in places below `sessions_max`.
    #[must_use]
    pub fn new(pictures: PictureProducer, hz: u32, sessions_max: usize) -> Self {
        let period_ticks = u64::from((hz / PICTURES_HZ).max(1));
        Self {
            pictures,
            tables: Default::default(),
            turn: 0,
            round: Round::default(),
            plant: Plant::default(),
            sessions: Sessions::new(sessions_max),
            period_ticks,
            burst_ticks: (period_ticks / BURSTS).max(1),
            tick_ns: NS_PER_S / u64::from(hz.max(1)),
            names_budget: NAMES_BUDGET * (NAMES_HZ / hz.max(1)).max(1) as usize,
            next_tick: period_ticks,
            waiting: 0,
            next_count_tick: 0,
        }
    }

    /// Takes a step of a session's life, at `now_ns` since the Unix epoch.
    pub fn handle_event(&mut self, event: &SessionEvent, now_ns: u64) {
        self.sessions.handle_event(event, now_ns);
    }

    /// Shows a share of what has changed, and hands the picture over when it is due. What has changed stays marked in the
    /// world until its turn comes, unless `drains`: then the marks of this tick are taken now.
    pub(super) fn show(
        &mut self,
        ecs: &mut ecs::World,
        crossings: &[Crossing],
        drains: bool,
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        if drains {
            (0..TABLES).for_each(|index| self.take_marks(ecs, index));
        }
        self.turn_to(self.pictures.wanted(), ecs.archetypes(), tick);
        if self.plant.wanted != 0 {
            self.show_names(ecs.archetypes());
            // Rows are copied in bursts: most of what a row costs is the first look at cold memory.
            if tick.is_multiple_of(self.burst_ticks) {
                self.show_rows(ecs, tick);
                self.show_actuators(ecs);
            }
        }
        let picture = self.pictures.current();
        self.sessions.show(&mut picture.sessions);
        show_crossings(picture, crossings);
        if tick >= self.next_tick {
            self.hand_over(ecs.archetypes(), tick, clock);
        }
    }

    /// Begins to answer a new question for the plant, with all of its rows, or ends when there is none.
    fn turn_to(&mut self, wanted: u32, archetypes: &[Archetype], tick: u64) {
        if wanted == self.plant.wanted {
            return;
        }
        self.plant = Plant { wanted, ..Plant::default() };
        let picture = self.pictures.current();
        picture.clear_plant();
        picture.begins = wanted != 0;
        (self.turn, self.round, self.waiting) = (0, Round { began_tick: tick, last_ticks: 0 }, 0);
        for (table, archetype) in self.tables.iter_mut().zip(archetypes) {
            table.named = 0;
            table.marks.set_all(if wanted == 0 { 0 } else { archetype.len() });
        }
    }

    fn hand_over(&mut self, archetypes: &[Archetype], tick: u64, clock: &mut dyn FnMut() -> u64) {
        let lag_ticks = if self.plant.wanted == 0 { 0 } else { self.round.longest_ticks(tick) };
        if lag_ticks <= self.burst_ticks {
            self.waiting = 0;
        } else if tick >= self.next_count_tick {
            self.next_count_tick = tick + self.period_ticks * COUNT_PICTURES;
            self.waiting = self.count_waiting(archetypes);
        }
        self.plant.is_whole |= self.plant.is_complete && self.tables[ACTUATORS].marks.is_empty();
        let picture = self.pictures.current();
        picture.is_complete = self.plant.is_whole;
        (picture.rows_waiting, picture.rows_lag_ns) = (self.waiting, lag_ticks * self.tick_ns);
        if self.pictures.swap(tick, clock()) {
            self.next_tick = tick + self.period_ticks;
        }
    }

    /// Takes over which rows of a table have changed.
    fn take_marks(&mut self, ecs: &mut ecs::World, index: usize) {
        let Table { marks, .. } = &mut self.tables[index];
        let archetype = index as u32;
        if index == ACTUATORS {
            ecs.drain_changed_words::<ActuatorState>(archetype, |first, bits| {
                marks.merge(first, bits);
            });
        } else {
            ecs.drain_changed_words::<Smoothed>(archetype, |first, bits| marks.merge(first, bits));
        }
    }

    /// Sensors that have changed and whose turn has not come, about: one that has changed again meanwhile counts twice.
    fn count_waiting(&self, archetypes: &[Archetype]) -> u64 {
        let fresh = |archetype: &Archetype| {
            let column = archetype.column(Smoothed::ID);
            column.and_then(|column| column.dirty()).map_or(0, |bits| bits.count())
        };
        let tables = self.tables[..ACTUATORS].iter().zip(archetypes);
        tables.map(|(table, archetype)| (table.marks.count() + fresh(archetype)) as u64).sum()
    }

    fn show_names(&mut self, archetypes: &[Archetype]) {
        let picture = self.pictures.current();
        let mut budget = self.names_budget.min(NAMES_MAX - picture.names.len());
        for (index, archetype) in archetypes.iter().enumerate().take(TABLES) {
            let table = &mut self.tables[index];
            if table.named == archetype.len() || budget == 0 {
                continue;
            }
            let keys: &[SensorKey] = archetype.values().expect(CARRIED);
            let named = keys.len().min(table.named + budget);
            budget -= named - table.named;
            let names = (table.named..named)
                .map(|row| ShownName { row: row_ref(index, row), key: keys[row] });
            picture.names.extend(names);
            table.named = named;
        }
    }

    /// Copies rows that have changed, as many as a burst may, one round through all tables after the other. A row that was
    /// just copied waits for the next round, whatever it does: so every one that has changed is as old as a round at most.
    fn show_rows(&mut self, ecs: &mut ecs::World, tick: u64) {
        let sensors: usize = self.tables[..ACTUATORS].iter().map(|table| table.named).sum();
        // Whoever has just asked waits for all of them.
        let is_large = self.plant.is_complete && sensors > ROWS_MAX;
        let picture = if is_large { ROWS_SHARE } else { ROWS_MAX };
        let bursts = self.period_ticks.div_ceil(self.burst_ticks) as usize;
        let mut room = picture.div_ceil(bursts).min(ROWS_MAX - self.pictures.current().rows.len());
        // The table of the turn is looked at twice: the rest of it, and later what lies before that.
        for _ in 0..=ACTUATORS {
            if room == 0 {
                return;
            }
            if self.tables[self.turn].marks.is_at_start() {
                self.take_marks(ecs, self.turn);
            }
            let rows = &mut self.pictures.current().rows;
            let Table { named, marks } = &mut self.tables[self.turn];
            if !marks.is_empty() {
                let columns = Columns::of(&ecs.archetypes()[self.turn]);
                while room > 0
                    && let Some((first, bits)) = marks.take(*named)
                {
                    columns.prefetch(first, bits);
                    let (rest, copied) = columns.copy(self.turn, first, bits, room, rows);
                    room -= copied;
                    if rest != 0 {
                        marks.put_back(first, rest);
                    }
                }
            }
            if room > 0 {
                self.turn = (self.turn + 1) % ACTUATORS;
                if self.turn == 0 {
                    self.round.end(tick);
                    self.plant.is_complete |= self.plant.is_named;
                    self.plant.is_named = self.is_named(ecs.archetypes());
                }
            }
        }
    }

    /// Whether every row has its name.
    fn is_named(&self, archetypes: &[Archetype]) -> bool {
        self.tables.iter().zip(archetypes).all(|(table, archetype)| table.named == archetype.len())
    }

    fn show_actuators(&mut self, ecs: &mut ecs::World) {
        self.take_marks(ecs, ACTUATORS);
        let actuators = &mut self.pictures.current().actuators;
        let Table { named, marks } = &mut self.tables[ACTUATORS];
        let states: &[ActuatorState] = ecs.archetypes()[ACTUATORS].values().expect(CARRIED);
        while actuators.len() < OTHERS_MAX
            && let Some(row) = marks.pop_below(*named)
        {
            actuators.push(ShownActuator { row: row_ref(ACTUATORS, row), state: states[row] });
        }
    }
}

fn show_crossings(picture: &mut Picture, crossings: &[Crossing]) {
    let room = CROSSINGS_MAX - picture.crossings.len();
    let (shown, left_out) = crossings.split_at(crossings.len().min(room));
    picture.crossings_left_out += left_out.len() as u64;
    picture.crossings.extend(shown.iter().map(|crossing| ShownCrossing {
        row: crossing.sensor,
        direction: crossing.direction,
        smoothed: crossing.smoothed,
        ts_us: crossing.ts_us,
    }));
}

const CARRIED: &str = "the archetype carries the component because its bundle names it";

/// The columns of a sensor type that are shown.
struct Columns<'w> {
    live: &'w [Live],
    smoothed: &'w [Smoothed],
}

impl<'w> Columns<'w> {
    fn of(archetype: &'w Archetype) -> Self {
        let (live, smoothed) = (archetype.values(), archetype.values());
        Self { live: live.expect(CARRIED), smoothed: smoothed.expect(CARRIED) }
    }

    /// Begins to fetch the rows of `bits`: they lie in memory that nobody has touched for a while.
    #[inline]
    fn prefetch(&self, first: usize, mut bits: u64) {
        while bits != 0 {
            prefetch_read(self.live, first + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }

    /// Copies the rows of `bits`, at most `room`; gives the bits that are left and how many were copied.
    #[inline]
    fn copy(
        &self,
        table: usize,
        first: usize,
        mut bits: u64,
        room: usize,
        rows: &mut Vec<ShownRow>,
    ) -> (u64, usize) {
        let (before, base) = (rows.len(), row_ref(table, first));
        let (live, smoothed) = (&self.live[first..], &self.smoothed[first..]);
        while bits != 0 && rows.len() - before < room {
            let at = bits.trailing_zeros() as usize;
            let Live { value, ts_us, recv_ns, level, .. } = live[at];
            let row = base.offset(at);
            rows.push(ShownRow { row, smoothed: smoothed[at].0, value, ts_us, recv_ns, level });
            bits &= bits - 1;
        }
        (bits, rows.len() - before)
    }
}

fn row_ref(table: usize, row: usize) -> RowRef {
    match SensorType::ALL.get(table) {
        Some(&sensor_type) => RowRef::sensor(sensor_type, row),
        None => RowRef::actuator(row),
    }
}

/// The sessions, by place, and which of them are to be shown.
struct Sessions {
    places: Vec<Option<ShownSession>>,
    marks: Marks,
}

impl Sessions {
    fn new(sessions_max: usize) -> Self {
        let mut marks = Marks::default();
        marks.grow(sessions_max);
        Self { places: vec![None; sessions_max], marks }
    }

    fn handle_event(&mut self, event: &SessionEvent, now_ns: u64) {
        let session = match *event {
            SessionEvent::Opened { session, .. }
            | SessionEvent::Hello { session, .. }
            | SessionEvent::Closed { session, .. } => session,
            SessionEvent::Failed { .. } => return,
        };
        // A place beyond the limit of sessions is not shown; the engine opens none.
        let Some(place) = self.places.get_mut(session.place()) else { return };
        match *event {
            SessionEvent::Opened { remote, .. } => {
                *place = Some(ShownSession {
                    session,
                    remote,
                    device: None,
                    epoch: 0,
                    capabilities: 0,
                    opened_ns: now_ns,
                    closed: None,
                });
            }
            SessionEvent::Hello { hello, .. } => {
                if let Some(shown) = place.as_mut().filter(|shown| shown.session == session) {
                    shown.device = Some(hello.device);
                    (shown.epoch, shown.capabilities) = (hello.epoch, hello.capabilities);
                }
            }
            SessionEvent::Closed { reason, .. } => {
                if let Some(shown) = place.as_mut().filter(|shown| shown.session == session) {
                    shown.closed = Some(ShownClose { reason, at_ns: now_ns });
                }
            }
            SessionEvent::Failed { .. } => {}
        }
        self.marks.set(session.place());
    }

    fn show(&mut self, sessions: &mut Vec<ShownSession>) {
        while sessions.len() < OTHERS_MAX
            && let Some(place) = self.marks.pop_below(self.places.len())
        {
            sessions.extend(self.places[place]);
        }
    }
}
