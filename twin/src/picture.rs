//! Pictures of the plant: what changed since the last one, handed by the tick thread to the cold one.
//!
//! All memory is made at start. The tick thread writes into a [`Picture`] that it owns and swaps it for an empty one some
//! thirty times a second; it never waits, never allocates and takes no lock. While no empty one has come back it goes on
//! with the one it has, and what finds no room there stays marked: a later picture then holds the latest values, and the
//! ones between are never seen. Nothing grows, and nobody who looks can hold the tick up.
//!
//! Names, rows and actuators are shown while somebody asks for them, and from the beginning whenever it is asked anew;
//! sessions and crossings always.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use netloop::{CloseReason, SessionId};
use wire::DeviceId;

use crate::exchange::{ColdEnd, HotEnd, exchange};
use crate::world::{ActuatorState, Direction, RowRef, SensorKey};

/// Pictures in a second: as often as a screen of an operator is drawn.
pub const PICTURES_HZ: u32 = 30;
/// Rows of a picture: a plant of so many sensors is shown whole in each one. It bounds what pictures cost the tick.
pub const ROWS_MAX: usize = 10_240;
/// Rows of a picture of a larger plant, whose rows lie beyond the nearest caches and cost several times as much: those of
/// 200,000 sensors come within some two seconds.
pub const ROWS_SHARE: usize = 3_072;
/// New names of a picture: a plant of 200,000 sensors is named within a second.
pub const NAMES_MAX: usize = 1 << 13;
/// Crossings of a picture; further ones are counted only.
pub const CROSSINGS_MAX: usize = 1 << 10;
/// Sessions and actuators of a picture.
pub const OTHERS_MAX: usize = 1 << 10;
/// Pictures beside the one being written: one at the cold thread, one on its way back.
const SPARES: usize = 2;

/// A sensor as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownRow {
    /// Which one.
    pub row: RowRef,
    /// Rolling mean, in the unit of the type.
    pub smoothed: f32,
    /// Latest raw value, in the unit of the type.
    pub value: f64,
    /// Intended send time of that value, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// When the twin received it, in nanoseconds since the Unix epoch.
    pub recv_ns: u64,
    /// A [`Level`](crate::world::Level) as a byte.
    pub level: u8,
}

/// A row that was not known before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownName {
    /// Which one; rows of a table are named in their order.
    pub row: RowRef,
    /// Its device, its number there and its type.
    pub key: SensorKey,
}

/// A threshold that was crossed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownCrossing {
    /// The sensor.
    pub row: RowRef,
    /// Which way.
    pub direction: Direction,
    /// The smoothed value that crossed.
    pub smoothed: f32,
    /// Intended send time of the record that did it, in microseconds since the Unix epoch.
    pub ts_us: u64,
}

/// An actuator as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownActuator {
    /// Which one.
    pub row: RowRef,
    /// What was asked of it and what it holds.
    pub state: ActuatorState,
}

/// A session as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownSession {
    /// Which one.
    pub session: SessionId,
    /// The address of its peer.
    pub remote: SocketAddr,
    /// Who is at the other end, once it has said so.
    pub device: Option<DeviceId>,
    /// Boot of the device, from its hello.
    pub epoch: u32,
    /// Bits of [`capability`](wire::capability), from its hello.
    pub capabilities: u32,
    /// When it opened, in nanoseconds since the Unix epoch.
    pub opened_ns: u64,
    /// How it closed, if it did.
    pub closed: Option<ShownClose>,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownClose {
    /// Why it closed.
    pub reason: CloseReason,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
}

/// What changed between two hand-overs.
#[derive(Debug)]
pub struct Picture {
    /// The tick after which it was handed over.
    pub tick: u64,
    /// When that was, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Names and rows begin anew here: what was shown of them before is forgotten.
    pub begins: bool,
    /// Every sensor and actuator stands here or in a picture since the beginning.
    pub is_complete: bool,
    /// Rows that are named here for the first time.
    pub names: Vec<ShownName>,
    /// Sensors that a record has touched. One may stand here twice: the later place holds.
    pub rows: Vec<ShownRow>,
    /// Sensors whose latest values did not fit and come with a later picture.
    pub rows_waiting: u64,
    /// A sensor that was touched before so long, in nanoseconds, stands here or in an earlier picture.
    pub rows_lag_ns: u64,
    /// Actuators whose state has changed.
    pub actuators: Vec<ShownActuator>,
    /// Sessions that opened, said hello or closed.
    pub sessions: Vec<ShownSession>,
    /// Thresholds that were crossed, in the order of the world.
    pub crossings: Vec<ShownCrossing>,
    /// Crossings that found no room.
    pub crossings_left_out: u64,
}

impl Picture {
    fn new() -> Box<Self> {
        Box::new(Self {
            tick: 0,
            at_ns: 0,
            begins: false,
            is_complete: false,
            names: Vec::with_capacity(NAMES_MAX),
            rows: Vec::with_capacity(ROWS_MAX),
            rows_waiting: 0,
            rows_lag_ns: 0,
            actuators: Vec::with_capacity(OTHERS_MAX),
            sessions: Vec::with_capacity(OTHERS_MAX),
            crossings: Vec::with_capacity(CROSSINGS_MAX),
            crossings_left_out: 0,
        })
    }

    /// Forgets names, rows and actuators.
    pub(crate) fn clear_plant(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.actuators.clear();
    }

    /// Forgets everything and keeps the memory.
    fn clear(&mut self) {
        self.clear_plant();
        self.begins = false;
        self.rows_waiting = 0;
        self.sessions.clear();
        self.crossings.clear();
        self.crossings_left_out = 0;
    }
}

/// Makes the two ends of an exchange of pictures.
#[must_use]
pub fn pictures() -> (PictureProducer, PictureConsumer) {
    let (hot, cold, current) = exchange(SPARES, Picture::new);
    let wanted = Arc::new(AtomicU32::new(0));
    let producer = PictureProducer { current, hot, wanted: Arc::clone(&wanted) };
    (producer, PictureConsumer { cold, wanted, asked: 0 })
}

/// The tick thread's end, with the picture that is being written.
#[derive(Debug)]
pub struct PictureProducer {
    current: Box<Picture>,
    hot: HotEnd<Picture>,
    wanted: Arc<AtomicU32>,
}

impl PictureProducer {
    /// Which of the consumer's questions for the plant stands, counted from 1; 0 while it asks for none.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Relaxed)
    }

    /// The picture that is being written.
    pub fn current(&mut self) -> &mut Picture {
        &mut self.current
    }

    /// Hands the picture over as that of `tick` and leaves an empty one. Without an empty one it changes nothing and says
    /// `false`: the same picture is written on.
    pub fn swap(&mut self, tick: u64, at_ns: u64) -> bool {
        self.hot.swap(&mut self.current, |done, _| (done.tick, done.at_ns) = (tick, at_ns))
    }
}

/// The cold thread's end.
#[derive(Debug)]
pub struct PictureConsumer {
    cold: ColdEnd<Picture>,
    wanted: Arc<AtomicU32>,
    /// How often the plant was asked for.
    asked: u32,
}

impl PictureConsumer {
    /// Asks for names, rows and actuators, from the beginning unless they are asked for already; or for no more of them.
    pub fn want(&mut self, wanted: bool) {
        if wanted == self.is_wanting() {
            return;
        }
        self.asked = self.asked.wrapping_add(u32::from(wanted)).max(1);
        self.wanted.store(if wanted { self.asked } else { 0 }, Relaxed);
    }

    /// Whether names, rows and actuators are asked for.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.wanted.load(Relaxed) != 0
    }

    /// The oldest picture that was handed over.
    pub fn poll(&mut self) -> Option<Box<Picture>> {
        self.cold.poll()
    }

    /// Empties a picture and gives it back to the tick thread.
    pub fn recycle(&mut self, mut picture: Box<Picture>) {
        picture.clear();
        self.cold.recycle(picture);
    }
}
