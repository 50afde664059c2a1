//! The twin over vectors: a table for each kind of sensor, and an index of devices, because all sensors of a device have
//! their rows at the same place of their tables.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Row, Twin, Window, with_ticks,
    with_world,
};
use bench_harness::{Key, Library};
use ecs::prefetch_read;

/// Records whose cache misses overlap.
const GROUP: usize = 32;
/// A world below this size lies in the second-level cache, where asking ahead costs more than it saves.
const DIRECT_BYTES_MAX: usize = 3 << 19;
/// Sensors of one kind in a device.
const PER_KIND: usize = 2;

pub(crate) fn with_cases(library: Library) -> Library {
    with_world::<Tables>(with_ticks::<Tables>(library, ""))
}

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Lines(Row);

#[derive(Default)]
struct Table {
    keys: Vec<Key>,
    rows: Vec<Lines>,
    means: Vec<f32>,
}

struct Tables {
    index: Devices,
    tables: [Table; KINDS],
    changed: Vec<u32>,
    direct: bool,
}

impl Twin for Tables {
    fn build(plant: Plant) -> Self {
        let mut index = Devices::new(plant.devices());
        for device in 0..plant.devices() {
            index.insert(plant.key(device * PER_KIND * KINDS).device, device as u32);
        }
        let tables = std::array::from_fn(|kind| Table {
            keys: plant.of_kind(kind).map(|sensor| sensor.key).collect(),
            rows: plant.of_kind(kind).map(|sensor| Lines(Row::of(&sensor))).collect(),
            means: plant.of_kind(kind).map(|sensor| sensor.mean).collect(),
        });
        let bytes = plant.sensors * size_of::<Lines>();
        Self { index, tables, changed: Vec::new(), direct: bytes <= DIRECT_BYTES_MAX }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        if self.direct {
            for record in records {
                let device = self.index.find(&record.key.device);
                self.fold(device, record, outcome);
            }
        } else {
            records.chunks(GROUP).for_each(|records| self.fold_group(records, outcome));
        }
        outcome.changed += self.changed.len() as u64;
        self.changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        std::array::from_fn(|kind| {
            let mut aggregate = Aggregate::EMPTY;
            aggregate.add_column(&self.tables[kind].means, |mean| *mean);
            aggregate
        })
    }

    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &Window, f32)) {
        for table in &self.tables {
            for (row, key) in table.keys.iter().enumerate() {
                let Row { live, window } = &table.rows[row].0;
                visit(key, &live.raw, &live.hot, window, table.means[row]);
            }
        }
    }
}

impl Tables {
    fn fold_group(&mut self, records: &[Record], outcome: &mut Outcome) {
        let mut devices = [0; GROUP];
        for record in records {
            self.index.prefetch(&record.key.device);
        }
        for (device, record) in devices.iter_mut().zip(records) {
            *device = self.index.find(&record.key.device);
            let (kind, row) = place(*device, record);
            let table = &self.tables[kind];
            prefetch_read(&table.rows, row);
            prefetch_read(&table.means, row);
        }
        for (device, record) in devices.iter().zip(records) {
            self.fold(*device, record, outcome);
        }
    }

    #[inline(always)]
    fn fold(&mut self, device: u32, record: &Record, outcome: &mut Outcome) {
        let (kind, row) = place(device, record);
        let table = &mut self.tables[kind];
        let state = &mut table.rows[row].0;
        let (mean, crossed) = state.fold(record);
        table.means[row] = mean;
        if crossed {
            outcome.events.push(Event { key: record.key, level: state.live.hot.level() });
        }
        self.changed.push((row * KINDS + kind) as u32);
    }
}

/// Table and row of a record's sensor.
#[inline(always)]
fn place(device: u32, record: &Record) -> (usize, usize) {
    let sensor = usize::from(record.key.sensor);
    (sensor % KINDS, device as usize * PER_KIND + sensor / KINDS % PER_KIND)
}

/// Device to number: open addressing, at most half full, half a cache line a slot.
struct Devices {
    slots: Vec<Slot>,
    mask: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Slot {
    device: [u64; 2],
    number: u32,
}

const FREE: u32 = u32::MAX;

impl Devices {
    fn new(devices: usize) -> Self {
        let slots = (2 * devices).next_power_of_two();
        Self { slots: vec![Slot { device: [0; 2], number: FREE }; slots], mask: slots - 1 }
    }

    fn insert(&mut self, device: [u8; 16], number: u32) {
        let device = bytemuck::cast(device);
        let mut at = hash(device) & self.mask;
        while self.slots[at].number != FREE {
            at = (at + 1) & self.mask;
        }
        self.slots[at] = Slot { device, number };
    }

    #[inline(always)]
    fn prefetch(&self, device: &[u8; 16]) {
        prefetch_read(&self.slots, hash(bytemuck::cast(*device)) & self.mask);
    }

    /// The number of a device that is there.
    #[inline(always)]
    fn find(&self, device: &[u8; 16]) -> u32 {
        let device = bytemuck::cast(*device);
        let mut at = hash(device) & self.mask;
        loop {
            let slot = &self.slots[at];
            assert_ne!(slot.number, FREE, "records of the plant's own devices only");
            if slot.device == device {
                return slot.number;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[inline(always)]
const fn hash(device: [u64; 2]) -> usize {
    let product =
        (device[0] ^ 0xa076_1d64_78bd_642f) as u128 * (device[1] ^ 0xe703_7ed1_a0b4_28db) as u128;
    (product as u64 ^ (product >> 64) as u64) as usize
}
