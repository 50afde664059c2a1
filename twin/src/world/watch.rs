//! What the tick shows of single rows and sessions: it writes them into a [`Picture`].
//!
//! Rows that records have touched are marked, 64 at a time, and a tick copies some hundred of those that are marked, in
//! rounds. So the cost of a tick is bounded by a budget of rows, whatever comes in, and does not depend on who looks, or
//! whether anybody does. A plant of [`ROWS_MAX`] sensors is shown whole in each picture; a larger one more slowly, and the
//! picture says how far a row may be behind.

use ecs::Archetype;
use netloop::SessionEvent;
use wire::SensorType;

use crate::picture::{
    CROSSINGS_MAX, NAMES_MAX, OTHERS_MAX, PICTURES_HZ, Picture, PictureProducer, ROWS_MAX,
    ShownActuator, ShownCrossing, ShownName, ShownRow, ShownSession,
};

use super::Crossing;
use super::component::{ActuatorState, Live, SensorKey, Smoothed};
use super::marks::Marks;
use super::row::RowRef;

/// Tables of rows: one for each sensor type, and that of the actuators behind them.
const TABLES: usize = SensorType::COUNT + 1;
const ACTUATORS: usize = SensorType::COUNT;
/// Names looked at in one tick, so that a plant that comes up at once is named over several.
const NAMES_BUDGET: usize = 256;
const NS_PER_S: u64 = 1_000_000_000;

/// The tick thread's side of the exchange of pictures.
pub struct Watch {
    pictures: PictureProducer,
    tables: [Table; TABLES],
    /// The table whose marked rows come next.
    turn: usize,
    round: Round,
    sessions: Sessions,
    rows_budget: usize,
    period_ticks: u64,
    tick_ns: u64,
    next_tick: u64,
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
    /// A watch over a world of `hz` ticks a second and `sessions_max` sessions.
    #[must_use]
    pub fn new(pictures: PictureProducer, hz: u32, sessions_max: usize) -> Self {
        let period_ticks = u64::from((hz / PICTURES_HZ).max(1));
        Self {
            pictures,
            tables: Default::default(),
            turn: 0,
            round: Round::default(),
            sessions: Sessions::new(sessions_max),
            rows_budget: ROWS_MAX.div_ceil(period_ticks as usize),
            period_ticks,
            tick_ns: NS_PER_S / u64::from(hz.max(1)),
            next_tick: period_ticks,
        }
    }

    /// Takes a step of a session's life, at `now_ns` since the Unix epoch.
    pub fn handle_event(&mut self, event: &SessionEvent, now_ns: u64) {
        self.sessions.handle_event(event, now_ns);
    }

    /// Shows a share of what has changed, and hands the picture over when it is due.
    pub(super) fn show(
        &mut self,
        ecs: &mut ecs::World,
        crossings: &[Crossing],
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        let tables = &mut self.tables;
        ecs.drain_changed_words::<Smoothed>(|table, first, bits| {
            tables[table as usize].marks.merge(first, bits);
        });
        ecs.drain_changed_words::<ActuatorState>(|table, first, bits| {
            tables[table as usize].marks.merge(first, bits);
        });
        let archetypes = ecs.archetypes();
        self.show_names(archetypes);
        self.show_rows(archetypes, tick);
        self.show_actuators(&archetypes[ACTUATORS]);
        let picture = self.pictures.current();
        self.sessions.show(&mut picture.sessions);
        show_crossings(picture, crossings);
        if tick >= self.next_tick {
            let sensors = self.tables[..ACTUATORS].iter();
            picture.rows_waiting = sensors.map(|table| table.marks.count() as u64).sum();
            picture.rows_lag_ns = self.round.longest_ticks(tick) * self.tick_ns;
            if self.pictures.swap(tick, clock()) {
                self.next_tick = tick + self.period_ticks;
            }
        }
    }

    fn show_names(&mut self, archetypes: &[Archetype]) {
        let picture = self.pictures.current();
        let mut budget = NAMES_BUDGET.min(NAMES_MAX - picture.names.len());
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

    /// Copies marked rows, as many as a tick may, one round through all tables after the other. A row that was just copied
    /// waits for the next round, whatever it does: so every one that has changed is as old as a round at most.
    fn show_rows(&mut self, archetypes: &[Archetype], tick: u64) {
        let rows = &mut self.pictures.current().rows;
        let mut room = self.rows_budget.min(ROWS_MAX - rows.len());
        // The table of the turn is looked at twice: the rest of it, and later what lies before that.
        for _ in 0..=ACTUATORS {
            if room == 0 {
                return;
            }
            let Table { named, marks } = &mut self.tables[self.turn];
            if !marks.is_empty() {
                let columns = Columns::of(&archetypes[self.turn]);
                while room > 0
                    && let Some((first, bits)) = marks.take(*named)
                {
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
                }
            }
        }
    }

    fn show_actuators(&mut self, archetype: &Archetype) {
        let actuators = &mut self.pictures.current().actuators;
        let Table { named, marks } = &mut self.tables[ACTUATORS];
        let states: &[ActuatorState] = archetype.values().expect(CARRIED);
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
        let before = rows.len();
        while bits != 0 && rows.len() - before < room {
            rows.push(self.row(table, first + bits.trailing_zeros() as usize));
            bits &= bits - 1;
        }
        (bits, rows.len() - before)
    }

    #[inline]
    fn row(&self, table: usize, row: usize) -> ShownRow {
        let live = &self.live[row];
        ShownRow {
            row: row_ref(table, row),
            smoothed: self.smoothed[row].0,
            value: live.value,
            ts_us: live.ts_us,
            recv_ns: live.recv_ns,
            level: live.level,
        }
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
                    shown.closed = Some(reason);
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
