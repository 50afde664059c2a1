//! What the world must hold: the rules of PROTOCOL.md#sequence once more, as simply as they can be written.
//!
//! The model takes what the tick consumed, record by record, into ordered maps. It knows no rings, no rows, no hints and no
//! chunks, so it shares none of the world's mistakes with them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use netloop::Slot;
use wire::{DeviceId, Record, Tier};

/// A sensor is named so.
pub(crate) type Name = (DeviceId, u16);

const WINDOW: usize = 16;

/// Numbers are forgotten when there are so many.
const SEEN_MAX: usize = 512;

/// How much earlier than the newest a late record of an earlier boot may have come.
const LATE_MAX_NS: u64 = 2_000_000_000;

/// What is known of a sensor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sensor {
    pub(crate) value: f64,
    pub(crate) ts_us: u64,
    pub(crate) recv_ns: u64,
    epoch: u32,
    session: u32,
    /// For T1 and T2: numbers seen since the numbering began.
    seen: [Option<Numbers>; 2],
    window: VecDeque<f32>,
}

#[derive(Debug, Clone, Default)]
struct Numbers {
    highest: u32,
    /// Of the 64 below the highest, and some older ones that count no more.
    seen: BTreeSet<u32>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    Duplicate,
    Stale,
}

/// The sensors of the plant.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) sensors: BTreeMap<Name, Sensor>,
    /// Sensors that a session has named.
    named: BTreeSet<(u32, Name)>,
    pub(crate) applied: [u64; 2],
    pub(crate) duplicate: [u64; 2],
    pub(crate) stale: [u64; 2],
}

impl Model {
    /// Takes a record of T1 or T2.
    pub(crate) fn push(&mut self, tier: Tier, slot: &Slot) -> Fate {
        let at = tier.index();
        let record = Record::from_bytes(slot.record);
        let name = (record.device(), record.sensor_id());
        let is_new = !self.sensors.contains_key(&name);
        let sensor = self.sensors.entry(name).or_default();
        if is_new {
            sensor.epoch = slot.epoch;
            sensor.session = slot.session;
        }
        if self.named.insert((slot.session, name)) {
            // Without a hello, only another session tells of a boot.
            if slot.epoch == 0 && sensor.epoch == 0 && sensor.session != slot.session {
                sensor.begin_epoch(slot);
            }
            sensor.session = slot.session;
        }
        let fate = sensor.push(at, slot, &record);
        let counts = match fate {
            Fate::Applied => &mut self.applied,
            Fate::Duplicate => &mut self.duplicate,
            Fate::Stale => &mut self.stale,
        };
        counts[at] += 1;
        fate
    }
}

impl Sensor {
    /// Mean of the latest values.
    pub(crate) fn mean(&self) -> f64 {
        self.window.iter().map(|value| f64::from(*value)).sum::<f64>() / self.window.len() as f64
    }

    fn begin_epoch(&mut self, slot: &Slot) -> bool {
        // A late one of an earlier boot, unless the wall clock was set back meanwhile.
        if slot.recv_ns < self.recv_ns && self.recv_ns - slot.recv_ns <= LATE_MAX_NS {
            return false;
        }
        self.epoch = slot.epoch;
        self.seen = [None, None];
        true
    }

    fn push(&mut self, tier: usize, slot: &Slot, record: &Record) -> Fate {
        if slot.epoch != self.epoch && slot.epoch != 0 && !self.begin_epoch(slot) {
            return Fate::Stale;
        }
        let seq = record.seq();
        match &mut self.seen[tier] {
            None => self.seen[tier] = Some(Numbers { highest: seq, seen: BTreeSet::new() }),
            Some(numbers) => match numbers.judge(seq) {
                Fate::Applied => {}
                Fate::Stale
                    if numbers.highest.wrapping_sub(seq) > 64 && record.ts_us() > self.ts_us =>
                {
                    *numbers = Numbers { highest: seq, seen: BTreeSet::new() };
                }
                fate => return fate,
            },
        }
        self.value = record.value();
        self.ts_us = record.ts_us();
        self.recv_ns = slot.recv_ns;
        self.window.push_back(record.value() as f32);
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        Fate::Applied
    }
}

impl Numbers {
    fn judge(&mut self, seq: u32) -> Fate {
        let ahead = seq.wrapping_sub(self.highest);
        let near = self.highest.wrapping_sub(seq) <= 64;
        if ahead == 0 || (near && self.seen.contains(&seq)) {
            return Fate::Duplicate;
        }
        if ahead >= 1 << 31 {
            if near {
                self.seen.insert(seq);
            }
            return Fate::Stale;
        }
        if ahead > 65_536 {
            self.seen.clear();
        } else {
            self.seen.insert(self.highest);
        }
        self.highest = seq;
        if self.seen.len() > SEEN_MAX {
            self.seen.retain(|of| seq.wrapping_sub(*of) <= 64);
        }
        Fate::Applied
    }
}
