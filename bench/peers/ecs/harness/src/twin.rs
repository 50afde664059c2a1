//! The work of a digital twin: records of sensors into rows, by name.
//!
//! A record is looked up by (device, sensor), written, pushed into the window of its sensor, and the mean of the window
//! goes through a state machine with two thresholds, whose steps are events. At the end of a tick somebody downstream is
//! told which rows changed. Sensors are drawn without replacement within a tick, so that an implementation that folds each
//! record as it comes and one that only looks at the last value of a tick do the same work and end in the same bits.

mod aggregate;
mod plant;
mod row;

pub use aggregate::Aggregate;
pub use plant::{KINDS, Plant, Record, SENSORS_PER_DEVICE, Sensor};
pub use row::{Hot, Limits, Live, Raw, Ring, Row, Window};

use crate::{Case, Digest, Key, Library, Scale, case};

pub(crate) const SENSORS_1M: usize = 1_000_000;

/// A sensor that crossed a threshold.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its name.
    pub key: Key,
    /// The level that it is at now.
    pub level: u8,
}

/// What the ticks brought about.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events of this tick.
    pub events: Vec<Event>,
    /// Rows that changed so far.
    pub changed: u64,
    events_seen: u64,
    digest: Digest,
}

impl Outcome {
    /// Ends a tick: whoever waits for events reads them.
    fn end_tick(&mut self) {
        self.events_seen += self.events.len() as u64;
        for event in self.events.drain(..) {
            let [low, high] = bytemuck::cast::<_, [u64; 2]>(event.key.device);
            self.digest.add([low, high, u64::from(event.key.sensor), u64::from(event.level)]);
        }
    }
}

/// A world of sensors, in one library.
pub trait Twin: 'static {
    /// The world of all sensors of `plant`, and the index of their names, reserved as far as the library lets its users.
    fn build(plant: Plant) -> Self;

    /// Takes the records of one tick.
    fn tick(&mut self, records: &[Record], outcome: &mut Outcome);

    /// The smoothed values of each kind.
    fn aggregates(&mut self) -> [Aggregate; KINDS];

    /// Shows each row, in any order.
    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &Window, f32));
}

/// Adds the ticks of `T` to a library, as its first form where `form` is empty.
#[must_use]
pub fn with_ticks<T: Twin>(library: Library, form: &'static str) -> Library {
    library
        .with_form("twin_tick_10k_1k", form, tick::<T, 10_000, 1_000>)
        .with_form("twin_tick_200k_1k", form, tick::<T, 200_000, 1_000>)
        .with_form("twin_tick_200k_10k", form, tick::<T, 200_000, 10_000>)
        .with_form("twin_tick_200k_100k", form, tick::<T, 200_000, 100_000>)
        .with_form("twin_tick_1m_10k", form, tick::<T, SENSORS_1M, 10_000>)
        .with_form("twin_tick_1m_idle", form, tick::<T, SENSORS_1M, 0>)
}

/// Adds the cases that look at a world of `T` at rest.
#[must_use]
pub fn with_world<T: Twin>(library: Library) -> Library {
    library
        .with("bytes_per_entity_1m", rest::<T, SENSORS_1M>)
        .with("aggregate_1m", aggregates::<T, SENSORS_1M>)
}

struct Ticking<T> {
    twin: T,
    records: Vec<Record>,
    updates: usize,
    next: usize,
    outcome: Outcome,
}

fn tick<T: Twin, const SENSORS: usize, const UPDATES: usize>(scale: Scale) -> Box<dyn Case> {
    let plant = Plant { sensors: scale.of(SENSORS) };
    let updates = scale.of(UPDATES);
    let records = plant.records(updates);
    let outcome = Outcome::default();
    let ticking = Ticking { twin: T::build(plant), records, updates, next: 0, outcome };
    case(
        ticking,
        |state| {
            let records = &state.records[state.next..state.next + state.updates];
            state.next = (state.next + state.updates) % state.records.len().max(1);
            state.twin.tick(records, &mut state.outcome);
            state.outcome.end_tick();
        },
        |state| {
            let mut digest = state.outcome.digest;
            digest.add([state.outcome.events_seen, state.outcome.changed]);
            digest_rows(&mut state.twin, &mut digest);
            digest.finish()
        },
    )
}

fn rest<T: Twin, const SENSORS: usize>(scale: Scale) -> Box<dyn Case> {
    let twin = T::build(Plant { sensors: scale.of(SENSORS) });
    case(
        twin,
        |_| {},
        |twin| {
            let mut digest = Digest::new();
            digest_rows(twin, &mut digest);
            digest.finish()
        },
    )
}

fn aggregates<T: Twin, const SENSORS: usize>(scale: Scale) -> Box<dyn Case> {
    let twin = T::build(Plant { sensors: scale.of(SENSORS) });
    case(
        (twin, [Aggregate::EMPTY; KINDS]),
        |(twin, aggregates)| *aggregates = std::hint::black_box(twin.aggregates()),
        |(_, aggregates)| {
            let mut digest = Digest::new();
            for (kind, aggregate) in (0..).zip(aggregates) {
                digest.add([kind, aggregate.count, aggregate.sum.to_bits()]);
                digest.add_f32(&[&[aggregate.min, aggregate.max]]);
            }
            digest.finish()
        },
    )
}

fn digest_rows<T: Twin>(twin: &mut T, digest: &mut Digest) {
    twin.visit(&mut |key, raw, hot, window, mean| {
        let [low, high] = bytemuck::cast::<_, [u64; 2]>(key.device);
        let window = window.0.iter().map(|value| u64::from(value.to_bits()));
        let row = [
            low,
            high,
            u64::from(key.sensor),
            raw.value.to_bits(),
            raw.time_ns,
            u64::from(raw.seq),
            u64::from(hot.level()),
            u64::from(mean.to_bits()),
        ];
        digest.add(row.into_iter().chain(window));
    });
}
