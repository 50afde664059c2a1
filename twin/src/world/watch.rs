//! What the tick shows of single rows and sessions: it writes them into a [`Picture`].
//!
//! A row that a record touched in this tick is copied while its lines are still in the cache. What finds no room stays
//! marked by one bit, and its latest values follow when there is room, the tables in turn. So the cost of a tick is bounded
//! by a budget of rows and does not depend on who looks, or whether anybody does.

use ecs::{Archetype, Component};
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

/// The tick thread's side of the exchange of pictures.
pub struct Watch {
    pictures: PictureProducer,
    tables: [Table; TABLES],
    /// Rows marked in all tables together.
    marked: usize,
    /// The table whose marked rows come next.
    turn: usize,
    sessions: Sessions,
    rows_budget: usize,
    period_ticks: u64,
    next_tick: u64,
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
            marked: 0,
            turn: 0,
            sessions: Sessions::new(sessions_max),
            rows_budget: ROWS_MAX / period_ticks as usize,
            period_ticks,
            next_tick: period_ticks,
        }
    }

    /// Takes a step of a session's life, at `now_ns` since the Unix epoch.
    pub fn handle_event(&mut self, event: &SessionEvent, now_ns: u64) {
        self.sessions.handle_event(event, now_ns);
    }

    /// Shows what this tick has changed, and hands the picture over when it is due.
    pub(super) fn show(
        &mut self,
        archetypes: &[Archetype],
        crossings: &[Crossing],
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        self.show_names(archetypes);
        self.show_rows(archetypes);
        self.show_actuators(&archetypes[ACTUATORS]);
        let picture = self.pictures.current();
        self.sessions.show(&mut picture.sessions);
        show_crossings(picture, crossings);
        if tick >= self.next_tick {
            picture.rows_waiting = self.marked as u64;
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
            table.marks.grow(archetype.len());
        }
    }

    /// Copies the rows that this tick has touched, or marks them where there is no room; then marked ones.
    fn show_rows(&mut self, archetypes: &[Archetype]) {
        let picture = self.pictures.current();
        let mut room = self.rows_budget.min(ROWS_MAX - picture.rows.len());
        // Once rows wait, all of them do, so that those of the first table are not always before the others.
        let direct = self.marked == 0;
        for (index, archetype) in archetypes.iter().enumerate().take(ACTUATORS) {
            let Some(rows) = touched::<Smoothed>(archetype) else { continue };
            let columns = Columns::of(archetype);
            let Table { named, marks } = &mut self.tables[index];
            for row in rows {
                if direct && room > 0 && row < *named {
                    room -= 1;
                    picture.rows.push(columns.row(index, row));
                } else {
                    self.marked += usize::from(marks.set(row));
                }
            }
        }
        self.show_marked(archetypes, room);
    }

    fn show_marked(&mut self, archetypes: &[Archetype], mut room: usize) {
        for _ in 0..ACTUATORS {
            if self.marked == 0 || room == 0 {
                return;
            }
            let index = self.turn;
            let columns = Columns::of(&archetypes[index]);
            let Table { named, marks } = &mut self.tables[index];
            let rows = &mut self.pictures.current().rows;
            let before = room;
            while room > 0
                && let Some(row) = marks.pop_below(*named)
            {
                rows.push(columns.row(index, row));
                room -= 1;
            }
            self.marked -= before - room;
            if room > 0 {
                self.turn = (self.turn + 1) % ACTUATORS;
            }
        }
    }

    fn show_actuators(&mut self, archetype: &Archetype) {
        let actuators = &mut self.pictures.current().actuators;
        let Table { named, marks } = &mut self.tables[ACTUATORS];
        for row in touched::<ActuatorState>(archetype).into_iter().flatten() {
            marks.set(row);
        }
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

/// The rows of an archetype whose `T` was written since the world last forgot them.
fn touched<T: Component>(archetype: &Archetype) -> Option<impl Iterator<Item = usize>> {
    Some(archetype.column(T::ID)?.dirty()?.rows())
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
