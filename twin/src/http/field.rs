//! The field: all sensors as numbers, in frames of plain arrays that a page draws as they lie.
//!
//! A frame is whole, or what the latest picture changed. All numbers are little-endian and aligned to their size:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PXF1` |
//! | 4 | flags: 1 a whole frame, 2 the changed sensors are a list of numbers and not a map of bits |
//! | 8, 8 | tick and unix milliseconds, as `f64` |
//! | 4, 4 | pictures so far; sensors in all |
//! | 4, 4, 4 | first sensor that is named here, how many are; sensors whose values follow |
//! | 4 | late values: of those that follow, in a change |
//! | n | types of the named sensors, one byte each, filled up to a multiple of four |
//! | 4 m | which: bits by sensor number, or numbers |
//! | 4 k | smoothed values as `f32`, whose two lowest bits are the level |
//! | 4 k | in a whole frame: ages in milliseconds, all ones where there is no value yet |
//! | 4 l | in a change: numbers of the sensors whose values are late |
//! | 4 l | in a change: their ages, as in a whole frame |
//!
//! A value that a change brings is as old as the frame but for half a second, or it is late and its age is told. So a plant whose
//! values come in time pays nothing for ages.

use bytes::{BufMut, Bytes, BytesMut};

use crate::mirror::{Mirror, Sensor};

const MAGIC: &[u8; 4] = b"PXF1";
const WHOLE: u32 = 1;
const LIST: u32 = 2;
/// A value is late at this age, in milliseconds: that of a value that is no longer timely for the twin's health.
pub const LATE_MS: u32 = 500;
/// Bytes before the arrays.
pub const HEADER_BYTES: usize = 48;

/// What changed with the latest picture; sensors from `named` on are named here.
#[must_use]
pub fn delta(mirror: &Mirror, named: usize) -> Bytes {
    frame(mirror, named, mirror.changed(), false)
}

/// What has changed after the picture `seen`; sensors from `named` on are named here.
#[must_use]
pub fn since(mirror: &Mirror, seen: u64, named: usize) -> Bytes {
    let sensors = (0..).zip(mirror.sensors());
    let changed = sensors.filter(|(_, sensor)| sensor.picture > seen);
    let changed: Vec<u32> = changed.map(|(number, _)| number).collect();
    frame(mirror, named, &changed, false)
}

/// All sensors.
#[must_use]
pub fn whole(mirror: &Mirror) -> Bytes {
    let all: Vec<u32> = (0..mirror.sensors().len() as u32).collect();
    frame(mirror, 0, &all, true)
}

fn frame(mirror: &Mirror, named: usize, changed: &[u32], whole: bool) -> Bytes {
    let sensors = mirror.sensors();
    let words = sensors.len().div_ceil(32);
    let list = changed.len() < words;
    let which = if list { changed.len() } else { words };
    let fresh = &sensors[named.min(sensors.len())..];
    let late = if whole { Vec::new() } else { late(mirror, changed) };
    let values = changed.len() * if whole { 8 } else { 4 } + late.len() * 8;
    let mut out = BytesMut::with_capacity(HEADER_BYTES + fresh.len() + 3 + which * 4 + values);
    out.put_slice(MAGIC);
    out.put_u32_le(u32::from(whole) * WHOLE + u32::from(list) * LIST);
    out.put_f64_le(mirror.tick() as f64);
    out.put_f64_le(mirror.at_ns() as f64 / 1e6);
    let counts = [sensors.len(), named, fresh.len(), changed.len(), late.len()];
    for count in [mirror.pictures() as usize].into_iter().chain(counts) {
        out.put_u32_le(count as u32);
    }
    out.extend(fresh.iter().map(|sensor| sensor.sensor_type as u8));
    out.put_bytes(0, fresh.len().next_multiple_of(4) - fresh.len());
    if list {
        changed.iter().for_each(|&number| out.put_u32_le(number));
        changed.iter().for_each(|&number| out.put_u32_le(bits(&sensors[number as usize])));
    } else {
        let mut map = vec![0_u32; words];
        changed.iter().for_each(|&number| map[number as usize / 32] |= 1 << (number % 32));
        map.iter().for_each(|&word| out.put_u32_le(word));
        // By number, as the bits are read.
        for (at, &word) in map.iter().enumerate() {
            each_bit(word, |bit| out.put_u32_le(bits(&sensors[at * 32 + bit])));
        }
    }
    if whole {
        sensors.iter().for_each(|sensor| out.put_u32_le(age_ms(mirror, sensor)));
    }
    late.iter().for_each(|&(number, _)| out.put_u32_le(number));
    late.iter().for_each(|&(_, age_ms)| out.put_u32_le(age_ms));
    out.freeze()
}

/// The sensors whose values are late, with their ages.
fn late(mirror: &Mirror, changed: &[u32]) -> Vec<(u32, u32)> {
    let ages =
        changed.iter().map(|&number| (number, age_ms(mirror, &mirror.sensors()[number as usize])));
    ages.filter(|&(_, age_ms)| age_ms >= LATE_MS).collect()
}

fn each_bit(mut word: u32, mut visit: impl FnMut(usize)) {
    while word != 0 {
        visit(word.trailing_zeros() as usize);
        word &= word - 1;
    }
}

/// The smoothed value, with the level in the two bits that make the least difference.
fn bits(sensor: &Sensor) -> u32 {
    sensor.smoothed.to_bits() & !3 | u32::from(sensor.level & 3)
}

fn age_ms(mirror: &Mirror, sensor: &Sensor) -> u32 {
    if sensor.recv_ns == 0 {
        return u32::MAX;
    }
    u32::try_from(mirror.age_ns(sensor) / 1_000_000).unwrap_or(u32::MAX - 1)
}
